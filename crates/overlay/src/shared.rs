//! What the handles and the task share.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;
use sinew_link::Link;
use sinew_wire::PeerId;
use tokio::sync::oneshot;

use crate::book::Book;
use crate::mailbox::{Budget, Outgoing};
use crate::status::Meters;
use crate::{DhtError, KEY_LEN, OverlayError, OverlayPeer, Purpose, RequestError, Status};

pub(crate) type Key = [u8; KEY_LEN];

/// Commands that wait for the task.
pub(crate) const COMMANDS: usize = 4096;

/// Memory of messages that wait to be written, to all peers together, in bytes.
const MESSAGE_MEMORY: usize = 32 << 20;

/// Keys that this node provides, at most.
pub(crate) const PROVIDED: usize = 131_072;

/// What a handle wants of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Send { to: PeerId, message: Outgoing },
    Request { to: PeerId, purpose: Purpose, body: Bytes, reply: oneshot::Sender<Result<Bytes, RequestError>> },
    Provide { key: Key, reply: oneshot::Sender<Result<(), DhtError>> },
    Providers { key: Key, deadline: Instant, reply: oneshot::Sender<Result<Vec<PeerId>, DhtError>> },
    OpenLink { peer: PeerId, reply: oneshot::Sender<Result<Link, OverlayError>> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// Called by the overlay's task, and awaited there, several times a second: it shows that the task comes round. What it
/// returns has to be ready at once.
pub type Beat = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// State that is read often, or written without a queue.
pub(crate) struct Shared {
    pub(crate) peer: PeerId,
    pub(crate) meters: Arc<Meters>,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) links: Arc<AtomicUsize>,
    pub(crate) provided: Mutex<Provided>,
    pub(crate) peers: ArcSwap<Vec<OverlayPeer>>,
    /// Without the numbers that a handle reads by itself.
    pub(crate) status: ArcSwap<Status>,
    pub(crate) addresses: ArcSwap<Vec<String>>,
    /// Who is shown that the task comes round.
    pub(crate) beat: OnceLock<Beat>,
}

impl Shared {
    pub(crate) fn new(peer: PeerId) -> Arc<Self> {
        Arc::new(Self {
            peer,
            meters: Arc::default(),
            book: Arc::new(Mutex::new(Book::new())),
            budget: Budget::new(MESSAGE_MEMORY),
            links: Arc::default(),
            provided: Mutex::default(),
            peers: ArcSwap::default(),
            status: ArcSwap::default(),
            addresses: ArcSwap::default(),
            beat: OnceLock::new(),
        })
    }
}

/// The keys that this node provides, and when each is to be published next.
#[derive(Default)]
pub(crate) struct Provided {
    pub(crate) due: HashMap<Key, Instant>,
    /// Taken back, and still in the store.
    withdrawn: Vec<Key>,
}

impl Provided {
    /// # Errors
    ///
    /// [`DhtError::TooMany`].
    pub(crate) fn insert(&mut self, key: Key, due: Instant) -> Result<(), DhtError> {
        let many = self.due.len();
        match self.due.entry(key) {
            Entry::Occupied(mut known) => {
                known.insert(due);
            }
            Entry::Vacant(_) if many >= PROVIDED => return Err(DhtError::TooMany(many)),
            Entry::Vacant(new) => {
                new.insert(due);
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if self.due.remove(&key).is_some() {
            self.withdrawn.push(key);
        }
    }

    /// What is to be removed from the store.
    pub(crate) fn take_withdrawn(&mut self) -> Vec<Key> {
        let mut withdrawn = std::mem::take(&mut self.withdrawn);
        withdrawn.retain(|key| !self.due.contains_key(key));
        withdrawn
    }
}
