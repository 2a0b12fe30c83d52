use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use sinew_topic::Pattern;
use sinew_wire::Policy;
use tokio::sync::Notify;

use crate::subscription::Subscription;

/// What other nodes must know of all subscriptions of one node to one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInterest {
    /// Subscriptions outside of queue groups.
    pub direct: u32,
    /// How many of those push back on publishers (policy `block`).
    pub blocking: u32,
    /// Queue groups by name, each with its members on the node. Sorted by name.
    pub groups: Vec<(Arc<str>, u32)>,
}

impl NodeInterest {
    /// Whether nobody is interested.
    pub fn is_empty(&self) -> bool {
        self.direct == 0 && self.groups.is_empty()
    }
}

/// The local subscriptions, added up by pattern, and what of that the other nodes have not been told yet.
///
/// There is one taker. A pattern that came and went between two takes is never told.
#[derive(Debug, Default)]
pub struct InterestFeed {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    patterns: HashMap<Pattern, Entry>,
    /// Patterns that changed since they were taken. All of them are in `patterns`.
    dirty: HashSet<Pattern>,
}

/// One pattern: there while somebody is interested, or while the taker believes so.
#[derive(Debug, Default)]
struct Entry {
    direct: u32,
    blocking: u32,
    groups: HashMap<Arc<str>, u32>,
    told: Option<NodeInterest>,
}

impl Entry {
    /// Nobody is interested, and nobody has been told otherwise.
    fn is_unheard_of(&self) -> bool {
        self.direct == 0 && self.groups.is_empty() && self.told.is_none()
    }

    fn now(&self) -> Option<NodeInterest> {
        let mut groups: Vec<_> = self.groups.iter().map(|(name, members)| (Arc::clone(name), *members)).collect();
        groups.sort_unstable();
        let now = NodeInterest { direct: self.direct, blocking: self.blocking, groups };
        (!now.is_empty()).then_some(now)
    }
}

impl InterestFeed {
    /// Waits until there may be something to take. Cancel safe.
    pub async fn changed(&self) {
        loop {
            let notified = self.changed.notified();
            if !self.state.lock().dirty.is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// What has changed since it was taken last, up to `max` patterns: their interest as of now, `None` where nobody is
    /// interested any more. May be less, or nothing, while there is more: a change may have been taken back.
    pub fn take(&self, max: usize) -> Vec<(Pattern, Option<NodeInterest>)> {
        let mut state = self.state.lock();
        let State { patterns, dirty } = &mut *state;
        let taken: Vec<Pattern> = dirty.iter().take(max).cloned().collect();
        let mut told = Vec::with_capacity(taken.len());
        for pattern in taken {
            dirty.remove(&pattern);
            let Some(entry) = patterns.get_mut(&pattern) else { continue };
            let now = entry.now();
            if now == entry.told {
                continue;
            }
            entry.told.clone_from(&now);
            if now.is_none() {
                patterns.remove(&pattern);
            }
            told.push((pattern, now));
        }
        if dirty.is_empty() && dirty.capacity() > 1024 {
            dirty.shrink_to_fit();
        }
        told
    }

    /// Everything that holds now, for a taker that begins anew.
    pub fn snapshot(&self) -> Vec<(Pattern, NodeInterest)> {
        let state = self.state.lock();
        let now = |(pattern, entry): (&Pattern, &Entry)| Some((pattern.clone(), entry.now()?));
        state.patterns.iter().filter_map(now).collect()
    }

    pub(crate) fn add(&self, subscription: &Subscription) {
        self.change(subscription, |entry, blocking| match subscription.group() {
            Some(group) => *entry.groups.entry(Arc::clone(group)).or_insert(0) += 1,
            None => {
                entry.direct += 1;
                entry.blocking += u32::from(blocking);
            }
        });
    }

    pub(crate) fn remove(&self, subscription: &Subscription) {
        self.change(subscription, |entry, blocking| match subscription.group() {
            Some(group) => {
                if let Some(members) = entry.groups.get_mut(group) {
                    *members -= 1;
                    if *members == 0 {
                        entry.groups.remove(group);
                    }
                }
            }
            None => {
                entry.direct -= 1;
                entry.blocking -= u32::from(blocking);
            }
        });
    }

    /// Cheap, however many groups a pattern has: what is told is worked out when it is taken.
    fn change(&self, subscription: &Subscription, change: impl FnOnce(&mut Entry, bool)) {
        let pattern = subscription.pattern();
        let mut state = self.state.lock();
        let State { patterns, dirty } = &mut *state;
        let entry = patterns.entry(pattern.clone()).or_default();
        change(entry, subscription.policy() == Policy::Block);
        if entry.is_unheard_of() {
            patterns.remove(pattern);
            dirty.remove(pattern);
        } else if dirty.insert(pattern.clone()) {
            drop(state);
            self.changed.notify_one();
        }
    }
}
