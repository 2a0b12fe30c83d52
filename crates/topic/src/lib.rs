//! Topic names, patterns, and the trie that matches one against the other.
//!
//! A **topic** is a name of 1 to 32 tokens, joined by `.`: `sensors.kitchen.temperature`. A **pattern** is what somebody
//! subscribes to: a topic in which a token may be a wildcard.
//!
//! | wildcard | stands for | example | matches | does not match |
//! |---|---|---|---|---|
//! | `*` | exactly one token | `sensors.*.temperature` | `sensors.kitchen.temperature` | `sensors.temperature` |
//! | `>`, last token only | one token or more | `sensors.>` | `sensors.kitchen`, `sensors.kitchen.temperature` | `sensors` |
//!
//! A token is one or more UTF-8 characters other than white space, control characters, `.`, `*` and `>`. Names are
//! compared byte for byte: case matters, and nothing is normalised.
//!
//! # Reserved names
//!
//! Names that start with `$` belong to the system. A wildcard in first position never matches them, as in MQTT: who
//! subscribes to `>` gets every message of the applications and none of the machinery. `$node.>` gets the latter.
//!
//! # Parts
//!
//! * [`Topic`] and [`Pattern`] are validated names, cheap to clone; [`NameError`] says what is wrong with the others.
//! * [`validate_topic`] checks a name where no `Topic` is needed, such as in a frame.
//! * [`PatternTrie`] finds all patterns that match a topic, among a million of them in a few microseconds.
//!
//! This crate is pure: no sockets, no clock. Its hash tables seed themselves, which changes no result.
//!
//! ```
//! use sinew_topic::{Pattern, PatternTrie};
//!
//! let mut trie = PatternTrie::new();
//! trie.insert(&Pattern::parse("sensors.*.temperature")?, 1);
//! trie.insert(&Pattern::parse("sensors.>")?, 2);
//! trie.insert(&Pattern::parse("doors.front")?, 3);
//!
//! let mut found = trie.matches("sensors.kitchen.temperature");
//! found.sort();
//! assert_eq!(found, [1, 2]);
//! # Ok::<(), sinew_topic::NameError>(())
//! ```

#![warn(missing_docs)]

mod check;
mod error;
mod name;
mod pattern;
#[cfg(test)]
mod testing;
mod trie;

pub use check::validate_topic;
pub use error::NameError;
pub use name::{Topic, is_reserved};
pub use pattern::Pattern;
pub use trie::PatternTrie;

/// Longest topic or pattern, in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// Most tokens in a topic or pattern.
pub const MAX_TOKENS: usize = 32;
