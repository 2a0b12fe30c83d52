use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sinew_flow::{Budget, Reservation};
use tokio::sync::Notify;

/// What a bounded queue of the service has beside its messages: its place in an outbox, who waits for room, and the
/// memory of its tables.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Stands in the outbox's line.
    pub(crate) listed: bool,
    /// Nothing is sent any more.
    pub(crate) closed: bool,
    /// It has held publishers back for as long as it may; drops the oldest until it was empty once.
    pub(crate) lagging: bool,
    /// Publishers to wake when there is room.
    waiters: Vec<Arc<Notify>>,
    /// Memory of the queue's own tables, charged to the node's budget.
    slots: Option<Reservation>,
}

impl Backlog {
    /// Wakes `waiter` when there is room.
    pub(crate) fn wait(&mut self, waiter: &Arc<Notify>) {
        if !self.waiters.iter().any(|known| Arc::ptr_eq(known, waiter)) {
            self.waiters.push(Arc::clone(waiter));
        }
    }

    /// Who waits: to be woken once the lock is released.
    #[must_use]
    pub(crate) fn take_waiters(&mut self) -> Vec<Arc<Notify>> {
        std::mem::take(&mut self.waiters)
    }

    /// Charges the memory of the queue's own tables to the budget. It moves in steps, when a table grows or shrinks, so
    /// that most pushes and pops don't touch the budget.
    pub(crate) fn charge(&mut self, bytes: usize, budget: &Arc<Budget>) {
        let charged = self.slots.as_ref().map_or(0, Reservation::bytes);
        if bytes != charged {
            match &mut self.slots {
                // A refusal leaves the charge behind the truth by one step; the shrunken byte limit stops the growth.
                Some(reservation) => _ = reservation.resize(bytes),
                none => *none = budget.try_reserve(bytes),
            }
        }
    }
}

/// No queue may take more than what is left of the node's queue memory: so many stalled subscribers shrink each other's
/// queues and never leave the others without (dynamic thresholds, Choudhury and Hahne 1998).
pub(crate) fn byte_limit(most: usize, budget: &Budget) -> usize {
    most.min(budget.free())
}

/// Wakes everybody in the list.
pub(crate) fn wake(waiters: Vec<Arc<Notify>>) {
    for waiter in waiters {
        waiter.notify_one();
    }
}

/// Bytes queued or under way, readable without the queue's lock: by it queue groups choose.
#[derive(Debug, Default)]
pub(crate) struct Load(AtomicU64);

impl Load {
    /// A member that is to be chosen last.
    pub(crate) const FULL: u64 = u64::MAX;

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, load: u64) {
        self.0.store(load, Ordering::Relaxed);
    }
}
