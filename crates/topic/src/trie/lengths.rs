use crate::MAX_TOKENS;

/// A set of pattern lengths: bit `n - 1` for patterns of `n` tokens that end in a literal or `*`, bit `32 + n - 1` for
/// those that end in `>`.
///
/// Every node of the trie keeps the lengths of the patterns that run through it. A topic has a set of lengths that can
/// match it, which stays the same during the whole walk. Where the two have nothing in common, nothing below matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lengths(u64);

const _: () = assert!(2 * MAX_TOKENS == u64::BITS as usize);

impl Lengths {
    /// The lengths of the patterns that can match a topic of `tokens` tokens, 1 to [`MAX_TOKENS`]: ending without `>`,
    /// exactly that many; ending with it, at most that many.
    pub(super) const fn matching(tokens: usize) -> Self {
        let exactly = 1 << (tokens - 1);
        let up_to = u32::MAX >> (MAX_TOKENS - tokens);
        Self(exactly | (up_to as u64) << MAX_TOKENS)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn contains(self, length: Length) -> bool {
        self.0 >> length.0 & 1 != 0
    }

    pub(super) const fn insert(&mut self, length: Length) {
        self.0 |= 1 << length.0;
    }

    pub(super) const fn remove(&mut self, length: Length) {
        self.0 &= !(1 << length.0);
    }
}

/// One member of [`Lengths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Length(u8);

impl Length {
    /// Of a pattern with `tokens` tokens, 1 to [`MAX_TOKENS`], the last of them `>` or not.
    pub(super) fn new(tokens: usize, ends_with_rest: bool) -> Self {
        debug_assert!((1..=MAX_TOKENS).contains(&tokens));
        let base = if ends_with_rest { MAX_TOKENS } else { 0 };
        Self((base + tokens - 1) as u8)
    }
}
