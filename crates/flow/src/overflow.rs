use std::collections::{BTreeSet, VecDeque};
use std::mem;

use hashbrown::HashMap;

/// Tickets of removed items that may lie in the queue before it is cleaned.
const STALE: usize = 64;

/// A queue for work that somebody waits for: so much in order, and beyond that an overflow, of which the lowest
/// priority is given up first, then the oldest.
///
/// An item that comes while there is room in front is served in order, whatever its priority: none starves. When room
/// appears in front, the highest priority of the overflow moves up, then the oldest. Each item has a ticket, by which
/// it can be taken out when nobody waits for it any more; so expiry is the caller's.
///
/// What is given up is handed to the caller, never lost silently. An operation takes at most logarithmic time.
#[derive(Debug)]
pub struct Overflow<T> {
    entries: HashMap<u64, Entry<T>>,
    /// Tickets in order, those of removed items among them.
    front: VecDeque<u64>,
    /// How many of them are not removed.
    in_front: usize,
    /// Those beyond, by priority and age: the first one is given up first.
    beyond: BTreeSet<(u8, u64)>,
    front_limit: usize,
    beyond_limit: usize,
    tickets: u64,
}

#[derive(Debug)]
struct Entry<T> {
    priority: u8,
    in_front: bool,
    item: T,
}

impl<T> Overflow<T> {
    /// Holds at most `front` items in order, at least 1, and `beyond` more. Allocates nothing until the first push.
    pub fn new(front: usize, beyond: usize) -> Self {
        Self {
            entries: HashMap::new(),
            front: VecDeque::new(),
            in_front: 0,
            beyond: BTreeSet::new(),
            front_limit: front.max(1),
            beyond_limit: beyond,
            tickets: 0,
        }
    }

    /// Queues an item, and gives its ticket, which is never used again; and what had to be given up for it, which may
    /// be the item itself.
    pub fn push(&mut self, priority: u8, item: T) -> (u64, Option<T>) {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = self.tickets;
        let in_front = self.in_front < self.front_limit;
        self.entries.insert(ticket, Entry { priority, in_front, item });
        if in_front {
            self.append(ticket);
            return (ticket, None);
        }
        self.beyond.insert((priority, ticket));
        let given_up = if self.beyond.len() > self.beyond_limit { self.beyond.pop_first() } else { None };
        (ticket, given_up.and_then(|(_, ticket)| self.entries.remove(&ticket)).map(|entry| entry.item))
    }

    /// Takes the next one.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let ticket = self.front.pop_front()?;
            if let Some(entry) = self.entries.remove(&ticket) {
                self.left_front();
                return Some(entry.item);
            }
        }
    }

    /// Takes the item with this ticket out, if it is still there.
    pub fn remove(&mut self, ticket: u64) -> Option<T> {
        let entry = self.entries.remove(&ticket)?;
        if entry.in_front {
            self.left_front();
        } else {
            self.beyond.remove(&(entry.priority, ticket));
        }
        Some(entry.item)
    }

    /// Empties the queue: first what is in front, in order, then the overflow, highest priority first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let mut all =
            mem::replace(self, Self { tickets: self.tickets, ..Self::new(self.front_limit, self.beyond_limit) });
        std::iter::from_fn(move || all.pop())
    }

    /// Items queued.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Items in the overflow.
    pub fn overflowing(&self) -> usize {
        self.beyond.len()
    }

    /// Most items, the overflow included.
    pub const fn capacity(&self) -> usize {
        self.front_limit.saturating_add(self.beyond_limit)
    }

    fn append(&mut self, ticket: u64) {
        if self.front.len() - self.in_front >= self.in_front + STALE {
            let entries = &self.entries;
            self.front.retain(|ticket| entries.contains_key(ticket));
        }
        self.front.push_back(ticket);
        self.in_front += 1;
    }

    /// Fills the place of one that was in front.
    fn left_front(&mut self) {
        self.in_front -= 1;
        if let Some(ticket) = self.next_beyond()
            && let Some(entry) = self.entries.get_mut(&ticket)
        {
            entry.in_front = true;
            self.beyond.remove(&(entry.priority, ticket));
            self.append(ticket);
        }
    }

    /// The oldest of the highest priority.
    fn next_beyond(&self) -> Option<u64> {
        let (highest, _) = *self.beyond.last()?;
        self.beyond.range((highest, 0)..).next().map(|(_, ticket)| *ticket)
    }
}
