//! The failure detector: foca, with its timers, and what foca leaves to others.
//!
//! foca believes whatever it is told about whomever. So nothing reaches it that speaks of a node whose signed record
//! is not held: [`Packet`] reads what came before foca does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chacha20::ChaCha8Rng;
use foca::{
    Config, Foca, Header, Member, Message, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer,
};
use sinew_wire::PeerId;

use crate::MembershipConfig;
use crate::packet::{Identity, Layout, Packet};

/// Largest packet of the detector, in bytes. It carries some 170 updates.
pub(crate) const MAX_PACKET: usize = 8 << 10;

/// What the detector found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    Up(Identity),
    Down(Identity),
    /// This node was held for down, and goes on under this identity.
    Renewed(Identity),
}

#[derive(Debug, Default)]
struct Effects {
    sends: Vec<(Identity, Bytes)>,
    notes: Vec<Note>,
    timers: Vec<(Timer<Identity>, Duration)>,
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.notes.extend(match notification {
            Notification::MemberUp(id) => Some(Note::Up(*id)),
            Notification::MemberDown(id) => Some(Note::Down(*id)),
            Notification::Rejoin(id) => Some(Note::Renewed(*id)),
            _ => None,
        });
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        // Who is forgotten, and when, is decided with the records: see `Detector::forget`.
        if !matches!(timer, Timer::RemoveDown(_)) {
            self.timers.push((timer, after));
        }
    }
}

#[derive(Debug)]
struct Due {
    at: Instant,
    /// Timers of one instant go off in the order in which they were set.
    number: u64,
    deferred: bool,
    timer: Timer<Identity>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Who is there, by SWIM.
pub(crate) struct Detector {
    foca: Foca<Identity, Layout, ChaCha8Rng, NoCustomBroadcast>,
    config: Config,
    timers: BinaryHeap<Reverse<Due>>,
    number: u64,
    effects: Effects,
    /// Whom this node suspects by itself, and has to contradict it.
    accused: Vec<Identity>,
    stall: Duration,
    errors: u64,
    stalls: u64,
}

/// Most by which a deadline is put off because the node itself was not given CPU.
const LONGEST_STALL: Duration = Duration::from_secs(3);

impl Detector {
    pub(crate) fn new(me: Identity, config: &MembershipConfig, rng: ChaCha8Rng) -> Self {
        let fan_out = NonZeroUsize::MIN;
        let detection = Config {
            probe_period: config.probe_period,
            probe_rtt: config.probe_rtt,
            num_indirect_probes: NonZeroUsize::MIN.saturating_add(2),
            max_transmissions: NonZeroU8::MIN.saturating_add(4),
            suspect_to_down_after: config.suspicion,
            remove_down_after: None,
            max_packet_size: NonZeroUsize::MIN.saturating_add(MAX_PACKET - 1),
            notify_down_members: true,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams { frequency: config.probe_period / 2, num_members: fan_out }),
        };
        Self {
            foca: Foca::new(me, detection.clone(), rng, Layout),
            config: detection,
            timers: BinaryHeap::new(),
            number: 0,
            effects: Effects::default(),
            accused: Vec::new(),
            stall: config.probe_rtt,
            errors: 0,
            stalls: 0,
        }
    }

    pub(crate) const fn errors(&self) -> u64 {
        self.errors
    }

    pub(crate) const fn stalls(&self) -> u64 {
        self.stalls
    }

    /// How many others are told of what happened, and how often, in a realm of this size.
    pub(crate) fn set_size(&mut self, members: usize, fan_out: usize) {
        let often = 4 * (members.max(1).ilog10() as usize + 1);
        self.config.max_transmissions = NonZeroU8::new(often as u8).unwrap_or(NonZeroU8::MAX);
        if let Some(gossip) = &mut self.config.periodic_gossip {
            gossip.num_members = NonZeroUsize::new(fan_out).unwrap_or(NonZeroUsize::MIN);
        }
        self.errors += u64::from(self.foca.set_config(self.config.clone()).is_err());
    }

    /// A node has shown that it is there, or somebody has who knows it.
    pub(crate) fn alive(&mut self, id: Identity, now: Instant) {
        // The record spreads by itself, and everybody draws the same conclusion from it.
        self.apply(id, State::Alive, false, now);
    }

    /// A node is not there any more. `spread` tells others, too.
    pub(crate) fn down(&mut self, id: Identity, spread: bool, now: Instant) {
        self.apply(id, State::Down, spread, now);
    }

    fn apply(&mut self, id: Identity, state: State, spread: bool, now: Instant) {
        // Incarnations begin at 0, and the highest wins: this never takes a contradiction back.
        let update = Member::new(id, 0, state);
        let done = self.foca.apply_many(std::iter::once(update), spread, &mut self.effects);
        self.settle(done, now);
    }

    /// Tries a member that is down: it hears of that, if it is not.
    pub(crate) fn announce(&mut self, id: Identity, now: Instant) {
        let done = self.foca.announce(id, &mut self.effects);
        self.settle(done, now);
    }

    /// Takes a packet that was found good.
    pub(crate) fn packet(&mut self, bytes: &[u8], now: Instant) {
        let done = self.foca.handle_data(bytes, &mut self.effects);
        self.settle(done, now);
    }

    /// Goes on under another identity.
    pub(crate) fn rename(&mut self, id: Identity, now: Instant) {
        let done = self.foca.change_identity(id, &mut self.effects);
        self.settle(done, now);
    }

    /// Forgets a member that is down.
    pub(crate) fn forget(&mut self, id: Identity, now: Instant) {
        let done = self.foca.handle_timer(Timer::RemoveDown(id), &mut self.effects);
        self.settle(done, now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse(due)| due.at)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.forgive_stall(now);
        while let Some(Reverse(due)) = self.timers.peek() {
            if due.at > now {
                break;
            }
            let Some(Reverse(due)) = self.timers.pop() else { break };
            let done = self.foca.handle_timer(due.timer, &mut self.effects);
            self.settle(done, now);
        }
    }

    /// A node that got no CPU has not heard the answers that wait for it. What it would conclude from their absence is
    /// put off until it had the time to read them; each conclusion once, so that none is put off for ever.
    fn forgive_stall(&mut self, now: Instant) {
        let Some(first) = self.next_deadline() else { return };
        let late = now.saturating_duration_since(first);
        if late <= self.stall || self.timers.peek().is_some_and(|Reverse(due)| due.deferred) {
            return;
        }
        self.stalls += 1;
        let longer = late.min(LONGEST_STALL) + self.stall;
        let mut timers = std::mem::take(&mut self.timers).into_vec();
        for Reverse(due) in timers.iter_mut().filter(|Reverse(due)| !due.deferred) {
            due.at += longer;
            due.deferred = true;
        }
        self.timers = timers.into();
    }

    fn settle(&mut self, done: Result<(), foca::Error>, now: Instant) {
        self.errors += u64::from(done.is_err());
        for (timer, after) in self.effects.timers.drain(..) {
            self.number += 1;
            if let Timer::ChangeSuspectToDown { member_id, .. } = &timer
                && !self.accused.contains(member_id)
            {
                self.accused.push(*member_id);
            }
            self.timers.push(Reverse(Due { at: now + after, number: self.number, deferred: false, timer }));
        }
    }

    /// Members that did not answer, and have not contradicted yet that they are down; whoever found it out.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = PeerId> {
        self.foca.iter_members().filter(|member| member.state() == State::Suspect).map(|member| member.id().peer)
    }

    /// Whether anybody has to be told that this node suspects him.
    pub(crate) fn accuses(&self) -> bool {
        !self.accused.is_empty()
    }

    /// Pings those whom this node suspects, and tells them so: what foca spreads about them may reach everybody but
    /// them, and to be contradicted it has to be heard. Their answer to this node is the contradiction.
    pub(crate) fn confront(&mut self) {
        let suspects: Vec<Member<Identity>> =
            self.foca.iter_members().filter(|member| member.state() == State::Suspect).cloned().collect();
        self.accused.retain(|accused| suspects.iter().any(|suspect| suspect.id() == accused));
        let src = *self.foca.identity();
        for suspect in suspects.into_iter().filter(|suspect| self.accused.contains(suspect.id())) {
            let dst = *suspect.id();
            // Our own incarnation is foca's secret; 0 takes nothing back.
            let header = Header { src, src_incarnation: 0, dst, message: Message::Ping(0) };
            match (Packet { header, updates: vec![suspect] }).write() {
                Ok(packet) => self.effects.sends.push((dst, packet)),
                Err(_) => self.errors += 1,
            }
        }
    }

    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.effects.notes)
    }

    pub(crate) fn take_sends(&mut self) -> Vec<(Identity, Bytes)> {
        std::mem::take(&mut self.effects.sends)
    }
}
