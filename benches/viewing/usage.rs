use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;

/// What a process takes while it is looked at.
pub(crate) struct Usage {
    pid: u32,
    cpu: f64,
    begin: Instant,
    over: Arc<AtomicBool>,
    resident: JoinHandle<Vec<u64>>,
}

#[derive(Debug)]
pub(crate) struct Used {
    /// Share of one core.
    pub(crate) cpu: f64,
    /// Resident memory each second, in bytes.
    pub(crate) resident: Vec<u64>,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let resident = std::thread::spawn(move || {
            let mut all = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                all.extend(resident_bytes(pid));
                std::thread::sleep(Duration::from_secs(1));
            }
            all
        });
        Ok(Self { pid, cpu: cpu_secs(pid)?, begin: Instant::now(), over, resident })
    }

    pub(crate) fn stop(self) -> Result<Used> {
        let cpu = (cpu_secs(self.pid)? - self.cpu) / self.begin.elapsed().as_secs_f64();
        self.over.store(true, Ordering::Relaxed);
        let resident = self.resident.join().map_err(|_| "reading the memory failed")?;
        Ok(Used { cpu, resident })
    }
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// User and system time. In hundredths of a second, as Linux tells it.
fn cpu_secs(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or("another kind of /proc/PID/stat")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}
