/// The values under one pattern. Most patterns have one, which then needs no allocation.
#[derive(Debug, Clone, Default)]
pub(super) enum Values<V> {
    /// A place that is free.
    #[default]
    None,
    One(V),
    Many(Vec<V>),
}

impl<V: Copy + Eq> Values<V> {
    pub(super) fn as_slice(&self) -> &[V] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// Adds `value`; `false` when it is there already.
    pub(super) fn insert(&mut self, value: V) -> bool {
        if self.as_slice().contains(&value) {
            return false;
        }
        match self {
            Self::None => *self = Self::One(value),
            Self::One(first) => *self = Self::Many(vec![*first, value]),
            Self::Many(values) => values.push(value),
        }
        true
    }

    /// Takes `value` out; `false` when it is not there.
    pub(super) fn remove(&mut self, value: &V) -> bool {
        let Some(at) = self.as_slice().iter().position(|held| held == value) else { return false };
        match self {
            Self::Many(values) => {
                values.swap_remove(at);
                match values.as_slice() {
                    // Not empty: there were two or more.
                    [last] => *self = Self::One(*last),
                    // Gives back what a crowd left behind.
                    few if few.len() < values.capacity() / 4 => values.shrink_to(2 * values.len()),
                    _ => {}
                }
            }
            _ => *self = Self::None,
        }
        true
    }
}
