use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

pub(super) fn register(registry: &mut Registry) {
    registry.register("build", "What the node is", super::build_info());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start_time: Gauge = Gauge::default();
    start_time.set(i64::try_from(started.as_secs()).unwrap_or(i64::MAX));
    registry.register_with_unit("start_time", "When the node started, since 1970", Unit::Seconds, start_time);
    registry.register_collector(Box::new(Memory));
}

/// Resident memory, read when somebody looks. Left out where the system does not tell.
#[derive(Debug)]
struct Memory;

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(bytes) = resident_bytes() else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let help = "Memory of the process that is in RAM";
        let metric =
            encoder.encode_descriptor("process_resident_memory", help, Some(&Unit::Bytes), gauge.metric_type())?;
        gauge.encode(metric)
    }
}

/// Bytes of this process in RAM, from `/proc`; `None` where there is none.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
