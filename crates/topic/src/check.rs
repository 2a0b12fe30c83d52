//! The rules of names. Topics are checked once per run of messages, so they get a path of eight bytes a step; only
//! what that path cannot vouch for is looked at character by character.

use crate::{MAX_NAME_BYTES, MAX_TOKENS, NameError};

/// Checks that `name` is a valid topic, without allocating.
///
/// # Errors
/// The first rule that is broken, and where; see [`NameError`].
pub fn validate_topic(name: &str) -> Result<(), NameError> {
    if is_plain_topic(name.as_bytes()) { Ok(()) } else { check(name, Kind::Topic) }
}

/// Checks that `name` is a valid pattern, without allocating.
pub(crate) fn validate_pattern(name: &str) -> Result<(), NameError> {
    check(name, Kind::Pattern)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Topic,
    Pattern,
}

fn check(name: &str, kind: Kind) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    let mut start = 0;
    let mut tokens = 0;
    for text in name.split('.') {
        tokens += 1;
        check_token(text, start, tokens, kind)?;
        let end = start + text.len();
        if text == ">" && end < name.len() {
            return Err(NameError::RestNotLast { at: start, token: tokens });
        }
        start = end + 1;
    }
    if tokens > MAX_TOKENS {
        return Err(NameError::TooManyTokens { tokens });
    }
    Ok(())
}

/// Checks the token `text`, which starts at byte `start` and is the `token`th of its name.
fn check_token(text: &str, start: usize, token: usize, kind: Kind) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::EmptyToken { at: start, token });
    }
    if kind == Kind::Pattern && matches!(text, "*" | ">") {
        return Ok(());
    }
    for (offset, character) in text.char_indices() {
        let at = start + offset;
        match character {
            wildcard @ ('*' | '>') => {
                return Err(match kind {
                    Kind::Topic => NameError::WildcardInTopic { at, token, wildcard },
                    Kind::Pattern => NameError::WildcardInsideToken { at, token, wildcard },
                });
            }
            _ if character.is_whitespace() => return Err(NameError::WhiteSpace { at, token, character }),
            _ if character.is_control() => return Err(NameError::ControlCharacter { at, token, character }),
            _ => {}
        }
    }
    Ok(())
}

/// Eight times the byte 0x01.
const ONES: u64 = u64::MAX / 0xff;
/// The high bit of each of eight bytes. In the masks below it says "this byte is one of them".
const HIGH: u64 = ONES << 7;

/// Whether `name` is a valid topic of ASCII characters alone. `false` means that it may be invalid.
fn is_plain_topic(name: &[u8]) -> bool {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return false;
    }
    let mut scan = Scan { suspect: 0, dots: 0, after_dot: HIGH >> 56 };
    let (words, tail) = name.as_chunks::<8>();
    for word in words {
        scan.step(u64::from_le_bytes(*word));
    }
    if !tail.is_empty() {
        scan.step(padded(name, tail));
    }
    // Nothing came after the last byte that would have shown an empty token there.
    let ends_with_dot = name.last() == Some(&b'.');
    scan.suspect == 0 && !ends_with_dot && scan.dots < MAX_TOKENS as u32
}

/// The last, unfinished word of `name`, filled up with a harmless letter.
fn padded(name: &[u8], tail: &[u8]) -> u64 {
    const LETTERS: u64 = ONES * b'a' as u64;
    let used = 8 * tail.len() as u32;
    let low = match name.last_chunk::<8>() {
        // One load that overlaps the word before, instead of a loop over the tail.
        Some(last) => u64::from_le_bytes(*last) >> (64 - used),
        None => tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    low | LETTERS << used
}

struct Scan {
    /// Not zero once a byte was seen that needs a closer look.
    suspect: u64,
    /// Dots so far.
    dots: u32,
    /// High bit of the lowest byte: the byte before this word was a dot, or there was none.
    after_dot: u64,
}

impl Scan {
    /// Looks at eight bytes, the first of them lowest.
    fn step(&mut self, word: u64) {
        let low = word & !HIGH;
        let dots = equal(word, b'.');
        // Sums of two seven bit numbers: the carry stays in the high bit of its own byte.
        let above_space = low + ONES * (0x80 - 0x21);
        let delete = low + ONES;
        let forbidden = word | !above_space | delete | equal(word, b'*') | equal(word, b'>');
        let empty_token = dots & (dots << 8 | self.after_dot);
        self.suspect |= (forbidden & HIGH) | empty_token;
        self.dots += dots.count_ones();
        self.after_dot = dots >> 56;
    }
}

/// The high bit of each byte of `word` that is `byte`, an ASCII character.
const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    !(((difference & !HIGH) + !HIGH) | difference) & HIGH
}

#[cfg(test)]
mod tests;
