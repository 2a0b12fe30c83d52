use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sinew_flow::Batch;

use crate::run::Slice;
use crate::subscription::Subscription;

/// The members of one queue group that match a topic. Each message goes to one of them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) members: Vec<Arc<Subscription>>,
    /// Where the search for the least loaded member begins, so that equals take turns.
    turn: AtomicUsize,
}

impl Group {
    pub(crate) const fn new(name: Arc<str>, members: Vec<Arc<Subscription>>) -> Self {
        Self { name, members, turn: AtomicUsize::new(0) }
    }

    /// The member with the least bytes queued or under way; one whose queue has room before one that is full.
    pub(crate) fn least_loaded(&self) -> Option<&Arc<Subscription>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let (after, before) = self.members.split_at_checked(start).map(|(a, b)| (b, a))?;
        after.iter().chain(before).min_by_key(|member| member.load())
    }

    /// Cuts a slice into the parts that are handed out one by one: small enough that every member gets some of a
    /// large run, large enough that choosing does not cost more than delivering.
    pub(crate) fn shares(&self, mut slice: Slice) -> impl Iterator<Item = Slice> {
        const MOST: usize = 64;
        let share = slice.messages().div_ceil(self.members.len().max(1)).clamp(1, MOST);
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
