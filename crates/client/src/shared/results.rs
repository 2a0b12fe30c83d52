use hashbrown::HashMap;
use sinew_wire::PublishResult;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Who waits for the result of a run. The permit bounds how many there are; it returns when the result comes, also when
/// nobody waits any more, because so long the run is open at the node too.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answer: oneshot::Sender<PublishResult>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Runs whose result has not come yet, by their first sequence number.
#[derive(Debug, Default)]
pub(crate) struct Results(HashMap<u64, Waiter>);

impl Results {
    pub(crate) fn expect(&mut self, first_seq: u64, waiter: Waiter) {
        self.0.insert(first_seq, waiter);
    }

    /// Takes out whom this result is for. A node that answers twice, or unasked, finds nobody.
    pub(crate) fn settle(&mut self, first_seq: u64) -> Option<Waiter> {
        self.0.remove(&first_seq)
    }

    /// Forgets all: their waiters learn that nothing is known.
    pub(crate) fn abandon(&mut self) {
        self.0.clear();
    }
}
