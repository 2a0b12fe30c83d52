use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_link::Transport;
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
    pub(crate) subscriptions: AtomicUsize,
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
        self.last_session.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes a seat, or `None` when all are taken.
    pub(crate) fn take(self: &Arc<Self>, member: Arc<Member>) -> Option<Seat> {
        let admit = |taken| (taken < self.seats).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).ok()?;
        let session = member.session;
        self.stripe(session).lock().insert(session, member);
        Some(Seat { roster: Arc::clone(self), session })
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn list(&self) -> Vec<ClientInfo> {
        let mut clients = Vec::with_capacity(self.taken());
        for stripe in &self.stripes {
            clients.extend(stripe.lock().values().map(|member| ClientInfo {
                session: member.session,
                peer: member.peer,
                name: member.name.clone(),
                transport: member.transport,
                remote: member.remote.clone(),
                since: member.since,
                subscriptions: member.subscriptions.load(Ordering::Relaxed),
            }));
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
        self.roster.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
