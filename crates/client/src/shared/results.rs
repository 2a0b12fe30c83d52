use std::sync::Arc;

use hashbrown::HashMap;
use sinew_wire::PublishResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Who waits for the result of a run. The permit bounds how many there are; it returns when the result comes, also when
/// nobody waits any more, because so long the run is open at the node too.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answer: oneshot::Sender<PublishResult>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Runs whose result has not come yet.
#[derive(Debug)]
pub(crate) struct Results {
    /// By their first sequence number.
    open: HashMap<u64, Waiter>,
    /// How many there may be.
    max: usize,
    /// One for each. Closed when another number is allowed.
    permits: Arc<Semaphore>,
}

impl Results {
    pub(crate) fn new(max: usize) -> Self {
        Self { open: HashMap::new(), max, permits: Arc::new(Semaphore::new(max)) }
    }

    /// A new link is up, with a node that allows so many.
    pub(crate) fn begin_link(&mut self, max: usize) {
        if max != self.max {
            self.permits.close();
            *self = Self::new(max);
        }
    }

    /// Whoever wants to wait for a result needs one of these first.
    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Whether these are still the right ones.
    pub(crate) fn has_permits(&self, permits: &Arc<Semaphore>) -> bool {
        Arc::ptr_eq(&self.permits, permits)
    }

    pub(crate) fn expect(&mut self, first_seq: u64, permit: OwnedSemaphorePermit) -> oneshot::Receiver<PublishResult> {
        let (answer, result) = oneshot::channel();
        self.open.insert(first_seq, Waiter { answer, permit });
        result
    }

    /// Takes out whom this result is for. A node that answers twice, or unasked, finds nobody.
    pub(crate) fn settle(&mut self, first_seq: u64) -> Option<Waiter> {
        self.open.remove(&first_seq)
    }

    /// Forgets all: their waiters learn that nothing is known.
    pub(crate) fn abandon(&mut self) {
        self.open.clear();
    }
}
