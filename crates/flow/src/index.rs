use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Which slot of a queue holds which key.
///
/// Slots are numbered from the first one ever queued, so that numbers stay true while the queue moves on. A key stands
/// once, in slot order; the table holds numbers only.
#[derive(Debug)]
pub(crate) struct Index<K> {
    /// Keys of the slots, front to back; `None` for a slot without.
    keys: VecDeque<Option<K>>,
    /// Number of the front slot.
    first: u64,
    numbers: HashTable<u64>,
    hasher: DefaultHashBuilder,
}

impl<K: Eq + Hash> Index<K> {
    pub(crate) fn new() -> Self {
        Self { keys: VecDeque::new(), first: 0, numbers: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    /// The slot of this key, counted from the front.
    pub(crate) fn slot(&self, key: &K) -> Option<usize> {
        let known = |number: &u64| key_at(&self.keys, self.first, *number) == Some(key);
        let number = self.numbers.find(self.hasher.hash_one(key), known)?;
        Some(number.wrapping_sub(self.first) as usize)
    }

    /// Follows a slot added at the back.
    pub(crate) fn push_back(&mut self, key: Option<K>) {
        let number = self.first.wrapping_add(self.keys.len() as u64);
        self.keys.push_back(key);
        self.enter(number);
    }

    /// Follows a slot added at the front.
    pub(crate) fn push_front(&mut self, key: Option<K>) {
        self.first = self.first.wrapping_sub(1);
        self.keys.push_front(key);
        self.enter(self.first);
    }

    /// Follows the front slot being removed.
    pub(crate) fn pop_front(&mut self) {
        let number = self.first;
        let Some(key) = self.keys.pop_front() else { return };
        self.first = number.wrapping_add(1);
        if let Some(key) = key
            && let Ok(entry) = self.numbers.find_entry(self.hasher.hash_one(&key), |known| *known == number)
        {
            entry.remove();
        }
    }

    /// Gives back memory beyond so many slots. For an empty index.
    pub(crate) fn shrink_to(&mut self, slots: usize) {
        self.keys.shrink_to(slots);
        // The table is empty, so nothing is hashed.
        self.numbers.shrink_to(slots, |_| 0);
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        self.keys.capacity() * size_of::<Option<K>>() + self.numbers.allocation_size()
    }

    /// Enters the key of this slot into the table, where it is not yet.
    fn enter(&mut self, number: u64) {
        let Self { keys, first, numbers, hasher } = self;
        let hash = |number: &u64| key_at(keys, *first, *number).map_or(0, |key| hasher.hash_one(key));
        if key_at(keys, *first, number).is_some() {
            numbers.insert_unique(hash(&number), number, hash);
        }
    }
}

fn key_at<K>(keys: &VecDeque<Option<K>>, first: u64, number: u64) -> Option<&K> {
    keys.get(number.wrapping_sub(first) as usize)?.as_ref()
}
