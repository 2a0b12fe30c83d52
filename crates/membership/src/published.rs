//! What this node publishes, by key and in the order of the changes.

use std::collections::BTreeMap;

use crate::state::{Change, weight};
use crate::wire::{PAGE_ROOM, Page};
use crate::{Key, MembershipConfig, TooMany, Value};

/// Keys and values with the version of their last change. Removals are kept as long as there is room for them.
#[derive(Debug, Default)]
pub(crate) struct Published {
    entries: BTreeMap<Key, (u64, Option<Value>)>,
    order: BTreeMap<u64, Key>,
    version: u64,
    /// Removals up to this version are forgotten.
    floor: u64,
    interests: usize,
    services: usize,
    tombstones: usize,
    bytes: usize,
}

impl Published {
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Keys that have a value.
    pub(crate) const fn len(&self) -> usize {
        self.interests + self.services
    }

    pub(crate) const fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Returns the version since which it is so.
    pub(crate) fn set(&mut self, key: Key, value: Option<Value>, config: &MembershipConfig) -> Result<u64, TooMany> {
        let before = self.entries.get(&key);
        let had = before.and_then(|(_, value)| value.as_ref());
        if had == value.as_ref() {
            return Ok(before.map_or(self.version, |(version, _)| *version));
        }
        let change = Change { version: self.version + 1, key, value };
        if let Some(problem) = change.problem() {
            return Err(TooMany::Invalid(problem));
        }
        let Change { version, key, value } = change;
        let count = match key {
            Key::Interest(_) => &mut self.interests,
            Key::Service(_) => &mut self.services,
        };
        let freed = had.map_or(0, |had| weight(&key, Some(had)));
        let taken = value.as_ref().map_or(0, |value| weight(&key, Some(value)));
        if value.is_some() {
            if had.is_none() && *count >= config.max_keys {
                return Err(TooMany::Keys(config.max_keys));
            }
            if self.bytes - freed + taken > config.max_node_bytes {
                return Err(TooMany::Bytes(config.max_node_bytes));
            }
        }
        match (had.is_some(), value.is_some()) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        }
        self.bytes = self.bytes - freed + taken;
        self.tombstones += usize::from(value.is_none());
        if let Some((old, had)) = self.entries.insert(key.clone(), (version, value)) {
            self.order.remove(&old);
            self.tombstones -= usize::from(had.is_none());
        }
        self.order.insert(version, key);
        self.version = version;
        self.forget(config.max_tombstones);
        Ok(version)
    }

    /// Drops the oldest half of the removals when there are too many, so that the search for them is paid rarely.
    fn forget(&mut self, most: usize) {
        if self.tombstones <= most {
            return;
        }
        let surplus = self.tombstones - most / 2;
        let oldest: Vec<u64> = self
            .order
            .iter()
            .filter(|(_, key)| self.entries.get(*key).is_some_and(|(_, value)| value.is_none()))
            .map(|(version, _)| *version)
            .take(surplus)
            .collect();
        for version in oldest {
            if let Some(key) = self.order.remove(&version) {
                self.entries.remove(&key);
                self.tombstones -= 1;
            }
            self.floor = version;
        }
    }

    fn change(&self, version: u64, key: &Key) -> Option<Change> {
        let (_, value) = self.entries.get(key)?;
        Some(Change { version, key: key.clone(), value: value.clone() })
    }

    /// As many of the last changes as fit into `room` bytes, and the version that they start from.
    pub(crate) fn latest(&self, room: usize) -> (u64, Vec<Change>) {
        let (mut base, mut left, mut changes) = (self.version, room, Vec::new());
        for (version, key) in self.order.iter().rev() {
            let Some(change) = self.change(*version, key) else { break };
            let Some(rest) = left.checked_sub(encoded(&change)) else { break };
            left = rest;
            base = *version - 1;
            changes.push(change);
        }
        // Who has everything before what is told here can go on from there; unless a removal that is forgotten came later.
        let before = self.order.range(..=base).next_back().map_or(0, |(version, _)| *version);
        base = before.max(self.floor);
        changes.retain(|change| change.version > base);
        changes.reverse();
        (base, changes)
    }

    /// What changed after a version, for one who has to hear of removals since another: who was told everything from
    /// the beginning needs none that came before that.
    pub(crate) fn page(&self, epoch: u64, after: u64, since: u64) -> Page {
        let forgotten = after > 0 && since < self.floor && cfg!(not(feature = "planted-bug-1"));
        let reset = forgotten || after > self.version;
        let start = if reset { 0 } else { after };
        let (mut changes, mut room, mut more) = (Vec::new(), PAGE_ROOM, false);
        let mut upto = self.version;
        for (version, key) in self.order.range(start + 1..) {
            let Some(change) = self.change(*version, key) else { continue };
            // Who knows nothing need not hear of removals.
            if start == 0 && change.value.is_none() {
                continue;
            }
            let size = encoded(&change);
            if size > room && !changes.is_empty() {
                more = true;
                upto = changes.last().map_or(start, |last: &Change| last.version);
                break;
            }
            room = room.saturating_sub(size);
            changes.push(change);
        }
        Page { epoch, reset, version: self.version, upto, more, changes }
    }
}

/// About what a change takes on the wire.
fn encoded(change: &Change) -> usize {
    let groups = match &change.value {
        Some(Value::Interest(interest)) => interest.groups.iter().map(|(group, _)| group.len() + 12).sum(),
        _ => 0,
    };
    48 + change.key.name().len() + groups
}
