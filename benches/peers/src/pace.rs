use std::num::NonZeroU64;
use std::time::Duration;

use crate::now_ns;

/// When messages are due.
///
/// With a rate, latency counts from the moment a message was due, not from the
/// moment it was sent: a stalled sender cannot hide what it made others wait.
#[derive(Debug)]
pub struct Pace {
    start_ns: u64,
    interval_ns: Option<f64>,
}

impl Pace {
    /// Starts the clock. `rate` is in messages a second.
    pub fn start(rate: Option<f64>) -> Self {
        if rate.is_some() {
            // Sleeps end up to 50 us late otherwise. Where it is refused, they do.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        }
        Self { start_ns: now_ns(), interval_ns: rate.map(|rate| 1e9 / rate) }
    }

    /// When the `index`-th message is due; now, if there is no rate.
    pub fn due_ns(&self, index: u64) -> u64 {
        match self.interval_ns {
            Some(interval) => self.start_ns + (index as f64 * interval) as u64,
            None => now_ns(),
        }
    }

    /// How many messages after `index` may be sent at once: all that are due, at most `limit`.
    pub fn due_after(&self, index: u64, limit: u64) -> u64 {
        let Some(interval) = self.interval_ns else { return limit };
        let due = ((now_ns() - self.start_ns) as f64 / interval) as u64 + 1;
        due.saturating_sub(index).min(limit)
    }

    /// How long until the `index`-th message is due.
    pub fn until(&self, index: u64) -> Duration {
        match self.interval_ns {
            Some(_) => Duration::from_nanos(self.due_ns(index).saturating_sub(now_ns())),
            None => Duration::ZERO,
        }
    }
}
