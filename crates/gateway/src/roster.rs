use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_link::Transport;
use sinew_pubsub::{Lagging, Subscription};
use sinew_topic::Pattern;
use sinew_wire::PeerId;

/// Stripes of the table. Sessions come and go one by one, so a few are enough to keep them out of each other's way.
const STRIPES: usize = 16;

/// Who is connected. Bounded: a session holds a [`Seat`], and there are only so many.
#[derive(Debug)]
pub(crate) struct Roster {
    stripes: [Mutex<HashMap<u64, Arc<Member>>>; STRIPES],
    taken: AtomicUsize,
    seats: usize,
    last_session: AtomicU64,
}

/// What is known of a session without asking it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) session: u64,
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    pub(crate) transport: Transport,
    pub(crate) remote: String,
    pub(crate) since: Instant,
    /// By the client's numbers. Changed by its session only.
    pub(crate) subscriptions: Mutex<HashMap<u32, Arc<Subscription>>>,
}

/// A connected client, for listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Number of the session on this node.
    pub session: u64,
    /// The authenticated peer.
    pub peer: PeerId,
    /// Name the client gave itself; may be empty.
    pub name: String,
    /// What the link runs over.
    pub transport: Transport,
    /// Where it comes from.
    pub remote: String,
    /// Since when, on the monotonic clock.
    pub since: Instant,
    /// Subscriptions in place.
    pub subscriptions: usize,
    /// Messages queued for all of them.
    pub queued: usize,
    /// Messages that its subscriptions did not get, since each began.
    pub missed: u64,
    /// Those that do not keep up: at most [`ClientInfo::MAX_SLOW`], those that are furthest behind first.
    pub slow: Vec<SlowSubscription>,
}

/// A subscription that does not keep up: its queue is half full or more, or it has missed something within the last 10 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSubscription {
    /// What it listens to.
    pub pattern: Pattern,
    /// Messages queued.
    pub queued: usize,
    /// Messages its queue can hold; of large ones, so many as fit into its bytes.
    pub capacity: usize,
    /// Messages it did not get, since it began.
    pub missed: u64,
}

/// How long ago a subscription may have missed something to count as slow.
const RECENT: Duration = Duration::from_secs(10);

impl ClientInfo {
    /// Most subscriptions in [`ClientInfo::slow`].
    pub const MAX_SLOW: usize = 10;

    fn of(member: &Member, now: Instant) -> Self {
        // Not held while each of them is looked at: its session may want it.
        let subscriptions: Vec<_> = member.subscriptions.lock().values().cloned().collect();
        let (mut queued, mut missed, mut slow) = (0, 0u64, Vec::new());
        for subscription in &subscriptions {
            let lagging = subscription.lagging();
            queued += lagging.queued;
            missed = missed.saturating_add(lagging.missed);
            slow.extend(SlowSubscription::of(subscription.pattern(), lagging, now));
        }
        slow.sort_by(SlowSubscription::furthest_first);
        slow.truncate(Self::MAX_SLOW);
        Self {
            session: member.session,
            peer: member.peer,
            name: member.name.clone(),
            transport: member.transport,
            remote: member.remote.clone(),
            since: member.since,
            subscriptions: subscriptions.len(),
            queued,
            missed,
            slow,
        }
    }
}

impl SlowSubscription {
    fn of(pattern: &Pattern, lagging: Lagging, now: Instant) -> Option<Self> {
        let Lagging { queued, capacity, queued_bytes, capacity_bytes, missed, last_missed } = lagging;
        let is_recent = last_missed.is_some_and(|at| now.saturating_duration_since(at) <= RECENT);
        let is_full = queued >= capacity.div_ceil(2) || queued_bytes >= capacity_bytes.div_ceil(2);
        if !(is_recent || is_full && queued > 0) {
            return None;
        }
        // As many of the size of those that are in it.
        let by_bytes = (queued as u128 * capacity_bytes as u128).checked_div(queued_bytes as u128);
        let by_bytes = by_bytes.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let capacity = capacity.min(by_bytes).max(queued);
        Some(Self { pattern: pattern.clone(), queued, capacity, missed })
    }

    /// Orders by how full the queues are, then by what was missed.
    pub fn furthest_first(a: &Self, b: &Self) -> Ordering {
        let full = |one: &Self| one.queued as u128 * 1_000_000 / one.capacity.max(1) as u128;
        full(b).cmp(&full(a)).then(b.missed.cmp(&a.missed)).then_with(|| a.pattern.cmp(&b.pattern))
    }
}

/// A client's place among [`GatewayConfig::max_clients`](crate::GatewayConfig::max_clients); given back on drop.
#[derive(Debug)]
pub(crate) struct Seat {
    roster: Arc<Roster>,
    session: u64,
}

impl Roster {
    pub(crate) fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self {
            stripes: Default::default(),
            taken: AtomicUsize::new(0),
            seats,
            last_session: AtomicU64::new(0),
        })
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.last_session.fetch_add(1, Relaxed) + 1
    }

    /// Takes a seat, or `None` when all are taken.
    pub(crate) fn take(self: &Arc<Self>, member: Arc<Member>) -> Option<Seat> {
        let admit = |taken| (taken < self.seats).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, admit).ok()?;
        let session = member.session;
        self.stripe(session).lock().insert(session, member);
        Some(Seat { roster: Arc::clone(self), session })
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    pub(crate) fn list(&self) -> Vec<ClientInfo> {
        let now = Instant::now();
        let mut clients = Vec::with_capacity(self.taken());
        for stripe in &self.stripes {
            // Not held while their subscriptions are looked at.
            let members: Vec<_> = stripe.lock().values().cloned().collect();
            clients.extend(members.iter().map(|member| ClientInfo::of(member, now)));
        }
        clients.sort_by_key(|client| client.session);
        clients
    }

    fn stripe(&self, session: u64) -> &Mutex<HashMap<u64, Arc<Member>>> {
        &self.stripes[(session % STRIPES as u64) as usize]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.stripe(self.session).lock().remove(&self.session);
        self.roster.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(
        queued: (usize, usize),
        bytes: (usize, usize),
        missed: u64,
        ago: Option<u64>,
    ) -> Option<(usize, usize, u64)> {
        let (now, pattern) = (Instant::now() + RECENT * 2, Pattern::parse("a").expect("a pattern"));
        let last_missed = ago.map(|ms| now - Duration::from_millis(ms));
        let (queued, capacity) = queued;
        let (queued_bytes, capacity_bytes) = bytes;
        let lagging = Lagging { queued, capacity, queued_bytes, capacity_bytes, missed, last_missed };
        SlowSubscription::of(&pattern, lagging, now).map(|slow| (slow.queued, slow.capacity, slow.missed))
    }

    #[test]
    fn half_full_is_slow_and_so_is_who_missed_something_lately() {
        assert_eq!(slow((49, 100), (490, 10_000), 0, None), None);
        assert_eq!(slow((50, 100), (500, 10_000), 0, None), Some((50, 100, 0)));
        assert_eq!(slow((4, 100), (5_000, 10_000), 0, None), Some((4, 8, 0)), "large messages fill it by bytes");
        assert_eq!(slow((0, 100), (0, 10_000), 7, Some(10_000)), Some((0, 100, 7)));
        assert_eq!(slow((0, 100), (0, 10_000), 7, Some(10_001)), None);
        assert_eq!(slow((0, 0), (0, 10_000), 0, None), None, "nothing waits for it");
    }
}
