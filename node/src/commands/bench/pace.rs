//! When each message is due.

use std::time::Duration;

use super::payload::now_ns;

/// The timer of the runtime counts milliseconds; what is nearer is waited for by looking at the clock.
const TIMER_NS: u64 = 2_000_000;

/// An open loop: messages are due at fixed times, however long the earlier ones took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_ns: u64,
    period_ns: f64,
}

impl Schedule {
    /// From `start_ns` on, so many messages a second.
    pub(crate) fn new(start_ns: u64, rate: f64) -> Self {
        Self { start_ns, period_ns: 1e9 / rate }
    }

    /// When message `number` is due, on the clock of the payloads.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        self.start_ns + (number as f64 * self.period_ns) as u64
    }

    /// Waits until message `number` is due.
    pub(crate) async fn wait(&self, number: u64) {
        let due = self.due_ns(number);
        loop {
            match due.saturating_sub(now_ns()) {
                0 => return,
                ns @ TIMER_NS.. => tokio::time::sleep(Duration::from_nanos(ns - TIMER_NS / 2)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// How many messages from `number` on are due by now, at most `most`.
    pub(crate) fn due_by_now(&self, number: u64, most: usize) -> usize {
        let now = now_ns();
        (0..most).take_while(|k| self.due_ns(number + *k as u64) <= now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_does_not_move_what_is_due() {
        let schedule = Schedule::new(1_000, 50_000.0);
        assert_eq!(schedule.due_ns(0), 1_000);
        assert_eq!(schedule.due_ns(3), 61_000);
        assert_eq!(schedule.due_ns(50_000 * 3600), 1_000 + 3_600_000_000_000);
        assert_eq!(schedule.due_by_now(0, 16), 16, "the clock has long passed them");
        let future = Schedule::new(now_ns() + 60_000_000_000, 1.0);
        assert_eq!(future.due_by_now(0, 16), 0);
    }
}
