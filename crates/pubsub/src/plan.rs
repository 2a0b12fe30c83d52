//! Who gets what is published on one topic.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use sinew_topic::Topic;
use sinew_wire::Policy;

use crate::group::Group;
use crate::subscription::Subscription;

/// From so many direct subscribers on, the delivery workers share the work.
pub const WIDE: usize = 128;

/// The targets of one topic, as of one generation of its shard. Immutable; shared by all publishers of the topic.
#[derive(Debug)]
pub struct Plan {
    pub(crate) topic: Topic,
    pub(crate) shard: usize,
    pub(crate) generation: u64,
    /// First those that may hold a publisher back, then the others by delivery lane.
    direct: Vec<Arc<Subscription>>,
    blocking: usize,
    lanes: Vec<Range<usize>>,
    pub(crate) groups: Vec<Group>,
    /// Messages published on the topic while its plan was remembered.
    pub(crate) published: Arc<AtomicU64>,
}

impl Plan {
    pub(crate) fn new(
        topic: Topic,
        shard: usize,
        generation: u64,
        matched: Vec<Arc<Subscription>>,
        lanes: usize,
        published: Arc<AtomicU64>,
    ) -> Self {
        let mut direct = Vec::with_capacity(matched.len());
        let mut by_group: HashMap<Arc<str>, Vec<Arc<Subscription>>> = HashMap::new();
        for subscription in matched {
            match subscription.group() {
                None => direct.push(subscription),
                Some(name) => by_group.entry(Arc::clone(name)).or_default().push(subscription),
            }
        }
        let lane_of = |subscription: &Arc<Subscription>| match subscription.policy() {
            Policy::Block => None,
            _ => Some(subscription.lane(lanes)),
        };
        direct.sort_by_key(|subscription| (lane_of(subscription), subscription.key()));
        let blocking = direct.partition_point(|subscription| lane_of(subscription).is_none());
        let lanes = (0..lanes)
            .map(|lane| {
                let start = direct.partition_point(|s| lane_of(s) < Some(lane));
                let end = direct.partition_point(|s| lane_of(s) <= Some(lane));
                start.max(blocking)..end.max(blocking)
            })
            .collect();
        let groups = by_group.into_iter().map(|(name, members)| Group::new(name, members)).collect();
        Self { topic, shard, generation, direct, blocking, lanes, groups, published }
    }

    /// Deliveries due for one message.
    pub(crate) fn matched(&self) -> usize {
        self.direct.len() + self.groups.len()
    }

    /// All subscriptions outside queue groups.
    pub(crate) fn direct(&self) -> &[Arc<Subscription>] {
        &self.direct
    }

    /// Those of policy `block`.
    pub(crate) fn blocking(&self) -> &[Arc<Subscription>] {
        &self.direct[..self.blocking]
    }

    /// Those that one delivery lane serves.
    pub(crate) fn lane(&self, lane: usize) -> &[Arc<Subscription>] {
        self.lanes.get(lane).map_or(&[], |range| &self.direct[range.clone()])
    }

    /// Whether the delivery workers should do it.
    pub(crate) fn is_wide(&self) -> bool {
        self.direct.len() - self.blocking >= WIDE
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| &*group.name == name)
    }

    pub(crate) fn count_published(&self, messages: u64) {
        self.published.fetch_add(messages, Ordering::Relaxed);
    }
}
