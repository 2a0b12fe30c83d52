//! One node's view of its realm.

mod compare;
mod detect;
#[cfg(test)]
mod hostile;
mod intake;
mod member;
mod own;
mod pull;
mod requests;
mod rumours;
mod settle;
mod table;
mod tick;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use chacha20::ChaCha8Rng;
use rand_core::SeedableRng;
use sinew_wire::PeerId;

pub use self::member::Member;
use self::own::Own;
use self::requests::Ask;
use self::rumours::Rumours;
use self::settle::Settle;
use self::table::Table;
use self::tick::{Clock, Join};
use crate::detector::Detector;
use crate::wire::{self, Blob, Holds, Message};
use crate::{Counters, Event, Key, MAX_MESSAGE, MembershipConfig, NodeInfo, Output, Refused, Signer, TooMany, Value};

/// One node's view of its realm. See the [crate] documentation.
///
/// After each call that takes `&mut self`, fetch what there is from [`Self::poll_output`], and ask
/// [`Self::next_deadline`] again. An answer of [`Self::handle_request`] is to be sent after the events of the same
/// call were carried out: it may say that the node knows now what they tell.
pub struct Membership {
    config: MembershipConfig,
    signer: Box<dyn Signer + Send>,
    own: Own,
    table: Table,
    detector: Detector,
    rng: ChaCha8Rng,
    outputs: VecDeque<Output>,
    rumours: Rumours,
    asks: BTreeMap<u64, Ask>,
    next_ask: u64,
    joins: BTreeMap<PeerId, Join>,
    /// Members whose changes are fetched as soon as there is room for another request.
    pulls: VecDeque<PeerId>,
    /// Whether some wait for another try.
    pulls_paused: bool,
    settles: Vec<Settle>,
    clock: Clock,
    /// What all replicas are charged with.
    held_bytes: usize,
    held_entries: usize,
    counters: Counters,
}

impl Membership {
    /// A node that knows nobody yet. `seed` is the source of all chance; who knows it knows whom the node will ask.
    pub fn new(
        config: MembershipConfig,
        info: NodeInfo,
        signer: Box<dyn Signer + Send>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let own = Own::new(&config, info, signer.as_ref(), now);
        let detector = Detector::new(own.identity(), &config, ChaCha8Rng::from_rng(&mut rng));
        let mut table = Table::new();
        table.toggle(own.record());
        Self {
            clock: Clock::new(&config, now),
            config,
            signer,
            own,
            table,
            detector,
            rng,
            outputs: VecDeque::new(),
            rumours: Rumours::default(),
            asks: BTreeMap::new(),
            next_ask: 0,
            joins: BTreeMap::new(),
            pulls: VecDeque::new(),
            pulls_paused: false,
            settles: Vec::new(),
            held_bytes: 0,
            held_entries: 0,
            counters: Counters { signed: 1, ..Counters::default() },
        }
    }

    /// The overlay has a connection to a node of the realm. Call it again when there is a new one.
    pub fn introduce(&mut self, peer: PeerId, now: Instant) {
        if !self.own.left() {
            self.join(peer, now);
            self.finish(now);
        }
    }

    /// The node has other addresses than before. Others refuse more than [`crate::MAX_ADDRESSES`], or longer ones than
    /// [`crate::MAX_ADDRESS`]: what is beyond is left out.
    pub fn set_addresses(&mut self, data: Vec<String>, mesh: Vec<String>, now: Instant) {
        if self.own.set_addresses(data, mesh) {
            self.schedule_flush(now);
        }
    }

    /// Publishes a value, or nothing any more, and returns the version of that. The others are told within
    /// milliseconds.
    ///
    /// # Errors
    /// When the others would refuse it; nothing has changed then.
    pub fn set(&mut self, key: Key, value: Option<Value>, now: Instant) -> Result<u64, TooMany> {
        let version = self.own.set(key, value, &self.config)?;
        if self.own.is_dirty() {
            self.schedule_flush(now);
        }
        Ok(version)
    }

    /// Takes a message of another node, whose identity the transport has proven.
    ///
    /// # Errors
    /// The first thing that was refused. What stood before it in the message has taken effect; what comes after it
    /// too, unless the reason [is hostile](Refused::is_hostile).
    pub fn handle_message(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        self.counters.messages_in += 1;
        self.counters.bytes_in += bytes.len() as u64;
        let outcome = self.admit().and_then(|()| self.take_message(from, bytes, now));
        self.finish(now);
        self.counted(outcome)
    }

    /// Takes a request of another node, whose identity the transport has proven, and returns the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn handle_request(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<Vec<u8>, Refused> {
        self.counters.requests_in += 1;
        self.counters.request_bytes_in += bytes.len() as u64;
        let outcome = self.admit().and_then(|()| self.answer(from, bytes, now));
        self.finish(now);
        if let Ok(answer) = &outcome {
            self.counters.requests_out += 1;
            self.counters.request_bytes_out += answer.len() as u64;
        }
        self.counted(outcome)
    }

    /// Takes the answer to a request of this node, or that there is none.
    ///
    /// # Errors
    /// Why the answer is worth nothing. The request is done with then, too.
    pub fn handle_response(
        &mut self,
        from: PeerId,
        request: u64,
        outcome: Result<&[u8], ()>,
        now: Instant,
    ) -> Result<(), Refused> {
        if let Ok(bytes) = outcome {
            self.counters.requests_in += 1;
            self.counters.request_bytes_in += bytes.len() as u64;
        }
        let outcome = self.take_response(from, request, outcome, now);
        self.finish(now);
        self.counted(outcome)
    }

    /// The time of [`Self::next_deadline`] has come. Does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.own.left() {
            return;
        }
        self.detector.handle_timeout(now);
        self.apply_detector(now);
        self.tick(now);
        self.flush_due(now);
        self.finish(now);
    }

    /// When [`Self::handle_timeout`] has something to do; never again after [`Self::leave`].
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.own.left() {
            return None;
        }
        let work = [self.detector.next_deadline(), self.rumours.due(), Some(self.next_tick())];
        work.into_iter().flatten().min()
    }

    /// The next thing to do or to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Asks whether all members that are up know what this node has published until now. [`Event::Settled`] answers as
    /// soon as they all do, or with how many may not after [`MembershipConfig::settle_timeout`]. Nodes that were
    /// introduced and have not answered yet are waited for, too.
    pub fn settle(&mut self, token: u64, now: Instant) {
        self.open_settle(token, now);
        self.finish(now);
    }

    /// Says goodbye to all members. What comes in afterwards is refused; what is to be sent has to be fetched.
    pub fn leave(&mut self, now: Instant) {
        if !self.own.left() {
            self.say_goodbye(now);
        }
    }

    /// The members that are up, without this node, in the order of their identities.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.table.iter_up()
    }

    /// Members that are up and under suspicion: they did not answer, and are taken for gone unless they contradict within
    /// [`MembershipConfig::suspicion`].
    pub fn suspects(&self) -> impl Iterator<Item = PeerId> {
        self.detector.suspects()
    }

    /// Members that are down because they failed, for as long as they are remembered and tried again
    /// ([`MembershipConfig::forget_down`]). [`Member::since`] says since when.
    pub fn failed(&self) -> impl Iterator<Item = &Member> {
        self.table.iter().filter(|member| Self::is_failed(member.status))
    }

    /// Plain numbers for metrics.
    pub fn counters(&self) -> Counters {
        Counters {
            members: self.table.up_len(),
            remembered: self.table.down_len(),
            entries: self.held_entries,
            entry_bytes: self.held_bytes,
            published: self.own.published().len(),
            tombstones: self.own.published().tombstones(),
            outputs: self.outputs.len(),
            requests: self.asks.len(),
            stalls: self.detector.stalls(),
            detector_errors: self.detector.errors(),
            ..self.counters
        }
    }

    /// This node's own newest record.
    pub fn record(&self) -> &std::sync::Arc<crate::Record> {
        self.own.record()
    }

    /// Whether there is room for what a stranger may cause.
    fn admit(&self) -> Result<(), Refused> {
        if self.own.left() {
            return Err(Refused::Left);
        }
        if self.outputs.len() >= self.config.max_outputs { Err(Refused::Busy) } else { Ok(()) }
    }

    fn count(&mut self, refused: &Refused) {
        if let Some(count) = self.counters.refused.get_mut(refused.index()) {
            *count += 1;
        }
    }

    fn counted<T>(&mut self, outcome: Result<T, Refused>) -> Result<T, Refused> {
        if let Err(refused) = &outcome {
            self.count(refused);
        }
        outcome
    }

    /// What every call ends with.
    fn finish(&mut self, now: Instant) {
        if self.own.left() {
            return;
        }
        self.apply_detector(now);
        self.start_pulls(now);
        self.check_settles(now);
    }

    /// ceil(log2 N) + 1, where N counts this node.
    fn fan_out(&self) -> usize {
        let members = self.table.up_len() + 1;
        members.next_power_of_two().trailing_zeros() as usize + 1
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends one message, with our record if the receiver may not hold it.
    fn send(&mut self, to: PeerId, swim: Bytes, mut records: Vec<Blob>) {
        if self.outputs.len() >= self.config.max_outputs {
            self.counters.messages_dropped += 1;
            return;
        }
        let own = &self.own.record().signed;
        let member = self.table.get(&to);
        if !member.is_some_and(|member| member.knows) && !records.iter().any(|record| record.0 == *own) {
            records.insert(0, Blob(own.clone()));
        }
        let holds = member.map_or_else(Holds::default, |member| Holds {
            epoch: member.record.info.epoch,
            life: member.record.life,
            version: member.replica.version(),
        });
        let message = wire::encode(&Message { summary: self.table.summary(), holds, swim: Blob(swim), records });
        debug_assert!(message.len() <= MAX_MESSAGE, "a message of {} bytes", message.len());
        self.counters.messages_out += 1;
        self.counters.bytes_out += message.len() as u64;
        self.outputs.push_back(Output::Send { to, message: message.into() });
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("own", self.own.record())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
