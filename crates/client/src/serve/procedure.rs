use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sinew_wire::call::Flags;
use sinew_wire::{PeerId, ProviderHealth};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::calls::Pipe;
use crate::shared::Shared;

/// A call as its provider sees it.
pub(crate) type Served = Pipe<Stop>;

/// How a call has ended for its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It was answered.
    Answered,
    /// The caller does not want it any more.
    Cancelled,
    /// With the link.
    Lost,
    /// Its time is up.
    Late,
    /// The application does not serve it any more.
    Withdrawn,
    /// An item of its stream is larger than this client takes.
    TooLarge,
}

/// A call to be executed.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) pipe: Arc<Served>,
    pub(crate) flags: Flags,
    pub(crate) until: Instant,
    pub(crate) caller: PeerId,
    /// What the caller may send, once somebody takes it, beyond what it may at first.
    pub(crate) extra_credit: u32,
    pub(crate) headers: Bytes,
    /// The argument, or the first part of it.
    pub(crate) body: Bytes,
}

/// What starts the task that executes a call, and those after it.
pub(crate) type Start = Box<dyn Fn(Arc<Procedure>, Arc<Shared>, Incoming) + Send + Sync>;

/// A procedure that is served here, and its calls.
pub(crate) struct Procedure {
    concurrency: usize,
    /// Whether its handler knows what to do with a caller's stream.
    pub(crate) streams: bool,
    health: AtomicU8,
    calls: Mutex<Calls>,
    /// Wakes those who wait until it has no calls.
    idle: Notify,
    start: Start,
}

#[derive(Debug, Default)]
struct Calls {
    running: usize,
    /// As many as may run: more than that, the node has to keep.
    waiting: VecDeque<Incoming>,
}

impl Calls {
    fn count(&self) -> usize {
        self.running + self.waiting.len()
    }
}

/// What is to be done with a call that has come.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// [`Procedure::start`] it.
    Start(Incoming),
    /// Nothing: it waits.
    Waits,
    /// There are too many.
    Overloaded,
}

impl Procedure {
    pub(crate) fn new(concurrency: u32, streams: bool, start: Start) -> Self {
        Self {
            concurrency: concurrency as usize,
            streams,
            health: AtomicU8::new(ProviderHealth::Good as u8),
            calls: Mutex::default(),
            idle: Notify::new(),
            start,
        }
    }

    /// How it is, by the application's word.
    pub(crate) fn health(&self) -> ProviderHealth {
        ProviderHealth::try_from(self.health.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Whether that is something new.
    pub(crate) fn set_health(&self, health: ProviderHealth) -> bool {
        self.health.swap(health as u8, Ordering::Relaxed) != health as u8
    }

    /// Calls that are executed, or wait for it.
    pub(crate) fn open_calls(&self) -> usize {
        self.calls.lock().count()
    }

    /// A call has come.
    pub(crate) fn admit(&self, call: Incoming) -> Admitted {
        let mut calls = self.calls.lock();
        if calls.running < self.concurrency {
            calls.running += 1;
            return Admitted::Start(call);
        }
        if calls.waiting.len() < self.concurrency {
            calls.waiting.push_back(call);
            return Admitted::Waits;
        }
        Admitted::Overloaded
    }

    /// Starts the task that executes a call that was admitted.
    pub(crate) fn start(self: &Arc<Self>, shared: &Arc<Shared>, call: Incoming) {
        (self.start)(Arc::clone(self), Arc::clone(shared), call);
    }

    /// A task is done with its call: the next one, if there is one. Otherwise the task has to end.
    pub(crate) fn next(&self) -> Option<Incoming> {
        let mut calls = self.calls.lock();
        if let Some(next) = calls.waiting.pop_front() {
            return Some(next);
        }
        calls.running = calls.running.saturating_sub(1);
        let idle = calls.running == 0;
        drop(calls);
        if idle {
            self.idle.notify_waiters();
        }
        None
    }

    /// Waits until there are no calls. Cancel safe.
    pub(crate) async fn idle(&self) {
        loop {
            // Made before the calls are counted: it hears every later `notify_waiters`.
            let notified = self.idle.notified();
            if self.open_calls() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl fmt::Debug for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Procedure").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}
