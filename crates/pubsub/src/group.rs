use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sinew_flow::Batch;

use crate::backlog::Load;
use crate::recipients::Recipients;
use crate::remote::Remote;
use crate::run::Slice;
use crate::subscription::Subscription;

/// The members of one queue group that match a topic, all over the realm. Each message goes to one of them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    /// Those on this node.
    pub(crate) members: Vec<Arc<Subscription>>,
    /// Other nodes that have some.
    pub(crate) remotes: Vec<GroupRemote>,
    /// Where the search for the least loaded begins, so that equals take turns.
    turn: AtomicUsize,
}

/// Another node with members of a group.
#[derive(Debug)]
pub(crate) struct GroupRemote {
    pub(crate) remote: Arc<Remote>,
    /// Its index among the plan's remotes.
    pub(crate) at: usize,
    /// One member of this group, and nobody else.
    pub(crate) to: Arc<Recipients>,
}

/// Who gets a share.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Chosen<'a> {
    Local(&'a Arc<Subscription>),
    Remote(&'a GroupRemote),
}

impl Group {
    pub(crate) const fn new(name: Arc<str>, members: Vec<Arc<Subscription>>, remotes: Vec<GroupRemote>) -> Self {
        Self { name, members, remotes, turn: AtomicUsize::new(0) }
    }

    /// The local member with the least bytes queued or under way; one whose queue has room before one that is full.
    pub(crate) fn least_loaded(&self) -> Option<&Arc<Subscription>> {
        least(&self.members, self.turn.fetch_add(1, Ordering::Relaxed), |member| member.load())
    }

    /// A local member while one has room; else the node for which the least is queued and under way, while one has room;
    /// else a local member again, which has its policy.
    pub(crate) fn choose(&self) -> Option<Chosen<'_>> {
        let local = self.least_loaded();
        match local {
            Some(member) if self.remotes.is_empty() || member.load() < Load::FULL => {
                return Some(Chosen::Local(member));
            }
            _ => {}
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let remote = least(&self.remotes, turn, |remote| remote.remote.load());
        match (local, remote) {
            (Some(member), Some(remote)) if remote.remote.load() == Load::FULL => Some(Chosen::Local(member)),
            (_, Some(remote)) => Some(Chosen::Remote(remote)),
            (local, None) => local.map(Chosen::Local),
        }
    }

    /// Cuts a slice into the parts that are handed out one by one: small enough that everybody who may get some of a
    /// large run does, large enough that choosing does not cost more than delivering.
    pub(crate) fn shares(&self, mut slice: Slice) -> impl Iterator<Item = Slice> {
        /// Messages of a share for a local member, and for another node, where a share is a frame.
        const MOST: [usize; 2] = [64, 256];
        let most = MOST[usize::from(self.members.is_empty())];
        let takers = if self.members.is_empty() { self.remotes.len() } else { self.members.len() };
        let share = slice.messages().div_ceil(takers.max(1)).clamp(1, most);
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                None
            } else if slice.messages() > share {
                Some(slice.split_front(share))
            } else {
                done = true;
                Some(slice.clone())
            }
        })
    }
}

/// The one with the least load; of equals, the first at or after `turn`.
fn least<T>(all: &[T], turn: usize, load: impl Fn(&T) -> u64) -> Option<&T> {
    let start = turn % all.len().max(1);
    let (before, after) = all.split_at_checked(start)?;
    after.iter().chain(before).min_by_key(|one| load(one))
}
