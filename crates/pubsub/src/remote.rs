use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use sinew_flow::{Batch, Limits, Overgranted};
use sinew_observe::DropReason;
use sinew_topic::Pattern;
use sinew_wire::{Features, Limit, MeshControl, PeerId, Refusal, encode_mesh};
use tokio::sync::Notify;

use crate::ack::{Ack, Outcome, Wants};
use crate::backlog::{self, Backlog, Load};
use crate::forward_frame::encode;
use crate::forward_queue::ForwardQueue;
use crate::hub::Shared;
use crate::in_flight::{InFlight, Sent};
use crate::missed::Missed;
use crate::outbox::{Outbox, Source, WriteBatch};
use crate::recipients::{Forwarded, Recipients};
use crate::run::{Origin, Slice};

/// Publishers that one node may hold back. It remembers fewer.
const MAX_HELD: usize = 65_536;

/// Counted frames other than runs that may wait for a node that does not acknowledge any.
const MAX_CONTROLS: usize = 131_072;

/// Reports of what was missed go out while fewer other frames than this are in flight.
const MAX_REPORTS: usize = 4_096;

/// Another node of the realm: what is queued for it and on its way to it.
///
/// It outlives the links to that node. What goes over them beside the handshake, keep-alives and goodbyes is *counted*:
/// runs, their results, holds and releases, and what was missed ([`crate::Inbound::received`] has the other end). What
/// was written and not acknowledged is kept, in memory bounded by the peer's window, and written again on the next
/// link, so that a change of link neither loses nor repeats anything.
#[derive(Debug)]
pub struct Remote {
    node: PeerId,
    number: u64,
    shared: Arc<Shared>,
    load: Load,
    /// Runs it forwarded to us whose result is open.
    open_results: Arc<AtomicUsize>,
    unattributed: AtomicU64,
    state: Mutex<State>,
    /// Its patterns, with the keys under which the shards know them; `None` once it was removed.
    interests: Mutex<Option<HashMap<Pattern, u64>>>,
    work: Notify,
}

#[derive(Debug)]
struct State {
    queue: ForwardQueue,
    backlog: Backlog,
    link: Option<LinkUp>,
    links: u64,
    in_flight: InFlight,
    /// Counted frames that were not written yet.
    controls: VecDeque<MeshControl>,
    /// What to acknowledge with the next write.
    owed_ack: Option<u64>,
    missed: Missed,
    held: HashMap<Origin, Held>,
    /// Begins anywhere, so that a late result for a former remote of the same node fits none of this one.
    last_token: u64,
    /// Runs whose result is to come: the publisher's account, and the deliveries expected.
    open: HashMap<u64, (Arc<Ack>, u64)>,
    prune_at: usize,
    forwarded: u64,
    dropped: u64,
}

#[derive(Debug)]
struct LinkUp {
    number: u64,
    outbox: Arc<Outbox>,
    features: Features,
    window: u64,
}

/// A publisher that the node holds back.
#[derive(Debug, Default)]
struct Held {
    /// It has waited for as long as it may: its runs are dropped until it is released.
    lagging: bool,
}

/// How things stand with one other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteStats {
    /// Whether there is a link.
    pub up: bool,
    /// Patterns it is interested in.
    pub patterns: usize,
    /// Messages queued.
    pub queued_messages: usize,
    /// Entry bytes queued.
    pub queued_bytes: usize,
    /// Messages that may be queued.
    pub max_messages: usize,
    /// Entry bytes that may be queued, unless memory is short.
    pub max_bytes: usize,
    /// Frames written and not acknowledged.
    pub in_flight_frames: usize,
    /// Bytes written and not acknowledged, as they are charged to the node's window.
    pub in_flight_bytes: u64,
    /// Messages written to it since it is known.
    pub forwarded: u64,
    /// Messages for it that were dropped before they were written, or lost with it.
    pub dropped: u64,
    /// Publishers it holds back.
    pub held: usize,
    /// Messages that it dropped on their way to us without being able to say of which topic.
    pub unattributed: u64,
}

impl Remote {
    pub(crate) fn new(node: PeerId, number: u64, last_token: u64, shared: Arc<Shared>) -> Self {
        let config = &shared.forwarding;
        let limits = Limits { messages: config.max_queue_messages, bytes: config.max_queue_bytes };
        let state = State {
            queue: ForwardQueue::new(limits),
            backlog: Backlog::default(),
            link: None,
            links: 0,
            in_flight: InFlight::default(),
            controls: VecDeque::new(),
            owed_ack: None,
            missed: Missed::default(),
            held: HashMap::new(),
            last_token,
            open: HashMap::new(),
            prune_at: 1024,
            forwarded: 0,
            dropped: 0,
        };
        Self {
            node,
            number,
            shared,
            load: Load::default(),
            open_results: Arc::default(),
            unattributed: AtomicU64::new(0),
            state: Mutex::new(state),
            interests: Mutex::new(Some(HashMap::new())),
            work: Notify::new(),
        }
    }

    /// Which node it is.
    pub const fn node(&self) -> PeerId {
        self.node
    }

    /// Its number on this node: a node that comes back has another one.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn load(&self) -> u64 {
        self.load.get()
    }

    pub(crate) const fn interests(&self) -> &Mutex<Option<HashMap<Pattern, u64>>> {
        &self.interests
    }

    /// A link to the node is open, and both sides have told each other what they received: from here on the counted frames
    /// go over this link and no other. `received` and `window` are what the node said of itself.
    ///
    /// Returns the outbox of this link, which its writer empties as that of a client; the mesh puts keep-alives and the
    /// goodbye into it. The outbox of an earlier link gives nothing more.
    ///
    /// A `received` that can't be (less than was acknowledged, or more than was ever written) means that the node has
    /// started anew, or knows us anew: what was in flight is then lost, counted as [`DropReason::NodeGone`], and unknown to those who wait
    /// for a confirmation.
    pub fn link_up(self: &Arc<Self>, received: u64, window: u64, features: Features) -> Arc<Outbox> {
        let outbox = Outbox::new(features);
        let mut state = self.state.lock();
        if state.backlog.closed {
            outbox.close(Refusal::Closed, false);
            return outbox;
        }
        if !state.in_flight.can_have_received(received) || state.in_flight.acknowledge(received).is_err() {
            self.begin_anew(&mut state, received);
        }
        state.in_flight.rewind();
        state.links += 1;
        let window = window.min(self.shared.forwarding.window).max(1);
        state.link = Some(LinkUp { number: state.links, outbox: Arc::clone(&outbox), features, window });
        state.backlog.listed = false;
        self.after_push(state);
        outbox
    }

    /// The link with this outbox is gone. Runs go on queueing, within their bounds. Does nothing if another link has
    /// taken its place.
    pub fn link_down(&self, outbox: &Arc<Outbox>) {
        let mut state = self.state.lock();
        if state.link.as_ref().is_some_and(|link| Arc::ptr_eq(&link.outbox, outbox)) {
            state.link = None;
            state.backlog.listed = false;
            let work = state.is_pending();
            drop(state);
            if work {
                self.work.notify_one();
            }
        }
        // It may hold this remote in its line.
        outbox.abandon();
    }

    /// The outbox of the link that is up.
    pub fn outbox(&self) -> Option<Arc<Outbox>> {
        self.state.lock().link.as_ref().map(|link| Arc::clone(&link.outbox))
    }

    /// Waits until something is to be sent and no link is up: time to dial. Cancel safe; for one waiter. Never returns
    /// for a node that was removed.
    pub async fn has_work(&self) {
        loop {
            let notified = self.work.notified();
            {
                let state = self.state.lock();
                if state.link.is_none() && state.is_pending() {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Whether nothing is queued, and nothing in flight.
    pub fn is_idle(&self) -> bool {
        !self.state.lock().is_pending()
    }

    /// The node took so many counted frames, as its [`MeshControl::ForwardAck`] says. An error means that there were not
    /// as many.
    ///
    /// [`crate::Inbound::control`] does it by itself.
    pub fn acknowledged(self: &Arc<Self>, received: u64) -> Result<(), Overgranted> {
        let mut state = self.state.lock();
        state.in_flight.acknowledge(received)?;
        self.after_push(state);
        Ok(())
    }

    /// How things stand.
    pub fn stats(&self) -> RemoteStats {
        let patterns = self.interests.lock().as_ref().map_or(0, HashMap::len);
        let config = &self.shared.forwarding;
        let state = self.state.lock();
        RemoteStats {
            up: state.link.is_some(),
            patterns,
            queued_messages: state.queue.messages(),
            queued_bytes: state.queue.bytes(),
            max_messages: config.max_queue_messages.saturating_mul(2),
            max_bytes: config.max_queue_bytes.saturating_mul(2),
            in_flight_frames: state.in_flight.frames(),
            in_flight_bytes: state.in_flight.bytes(),
            forwarded: state.forwarded,
            dropped: state.dropped,
            held: state.held.len(),
            unattributed: self.unattributed.load(Ordering::Relaxed),
        }
    }

    /// Queues what there is room for and returns the rest, which the publisher holds until `waiter` is notified.
    ///
    /// Acknowledged runs wait, those for somebody who pushes back, shares of queue groups, and everything of a publisher
    /// that the node holds back; the others give up the oldest.
    pub(crate) fn offer(self: &Arc<Self>, item: Forwarded, waiter: &Arc<Notify>) -> Option<Forwarded> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.backlog.closed {
            // The publisher's plan is older: it finds out when it tries again, and gives shares of groups to others.
            drop(guard);
            waiter.notify_one();
            return Some(item);
        }
        match state.held_back(&item.slice.run().origin) {
            Some(Held { lagging: false }) => {
                state.backlog.wait(waiter);
                return Some(item);
            }
            Some(Held { lagging: true }) => {
                self.drop_locked(state, &item, DropReason::ForwardQueueFull);
                self.after_push(guard);
                return None;
            }
            None => {}
        }
        let acked = is_acked(&item.slice);
        if !acked && (!item.to.waits || state.backlog.lagging) {
            self.push_locked(state, item);
            self.after_push(guard);
            return None;
        }
        self.fit_to_memory(state);
        let rest = state.queue.push_waiting(item).err();
        if rest.is_some() {
            state.backlog.wait(waiter);
        }
        self.after_push(guard);
        rest
    }

    /// Queues without waiting, whatever it is.
    pub(crate) fn push(self: &Arc<Self>, item: Forwarded) {
        let mut guard = self.state.lock();
        if guard.backlog.closed {
            self.drop_locked(&mut guard, &item, DropReason::NodeGone);
        } else {
            self.push_locked(&mut guard, item);
        }
        self.after_push(guard);
    }

    /// The publisher's patience is over. An acknowledged run is given up; else the queue lags from now on, or this
    /// publisher if it is the one held back.
    pub(crate) fn give_up(self: &Arc<Self>, item: Forwarded) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let reason = if state.backlog.closed { DropReason::NodeGone } else { DropReason::BlockTimeout };
        if state.backlog.closed || is_acked(&item.slice) {
            self.drop_locked(state, &item, reason);
        } else if let Some(held) = state.held.get_mut(&*item.slice.run().origin) {
            held.lagging = true;
            self.drop_locked(state, &item, reason);
        } else {
            state.backlog.lagging = true;
            self.push_locked(state, item);
        }
        self.after_push(guard);
    }

    /// Counts messages that never came to the queue, and tells the node.
    pub(crate) fn miss(self: &Arc<Self>, item: &Forwarded, reason: DropReason) {
        let mut state = self.state.lock();
        self.drop_locked(&mut state, item, reason);
        self.after_push(state);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().backlog.closed
    }

    fn push_locked(&self, state: &mut State, item: Forwarded) {
        self.fit_to_memory(state);
        let State { queue, missed, dropped, .. } = state;
        queue.push(item, |gone| {
            count_dropped(&self.shared, dropped, &gone, DropReason::ForwardQueueFull);
            missed.add(&gone);
        });
    }

    fn fit_to_memory(&self, state: &mut State) {
        state.queue.set_byte_limit(backlog::byte_limit(self.shared.forwarding.max_queue_bytes, &self.shared.budget));
    }

    /// Counts a drop, settles who waits for it, and notes it for the node unless that is gone.
    fn drop_locked(&self, state: &mut State, item: &Forwarded, reason: DropReason) {
        count_dropped(&self.shared, &mut state.dropped, item, reason);
        if reason != DropReason::NodeGone {
            state.missed.add(item);
        }
    }

    /// Stands in line when there is something to send and a link to send it on; asks for a link when there is none.
    fn after_push(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        self.note(&mut state);
        let Some(link) = &state.link else {
            let work = state.is_pending();
            drop(state);
            if work {
                self.work.notify_one();
            }
            return;
        };
        let list = state.has_work(link) && !state.backlog.listed;
        if list {
            let (outbox, number) = (Arc::clone(&link.outbox), link.number);
            state.backlog.listed = true;
            drop(state);
            outbox.list(Source::Remote(Arc::clone(self), number));
        }
    }

    /// Keeps the load and the charge for the tables up to date.
    fn note(&self, state: &mut State) {
        let memory = state.queue.memory() + state.in_flight.memory();
        state.backlog.charge(memory, &self.shared.budget);
        self.load.set(match state.backlog.closed || !state.queue.has_room() {
            true => Load::FULL,
            false => state.queue.bytes() as u64 + state.in_flight.bytes(),
        });
    }

    /// Moves up to about `max_bytes` into the batch of the link with this number. Returns whether there is more to send.
    pub(crate) fn take(&self, link: u64, now: Instant, max_bytes: usize, batch: &mut WriteBatch) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(up) = state.link.take_if(|up| up.number == link) else { return false };
        let until = batch.gathered() + max_bytes;
        if let Some(received) = state.owed_ack.take() {
            encode_mesh(&MeshControl::ForwardAck { received }, batch.head());
        }
        let mut popped = false;
        while batch.gathered() < until {
            if state.in_flight.all_written() {
                let room = until - batch.gathered();
                let Some(sent) = self.next(state, up.window, now, room, &mut popped) else { break };
                state.in_flight.push(sent);
            }
            match state.in_flight.write_next() {
                Some(Sent::Run(item, token)) => encode(item, *token, up.features, now, batch),
                Some(Sent::Control(control)) => encode_mesh(control, batch.head()),
                None => break,
            }
        }
        if state.queue.is_empty() {
            state.backlog.lagging = false;
        }
        let again = state.has_work(&up);
        state.backlog.listed = again;
        state.link = Some(up);
        self.note(state);
        let waiters = if popped { state.backlog.take_waiters() } else { Vec::new() };
        drop(guard);
        backlog::wake(waiters);
        again
    }

    /// The next counted frame: first what is not a run, which is small and waited for.
    fn next(&self, state: &mut State, window: u64, now: Instant, room: usize, popped: &mut bool) -> Option<Sent> {
        loop {
            if state.controls.is_empty() && !state.missed.is_empty() && state.in_flight.controls() < MAX_REPORTS {
                state.controls.extend(state.missed.take());
            }
            if let Some(control) = state.controls.pop_front() {
                return Some(Sent::Control(control));
            }
            let available = window.saturating_sub(state.in_flight.bytes());
            if available == 0 {
                return None;
            }
            let item = state.queue.pop(usize::try_from(available).unwrap_or(usize::MAX).min(room))?;
            *popped = true;
            if item.slice.run().expires.is_some_and(|at| at <= now) {
                self.drop_locked(state, &item, DropReason::Expired);
                continue;
            }
            let messages = item.messages() as u64;
            if !item.slice.run().topic.is_reserved() {
                state.forwarded += messages;
                self.shared.metrics.forwarded.inc_by(messages);
            }
            let token = state.open_result(&item);
            return Some(Sent::Run(item, token));
        }
    }

    /// What became of a run that was forwarded.
    pub(crate) fn result(&self, token: u64, outcome: Outcome) {
        let open = self.state.lock().open.remove(&token);
        if let Some((ack, expected)) = open {
            ack.settled_elsewhere(expected, outcome);
        }
    }

    /// The node holds a publisher back, or releases it.
    pub(crate) fn hold(&self, origin: Origin, on: bool) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if on {
            if state.held.len() >= MAX_HELD && !state.held.contains_key(&origin) {
                return Err(Refusal::Protocol("more publishers held back than there can be".to_owned()));
            }
            state.held.entry(origin).or_default();
            return Ok(());
        }
        state.held.remove(&origin);
        let waiters = state.backlog.take_waiters();
        drop(state);
        backlog::wake(waiters);
        Ok(())
    }

    /// Sends a counted frame.
    pub(crate) fn control(self: &Arc<Self>, control: MeshControl) {
        let mut state = self.state.lock();
        if !state.backlog.closed {
            state.controls.push_back(control);
            self.after_push(state);
        }
    }

    /// Tells the node how many of its frames were taken, once there is a link.
    pub(crate) fn owe_ack(self: &Arc<Self>, received: u64) {
        let mut state = self.state.lock();
        if state.link.is_some() {
            state.owed_ack = Some(received);
            self.after_push(state);
        }
    }

    /// Whether the node leaves so many answers unacknowledged that it can't be served.
    pub(crate) fn check_controls(&self) -> Result<(), Refusal> {
        let state = self.state.lock();
        match state.controls.len() + state.in_flight.controls() > MAX_CONTROLS {
            true => Err(Refusal::Limit { limit: Limit::ControlQueue, allowed: MAX_CONTROLS as u64 }),
            false => Ok(()),
        }
    }

    /// Tells the node what became of a run that it forwarded.
    pub(crate) fn answer(self: &Arc<Self>, token: u64, outcome: Outcome) {
        let Outcome { matched, delivered, dropped, unknown } = outcome;
        self.control(MeshControl::ForwardResult { token, matched, delivered, dropped, unknown });
    }

    /// An account for a run of that node which asks for a result; `None` when too many are open.
    pub(crate) fn open_result(self: &Arc<Self>, token: u64) -> Option<OpenResult> {
        let allowed = self.shared.forwarding.max_open_results;
        let open = &self.open_results;
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)).ok()?;
        Some(OpenResult { remote: Arc::clone(self), token })
    }

    pub(crate) fn count_unattributed(&self, messages: u64) {
        let add = |n: u64| Some(n.saturating_add(messages));
        _ = self.unattributed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The node has started anew: what it had taken or was to take is lost, and so is what it had asked for.
    fn begin_anew(&self, state: &mut State, received: u64) {
        self.lose(state, received);
        state.controls.clear();
        state.held.clear();
        backlog::wake(state.backlog.take_waiters());
    }

    fn lose(&self, state: &mut State, received: u64) {
        for sent in state.in_flight.reset(received) {
            if let Sent::Run(item, _) = sent {
                let messages = item.messages() as u64;
                state.dropped += messages;
                self.shared.count_dropped(&item.slice.run().topic, DropReason::NodeGone, item.expected());
            }
        }
        for (ack, expected) in std::mem::take(&mut state.open).into_values() {
            ack.unknown(expected);
        }
    }

    /// The node is gone. Settles what was in flight, and gives back what was queued.
    pub(crate) fn close(&self) -> Vec<Forwarded> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.backlog.closed = true;
        let queued = state.queue.drain();
        self.lose(state, 0);
        state.controls = VecDeque::new();
        state.missed = Missed::default();
        state.held = HashMap::new();
        state.link = None;
        self.note(state);
        let waiters = state.backlog.take_waiters();
        drop(guard);
        backlog::wake(waiters);
        queued
    }

    /// Counts the part of a queued run that is lost with the node: that for subscriptions outside of queue groups.
    pub(crate) fn lost_with_node(&self, item: &Forwarded) {
        let direct = Recipients { direct: item.to.direct, ..Recipients::default() };
        let item = Forwarded::new(item.slice.clone(), Arc::new(direct));
        self.drop_locked(&mut self.state.lock(), &item, DropReason::NodeGone);
    }
}

impl State {
    /// Whether anything is there that the node does not have, or may not have.
    fn is_pending(&self) -> bool {
        !self.backlog.closed
            && (!self.queue.is_empty()
                || self.in_flight.frames() > 0
                || !self.controls.is_empty()
                || !self.missed.is_empty())
    }

    fn has_work(&self, link: &LinkUp) -> bool {
        self.owed_ack.is_some()
            || !self.in_flight.all_written()
            || !self.controls.is_empty()
            || (!self.missed.is_empty() && self.in_flight.controls() < MAX_REPORTS)
            || (!self.queue.is_empty() && self.in_flight.bytes() < link.window)
    }

    fn held_back(&self, origin: &Origin) -> Option<&Held> {
        // Hardly ever anybody: don't hash for it.
        if self.held.is_empty() { None } else { self.held.get(origin) }
    }

    /// Opens the account of a run that asks for a result, under the token returned; 0 when it asks for none.
    fn open_result(&mut self, item: &Forwarded) -> u64 {
        let Some(ack) = &item.slice.run().ack else { return 0 };
        if self.open.len() >= self.prune_at {
            // Their publishers have stopped waiting; the results may never come.
            self.open.retain(|_, (ack, _)| !ack.is_settled());
            self.prune_at = self.open.len().saturating_mul(2).max(1024);
        }
        self.last_token += 1;
        self.open.insert(self.last_token, (Arc::clone(ack), item.expected()));
        self.last_token
    }
}

/// A run that another node forwarded, and whose result it waits for.
#[derive(Debug)]
pub(crate) struct OpenResult {
    remote: Arc<Remote>,
    token: u64,
}

impl OpenResult {
    pub(crate) fn send(&self, outcome: Outcome) {
        self.remote.answer(self.token, outcome);
    }
}

impl Drop for OpenResult {
    fn drop(&mut self) {
        self.remote.open_results.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_acked(slice: &Slice) -> bool {
    matches!(&slice.run().ack, Some(ack) if ack.wants() == Wants::Confirmed)
}

/// A drop has a reason, is counted for each delivery that was due, and reaches the publisher if it asked.
fn count_dropped(shared: &Shared, dropped: &mut u64, item: &Forwarded, reason: DropReason) {
    *dropped += item.messages() as u64;
    let expected = item.expected();
    shared.count_dropped(&item.slice.run().topic, reason, expected);
    if let Some(ack) = &item.slice.run().ack {
        ack.dropped(expected);
    }
}
