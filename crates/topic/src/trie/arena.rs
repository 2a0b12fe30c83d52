use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// Where something lives in an [`Arena`]. `Option<Id>` is four bytes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(NonZeroU32);

impl Id {
    /// The first one that an arena gives out.
    pub(super) const FIRST: Self = Self(NonZeroU32::MIN);

    pub(super) const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The id of the slot at `index`.
    pub(super) fn of(index: usize) -> Self {
        let number = u32::try_from(index + 1).expect("fewer than 2^32 patterns and tokens fit into memory");
        Self(NonZeroU32::MIN.saturating_add(number - 1))
    }
}

/// Values side by side in one allocation, addressed by [`Id`]. Freed places are used again, last freed first.
#[derive(Debug, Clone)]
pub(super) struct Arena<T> {
    slots: Vec<T>,
    free: Vec<Id>,
}

impl<T: Default> Arena<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Id {
        if let Some(id) = self.free.pop() {
            self[id] = value;
            return id;
        }
        let id = Id::of(self.slots.len());
        self.slots.push(value);
        id
    }

    /// Frees the place. The id must not be used any more.
    pub(super) fn remove(&mut self, id: Id) -> T {
        self.free.push(id);
        std::mem::take(&mut self[id])
    }

    /// How many values it holds.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All places, the free ones too: those hold `T::default()`.
    pub(super) fn slots(&self) -> &[T] {
        &self.slots
    }
}

impl<T> Index<Id> for Arena<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        &self.slots[id.index()]
    }
}

impl<T> IndexMut<Id> for Arena<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        &mut self.slots[id.index()]
    }
}
