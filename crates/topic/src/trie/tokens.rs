use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};

use super::arena::Id;

/// The literal tokens in use, each once: a number for each text, so that the trie compares and hashes numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    hasher: DefaultHashBuilder,
    table: HashTable<Token>,
    free: Vec<Id>,
}

#[derive(Debug, Clone)]
struct Token {
    text: Text,
    id: Id,
    /// How many edges of the trie carry it.
    uses: u32,
}

impl Tokens {
    /// The number of a token, if it is in use.
    pub(super) fn find(&self, text: &[u8]) -> Option<Id> {
        let token = self.table.find(self.hasher.hash_one(text), |token| token.text.is(text))?;
        Some(token.id)
    }

    /// Counts one more use of a token, and says its number.
    pub(super) fn acquire(&mut self, text: &[u8]) -> Id {
        let Self { hasher, table, free } = self;
        let known = table.len();
        let hash = hasher.hash_one(text);
        match table.entry(hash, |token| token.text.is(text), |token| hasher.hash_one(token.text.as_bytes())) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().uses += 1;
                entry.get().id
            }
            Entry::Vacant(entry) => {
                // With none free, the numbers in use are exactly those below `known`.
                let id = free.pop().unwrap_or_else(|| Id::of(known));
                entry.insert(Token { text: Text::new(text), id, uses: 1 });
                id
            }
        }
    }

    /// Counts one use less; the last one forgets the token.
    pub(super) fn release(&mut self, text: &[u8]) {
        let hash = self.hasher.hash_one(text);
        let mut entry =
            self.table.find_entry(hash, |token| token.text.is(text)).expect("released as often as acquired");
        entry.get_mut().uses -= 1;
        if entry.get().uses == 0 {
            let (token, _) = entry.remove();
            self.free.push(token.id);
        }
    }

    /// How many different tokens are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The text of every token, by the index of its number; empty where a number is free.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts = vec![""; self.table.len() + self.free.len()];
        for token in &self.table {
            texts[token.id.index()] = token.text.as_str();
        }
        texts
    }
}

/// A token's text. Nearly all are short: those lie in the table itself, where a look-up finds them without following
/// a pointer to yet another cache line.
#[derive(Debug, Clone)]
enum Text {
    Short { len: u8, bytes: [u8; Self::SHORT] },
    Long(Box<[u8]>),
}

impl Text {
    /// What fits beside the length and the tag into the three words that `Long` needs anyway.
    const SHORT: usize = 22;

    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; Self::SHORT];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self::Short { len: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }

    fn is(&self, text: &[u8]) -> bool {
        self.as_bytes() == text
    }

    fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("tokens come out of patterns, which are UTF-8")
    }
}

const _: () = assert!(size_of::<Token>() == 32);
