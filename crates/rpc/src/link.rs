//! A link as the calls see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_flow::Budget;
use sinew_link::Lane;
use sinew_wire::PeerId;

use crate::spill::Spill;
use crate::table::CallId;

/// One link, for as long as it is up.
#[derive(Debug)]
pub(crate) struct Link {
    /// Never used twice.
    pub(crate) id: u64,
    pub(crate) peer: PeerId,
    pub(crate) kind: Kind,
    pub(crate) lane: Arc<Lane>,
    /// Calls that the peer has opened.
    pub(crate) asked: Mutex<Asked>,
    /// Data that wait for room in the lane, and whether there may be some.
    pub(crate) spill: Mutex<Spill>,
    pub(crate) spilling: AtomicBool,
    /// For what waits.
    pub(crate) budget: Arc<Budget>,
    /// Calls that were handed to the peer and have not ended.
    at_hand: AtomicUsize,
    closed: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Client { session: u64 },
    Node,
}

/// Open calls of one peer, by its numbers.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) calls: HashMap<u64, CallId>,
    pub(crate) closed: bool,
}

impl Link {
    pub(crate) fn new(id: u64, peer: PeerId, kind: Kind, lane: Arc<Lane>, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            kind,
            lane,
            asked: Mutex::default(),
            spill: Mutex::default(),
            spilling: AtomicBool::new(false),
            budget,
            at_hand: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// The call of this number, if it is open.
    pub(crate) fn call(&self, number: u64) -> Option<CallId> {
        self.asked.lock().calls.get(&number).copied()
    }

    /// A call of the peer has ended. Whether it was open: only then there is somebody to answer.
    pub(crate) fn forget(&self, number: u64, id: CallId) -> bool {
        let mut asked = self.asked.lock();
        let is_open = asked.calls.get(&number) == Some(&id);
        if is_open {
            asked.calls.remove(&number);
        }
        is_open
    }

    /// Whether calls are under way over this link, in one direction or the other.
    pub(crate) fn is_busy(&self) -> bool {
        self.at_hand() > 0 || !self.asked.lock().calls.is_empty()
    }

    pub(crate) fn at_hand(&self) -> usize {
        self.at_hand.load(Ordering::Relaxed)
    }

    pub(crate) fn begun(&self) {
        self.at_hand.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) {
        self.at_hand.fetch_sub(1, Ordering::Relaxed);
    }

    /// The link is gone. Whoever finds this unset after it has noted a call as handed to the link is found by whoever
    /// sets it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
