use super::arena::Id;
use super::graph::Step;
use super::{Graph, PatternTrie};
use crate::Pattern;

/// See [`PatternTrie::iter`]. Nodes know their children, not their parents: an index of those is made first.
pub(super) fn pairs<V: Copy + Eq>(trie: &PatternTrie<V>) -> impl Iterator<Item = (Pattern, V)> {
    let parents = trie.graph.parents();
    let texts = trie.tokens.texts();
    let endings = trie.graph.nodes().flat_map(|(id, node)| [(id, node.here, None), (id, node.rest, Some(">"))]);
    endings
        .filter_map(|(id, list, last)| Some((id, list?, last)))
        .map(move |(id, list, last)| (spell(id, last, &parents, &texts), list))
        .flat_map(|(pattern, list)| trie.values[list].as_slice().iter().map(move |&value| (pattern.clone(), value)))
}

/// The pattern that leads to a node and, perhaps, ends with one token more.
fn spell(mut id: Id, last: Option<&str>, parents: &[Option<(Id, Step)>], texts: &[&str]) -> Pattern {
    let mut tokens: Vec<_> = last.into_iter().collect();
    while let Some((parent, step)) = parents[id.index()] {
        tokens.push(match step {
            Step::Star => "*",
            Step::Literal(token) => texts[token.index()],
        });
        id = parent;
    }
    debug_assert_eq!(id, Graph::ROOT);
    tokens.reverse();
    Pattern::trusted(tokens.join("."))
}
