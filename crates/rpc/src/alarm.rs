//! Wakes the task that sees to deadlines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

const NEVER: u64 = u64::MAX;

/// When the task has to look next. Whoever has something due earlier wakes it; nearly always it is later, and costs a
/// comparison.
#[derive(Debug)]
pub(crate) struct Alarm {
    since: Instant,
    /// Microseconds since `since`.
    at: AtomicU64,
    wake: Notify,
}

impl Alarm {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, at: AtomicU64::new(NEVER), wake: Notify::new() }
    }

    /// Something is due then.
    pub(crate) fn set(&self, at: Instant) {
        let at = self.micros(at);
        if at < self.at.load(Ordering::Acquire) {
            self.at.fetch_min(at, Ordering::AcqRel);
            self.wake.notify_one();
        }
    }

    /// From now on whatever is set wakes the task again: called before it looks for what is due.
    pub(crate) fn begin(&self) {
        self.at.store(NEVER, Ordering::Release);
    }

    /// Waits for what it has found to be due next, or what was set since it began.
    pub(crate) async fn wait(&self, next: Option<Instant>) {
        if let Some(next) = next {
            self.at.fetch_min(self.micros(next), Ordering::AcqRel);
        }
        let at = self.at.load(Ordering::Acquire);
        if at == NEVER {
            return self.wake.notified().await;
        }
        let at = self.since + Duration::from_micros(at);
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = self.wake.notified() => {}
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.since).as_micros()).map_or(NEVER - 1, |at| at.saturating_add(1))
    }
}
