//! Names, patterns and the trie. The input is lines: `+pattern` inserts, `-pattern` removes, anything else is a topic to
//! match. Never a panic; the trie agrees with a list of patterns matched one by one, and leaves nothing behind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_topic::{Pattern, PatternTrie, Topic, validate_topic};

fuzz_target!(|script: &str| {
    let mut trie = PatternTrie::new();
    let mut model: Vec<(Pattern, usize)> = Vec::new();
    // Few values, so that pairs repeat and patterns share.
    for (line, text) in script.split('\n').enumerate() {
        let value = line % 3;
        if let Some(text) = text.strip_prefix('+') {
            let Ok(pattern) = Pattern::parse(text) else { continue };
            let pair = (pattern, value);
            assert_eq!(trie.insert(&pair.0, value), !model.contains(&pair));
            if !model.contains(&pair) {
                model.push(pair);
            }
        } else if let Some(text) = text.strip_prefix('-') {
            let Ok(pattern) = Pattern::parse(text) else { continue };
            let held = model.iter().position(|pair| pair.0 == pattern && pair.1 == value);
            assert_eq!(trie.remove(&pattern, &value), held.is_some());
            held.map(|at| model.swap_remove(at));
        } else {
            let mut found = trie.matches(text);
            let Ok(topic) = Topic::parse(text) else {
                // What is found for an invalid topic means nothing, but nothing may break.
                assert!(validate_topic(text).is_err());
                continue;
            };
            assert!(Pattern::from(topic).matches(text), "a topic is the pattern of itself");
            assert_eq!(Pattern::parse(text).map(|pattern| pattern.is_literal()), Ok(true));
            let mut expected: Vec<_> =
                model.iter().filter(|(pattern, _)| pattern.matches(text)).map(|(_, value)| *value).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
    }
    assert_eq!(trie.len(), model.len());
    let mut held: Vec<_> = trie.iter().collect();
    held.sort();
    model.sort();
    assert_eq!(held, model);
    for (pattern, value) in &model {
        assert!(trie.remove(pattern, value));
    }
    assert_eq!((trie.len(), trie.node_count()), (0, 1));
});
