//! Who gets what is published on one topic.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use sinew_topic::Topic;
use sinew_wire::Policy;
use sinew_wire::forward::{GroupList, MAX_GROUPS};

use crate::group::{Group, GroupRemote};
use crate::interest::NodeInterest;
use crate::recipients::Recipients;
use crate::remote::Remote;
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
    /// Other nodes with somebody who matches.
    pub(crate) remotes: Vec<PlanRemote>,
    /// Subscriptions outside of queue groups on other nodes.
    remote_direct: u64,
    pub(crate) counts: Arc<TopicCounts>,
}

/// Another node in a plan.
#[derive(Debug)]
pub(crate) struct PlanRemote {
    pub(crate) remote: Arc<Remote>,
    /// Its subscriptions outside of queue groups; `None` when it has only members of groups.
    pub(crate) direct: Option<Arc<Recipients>>,
}

/// What was published on a topic here while its plan was remembered.
#[derive(Debug, Default)]
pub(crate) struct TopicCounts {
    pub(crate) published: AtomicU64,
    /// Those of them that nobody was to get.
    pub(crate) unheard: AtomicU64,
}

/// Whom the patterns of a topic stand for: filled by the shard's trie.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    pub(crate) local: Vec<Arc<Subscription>>,
    pub(crate) remote: Vec<(Arc<Remote>, Arc<NodeInterest>)>,
}

impl Plan {
    pub(crate) fn new(
        topic: Topic,
        shard: usize,
        generation: u64,
        matched: Matched,
        lanes: usize,
        counts: Arc<TopicCounts>,
    ) -> Self {
        let mut direct = Vec::with_capacity(matched.local.len());
        let mut by_group = ByGroup::new();
        for subscription in matched.local {
            match subscription.group() {
                None => direct.push(subscription),
                Some(name) => by_group.entry(Arc::clone(name)).or_default().0.push(subscription),
            }
        }
        let remotes = add_remotes(matched.remote, &mut by_group);
        let remote_direct = remotes.iter().filter_map(|r| r.direct.as_ref()).map(|to| u64::from(to.direct)).sum();
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
        let group = |(name, (members, remotes))| Group::new(name, members, remotes);
        let groups = by_group.into_iter().map(group).collect();
        Self { topic, shard, generation, direct, blocking, lanes, groups, remotes, remote_direct, counts }
    }

    /// Deliveries due for one message, all over the realm.
    pub(crate) fn matched(&self) -> u64 {
        self.direct.len() as u64 + self.remote_direct + self.groups.len() as u64
    }

    /// Those of them that can be made here: each group with a member here counts once.
    pub(crate) fn matched_here(&self) -> u64 {
        let here = self.groups.iter().filter(|group| !group.members.is_empty()).count();
        (self.direct.len() + here) as u64
    }

    /// All local subscriptions outside queue groups.
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
        self.counts.published.fetch_add(messages, Ordering::Relaxed);
        if self.matched() == 0 {
            self.counts.unheard.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

/// Members of each queue group: those here, and the nodes that have some.
type ByGroup = HashMap<Arc<str>, (Vec<Arc<Subscription>>, Vec<GroupRemote>)>;

/// Adds up the interest of each node over all of its patterns that match, and enters it into its groups.
fn add_remotes(matched: Vec<(Arc<Remote>, Arc<NodeInterest>)>, by_group: &mut ByGroup) -> Vec<PlanRemote> {
    if matched.is_empty() {
        return Vec::new();
    }
    let mut nodes: Vec<(Arc<Remote>, Recipients)> = Vec::new();
    let mut index: HashMap<u64, usize> = HashMap::new();
    for (remote, interest) in matched {
        let at = *index.entry(remote.number()).or_insert_with(|| {
            nodes.push((Arc::clone(&remote), Recipients::default()));
            nodes.len() - 1
        });
        let to = &mut nodes[at].1;
        to.direct = to.direct.saturating_add(interest.direct);
        to.waits |= interest.blocking > 0;
        for (name, _) in &interest.groups {
            // A name that no group can have here either.
            let Ok(groups) = GroupList::new([&**name]) else { continue };
            let known = &mut by_group.entry(Arc::clone(name)).or_default().1;
            // Of several patterns of one node the groups are the same: its members share what comes.
            if known.last().is_none_or(|last| last.at != at) && !known.iter().any(|other| other.at == at) {
                let to = Arc::new(Recipients { direct: 0, groups, waits: true });
                known.push(GroupRemote { remote: Arc::clone(&remote), at, to });
            }
        }
    }
    let plan_remote = |(remote, to): (Arc<Remote>, Recipients)| {
        let direct = (to.direct > 0).then(|| Arc::new(to));
        PlanRemote { remote, direct }
    };
    nodes.into_iter().map(plan_remote).collect()
}

/// One copy for a node: its subscriptions outside of groups, and those groups that chose it for the same messages. Several
/// when there are more groups than one frame names.
pub(crate) fn together(direct: Option<&Arc<Recipients>>, groups: &[&Group]) -> Vec<Arc<Recipients>> {
    match (direct, groups) {
        (direct, []) => direct.cloned().into_iter().collect(),
        (direct, groups) => {
            let mut direct = direct;
            let chunk = |groups: &[&Group]| {
                let names = groups.iter().map(|group| &*group.name);
                let groups = GroupList::new(names).unwrap_or_default();
                let direct = direct.take().map_or(0, |to| to.direct);
                Arc::new(Recipients { direct, groups, waits: true })
            };
            groups.chunks(MAX_GROUPS).map(chunk).collect()
        }
    }
}
