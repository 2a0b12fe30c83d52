//! What the tests of this crate share: names made at random, and a matcher too simple to be wrong.

use proptest::prelude::*;

use crate::{Pattern, Topic};

/// Tokens from so few that topics and patterns meet. One is reserved where it stands first, one is not ASCII, and one
/// is too long for the short form of the interner.
const TOKENS: [&str; 6] = ["a", "b", "c", "$sys", "ü", "a-token-of-thirty-bytes-length"];

fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("a"), 3 => Just("b"), 2 => proptest::sample::select(&TOKENS[..])]
}

/// A short topic of few different tokens.
pub(crate) fn topic() -> impl Strategy<Value = Topic> {
    proptest::collection::vec(token(), 1..6)
        .prop_map(|tokens| Topic::parse(&tokens.join(".")).expect("made of valid tokens"))
}

/// A short pattern of the same tokens, many of them wildcards.
pub(crate) fn pattern() -> impl Strategy<Value = Pattern> {
    let step = prop_oneof![3 => token(), 2 => Just("*")];
    let steps = proptest::collection::vec(step, 0..5);
    let last = prop_oneof![token(), Just("*"), Just(">")];
    (steps, last).prop_map(|(mut tokens, last)| {
        tokens.push(last);
        Pattern::parse(&tokens.join(".")).expect("made of valid tokens")
    })
}

/// Whether `pattern` matches `topic`, straight from the definition.
pub(crate) fn naive_match(pattern: &str, topic: &str) -> bool {
    fn tokens_match(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", pattern @ ..], [_, topic @ ..]) => tokens_match(pattern, topic),
            ([wanted, pattern @ ..], [given, topic @ ..]) => wanted == given && tokens_match(pattern, topic),
            _ => false,
        }
    }
    let pattern: Vec<_> = pattern.split('.').collect();
    let topic: Vec<_> = topic.split('.').collect();
    let system = topic[0].starts_with('$');
    !(system && matches!(pattern[0], "*" | ">")) && tokens_match(&pattern, &topic)
}
