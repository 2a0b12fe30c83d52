use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sinew_flow::{self as flow, Batch, Limits, Queue, SendWindow};
use sinew_observe::DropReason;
use sinew_topic::{Pattern, Topic};
use sinew_wire::deliver::{DeliverHeader, Flags};
use sinew_wire::{Control, Features, Headers, Limit, Policy, encode_control};
use tokio::sync::Notify;

use crate::ack::Wants;
use crate::backlog::{self, Backlog, Load};
use crate::hub::Shared;
use crate::lag::Lag;
use crate::outbox::{Outbox, Source, WriteBatch};
use crate::run::Slice;
use crate::trace;

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct SubscriptionSpec {
    /// The client's number for it.
    pub number: u32,
    /// What it wants to hear.
    pub pattern: Pattern,
    /// Queue group.
    pub group: Option<Arc<str>>,
    /// What to do when the queue is full.
    pub policy: Policy,
    /// Most messages queued; capped by the node's limit, which also stands for 0.
    pub buffer: usize,
    /// Whether to begin with retained values.
    pub last: bool,
    /// Entry bytes that may be sent before credit returns.
    pub window: u64,
}

/// Why a subscription is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The node has no room for another one.
    #[error("limit {limit} reached: at most {allowed}")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// Its value.
        allowed: usize,
    },
}

/// What the queue of policy `latest` keeps one message of.
type LatestKey = (Topic, Box<[u8]>);

/// One subscription: its queue, its credit, its place in the session's outbox.
#[derive(Debug)]
pub struct Subscription {
    key: u64,
    spec: SubscriptionSpec,
    /// Messages it may queue.
    capacity: usize,
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    load: Load,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Slice, LatestKey>,
    window: SendWindow,
    missed: Lag,
    backlog: Backlog,
}

/// How far a subscriber is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagging {
    /// Messages queued.
    pub queued: usize,
    /// Messages that may be queued.
    pub capacity: usize,
    /// Entry bytes queued.
    pub queued_bytes: usize,
    /// Entry bytes that may be queued, unless memory is short.
    pub capacity_bytes: usize,
    /// Messages it did not get, since it subscribed.
    pub missed: u64,
    /// When it missed one last.
    pub last_missed: Option<Instant>,
}

impl Subscription {
    pub(crate) fn new(key: u64, spec: SubscriptionSpec, shared: Arc<Shared>, outbox: Arc<Outbox>) -> Self {
        let config = &shared.config;
        let buffer = match spec.buffer {
            0 => config.max_queue_messages,
            asked => asked.min(config.max_queue_messages),
        };
        let limits = Limits { messages: buffer, bytes: config.max_queue_bytes };
        let policy = match spec.policy {
            // `block` is a matter between publisher and queue; once it lags, it drops the oldest.
            Policy::DropOldest | Policy::Block => flow::Policy::DropOldest,
            Policy::DropNewest => flow::Policy::DropNewest,
            Policy::Latest => flow::Policy::Latest,
        };
        let window = SendWindow::new(spec.window.clamp(1, config.max_window));
        let state =
            State { queue: Queue::new(limits, policy), window, missed: Lag::default(), backlog: Backlog::default() };
        Self { key, spec, capacity: buffer, shared, outbox, load: Load::default(), state: Mutex::new(state) }
    }

    pub(crate) const fn key(&self) -> u64 {
        self.key
    }

    /// The client's number for it.
    pub const fn number(&self) -> u32 {
        self.spec.number
    }

    /// Its pattern.
    pub const fn pattern(&self) -> &Pattern {
        &self.spec.pattern
    }

    pub(crate) const fn policy(&self) -> Policy {
        self.spec.policy
    }

    pub(crate) const fn group(&self) -> Option<&Arc<str>> {
        self.spec.group.as_ref()
    }

    pub(crate) const fn wants_last(&self) -> bool {
        self.spec.last
    }

    pub(crate) const fn lane(&self, lanes: usize) -> usize {
        (self.key % lanes as u64) as usize
    }

    pub(crate) fn load(&self) -> u64 {
        self.load.get()
    }

    /// Messages queued now.
    pub fn queued(&self) -> usize {
        self.state.lock().queue.messages()
    }

    /// How far it is behind now.
    pub fn lagging(&self) -> Lagging {
        let state = self.state.lock();
        Lagging {
            queued: state.queue.messages(),
            capacity: self.capacity,
            queued_bytes: state.queue.bytes(),
            capacity_bytes: self.shared.config.max_queue_bytes,
            missed: state.missed.total(),
            last_missed: state.missed.last(),
        }
    }

    /// Queues what there is room for under the policy; the policy decides about the rest. Never waits.
    pub(crate) fn push(self: &Arc<Self>, slices: impl IntoIterator<Item = Slice>) {
        let mut state = self.state.lock();
        for slice in slices {
            self.push_locked(&mut state, slice);
        }
        self.after_push(state);
    }

    /// Queues what there is room for and returns the rest, which the publisher holds until `waiter` is notified.
    ///
    /// Only acknowledged runs and policy `block` wait; everything else goes by [`Subscription::push`].
    pub(crate) fn offer(self: &Arc<Self>, slice: Slice, waiter: &Arc<Notify>) -> Option<Slice> {
        let acked = matches!(&slice.run().ack, Some(ack) if ack.wants() == Wants::Confirmed);
        let mut state = self.state.lock();
        let waits = acked || self.spec.policy == Policy::Block;
        if state.backlog.closed || state.backlog.lagging || !waits || self.spec.policy == Policy::Latest {
            self.push_locked(&mut state, slice);
            self.after_push(state);
            return None;
        }
        self.fit_to_memory(&mut state);
        let messages = slice.messages();
        let ack = slice.run().ack.clone();
        let rest = state.queue.push_or_return(slice).err();
        if let Some(ack) = ack
            && ack.wants() == Wants::Queued
        {
            ack.delivered((messages - rest.as_ref().map_or(0, Batch::messages)) as u64);
        }
        if rest.is_some() {
            state.backlog.wait(waiter);
        }
        self.after_push(state);
        rest
    }

    /// The publisher's patience is over. An acknowledged run is given up; else the queue lags from now on.
    pub(crate) fn give_up(self: &Arc<Self>, slice: Slice) {
        let mut state = self.state.lock();
        if matches!(&slice.run().ack, Some(ack) if ack.wants() == Wants::Confirmed) {
            self.drop_locked(&mut state, &slice, DropReason::BlockTimeout);
        } else {
            state.backlog.lagging = true;
            self.push_locked(&mut state, slice);
        }
        self.after_push(state);
    }

    /// Another node has dropped so many messages for this one, and counted them: the subscriber learns of it.
    pub(crate) fn missed_elsewhere(self: &Arc<Self>, messages: u64) {
        let mut state = self.state.lock();
        state.missed.add(messages);
        self.after_push(state);
    }

    /// Counts messages that never came to the queue.
    pub(crate) fn miss(self: &Arc<Self>, slice: &Slice, reason: DropReason) {
        let mut state = self.state.lock();
        self.drop_locked(&mut state, slice, reason);
        self.after_push(state);
    }

    fn push_locked(&self, state: &mut State, slice: Slice) {
        if state.backlog.closed {
            return self.drop_locked(state, &slice, DropReason::SubscriberGone);
        }
        self.fit_to_memory(state);
        if let Some(ack) = &slice.run().ack
            && ack.wants() == Wants::Queued
        {
            ack.delivered(slice.messages() as u64);
        }
        let State { queue, missed, .. } = state;
        let shared = &self.shared;
        let mut dropped = |slice: Slice, reason: flow::DropReason| {
            let reason = match reason {
                flow::DropReason::Conflated => DropReason::Conflated,
                _ => DropReason::QueueFull,
            };
            count_dropped(shared, missed, &slice, reason);
        };
        if self.spec.policy != Policy::Latest {
            let rest = queue.push(slice, dropped);
            debug_assert!(rest.is_ok(), "only flow's own block policy returns a rest");
        } else if slice.run().any_headers {
            for (single, entry) in slice.singles() {
                let key = Headers::decode(entry.headers).ok().and_then(|headers| headers.get("key"));
                let key = (single.run().topic.clone(), Box::from(key.unwrap_or_default()));
                queue.push_latest(key, single, &mut dropped);
            }
        } else {
            // Without headers all messages of a run have the same key.
            let key = (slice.run().topic.clone(), Box::default());
            queue.push_latest(key, slice, dropped);
        }
    }

    fn fit_to_memory(&self, state: &mut State) {
        state.queue.set_byte_limit(backlog::byte_limit(self.shared.config.max_queue_bytes, &self.shared.budget));
    }

    fn drop_locked(&self, state: &mut State, slice: &Slice, reason: DropReason) {
        count_dropped(&self.shared, &mut state.missed, slice, reason);
    }

    /// Stands in line when there is something to send and credit to send it.
    fn after_push(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        self.charge_slots(&mut state);
        self.note_load(&state);
        let list = state.has_work() && !state.backlog.listed;
        state.backlog.listed |= list;
        drop(state);
        if list {
            self.outbox.list(Source::Subscription(Arc::clone(self)));
        }
    }

    fn charge_slots(&self, state: &mut State) {
        state.backlog.charge(state.queue.memory(), &self.shared.budget);
    }

    fn note_load(&self, state: &State) {
        self.load.set(match state.backlog.closed || !state.queue.has_room() {
            true => Load::FULL,
            false => state.queue.bytes() as u64 + state.window.outstanding(),
        });
    }

    /// The client took so many entry bytes. An error means that it returned more than it was sent.
    pub fn grant(self: &Arc<Self>, bytes: u64) -> Result<(), flow::Overgranted> {
        let mut state = self.state.lock();
        state.window.grant(bytes)?;
        self.after_push(state);
        Ok(())
    }

    /// Moves up to about `max_bytes` into the writer's batch. Returns whether there is more to send.
    pub(crate) fn take(&self, now: Instant, max_bytes: usize, batch: &mut WriteBatch) -> bool {
        let mut state = self.state.lock();
        let until = batch.gathered() + max_bytes;
        let mut sent = 0;
        let mut oldest = None;
        while !state.backlog.closed {
            if state.missed.is_untold() {
                let missed = state.missed.tell();
                encode_control(&Control::Lagged { subscription: self.spec.number, missed }, batch.head());
            }
            let room = until.saturating_sub(batch.gathered());
            let allowed = usize::try_from(state.window.available()).unwrap_or(0).min(room);
            if allowed == 0 {
                break;
            }
            let Some(slice) = state.queue.pop(allowed) else { break };
            if slice.run().expires.is_some_and(|at| at <= now) {
                self.drop_locked(&mut state, &slice, DropReason::Expired);
                continue;
            }
            state.window.spend(slice.bytes());
            sent += slice.messages() as u64;
            oldest.get_or_insert(slice.run().received);
            trace::delivered(&slice, &self.shared.metrics.spans);
            self.encode(&slice, batch);
        }
        if state.queue.is_empty() {
            state.backlog.lagging = false;
        }
        self.charge_slots(&mut state);
        self.note_load(&state);
        state.backlog.listed = state.has_work();
        let again = state.backlog.listed;
        let waiters = state.backlog.take_waiters();
        drop(state);
        backlog::wake(waiters);
        if let Some(received) = oldest {
            self.shared.metrics.delivered.inc_by(sent);
            self.shared.metrics.deliver_seconds.observe(now.saturating_duration_since(received), sent);
        }
        again
    }

    fn encode(&self, slice: &Slice, batch: &mut WriteBatch) {
        let run = slice.run();
        let ack = match &run.ack {
            Some(ack) if ack.wants() == Wants::Confirmed => self.outbox.expect_ack(ack, slice.messages() as u64),
            _ => 0,
        };
        let packed = slice.packed().filter(|_| self.outbox.features().contains(Features::LZ4));
        let mut flags = Flags::default();
        if run.retained {
            flags = flags.with(Flags::RETAINED);
        }
        if packed.is_some() {
            flags = flags.with(Flags::PACKED);
        }
        let header = DeliverHeader {
            flags,
            topic: run.topic.as_str(),
            messages: slice.messages() as u32,
            first_seq: slice.first_seq(),
            subscription: self.spec.number,
            entries_len: slice.bytes() as u32,
            ack,
            instance: run.origin.instance,
            publisher: run.origin.peer,
        };
        let len = packed.map_or_else(|| slice.bytes(), bytes::Bytes::len);
        header.encode(len, batch.head());
        batch.body(
            len,
            |out| out.extend_from_slice(packed.map_or_else(|| slice.block(), AsRef::as_ref)),
            || packed.map_or_else(|| slice.shared_block(), Clone::clone),
        );
    }

    /// For a reader in this process, who needs no credit: moves up to about `max_bytes` into `out`. Returns how many messages
    /// it has missed since it was last told, and whether there is more.
    pub(crate) fn take_slices(&self, now: Instant, max_bytes: usize, out: &mut Vec<Slice>) -> (u64, bool) {
        let mut state = self.state.lock();
        let mut left = max_bytes;
        while left > 0
            && let Some(slice) = state.queue.pop(left)
        {
            left = left.saturating_sub(slice.bytes());
            if slice.run().expires.is_some_and(|at| at <= now) {
                self.drop_locked(&mut state, &slice, DropReason::Expired);
            } else {
                out.push(slice);
            }
        }
        let missed = state.missed.tell();
        self.charge_slots(&mut state);
        self.note_load(&state);
        let more = state.has_work();
        state.backlog.listed = more;
        let waiters = state.backlog.take_waiters();
        drop(state);
        backlog::wake(waiters);
        (missed, more)
    }

    /// Ends it: nothing more is sent. Gives back what was queued, for a queue group to hand to another member.
    pub(crate) fn close(&self) -> Vec<Slice> {
        let mut state = self.state.lock();
        state.backlog.closed = true;
        let left = state.queue.drain().collect();
        self.charge_slots(&mut state);
        self.note_load(&state);
        let waiters = state.backlog.take_waiters();
        drop(state);
        backlog::wake(waiters);
        left
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().backlog.closed
    }
}

impl State {
    fn has_work(&self) -> bool {
        !self.backlog.closed && (self.missed.is_untold() || (!self.queue.is_empty() && self.window.available() > 0))
    }
}

/// A drop has a reason, reaches the subscriber as part of its next `Lagged`, and the publisher if it asked.
pub(crate) fn count_dropped(shared: &Shared, missed: &mut Lag, slice: &Slice, reason: DropReason) {
    let n = slice.messages() as u64;
    missed.add(n);
    shared.count_dropped(&slice.run().topic, reason, n);
    if let Some(ack) = &slice.run().ack
        && ack.wants() == Wants::Confirmed
    {
        ack.dropped(n);
    }
}
