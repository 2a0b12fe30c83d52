use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_wire::{Control, Features, Goodbye, Limit, Refusal, encode_control};
use tokio::sync::Notify;

use crate::ack::Ack;
use crate::remote::Remote;
use crate::subscription::Subscription;

/// Control frames a client may leave unread, in bytes. Beyond it the session ends: who does not read answers can't be
/// served.
const MAX_CONTROL_BYTES: usize = 1 << 20;

/// Most bytes one source puts into a batch before the next one has its turn.
const TURN_BYTES: usize = 64 << 10;

/// Everything that waits to be written to one link: control frames, and the subscriptions (on a link to a node: the
/// [`Remote`]) that have something to send. Filled by anybody, emptied by the link's writer.
///
/// It holds no messages: those stay in the queues, under their policies.
#[derive(Debug)]
pub struct Outbox {
    features: Features,
    state: Mutex<State>,
    acks: Mutex<Acks>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    control: BytesMut,
    /// Who has work, each at most once, served in turn.
    listed: VecDeque<Source>,
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    reason: Refusal,
    /// Whether what is queued goes out first.
    flush: bool,
}

/// Who has something to send.
#[derive(Debug)]
pub(crate) enum Source {
    Subscription(Arc<Subscription>),
    /// With the number of the link that the outbox is of.
    Remote(Arc<Remote>, u64),
}

impl Source {
    /// Moves up to about `max_bytes` into the batch. Returns whether there is more to send.
    fn take(&self, now: Instant, max_bytes: usize, batch: &mut WriteBatch) -> bool {
        match self {
            Self::Subscription(subscription) => subscription.take(now, max_bytes, batch),
            Self::Remote(remote, link) => remote.take(*link, now, max_bytes, batch),
        }
    }
}

/// Acknowledgements the client owes for what was sent to it.
#[derive(Debug, Default)]
struct Acks {
    last_token: u64,
    open: HashMap<u64, (Arc<Ack>, u64)>,
}

/// What the writer shall do after [`Outbox::collect`].
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Write the batch, then collect again.
    Write,
    /// Nothing to do: wait for [`Outbox::woken`].
    Wait,
    /// Write the batch, which ends with a goodbye for this reason, and finish the link.
    Finish(Refusal),
}

/// Frames gathered for one write: small ones side by side in one buffer, large payloads as they are.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// Handed to the link, in order.
    pub chunks: Vec<Bytes>,
    scratch: BytesMut,
    bytes: usize,
}

impl WriteBatch {
    /// Blocks of entries up to this size are copied behind their header instead of becoming a chunk of their own: the
    /// transports would copy them anyway, and one chunk costs more than the copy.
    const INLINE_BYTES: usize = 2 << 10;
    const SCRATCH_BYTES: usize = 16 << 10;

    /// Bytes in the batch.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Buffer to append a frame's header to.
    pub(crate) fn head(&mut self) -> &mut BytesMut {
        if self.scratch.capacity() - self.scratch.len() < 1024 {
            self.seal();
            self.scratch.reserve(Self::SCRATCH_BYTES);
        }
        &mut self.scratch
    }

    /// Appends the body that belongs to the header written last.
    pub(crate) fn body(&mut self, len: usize, copy: impl FnOnce(&mut BytesMut), share: impl FnOnce() -> Bytes) {
        if len <= Self::INLINE_BYTES {
            copy(&mut self.scratch);
        } else {
            self.seal();
            self.bytes += len;
            self.chunks.push(share());
        }
    }

    fn append(&mut self, frames: &mut BytesMut) {
        if !frames.is_empty() {
            self.seal();
            self.bytes += frames.len();
            self.chunks.push(frames.split().freeze());
        }
    }

    fn seal(&mut self) {
        if !self.scratch.is_empty() {
            self.bytes += self.scratch.len();
            self.chunks.push(self.scratch.split().freeze());
        }
    }

    /// Gives back the memory that it keeps for the next frames, because none are there: a node has many links that have nothing
    /// to write.
    pub fn rest(&mut self) {
        debug_assert!(self.chunks.is_empty() && self.scratch.is_empty(), "what is in it has been written");
        *self = Self::default();
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    pub(crate) fn gathered(&self) -> usize {
        self.bytes + self.scratch.len()
    }
}

impl Outbox {
    /// For a session that can read what `features` says.
    pub fn new(features: Features) -> Arc<Self> {
        Arc::new(Self { features, state: Mutex::default(), acks: Mutex::default(), wake: Notify::new() })
    }

    pub(crate) const fn features(&self) -> Features {
        self.features
    }

    /// Queues a control frame. A session that has left 1 MiB unread is closed instead.
    pub fn control(&self, control: &Control) {
        let mut state = self.state.lock();
        if state.closing.is_some() {
            return;
        }
        if state.control.len() > MAX_CONTROL_BYTES {
            let reason = Refusal::Limit { limit: Limit::ControlQueue, allowed: MAX_CONTROL_BYTES as u64 };
            state.closing = Some(Closing { reason, flush: false });
        } else {
            encode_control(control, &mut state.control);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Whether there is room for many more control frames. Who has many to send waits for it.
    pub fn has_room(&self) -> bool {
        self.state.lock().control.len() < MAX_CONTROL_BYTES / 4
    }

    /// Puts a source in line. The caller has marked it as listed, so that it stands here once.
    pub(crate) fn list(&self, source: Source) {
        self.state.lock().listed.push_back(source);
        self.wake.notify_one();
    }

    /// Takes everybody out of the line, for a reader that asks its only source itself.
    pub(crate) fn unlist(&self) {
        self.state.lock().listed.clear();
    }

    /// Has [`Outbox::woken`] return.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the session with a reason, after everything that can go out now when `flush` is set. The first reason stays.
    pub fn close(&self, reason: Refusal, flush: bool) {
        let mut state = self.state.lock();
        if state.closing.is_none() {
            state.closing = Some(Closing { reason, flush });
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Why the session is ending, once it is.
    pub fn closing(&self) -> Option<Refusal> {
        self.state.lock().closing.as_ref().map(|closing| closing.reason.clone())
    }

    /// Waits until there may be something to collect. Cancel safe.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Gathers up to about `max_bytes`: control frames first, then each listed source in turn.
    pub fn collect(&self, now: Instant, batch: &mut WriteBatch, max_bytes: usize) -> Next {
        batch.clear();
        let mut state = self.state.lock();
        loop {
            // Before each source, so that `Subscribed` is on the link before the first run it promises.
            batch.append(&mut state.control);
            let serve = state.closing.as_ref().is_none_or(|closing| closing.flush);
            if !serve || batch.gathered() >= max_bytes {
                break;
            }
            let Some(source) = state.listed.pop_front() else { break };
            // Publishers list others while this one is being served: don't make them wait.
            drop(state);
            let again = source.take(now, TURN_BYTES.min(max_bytes - batch.gathered()), batch);
            state = self.state.lock();
            if again {
                state.listed.push_back(source);
            }
        }
        let next = match &state.closing {
            Some(closing) if !closing.flush || state.listed.is_empty() => {
                let reason = closing.reason.clone();
                encode_control(&Control::Goodbye(Goodbye { reason: reason.clone() }), batch.head());
                Next::Finish(reason)
            }
            _ if batch.gathered() == 0 => Next::Wait,
            _ => Next::Write,
        };
        drop(state);
        batch.seal();
        next
    }

    /// Notes that `messages` deliveries are about to be sent, and gives the token by which the client confirms them.
    pub(crate) fn expect_ack(&self, ack: &Arc<Ack>, messages: u64) -> u64 {
        let mut acks = self.acks.lock();
        acks.last_token += 1;
        let token = acks.last_token;
        acks.open.insert(token, (Arc::clone(ack), messages));
        token
    }

    /// The client confirms a token; unknown tokens are ignored, since the deadline may have passed.
    pub fn confirm(&self, token: u64) {
        let entry = self.acks.lock().open.remove(&token);
        if let Some((ack, messages)) = entry {
            ack.delivered(messages);
        }
    }

    /// The link is gone: nothing is known of what was sent and not confirmed.
    pub fn abandon(&self) {
        let open = std::mem::take(&mut self.acks.lock().open);
        for (ack, messages) in open.into_values() {
            ack.unknown(messages);
        }
        self.state.lock().listed.clear();
    }
}
