use hashbrown::HashMap;

use super::arena::{Arena, Id};
use super::lengths::{Length, Lengths};

/// One place in the trie: the prefix that the way from the root spells.
///
/// Half a cache line, and aligned so, because a match over a million patterns is a walk over cold memory: one node,
/// one miss.
#[derive(Debug, Clone, Default)]
#[repr(align(32))]
pub(super) struct Node {
    /// The lengths of the patterns that run through here or end here.
    pub(super) lengths: Lengths,
    /// The values of the pattern that ends here.
    pub(super) here: Option<Id>,
    /// The values of the pattern that ends here with a `>` behind.
    pub(super) rest: Option<Id>,
    /// The child for `*`.
    pub(super) star: Option<Id>,
    /// One literal child lives in the node itself: most have no other, and it costs no look-up.
    own_token: Option<Id>,
    own_child: Option<Id>,
    /// How many literal children the table of edges has for this node.
    others: u32,
}

const _: () = assert!(size_of::<Node>() == 32);

/// What a token of a pattern asks for: which child of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Star,
    Literal(Id),
}

/// Nodes and edges, without the meaning of tokens and values.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    nodes: Arena<Node>,
    /// (parent, token) to child, for the literal children that are not in the node.
    edges: HashMap<(Id, Id), Id>,
    /// How many patterns of one length run through a node, less one, where that is not zero. Tells when a length leaves
    /// the node's [`Lengths`].
    more: HashMap<(Id, Length), u32>,
}

impl Graph {
    pub(super) const ROOT: Id = Id::FIRST;

    pub(super) fn new() -> Self {
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::default());
        debug_assert_eq!(root, Self::ROOT);
        Self { nodes, edges: HashMap::new(), more: HashMap::new() }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id]
    }

    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The child of `parent` for a literal token.
    #[inline]
    pub(super) fn literal(&self, parent: Id, token: Id) -> Option<Id> {
        let node = &self.nodes[parent];
        if node.own_token == Some(token) {
            return node.own_child;
        }
        if node.others == 0 {
            return None;
        }
        self.edges.get(&(parent, token)).copied()
    }

    pub(super) fn child(&self, parent: Id, step: Step) -> Option<Id> {
        match step {
            Step::Star => self.nodes[parent].star,
            Step::Literal(token) => self.literal(parent, token),
        }
    }

    /// Makes the child of `parent` for `step`, which must not be there.
    pub(super) fn add_child(&mut self, parent: Id, step: Step) -> Id {
        let child = self.nodes.insert(Node::default());
        let node = &mut self.nodes[parent];
        match step {
            Step::Star => node.star = Some(child),
            Step::Literal(token) if node.own_token.is_none() => {
                node.own_token = Some(token);
                node.own_child = Some(child);
            }
            Step::Literal(token) => {
                node.others += 1;
                self.edges.insert((parent, token), child);
            }
        }
        child
    }

    /// Takes the child of `parent` for `step` away, which must be there, and have no children.
    pub(super) fn remove_child(&mut self, parent: Id, step: Step) {
        let node = &mut self.nodes[parent];
        let child = match step {
            Step::Star => node.star.take(),
            Step::Literal(token) if node.own_token == Some(token) => {
                node.own_token = None;
                node.own_child.take()
            }
            Step::Literal(token) => {
                node.others -= 1;
                self.edges.remove(&(parent, token))
            }
        };
        self.nodes.remove(child.expect("a child that is removed was added"));
    }

    /// Notes that one more pattern of this length runs through the node.
    pub(super) fn add_length(&mut self, id: Id, length: Length) {
        let lengths = &mut self.nodes[id].lengths;
        if lengths.contains(length) {
            *self.more.entry((id, length)).or_insert(0) += 1;
        } else {
            lengths.insert(length);
        }
    }

    /// Notes that one pattern of this length less runs through the node, and says whether any pattern still does.
    pub(super) fn remove_length(&mut self, id: Id, length: Length) -> bool {
        use hashbrown::hash_map::Entry;

        let lengths = &mut self.nodes[id].lengths;
        match self.more.entry((id, length)) {
            Entry::Occupied(mut more) if *more.get() > 1 => *more.get_mut() -= 1,
            Entry::Occupied(last) => {
                last.remove();
            }
            Entry::Vacant(_) => lengths.remove(length),
        }
        !lengths.is_empty()
    }

    /// For every node by index: its parent and the step from there. The root and free places have none.
    pub(super) fn parents(&self) -> Vec<Option<(Id, Step)>> {
        let slots = self.nodes.slots();
        let mut parents = vec![None; slots.len()];
        for (index, node) in slots.iter().enumerate() {
            let parent = Id::of(index);
            if let Some(child) = node.star {
                parents[child.index()] = Some((parent, Step::Star));
            }
            if let (Some(token), Some(child)) = (node.own_token, node.own_child) {
                parents[child.index()] = Some((parent, Step::Literal(token)));
            }
        }
        for (&(parent, token), child) in &self.edges {
            parents[child.index()] = Some((parent, Step::Literal(token)));
        }
        parents
    }

    /// All nodes with their ids; free places look like nodes without patterns.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (Id, &Node)> {
        self.nodes.slots().iter().enumerate().map(|(index, node)| (Id::of(index), node))
    }

    /// How many entries the two tables have: edges, and counts of lengths.
    #[cfg(test)]
    pub(super) fn table_sizes(&self) -> (usize, usize) {
        (self.edges.len(), self.more.len())
    }
}
