use std::collections::BTreeSet;
use std::time::Instant;

use hashbrown::HashMap;
use sinew_wire::ProviderHealth;

use crate::breaker::{Lets, State};
use crate::member::Member;
use crate::{Candidate, InstanceId, Pick};

/// Where an instance stands: what may be done with it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It may be called, or probed: its list, and where it is there.
    Listed(List, usize),
    /// Its breaker is open, until then.
    Waiting(Instant),
    /// Down, or a probe is under way.
    Nowhere,
}

/// Instances of a kind, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Local = 0,
    Remote = 1,
    LocalDegraded = 2,
    RemoteDegraded = 3,
    /// They wait for a call that is their probe.
    Due = 4,
}

const LISTS: usize = 5;

/// The instances, each filed under what may be done with it, so that nobody has to search.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Option<Member>>,
    free: Vec<u32>,
    by_id: HashMap<InstanceId, u32>,
    lists: [Vec<u32>; LISTS],
    waiting: BTreeSet<(Instant, u32)>,
    serial: u64,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            lists: Default::default(),
            waiting: BTreeSet::new(),
            serial: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Member> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Member> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn slot(&self, id: &InstanceId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn list(&self, list: List) -> &[u32] {
        self.lists.get(list as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (u32, &Member)> {
        self.slots.iter().enumerate().filter_map(|(slot, member)| Some((slot as u32, member.as_ref()?)))
    }

    pub(crate) fn first_waiting(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Adds a new one, and says where. `since`: it comes later than others.
    pub(crate) fn insert(&mut self, candidate: Candidate, since: Option<Instant>, now: Instant) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        let member = Member::new(candidate, self.serial, since, now);
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(empty) => *empty = Some(member),
            None => self.slots.push(Some(member)),
        }
        self.by_id.insert(candidate.id, slot);
        self.file(slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.unfile(slot);
        if let Some(member) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.by_id.remove(&member.candidate.id);
            self.free.push(slot);
        }
    }

    /// Changes an instance, and files it anew if that changes what may be done with it.
    pub(crate) fn change<T>(&mut self, slot: u32, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let done = change(self.get_mut(slot)?);
        self.file(slot);
        Some(done)
    }

    /// The same for one that was picked, if it is still there.
    pub(crate) fn change_picked<T>(&mut self, pick: &Pick, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let serial = self.get(pick.slot)?.serial;
        (serial == pick.serial).then(|| self.change(pick.slot, change))?
    }

    /// Lets probes through where the time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((until, slot)) = self.waiting.first().copied()
            && until <= now
        {
            self.change(slot, |member| member.breaker.half_open());
        }
    }

    /// Puts an instance where it belongs.
    fn file(&mut self, slot: u32) {
        let Some(member) = self.get(slot) else { return };
        let wanted = wanted(member);
        let stands = match (wanted, member.place) {
            (Wanted::List(list), Place::Listed(now, _)) => list == now,
            (Wanted::Until(until), Place::Waiting(now)) => until == now,
            (Wanted::Nowhere, Place::Nowhere) => true,
            _ => false,
        };
        if stands {
            return;
        }
        self.unfile(slot);
        let place = match wanted {
            Wanted::List(list) => {
                let Some(slots) = self.lists.get_mut(list as usize) else { return };
                slots.push(slot);
                Place::Listed(list, slots.len() - 1)
            }
            Wanted::Until(until) => {
                self.waiting.insert((until, slot));
                Place::Waiting(until)
            }
            Wanted::Nowhere => Place::Nowhere,
        };
        if let Some(member) = self.get_mut(slot) {
            member.place = place;
        }
    }

    fn unfile(&mut self, slot: u32) {
        let Some(member) = self.get_mut(slot) else { return };
        match std::mem::replace(&mut member.place, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Waiting(until) => {
                self.waiting.remove(&(until, slot));
            }
            Place::Listed(list, at) => {
                let Some(slots) = self.lists.get_mut(list as usize) else { return };
                slots.swap_remove(at);
                // The last one has taken its place.
                if let Some(moved) = slots.get(at).copied()
                    && let Some(member) = self.get_mut(moved)
                {
                    member.place = Place::Listed(list, at);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    List(List),
    Until(Instant),
    Nowhere,
}

const fn wanted(member: &Member) -> Wanted {
    if matches!(member.health, ProviderHealth::Down) {
        return Wanted::Nowhere;
    }
    match member.breaker.state {
        State::Open { until } => Wanted::Until(until),
        State::HalfOpen { probing: true, .. } => Wanted::Nowhere,
        State::HalfOpen { .. } => Wanted::List(List::Due),
        State::Closed => Wanted::List(match (member.health, member.candidate.local) {
            (ProviderHealth::Degraded, true) => List::LocalDegraded,
            (ProviderHealth::Degraded, false) => List::RemoteDegraded,
            (_, true) => List::Local,
            (_, false) => List::Remote,
        }),
    }
}

/// What may be sent to an instance now.
pub(crate) fn lets(member: &Member, now: Instant) -> Option<Lets> {
    if member.health == ProviderHealth::Down { None } else { member.breaker.lets(now) }
}
