use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use sinew_wire::{PeerId, ServiceSummaryRow};

/// All services of the realm that this node was told of, its own included: names, nodes, numbers. No details.
#[derive(Debug)]
pub(crate) struct Directory {
    rows: BTreeMap<Arc<str>, Row>,
    /// Names of each other node.
    nodes: HashMap<PeerId, HashSet<Arc<str>>>,
    /// Pairs of a name and another node.
    entries: usize,
    max_entries: usize,
}

#[derive(Debug, Default)]
struct Row {
    /// Instances of this node.
    local: u32,
    /// Instances of others, sorted by node. None is 0.
    remote: Vec<(PeerId, u32)>,
}

impl Row {
    fn instances(&self) -> u32 {
        self.remote.iter().fold(self.local, |sum, (_, instances)| sum.saturating_add(*instances))
    }

    fn summary(&self, name: &str) -> ServiceSummaryRow {
        let nodes = self.remote.len() + usize::from(self.local > 0);
        ServiceSummaryRow {
            name: name.to_owned(),
            instances: self.instances(),
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
        }
    }
}

/// The directory holds as much as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Directory {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self { rows: BTreeMap::new(), nodes: HashMap::new(), entries: 0, max_entries }
    }

    pub(crate) fn set_local(&mut self, name: &Arc<str>, instances: u32) {
        if instances > 0 {
            self.rows.entry(Arc::clone(name)).or_default().local = instances;
        } else if let Some(row) = self.rows.get_mut(name) {
            row.local = 0;
            self.forget_if_empty(name);
        }
    }

    /// Gives the name, shared, if that changes anything.
    pub(crate) fn set_remote(&mut self, node: PeerId, name: &str, instances: u32) -> Result<Option<Arc<str>>, Full> {
        if instances == 0 {
            return Ok(self.remove_remote(node, name));
        }
        let (name, new) = match self.rows.get_key_value(name) {
            Some((name, row)) => (Arc::clone(name), row.remote.binary_search_by_key(&node, |(node, _)| *node).is_err()),
            None => (Arc::from(name), true),
        };
        if new && self.entries >= self.max_entries {
            return Err(Full);
        }
        let row = self.rows.entry(Arc::clone(&name)).or_default();
        match row.remote.binary_search_by_key(&node, |(node, _)| *node) {
            Ok(at) if row.remote[at].1 == instances => return Ok(None),
            Ok(at) => row.remote[at].1 = instances,
            Err(at) => {
                row.remote.insert(at, (node, instances));
                self.entries += 1;
                self.nodes.entry(node).or_default().insert(Arc::clone(&name));
            }
        }
        Ok(Some(name))
    }

    fn remove_remote(&mut self, node: PeerId, name: &str) -> Option<Arc<str>> {
        let name = Arc::clone(self.rows.get_key_value(name)?.0);
        let row = self.rows.get_mut(&name)?;
        let at = row.remote.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        row.remote.remove(at);
        self.entries -= 1;
        if let Some(names) = self.nodes.get_mut(&node) {
            names.remove(&name);
            if names.is_empty() {
                self.nodes.remove(&node);
            }
        }
        self.forget_if_empty(&name);
        Some(name)
    }

    fn forget_if_empty(&mut self, name: &str) {
        if self.rows.get(name).is_some_and(|row| row.local == 0 && row.remote.is_empty()) {
            self.rows.remove(name);
        }
    }

    /// Removes up to `max` names of a node, and gives them. Fewer than `max` were the last ones.
    pub(crate) fn remove_node(&mut self, node: PeerId, max: usize) -> Vec<Arc<str>> {
        let names: Vec<_> =
            self.nodes.get(&node).map_or_else(Vec::new, |names| names.iter().take(max).cloned().collect());
        names.iter().for_each(|name| _ = self.remove_remote(node, name));
        names
    }

    /// Other nodes with at least one service.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn names(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Up to `max` other nodes that have a service, beginning with any.
    pub(crate) fn nodes_of(&self, name: &str, start: usize, max: usize) -> Vec<PeerId> {
        let remote = self.rows.get(name).map_or(&[][..], |row| &row.remote);
        let start = start.checked_rem(remote.len()).unwrap_or(0);
        let (before, from) = remote.split_at(start);
        from.iter().chain(before).take(max).map(|(node, _)| *node).collect()
    }

    /// Instances of a name in the realm.
    pub(crate) fn instances(&self, name: &str) -> u32 {
        self.rows.get(name).map_or(0, Row::instances)
    }

    /// Up to `max` rows in the order of names, behind `after`, and whether there are more.
    pub(crate) fn list(&self, after: Option<&str>, max: usize) -> (Vec<ServiceSummaryRow>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.rows.range::<str, _>((from, Bound::Unbounded));
        let rows = behind.by_ref().take(max).map(|(name, row)| row.summary(name)).collect();
        (rows, behind.next().is_some())
    }

    /// Up to `max` names with a prefix and their instances, behind `after`.
    pub(crate) fn list_prefix(&self, prefix: &str, after: Option<&str>, max: usize) -> Vec<(Arc<str>, u32)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.rows.range::<str, _>((from, Bound::Unbounded));
        let rows = rows.take_while(|(name, _)| name.starts_with(prefix)).take(max);
        rows.map(|(name, row)| (Arc::clone(name), row.instances())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> PeerId {
        PeerId::from_public_key([n; 32])
    }

    #[derive(Debug, Clone)]
    enum Step {
        Local(usize, u32),
        Remote(u8, usize, u32),
        Gone(u8, usize),
    }

    const NAMES: [&str; 5] = ["a", "a.b", "a.c", "b", "c"];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..5_usize, 0..3_u32).prop_map(|(name, n)| Step::Local(name, n)),
            4 => (0..4_u8, 0..5_usize, prop_oneof![0..3_u32, Just(u32::MAX)]).prop_map(|(node, name, n)| Step::Remote(node, name, n)),
            1 => (0..4_u8, 1..6_usize).prop_map(|(node, max)| Step::Gone(node, max)),
        ]
    }

    proptest! {
        #[test]
        fn says_what_it_was_told(steps in prop::collection::vec(step(), 1..60)) {
            const MAX: usize = 8;
            let mut directory = Directory::new(MAX);
            let mut local: BTreeMap<&str, u32> = BTreeMap::new();
            let mut remote: BTreeMap<(&str, PeerId), u32> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Local(name, instances) => {
                        directory.set_local(&NAMES[name].into(), instances);
                        local.insert(NAMES[name], instances);
                        local.retain(|_, instances| *instances > 0);
                    }
                    Step::Remote(n, name, instances) => {
                        let key = (NAMES[name], node(n));
                        let full = remote.len() == MAX && !remote.contains_key(&key) && instances > 0;
                        let before = remote.get(&key).copied().unwrap_or(0);
                        let result = directory.set_remote(node(n), NAMES[name], instances);
                        prop_assert_eq!(result.is_err(), full);
                        if !full {
                            prop_assert_eq!(result, Ok((before != instances).then(|| NAMES[name].into())));
                            remote.insert(key, instances);
                            remote.retain(|_, instances| *instances > 0);
                        }
                    }
                    Step::Gone(n, max) => {
                        let had = remote.keys().filter(|(_, of)| *of == node(n)).count();
                        let gone = directory.remove_node(node(n), max);
                        prop_assert_eq!(gone.len(), had.min(max));
                        remote.retain(|(name, of), _| *of != node(n) || !gone.iter().any(|gone| **gone == **name));
                    }
                }
                let mut rows = Vec::new();
                for name in NAMES {
                    let of: Vec<_> = remote.iter().filter(|((other, _), _)| *other == name).collect();
                    let here = local.get(name).copied().unwrap_or(0);
                    let instances = of.iter().fold(here, |sum, (_, n)| sum.saturating_add(**n));
                    prop_assert_eq!(directory.instances(name), instances);
                    let mut nodes = directory.nodes_of(name, rows.len() + 3, usize::MAX);
                    nodes.sort_unstable();
                    prop_assert_eq!(nodes, of.iter().map(|((_, node), _)| *node).collect::<Vec<_>>());
                    if instances > 0 {
                        let nodes = of.len() as u32 + u32::from(here > 0);
                        rows.push(ServiceSummaryRow { name: name.to_owned(), instances, nodes });
                    }
                }
                prop_assert_eq!(directory.list(None, 99), (rows.clone(), false));
                prop_assert_eq!((directory.names(), directory.entries()), (rows.len(), remote.len()));
                let with_a: Vec<_> = rows.iter().filter(|row| row.name.starts_with("a.")).map(|row| &*row.name).collect();
                let listed = directory.list_prefix("a.", None, 99);
                prop_assert_eq!(listed.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), with_a);
                if let Some((first, rest)) = rows.split_first() {
                    let page = directory.list(Some(&first.name), 1);
                    prop_assert_eq!(page, (rest.iter().take(1).cloned().collect(), rest.len() > 1));
                }
            }
        }
    }
}
