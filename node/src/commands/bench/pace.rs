//! When each message is due.

use std::time::Duration;

use super::payload::now_ns;

/// The timer of the runtime counts milliseconds. What is nearer than this is waited for by sleeping the thread.
const TIMER: Duration = Duration::from_millis(2);

/// Longest sleep of the thread between two looks at what came in.
const NAP: Duration = Duration::from_micros(200);

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

    /// Waits until message `number` is due. Gives the tasks of this thread their turn, at least once.
    ///
    /// Looking at the clock without a pause would be more exact, and cost a core that the node is measured on.
    pub(crate) async fn wait(&self, number: u64) {
        let due = self.due_ns(number);
        loop {
            tokio::task::yield_now().await;
            match Duration::from_nanos(due.saturating_sub(now_ns())) {
                Duration::ZERO => return,
                left if left > TIMER => tokio::time::sleep(left - TIMER / 2).await,
                left => std::thread::sleep(left.min(NAP)),
            }
        }
    }

    /// Whether message `number` is due.
    pub(crate) fn is_due(&self, number: u64) -> bool {
        self.due_ns(number) <= now_ns()
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
        assert!(schedule.is_due(1_000_000), "the clock has long passed it");
    }

    #[tokio::test]
    async fn nothing_is_early() {
        let start = now_ns();
        let schedule = Schedule::new(start, 1_000.0);
        schedule.wait(4).await;
        assert!(now_ns() >= start + 4_000_000);
    }
}
