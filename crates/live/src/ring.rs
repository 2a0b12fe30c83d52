use std::collections::VecDeque;

/// A bounded buffer that lets go of the oldest for the newest, and counts exactly.
///
/// Each item has a number: how many were pushed before it.
///
/// ```
/// use sinew_live::Ring;
///
/// let mut ring = Ring::new(2);
/// "abc".chars().for_each(|item| ring.push(item));
/// let taken = ring.take();
/// assert_eq!(taken.dropped, 1);
/// assert_eq!(taken.numbered().collect::<Vec<_>>(), [(1, 'b'), (2, 'c')]);
/// ```
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<T>,
    capacity: usize,
    emitted: u64,
    dropped: u64,
}

/// What was in a [`Ring`].
#[derive(Debug)]
pub struct Taken<T> {
    /// The items, oldest first.
    pub items: VecDeque<T>,
    /// Items pushed since the ring was made, with these.
    pub emitted: u64,
    /// Items dropped since the ring was made.
    pub dropped: u64,
}

impl<T> Ring<T> {
    /// A ring of at most `capacity` items, at least one. Allocates with the first push, and as many are in it.
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity: capacity.max(1), emitted: 0, dropped: 0 }
    }

    /// Appends an item; the oldest goes if there is no room. Constant time.
    pub fn push(&mut self, item: T) {
        if self.items.len() >= self.capacity {
            self.items.pop_front();
            self.dropped += 1;
        }
        self.items.push_back(item);
        self.emitted += 1;
    }

    /// Empties the ring. Constant time.
    pub fn take(&mut self) -> Taken<T> {
        Taken { items: std::mem::take(&mut self.items), emitted: self.emitted, dropped: self.dropped }
    }

    /// Items in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items it holds at most.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Items pushed so far.
    pub const fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Items dropped so far, each because a newer one needed its place.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl<T> Taken<T> {
    /// The items with their numbers, oldest first.
    pub fn numbered(self) -> impl Iterator<Item = (u64, T)> {
        let first = self.emitted - self.items.len() as u64;
        (first..).zip(self.items)
    }
}
