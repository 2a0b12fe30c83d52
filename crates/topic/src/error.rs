use crate::{MAX_NAME_BYTES, MAX_TOKENS};

/// Why a text is not a valid topic or pattern: which rule it breaks, and where.
///
/// `at` is an offset in bytes from the start of the name. `token` counts from 1, as people do. When several rules are
/// broken, the error names the first that a reader meets; the limits on the whole name are looked at first (bytes) and
/// last (tokens).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no name.
    #[error("name is empty")]
    Empty,
    /// The name has more than [`MAX_NAME_BYTES`] bytes.
    #[error("name is {bytes} bytes, the limit is {MAX_NAME_BYTES}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The name has more than [`MAX_TOKENS`] tokens.
    #[error("name has {tokens} tokens, the limit is {MAX_TOKENS}")]
    TooManyTokens {
        /// How many it has.
        tokens: usize,
    },
    /// Nothing stands before, between or after the dots.
    #[error("token {token} at byte {at} is empty")]
    EmptyToken {
        /// Where the token would be.
        at: usize,
        /// Which token.
        token: usize,
    },
    /// A token holds white space.
    #[error("white space {character:?} at byte {at} in token {token}")]
    WhiteSpace {
        /// Where it stands.
        at: usize,
        /// In which token.
        token: usize,
        /// The white space.
        character: char,
    },
    /// A token holds a control character.
    #[error("control character {character:?} at byte {at} in token {token}")]
    ControlCharacter {
        /// Where it stands.
        at: usize,
        /// In which token.
        token: usize,
        /// The control character.
        character: char,
    },
    /// A topic holds a wildcard, which only a pattern may have.
    #[error("wildcard '{wildcard}' at byte {at} in token {token}: a topic has none")]
    WildcardInTopic {
        /// Where it stands.
        at: usize,
        /// In which token.
        token: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// A pattern has a wildcard beside other characters in one token.
    #[error("wildcard '{wildcard}' at byte {at} in token {token}: it must be the whole token")]
    WildcardInsideToken {
        /// Where it stands.
        at: usize,
        /// In which token.
        token: usize,
        /// `*` or `>`.
        wildcard: char,
    },
    /// A pattern goes on after `>`.
    #[error("wildcard '>' at byte {at} is token {token}: it must be the last")]
    RestNotLast {
        /// Where it stands.
        at: usize,
        /// Which token it is.
        token: usize,
    },
}
