//! A provider of this node, and the calls that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sinew_flow::Overflow;
use sinew_wire::ProviderHealth;

use crate::link::Link;
use crate::table::CallId;

/// Bounds of the time after which an overloaded provider is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

/// One instance of a procedure whose provider is a client of this node.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) session: u64,
    pub(crate) lease: u32,
    pub(crate) link: Arc<Link>,
    concurrency: AtomicUsize,
    health: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: usize,
    queue: Overflow<(CallId, u8)>,
    closed: bool,
    /// How long it takes for one call, smoothed; zero before the first one.
    service: Duration,
}

/// What becomes of a call that comes to an instance.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It has a place: hand it over.
    Start,
    /// It waits under this ticket; another one was given up for it.
    Queued { ticket: u64, given_up: Option<(CallId, u8)> },
    /// It would wait for too long.
    Overloaded,
    /// The instance takes no calls any more.
    Closed,
}

/// How much an instance has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) queued: usize,
}

impl Instance {
    pub(crate) fn new(
        (id, lease): (u64, u32),
        (name, session): (Arc<str>, u64),
        link: Arc<Link>,
        concurrency: usize,
        (in_order, more): (usize, usize),
    ) -> Self {
        let queue = Overflow::new(in_order, more);
        Self {
            id,
            name,
            session,
            lease,
            link,
            concurrency: AtomicUsize::new(concurrency),
            health: AtomicU8::new(ProviderHealth::Good as u8),
            state: Mutex::new(State { running: 0, queue, closed: false, service: Duration::ZERO }),
        }
    }

    /// A call that has so much time left.
    pub(crate) fn admit(&self, id: CallId, attempt: u8, priority: u8, left: Duration) -> Admission {
        let mut state = self.state.lock();
        if state.closed {
            return Admission::Closed;
        }
        let concurrency = self.concurrency();
        if state.running < concurrency {
            state.running += 1;
            return Admission::Start;
        }
        // With some room: an answer that comes too late was work for nothing.
        let expected = state.wait(concurrency) + state.service;
        if expected > left / 4 * 3 {
            return Admission::Overloaded;
        }
        let (ticket, given_up) = state.queue.push(priority, (id, attempt));
        match given_up {
            Some(itself) if itself == (id, attempt) => Admission::Overloaded,
            given_up => Admission::Queued { ticket, given_up },
        }
    }

    /// A call that was handed over has ended after so long, if by an answer. Gives the next one, which takes its place.
    pub(crate) fn done(&self, took: Option<Duration>) -> Option<(CallId, u8)> {
        let mut state = self.state.lock();
        if let Some(took) = took {
            let service = state.service;
            state.service = if service.is_zero() { took } else { (service * 7 + took) / 8 };
        }
        let has_place = state.running <= self.concurrency();
        let next = if has_place { state.queue.pop() } else { None };
        if next.is_none() {
            state.running = state.running.saturating_sub(1);
        }
        next
    }

    /// A call does not wait any more.
    pub(crate) fn unqueue(&self, ticket: u64) {
        self.state.lock().queue.remove(ticket);
    }

    /// Takes no calls any more, and gives those that waited.
    pub(crate) fn close(&self) -> Vec<(CallId, u8)> {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.drain().collect()
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.state.lock();
        Load { running: state.running, queued: state.queue.len() }
    }

    /// When it is worth trying again, in milliseconds.
    pub(crate) fn retry_after_ms(&self) -> u32 {
        let wait = self.state.lock().wait(self.concurrency()).clamp(RETRY.0, RETRY.1);
        wait.as_millis() as u32
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.load(Ordering::Relaxed)
    }

    pub(crate) fn set_concurrency(&self, concurrency: usize) {
        self.concurrency.store(concurrency, Ordering::Relaxed);
    }

    pub(crate) fn health(&self) -> ProviderHealth {
        ProviderHealth::try_from(self.health.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(crate) fn set_health(&self, health: ProviderHealth) {
        self.health.store(health as u8, Ordering::Relaxed);
    }
}

impl State {
    /// How long a call that comes now is going to wait.
    fn wait(&self, concurrency: usize) -> Duration {
        let before = u32::try_from(self.queue.len() + 1).unwrap_or(u32::MAX);
        let concurrency = u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        self.service.saturating_mul(before) / concurrency
    }
}
