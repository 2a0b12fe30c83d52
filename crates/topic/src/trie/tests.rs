use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::Topic;
use crate::testing::{naive_match, pattern, topic};

fn parse(text: &str) -> Pattern {
    Pattern::parse(text).expect("valid")
}

fn trie_of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> PatternTrie<usize> {
    let mut trie = PatternTrie::new();
    for (value, text) in patterns.into_iter().enumerate() {
        assert!(trie.insert(&parse(text), value), "{text} twice");
    }
    trie
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}

fn visits(trie: &PatternTrie<usize>, topic: &str) -> usize {
    trie.walk(topic, |_| {})
}

/// Asserts that nothing is left behind of what was inserted.
#[track_caller]
fn assert_bare<V: Copy + Eq>(trie: &PatternTrie<V>) {
    assert!(trie.is_empty());
    assert_eq!(trie.node_count(), 1);
    assert_eq!(trie.values.len(), 0);
    assert_eq!(trie.tokens.len(), 0);
    assert_eq!(trie.graph.table_sizes(), (0, 0));
    assert!(trie.graph.node(Graph::ROOT).lengths.is_empty());
}

#[test]
fn empty_matches_nothing() {
    let trie = PatternTrie::<u32>::default();
    assert_bare(&trie);
    assert_eq!(trie.matches("a.b"), []);
    assert_eq!(trie.iter().count(), 0);
    assert_eq!(format!("{trie:?}"), "PatternTrie { len: 0, nodes: 1, .. }");
}

#[test]
fn a_pair_is_there_once() {
    let mut trie = PatternTrie::new();
    assert!(trie.insert(&parse("a.>"), 1));
    assert!(!trie.insert(&parse("a.>"), 1));
    assert!(trie.insert(&parse("a.>"), 2));
    assert!(trie.insert(&parse("a.*"), 1));
    assert_eq!(trie.len(), 3);
    assert_eq!(sorted(trie.matches("a.b")), [1, 1, 2]);

    assert!(!trie.remove(&parse("a.*"), &2), "no such value");
    assert!(!trie.remove(&parse("a"), &1), "no such pattern, though its node is there");
    assert!(!trie.remove(&parse("x.y"), &1), "no such tokens");
    assert!(trie.remove(&parse("a.>"), &1));
    assert!(!trie.remove(&parse("a.>"), &1), "gone already");
    assert_eq!(sorted(trie.matches("a.b")), [1, 2]);
    assert!(trie.remove(&parse("a.>"), &2));
    assert!(trie.remove(&parse("a.*"), &1));
    assert_bare(&trie);
}

#[test]
fn a_pattern_holds_a_crowd_and_forgets_it() {
    let mut trie = PatternTrie::new();
    for value in 0..1000 {
        assert!(trie.insert(&parse("a.b"), value));
    }
    assert_eq!(trie.node_count(), 3);
    assert_eq!(sorted(trie.matches("a.b")), Vec::from_iter(0..1000));
    for value in (0..1000).rev() {
        assert!(trie.remove(&parse("a.b"), &value));
    }
    assert_bare(&trie);
}

#[test]
fn siblings_survive_each_other() {
    // The first literal child lives in its parent, the others in the table.
    let tokens = ["x", "y", "z"];
    for removed in tokens {
        let mut trie = trie_of(tokens);
        let value = trie.matches(removed)[0];
        assert!(trie.remove(&parse(removed), &value));
        for token in tokens {
            assert_eq!(trie.matches(token).len(), usize::from(token != removed));
        }
        assert!(trie.insert(&parse(removed), 7));
        assert_eq!(trie.matches(removed), [7]);
    }
}

#[test]
fn topics_out_of_bounds_find_nothing_and_break_nothing() {
    let trie = trie_of([">", "*", "a.>"]);
    let long = vec!["a"; MAX_TOKENS + 1].join(".");
    assert_eq!(trie.matches(&long), []);
    for topic in ["", ".", "a..", "*", ">", "\0", &".".repeat(4096)] {
        trie.matches(topic);
    }
}

#[test]
fn patterns_of_the_greatest_depth() {
    let literal = vec!["a"; MAX_TOKENS].join(".");
    let stars = vec!["*"; MAX_TOKENS].join(".");
    let rest = format!("{}.>", vec!["a"; MAX_TOKENS - 1].join("."));
    let patterns = [literal.as_str(), &stars, &rest, ">"];
    let mut trie = trie_of(patterns);
    assert_eq!(sorted(trie.matches(&literal)), [0, 1, 2, 3]);
    assert_eq!(trie.matches("a"), [3]);
    assert_eq!(sorted(trie.iter().map(|(pattern, _)| pattern.to_string())), sorted(patterns.map(String::from)));
    for (value, text) in patterns.into_iter().enumerate() {
        assert!(trie.remove(&parse(text), &value));
    }
    assert_bare(&trie);
}

/// All patterns of `depth` tokens, each `a` or `*`, with `end` behind.
fn all_of_a_and_star(depth: usize, end: &str) -> Vec<String> {
    (0..1_usize << depth)
        .map(|bits| (0..depth).map(|at| if bits >> at & 1 == 0 { "a." } else { "*." }).collect::<String>() + end)
        .collect()
}

fn topic_of(depth: usize, end: &str) -> String {
    "a.".repeat(depth) + end
}

#[test]
fn a_match_enters_no_node_twice() {
    const DEPTH: usize = 12;
    let patterns = all_of_a_and_star(DEPTH, "b");
    let trie = trie_of(patterns.iter().map(String::as_str));
    // All match: there is nothing to save.
    let topic = topic_of(DEPTH, "b");
    assert_eq!(trie.matches(&topic).len(), 1 << DEPTH);
    assert_eq!(visits(&trie, &topic), trie.node_count());
    // None matches, and that shows only at the end: the bound of the theorem.
    assert_eq!(visits(&trie, &topic_of(DEPTH, "c")), (2 << DEPTH) - 1);
}

#[test]
fn what_cannot_match_by_length_is_not_entered() {
    const DEPTH: usize = 12;
    let patterns = all_of_a_and_star(DEPTH, "b");
    let trie = trie_of(patterns.iter().map(String::as_str));
    for depth in (0..=20).filter(|&depth| depth != DEPTH) {
        assert_eq!(visits(&trie, &topic_of(depth, "b")), 0, "{depth}");
    }
    let with_rest = all_of_a_and_star(DEPTH, ">");
    let trie = trie_of(with_rest.iter().map(String::as_str));
    assert_eq!(visits(&trie, &topic_of(DEPTH - 1, "b")), 0, "too short for any");
    assert_eq!(visits(&trie, &topic_of(DEPTH + 7, "b")), trie.node_count(), "all match");
}

#[test]
fn one_pattern_of_the_right_length_does_not_open_the_others() {
    const DEPTH: usize = 12;
    let mut patterns = all_of_a_and_star(DEPTH, "b");
    patterns.push("*.a.*.a".into());
    let mut trie = trie_of(patterns.iter().map(String::as_str));
    assert_eq!(trie.matches("a.a.a.a"), [1 << DEPTH]);
    assert_eq!(visits(&trie, "a.a.a.a"), 5, "the way to the pattern and nothing else");
    // Taking it away closes the way again, though its nodes stay for the others.
    assert!(trie.remove(&parse("*.a.*.a"), &(1 << DEPTH)));
    assert_eq!(visits(&trie, "a.a.a.a"), 0);
    assert_eq!(trie.matches(&topic_of(DEPTH, "b")).len(), 1 << DEPTH);
}

#[test]
fn other_first_tokens_cost_nothing() {
    let patterns: Vec<_> = (0..1000).flat_map(|n| [format!("t{n}.*.*.x"), format!("t{n}.>")]).collect();
    let trie = trie_of(patterns.iter().map(String::as_str));
    assert_eq!(visits(&trie, "t500.b.c.x"), 5);
    assert_eq!(visits(&trie, "other.b.c.x"), 1);
}

/// How many nodes the theorem says that a match enters.
fn visits_by_theorem(patterns: &[Pattern], topic: &str) -> usize {
    let topic_tokens: Vec<_> = topic.split('.').collect();
    let mut prefixes = HashSet::new();
    for pattern in patterns {
        let mut tokens: Vec<_> = pattern.tokens().collect();
        let rest = tokens.last() == Some(&">");
        let fits = tokens.len() == topic_tokens.len() || rest && tokens.len() < topic_tokens.len();
        if rest {
            tokens.pop();
        }
        for end in (0..=tokens.len()).filter(|_| fits) {
            if end == 0 || naive_match(&tokens[..end].join("."), &topic_tokens[..end].join(".")) {
                prefixes.insert(tokens[..end].join("."));
            }
        }
    }
    prefixes.len()
}

#[derive(Debug, Clone)]
enum Op {
    Insert(Pattern, u8),
    Remove(Pattern, u8),
    /// Remove the pair at this place of the model, counted round and round.
    RemoveHeld(usize),
    Match(Topic),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (pattern(), 0..3_u8).prop_map(|(pattern, value)| Op::Insert(pattern, value)),
        1 => (pattern(), 0..3_u8).prop_map(|(pattern, value)| Op::Remove(pattern, value)),
        2 => any::<usize>().prop_map(Op::RemoveHeld),
        2 => topic().prop_map(Op::Match),
    ]
}

proptest! {
    #[test]
    fn finds_what_the_naive_matcher_finds(patterns in proptest::collection::vec(pattern(), 0..60), topic in topic()) {
        let patterns = { let mut unique = sorted(patterns); unique.dedup(); unique };
        let trie = trie_of(patterns.iter().map(Pattern::as_str));
        let naive = (0..patterns.len()).filter(|&at| naive_match(patterns[at].as_str(), topic.as_str()));
        prop_assert_eq!(sorted(trie.matches(topic.as_str())), Vec::from_iter(naive));
        prop_assert_eq!(visits(&trie, topic.as_str()), visits_by_theorem(&patterns, topic.as_str()));
    }

    #[test]
    fn is_a_set_of_pairs(ops in proptest::collection::vec(op(), 0..200)) {
        let mut trie = PatternTrie::new();
        let mut model: Vec<(Pattern, u8)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(pattern, value) => {
                    let new = !model.contains(&(pattern.clone(), value));
                    prop_assert_eq!(trie.insert(&pattern, value), new);
                    if new {
                        model.push((pattern, value));
                    }
                }
                Op::Remove(pattern, value) => {
                    let held = model.iter().position(|pair| *pair == (pattern.clone(), value));
                    prop_assert_eq!(trie.remove(&pattern, &value), held.is_some());
                    held.map(|at| model.swap_remove(at));
                }
                Op::RemoveHeld(at) if !model.is_empty() => {
                    let (pattern, value) = model.swap_remove(at % model.len());
                    prop_assert!(trie.remove(&pattern, &value));
                }
                Op::RemoveHeld(_) => {}
                Op::Match(topic) => {
                    let naive = model.iter().filter(|(pattern, _)| naive_match(pattern.as_str(), topic.as_str()));
                    let found = sorted(trie.matches(topic.as_str()));
                    prop_assert_eq!(found, sorted(naive.map(|(_, value)| *value)));
                    let patterns: Vec<_> = model.iter().map(|(pattern, _)| pattern.clone()).collect();
                    let entered = trie.walk(topic.as_str(), |_| {});
                    prop_assert_eq!(entered, visits_by_theorem(&patterns, topic.as_str()));
                }
            }
            prop_assert_eq!(trie.len(), model.len());
        }
        prop_assert_eq!(sorted(trie.iter()), sorted(model.iter().cloned()));
        for (pattern, value) in model.drain(..) {
            prop_assert!(trie.remove(&pattern, &value));
        }
        assert_bare(&trie);
    }
}
