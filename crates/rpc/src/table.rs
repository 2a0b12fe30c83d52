//! Every open call of the node, by number, and when something is due for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::alarm::Alarm;
use crate::entry::Entry;

const STRIPE_BITS: u32 = 8;
const SLOT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 28;

/// Most stripes of a table.
const MAX_STRIPES: usize = 1 << STRIPE_BITS;

/// A call of this node. Never used twice, but after a place in the table was taken and left 2^28 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallId(u64);

impl CallId {
    const fn new(generation: u32, slot: u32, stripe: usize) -> Self {
        let generation = (generation as u64) & ((1 << GENERATION_BITS) - 1);
        Self(generation << (SLOT_BITS + STRIPE_BITS) | (slot as u64) << STRIPE_BITS | stripe as u64)
    }

    /// The number under which an attempt at the call stands on the link to who is to answer it.
    pub(crate) const fn number(self, attempt: u8) -> u64 {
        self.0 << 8 | attempt as u64
    }

    /// What [`CallId::number`] was made of.
    pub(crate) const fn of_number(number: u64) -> (Self, u8) {
        (Self(number >> 8), number as u8)
    }

    const fn stripe(self) -> usize {
        (self.0 & ((1 << STRIPE_BITS) - 1)) as usize
    }

    const fn slot(self) -> u32 {
        (self.0 >> STRIPE_BITS & ((1 << SLOT_BITS) - 1)) as u32
    }
}

/// What becomes of a call that was looked at.
pub(crate) enum Step<R> {
    /// It was not the one that was meant.
    Leave,
    /// It stays.
    Keep(R),
    /// It leaves the table: whoever gets it ends it.
    Take,
}

/// What became of it.
pub(crate) enum Stepped<R> {
    /// It is not there, or was not the one that was meant.
    Nothing,
    Kept(R),
    Taken(Box<Entry>),
}

/// Lock-striped; a stripe is locked for moments, and one at a time.
#[derive(Debug)]
pub(crate) struct Table {
    stripes: Box<[Mutex<Stripe>]>,
    next: AtomicUsize,
    open: AtomicUsize,
    max: usize,
    alarm: Arc<Alarm>,
}

#[derive(Debug, Default)]
struct Stripe {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When something is due, and for which slot.
    timers: BTreeSet<(Instant, u32)>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

impl Table {
    /// For at most `max` calls.
    pub(crate) fn new(stripes: usize, max: usize, alarm: Arc<Alarm>) -> Self {
        let stripes = stripes.clamp(1, MAX_STRIPES);
        Self {
            stripes: (0..stripes).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            max: max.min(stripes << SLOT_BITS),
            alarm,
        }
    }

    /// Calls in the table.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Most calls in the table.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Adds a call; gives it back when there are as many as may be.
    pub(crate) fn insert(&self, entry: Box<Entry>) -> Result<CallId, Box<Entry>> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(entry);
        }
        let at = entry.timer;
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.stripes.len();
        let mut stripe = self.stripes[number].lock();
        let Stripe { slots, free, timers } = &mut *stripe;
        let slot = free.pop().unwrap_or_else(|| {
            slots.push(Slot { generation: 0, entry: None });
            (slots.len() - 1) as u32
        });
        let place = &mut slots[slot as usize];
        place.entry = Some(entry);
        let id = CallId::new(place.generation, slot, number);
        timers.insert((at, slot));
        drop(stripe);
        self.alarm.set(at);
        Ok(id)
    }

    /// Looks at a call, which may change it or end it.
    pub(crate) fn step<R>(&self, id: CallId, look: impl FnOnce(&mut Entry) -> Step<R>) -> Stepped<R> {
        let Some(stripe) = self.stripes.get(id.stripe()) else { return Stepped::Nothing };
        let mut stripe = stripe.lock();
        let Stripe { slots, free, timers } = &mut *stripe;
        let (number, slot) = (id.slot(), slots.get_mut(id.slot() as usize));
        let Some(slot) = slot.filter(|slot| CallId::new(slot.generation, number, id.stripe()) == id) else {
            return Stepped::Nothing;
        };
        let Some(entry) = &mut slot.entry else { return Stepped::Nothing };
        let timer = entry.timer;
        match look(entry) {
            Step::Leave => Stepped::Nothing,
            Step::Keep(result) => {
                let at = entry.timer;
                if at != timer {
                    timers.remove(&(timer, number));
                    timers.insert((at, number));
                    drop(stripe);
                    self.alarm.set(at);
                }
                Stepped::Kept(result)
            }
            Step::Take => {
                timers.remove(&(timer, number));
                slot.generation = slot.generation.wrapping_add(1);
                free.push(number);
                let taken = slot.entry.take();
                drop(stripe);
                self.open.fetch_sub(1, Ordering::Relaxed);
                taken.map_or(Stepped::Nothing, Stepped::Taken)
            }
        }
    }

    /// Looks at a call if it is there, and at this attempt.
    pub(crate) fn with<R>(&self, id: CallId, attempt: u8, look: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let stepped = self.step(id, |entry| match entry.attempt == attempt {
            true => Step::Keep(look(entry)),
            false => Step::Leave,
        });
        match stepped {
            Stepped::Kept(result) => Some(result),
            Stepped::Nothing | Stepped::Taken(_) => None,
        }
    }

    /// Takes a call out if it is there and `is_meant`.
    pub(crate) fn take_if(&self, id: CallId, is_meant: impl FnOnce(&Entry) -> bool) -> Option<Box<Entry>> {
        match self.step::<()>(id, |entry| if is_meant(entry) { Step::Take } else { Step::Leave }) {
            Stepped::Taken(entry) => Some(entry),
            Stepped::Nothing | Stepped::Kept(()) => None,
        }
    }

    /// Up to `max` calls of one stripe for which something is due, the earliest first.
    pub(crate) fn due(&self, stripe: usize, now: Instant, max: usize, due: &mut Vec<CallId>) {
        let Some(locked) = self.stripes.get(stripe) else { return };
        let locked = locked.lock();
        let timers = locked.timers.iter().take_while(|(at, _)| *at <= now).take(max);
        due.extend(timers.filter_map(|(_, slot)| {
            let generation = locked.slots.get(*slot as usize)?.generation;
            Some(CallId::new(generation, *slot, stripe))
        }));
    }

    /// When the next thing is due.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.stripes.iter().filter_map(|stripe| stripe.lock().timers.first().map(|(at, _)| *at)).min()
    }

    pub(crate) fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// All calls for which `is_meant`, with the attempt at which they are. Takes time in proportion to the calls of the
    /// node.
    pub(crate) fn find(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<(CallId, u8)> {
        let mut found = Vec::new();
        for (number, stripe) in self.stripes.iter().enumerate() {
            let stripe = stripe.lock();
            for (slot, place) in stripe.slots.iter().enumerate() {
                if let Some(entry) = place.entry.as_ref().filter(|entry| is_meant(entry)) {
                    found.push((CallId::new(place.generation, slot as u32, number), entry.attempt));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_say_which_call_and_which_attempt(
            generation in 0..1_u32 << GENERATION_BITS, slot in 0..1_u32 << SLOT_BITS, stripe in 0..MAX_STRIPES,
            attempt: u8,
        ) {
            let id = CallId::new(generation, slot, stripe);
            prop_assert_eq!((id.slot(), id.stripe()), (slot, stripe));
            prop_assert_eq!(CallId::of_number(id.number(attempt)), (id, attempt));
        }
    }
}
