//! What the node itself says and hears on reserved names, by the same ways as the messages of clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sinew_topic::Topic;
use sinew_wire::entry::{Entries, Entry};
use sinew_wire::{Features, PeerId, Refusal};

use crate::block::Block;
use crate::hub::PubSub;
use crate::outbox::Outbox;
use crate::publisher::{Publisher, Submission};
use crate::run::{Origin, Slice};
use crate::subscription::Subscription;

/// Entry bytes that a tap takes out of its queue at a time.
const TAKE_BYTES: usize = 128 << 10;

/// A subscription of the node itself, from [`PubSub::tap`]: its messages are handed over in this process. It ends when this
/// is dropped.
#[derive(Debug)]
pub struct Tap {
    hub: PubSub,
    subscription: Arc<Subscription>,
    outbox: Arc<Outbox>,
    slices: Vec<Slice>,
}

/// A message that a [`Tap`] got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who published it: this node, or the node whose link it came over. Nobody else can.
    pub from: PeerId,
    /// On which name.
    pub topic: Topic,
    /// What it says; shares the memory of the run that it came in.
    pub payload: Bytes,
}

impl Tap {
    pub(crate) const fn new(hub: PubSub, subscription: Arc<Subscription>, outbox: Arc<Outbox>) -> Self {
        Self { hub, subscription, outbox, slices: Vec::new() }
    }

    /// Waits until there may be something to [take](Self::take). Cancel safe.
    pub async fn ready(&self) {
        self.outbox.woken().await;
    }

    /// What has come, in the order of each publisher, up to about 128 KiB; nothing if nothing has. [`Tap::ready`] returns at once
    /// while there is more. Returns how many messages were given up since the last call because a queue was full, here or on
    /// their way.
    pub fn take(&mut self, now: Instant, mut heard: impl FnMut(Heard)) -> u64 {
        self.outbox.unlist();
        let (missed, more) = self.subscription.take_slices(now, TAKE_BYTES, &mut self.slices);
        if more {
            self.outbox.wake();
        }
        for slice in self.slices.drain(..) {
            let run = slice.run();
            for (_, entry) in Entries::new(slice.block()) {
                let payload = run.entries.slice_ref(entry.payload);
                heard(Heard { from: run.origin.peer, topic: run.topic.clone(), payload });
            }
        }
        missed
    }

    /// Tells how many messages are queued, for as long as somebody wants to know.
    pub fn depth(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let subscription = Arc::downgrade(&self.subscription);
        move || subscription.upgrade().map_or(0, |subscription| subscription.queued())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // What is left was for nobody but who drops this.
        self.hub.take_away(&self.subscription);
        self.outbox.abandon();
    }
}

/// The publisher of the node itself, from [`PubSub::announcer`].
#[derive(Debug)]
pub struct Announcer {
    publisher: Publisher,
    next_seq: u64,
}

impl Announcer {
    pub(crate) fn new(hub: PubSub, node: PeerId, instance: u64) -> Self {
        let origin = Arc::new(Origin { peer: node, instance });
        // Nothing is asked of it, so nothing is ever put in here.
        Self { publisher: hub.publisher(origin, Outbox::new(Features::default())), next_seq: 1 }
    }

    /// Largest payload that every node of the realm takes.
    pub fn max_payload(&self) -> usize {
        self.publisher.hub().forwarding().limits.entry.payload
    }

    /// Publishes to whoever is subscribed now, without waiting: nobody can hold a node back.
    ///
    /// # Errors
    ///
    /// A payload above [`Announcer::max_payload`]. [`Refusal::Unavailable`] while another node holds this publisher back, which
    /// none has a reason to.
    pub fn publish(&mut self, topic: &Topic, payload: &[u8], now: Instant) -> Result<(), Refusal> {
        self.publisher.advance(now);
        if self.publisher.is_parked() {
            return Err(Refusal::Unavailable("a node holds the node's own messages back".to_owned()));
        }
        let mut entries = BytesMut::with_capacity(sinew_wire::entry::FIXED_LEN + payload.len());
        Entry { id: b"", headers: b"", payload }.encode(&mut entries);
        let block = Block {
            bytes: &entries,
            packed: false,
            entries_len: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            messages: 1,
            first_seq: self.next_seq,
            ttl_ms: 0,
        };
        let limits = self.publisher.hub().forwarding().limits;
        let run = self.publisher.read(topic.clone(), block, &limits, now)?;
        self.next_seq += 1;
        let submission =
            Submission { run, wants: None, deadline: Duration::ZERO, retain: false, require_subscribers: false };
        self.publisher.submit(submission, now);
        self.publisher.take_processed();
        Ok(())
    }
}
