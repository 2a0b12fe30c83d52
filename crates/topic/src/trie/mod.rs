mod arena;
mod graph;
mod iter;
mod lengths;
#[cfg(test)]
mod tests;
mod tokens;
mod values;

use std::fmt;

use crate::{MAX_TOKENS, Pattern};
use arena::{Arena, Id};
use graph::{Graph, Step};
use lengths::{Length, Lengths};
use tokens::Tokens;
use values::Values;

/// A set of (pattern, value) pairs that finds the values of all patterns which match a topic.
///
/// A value is a small id: of a subscription, a node, a plan. A pattern may have many values, and a value many patterns.
///
/// # Cost of a match
///
/// A topic of *d* tokens is matched by walking from the root, at each node to the child for the topic's token and to
/// the child for `*`. Every node knows the lengths of the patterns that run through it, and a child is entered only if
/// one of those lengths fits *d*: exactly *d*, or no more than *d* with a `>` at the end.
///
/// > **Theorem.** A match enters exactly those nodes whose prefix (the tokens on the way from the root, none for the
/// > root itself) matches the first tokens of the topic and is a prefix of a stored pattern whose length fits. It
/// > enters each of them once.
/// >
/// > *Proof.* The trie is a tree, so there is one way to a node, and of each node's children the walk takes at most
/// > two different ones. It enters a child only from its parent, over an edge that matches, and if a length fits; where
/// > a length fits a node it fits every node on the way there, so none of those that should be entered is cut off. ∎
///
/// So a match enters at most 2^(*d*+1) − 1 nodes, and besides the root at most *d* for each pattern that fits by length
/// and agrees with the topic in the first token. Per node it does constant work, plus one call per value found. It neither recurses
/// nor allocates.
///
/// Patterns that differ in the first token, or cannot match by length, cost nothing, however many there are. What is
/// left to an adversary is to store many patterns that agree with a topic up to a late token: they cost about 10 ns a
/// node, at most *d* nodes for each pattern. The limits on the number of patterns are the limit of that.
///
/// # Memory
///
/// A node takes 32 bytes, a pattern 24 for its values, an edge beside the first of its node about 20, a literal token
/// about 50 however often it is used. A million patterns of five tokens, one in five with a wildcard, take 150 MB.
/// Removal frees nodes and tokens for later patterns; the tables keep the size of their fullest moment.
#[derive(Clone)]
pub struct PatternTrie<V> {
    graph: Graph,
    tokens: Tokens,
    values: Arena<Values<V>>,
    /// Number of (pattern, value) pairs.
    len: usize,
}

impl<V: Copy + Eq> PatternTrie<V> {
    /// An empty trie.
    pub fn new() -> Self {
        Self { graph: Graph::new(), tokens: Tokens::default(), values: Arena::new(), len: 0 }
    }

    /// Adds `value` under `pattern`. `false` when it was there already.
    ///
    /// Takes time linear in the pattern, and in the number of values that it already has.
    pub fn insert(&mut self, pattern: &Pattern, value: V) -> bool {
        let (rest, length) = ending(pattern);
        let mut path = Vec::with_capacity(MAX_TOKENS + 1);
        path.push(Graph::ROOT);
        let mut end = Graph::ROOT;
        for token in steps(pattern) {
            end = self.descend(end, token);
            path.push(end);
        }
        let node = self.graph.node_mut(end);
        let list = if rest { &mut node.rest } else { &mut node.here };
        let added = match *list {
            Some(list) => self.values[list].insert(value),
            None => {
                *list = Some(self.values.insert(Values::One(value)));
                for &id in &path {
                    self.graph.add_length(id, length);
                }
                true
            }
        };
        self.len += usize::from(added);
        added
    }

    /// The child of `parent` for `token`, made if it is not there.
    fn descend(&mut self, parent: Id, token: &[u8]) -> Id {
        if let Some(child) = self.step(token).and_then(|step| self.graph.child(parent, step)) {
            return child;
        }
        let step = if token == b"*" { Step::Star } else { Step::Literal(self.tokens.acquire(token)) };
        self.graph.add_child(parent, step)
    }

    /// What `token` asks of a node; `None` for a literal that no pattern has.
    fn step(&self, token: &[u8]) -> Option<Step> {
        if token == b"*" { Some(Step::Star) } else { self.tokens.find(token).map(Step::Literal) }
    }

    /// Takes `value` from `pattern`. `false` when it was not there.
    ///
    /// Takes time linear in the pattern, and in the number of values that it has.
    pub fn remove(&mut self, pattern: &Pattern, value: &V) -> bool {
        self.try_remove(pattern, value).is_some()
    }

    fn try_remove(&mut self, pattern: &Pattern, value: &V) -> Option<()> {
        let (rest, length) = ending(pattern);
        let mut path = Vec::with_capacity(MAX_TOKENS);
        let mut end = Graph::ROOT;
        for token in steps(pattern) {
            let step = self.step(token)?;
            path.push((end, step, token));
            end = self.graph.child(end, step)?;
        }
        let node = self.graph.node_mut(end);
        let list = if rest { &mut node.rest } else { &mut node.here };
        let values = &mut self.values[(*list)?];
        if !values.remove(value) {
            return None;
        }
        self.len -= 1;
        if values.as_slice().is_empty() {
            self.values.remove(list.take()?);
            self.unlink(end, &path, length);
        }
        Some(())
    }

    /// Takes a pattern of `length`, which has lost its last value, off the way to `end`, and removes the nodes that
    /// no other pattern needs. `path` has the steps that lead to `end`, from the root.
    fn unlink(&mut self, end: Id, path: &[(Id, Step, &[u8])], length: Length) {
        let mut needed = self.graph.remove_length(end, length);
        for &(parent, step, token) in path.iter().rev() {
            if !needed {
                self.graph.remove_child(parent, step);
                if step != Step::Star {
                    self.tokens.release(token);
                }
            }
            needed = self.graph.remove_length(parent, length);
        }
    }

    /// Calls `found` with each value of each pattern that matches `topic`, in no particular order. A value that is
    /// under several matching patterns comes once for each.
    ///
    /// `topic` must be valid ([`validate_topic`](crate::validate_topic)): for any other text, what is found means
    /// nothing. See [the type](Self#cost-of-a-match) for what it costs.
    pub fn for_each_match(&self, topic: &str, found: impl FnMut(V)) {
        self.walk(topic, found);
    }

    /// The values of all patterns that match `topic`, as [`for_each_match`](Self::for_each_match) finds them.
    pub fn matches(&self, topic: &str) -> Vec<V> {
        let mut values = Vec::new();
        self.for_each_match(topic, |value| values.push(value));
        values
    }

    /// Does the match, and counts the nodes that it enters.
    fn walk(&self, topic: &str, mut found: impl FnMut(V)) -> usize {
        let depth_of_topic = 1 + topic.bytes().filter(|&byte| byte == b'.').count();
        if depth_of_topic > MAX_TOKENS {
            return 0;
        }
        let wanted = Lengths::matching(depth_of_topic);
        let fits = |id: &Id| self.graph.node(*id).lengths.overlaps(wanted);
        if !fits(&Graph::ROOT) {
            return 0;
        }
        let mut tokens = [None; MAX_TOKENS];
        for (place, token) in tokens.iter_mut().zip(split(topic)) {
            *place = self.tokens.find(token);
        }

        let reserved = crate::is_reserved(topic);
        // Each node takes one entry off and puts two back at most, one level deeper.
        let mut stack = [(Graph::ROOT, 0); MAX_TOKENS + 1];
        let mut waiting = 1;
        let mut entered = 0;
        while waiting > 0 {
            waiting -= 1;
            let (id, depth) = stack[waiting];
            entered += 1;
            let node = self.graph.node(id);
            if depth == depth_of_topic {
                self.report(node.here, &mut found);
                continue;
            }
            let literal = tokens[depth].and_then(|token| self.graph.literal(id, token));
            let mut star = node.star;
            if depth == 0 && reserved {
                star = None;
            } else {
                self.report(node.rest, &mut found);
            }
            for child in [literal, star].into_iter().flatten().filter(fits) {
                stack[waiting] = (child, depth + 1);
                waiting += 1;
            }
        }
        entered
    }

    fn report(&self, list: Option<Id>, found: &mut impl FnMut(V)) {
        if let Some(list) = list {
            self.values[list].as_slice().iter().copied().for_each(found);
        }
    }

    /// Every pattern with every of its values, in no particular order.
    ///
    /// Spells the patterns anew: for that it builds an index of the whole trie first, so it is for the rare occasion.
    pub fn iter(&self) -> impl Iterator<Item = (Pattern, V)> + '_ {
        iter::pairs(self)
    }

    /// How many (pattern, value) pairs it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many nodes it has: one, the root, when it is empty.
    pub fn node_count(&self) -> usize {
        self.graph.node_count()
    }
}

impl<V: Copy + Eq> Default for PatternTrie<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Copy + Eq> fmt::Debug for PatternTrie<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternTrie").field("len", &self.len).field("nodes", &self.node_count()).finish_non_exhaustive()
    }
}

/// The tokens of a name. As bytes: that is all the trie needs, and finding dots in short tokens is quicker so.
fn split(name: &str) -> impl Iterator<Item = &[u8]> {
    name.as_bytes().split(|&byte| byte == b'.')
}

/// The tokens of a pattern that are steps from node to node: all but a `>`.
fn steps(pattern: &Pattern) -> impl Iterator<Item = &[u8]> {
    split(pattern.as_str()).filter(|token| *token != b">")
}

/// Whether a pattern ends with `>`, and its length.
fn ending(pattern: &Pattern) -> (bool, Length) {
    let rest = pattern.as_str().ends_with('>');
    (rest, Length::new(split(pattern.as_str()).count(), rest))
}
