//! The addresses to begin with: dialled until there is a connection, and again when it is lost, for ever.
//!
//! Says what to do, and is told what came of it; the task does it.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId as Theirs};
use sinew_wire::PeerId;

use crate::backoff::jittered;
use crate::names::MAX_PER_NAME;
use crate::{BootstrapStatus, address};

/// Wait after the first failure; it doubles.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// A dial that has no answer after this time is made once more beside it, while the entry is young: a node that starts a
/// moment later than this one does not hear the first packet, and QUIC sends the next ones ever more seldom.
const BESIDE: Duration = Duration::from_secs(1);

/// Dials of one entry at once, if its name does not lead to more.
const AT_ONCE: usize = 3;

/// Failures after which an entry is not young any more.
const YOUNG: u32 = 5;

/// Wait before an address that led to ourselves alone is looked at again, if it has a name: names change.
const OURSELVES: Duration = Duration::from_secs(30);

/// What to do about an entry now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Resolve(usize, Multiaddr),
    Dial(usize, Multiaddr, Option<Theirs>),
}

struct Entry {
    /// As it was configured.
    text: String,
    /// Without `/p2p/ID`.
    address: Multiaddr,
    expected: Option<Theirs>,
    /// When to try again, while nothing is under way and nobody is connected.
    next: Option<Instant>,
    resolving: bool,
    /// When to dial once more, though a dial is under way.
    beside: Option<Instant>,
    /// Dials under way.
    dials: usize,
    /// Peers it led to that are connected.
    peers: HashSet<PeerId>,
    /// Of those, one that proved to be of the realm.
    member: Option<PeerId>,
    failures: u32,
    problem: Option<String>,
    /// Everything that the last try dialled was ourselves.
    ourselves: bool,
}

/// See the module.
pub(super) struct Bootstrap {
    own: Theirs,
    entries: Vec<Entry>,
    dials: HashMap<ConnectionId, (usize, Multiaddr)>,
    /// Addresses that led to ourselves: not dialled again.
    ours: HashSet<Multiaddr>,
}

impl Bootstrap {
    pub(super) fn new(own: Theirs) -> Self {
        Self { own, entries: Vec::new(), dials: HashMap::new(), ours: HashSet::new() }
    }

    /// An address that was checked.
    pub(super) fn add(&mut self, text: &str, address: Multiaddr, now: Instant) {
        let (address, expected) = address::split_peer(address);
        let ourselves = expected == Some(self.own);
        self.entries.push(Entry {
            text: text.to_owned(),
            address,
            expected,
            next: (!ourselves).then_some(now),
            resolving: false,
            beside: None,
            dials: 0,
            peers: HashSet::new(),
            member: None,
            failures: 0,
            problem: None,
            ourselves,
        });
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let beside = entry.beside.take_if(|beside| *beside <= now).is_some()
                && entry.peers.is_empty()
                && !entry.resolving
                && (1..AT_ONCE).contains(&entry.dials)
                && entry.failures < YOUNG;
            if entry.next.take_if(|next| *next <= now).is_none() && !beside {
                continue;
            }
            entry.beside = Some(now + BESIDE);
            if address::has_name(&entry.address) {
                entry.resolving = true;
                actions.push(Action::Resolve(index, entry.address.clone()));
            } else if self.ours.contains(&entry.address) {
                entry.ourselves = true;
            } else {
                actions.push(Action::Dial(index, entry.address.clone(), entry.expected));
            }
        }
        actions
    }

    /// A name was resolved. Returns what to dial.
    pub(super) fn resolved(
        &mut self,
        index: usize,
        result: Result<Vec<Multiaddr>, String>,
        now: Instant,
    ) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(index) else { return Vec::new() };
        entry.resolving = false;
        match result {
            Ok(addresses) => {
                let others: Vec<Multiaddr> =
                    addresses.into_iter().filter(|one| !self.ours.contains(one)).take(MAX_PER_NAME).collect();
                entry.ourselves = others.is_empty();
                if others.is_empty() {
                    entry.next = Some(now + OURSELVES);
                }
                others.into_iter().map(|one| Action::Dial(index, one, entry.expected)).collect()
            }
            Err(problem) => {
                entry.problem = Some(problem);
                self.rest(index, now);
                Vec::new()
            }
        }
    }

    /// A dial of [`Action::Dial`] began.
    pub(super) fn dialling(&mut self, index: usize, address: Multiaddr, connection: ConnectionId) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.dials += 1;
            self.dials.insert(connection, (index, address));
        }
    }

    /// A dial of [`Action::Dial`] did not even begin.
    pub(super) fn not_dialled(&mut self, index: usize, problem: String, now: Instant) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.problem = Some(problem);
            self.rest(index, now);
        }
    }

    /// The expected peer is connected already, or is being dialled for another reason.
    pub(super) fn found(&mut self, index: usize, peer: PeerId, is_member: bool) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.peers.insert(peer);
            if is_member {
                entry.member = Some(peer);
                entry.failures = 0;
                entry.problem = None;
            }
        }
    }

    pub(super) fn established(&mut self, connection: ConnectionId, peer: PeerId) {
        if let Some((index, _)) = self.dials.remove(&connection)
            && let Some(entry) = self.entries.get_mut(index)
        {
            entry.dials = entry.dials.saturating_sub(1);
            entry.peers.insert(peer);
        }
    }

    /// `to_ourselves`: it led to this node.
    pub(super) fn failed(
        &mut self,
        connection: ConnectionId,
        to_ourselves: bool,
        problem: impl FnOnce() -> String,
        now: Instant,
    ) {
        let Some((index, address)) = self.dials.remove(&connection) else { return };
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.dials = entry.dials.saturating_sub(1);
        if to_ourselves {
            // As many as may be, and no more: the names of a large service may lead anywhere.
            if self.ours.len() < 1024 {
                self.ours.insert(address);
            }
            if entry.problem.is_none() {
                entry.ourselves = true;
            }
        } else {
            entry.ourselves = false;
            entry.problem = Some(problem());
        }
        self.rest(index, now);
    }

    /// The peer is of the realm.
    pub(super) fn member(&mut self, peer: PeerId) {
        for entry in &mut self.entries {
            if entry.peers.contains(&peer) {
                entry.member = Some(peer);
                entry.failures = 0;
                entry.problem = None;
            }
        }
    }

    /// The peer is not connected any more, or could not be.
    pub(super) fn lost(&mut self, peer: PeerId, problem: Option<&str>, now: Instant) {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.peers.remove(&peer) {
                if entry.member == Some(peer) {
                    entry.member = None;
                }
                if let Some(problem) = problem {
                    entry.problem = Some(problem.to_owned());
                }
                self.rest(index, now);
            }
        }
    }

    /// Whether an entry led to this peer.
    pub(super) fn wants(&self, peer: PeerId) -> bool {
        self.entries.iter().any(|entry| entry.peers.contains(&peer))
    }

    pub(super) fn status(&self) -> Vec<BootstrapStatus> {
        let status = |entry: &Entry| BootstrapStatus {
            address: entry.text.clone(),
            peer: entry.member,
            ourselves: entry.ourselves,
            failures: entry.failures,
            problem: entry.problem.clone(),
        };
        self.entries.iter().map(status).collect()
    }

    /// Plans the next try, if nothing is under way and nobody is connected.
    fn rest(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if entry.resolving || entry.dials > 0 || !entry.peers.is_empty() {
            return;
        }
        if entry.ourselves && entry.problem.is_none() {
            entry.next = address::has_name(&entry.address).then(|| now + OURSELVES);
            return;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.next = Some(now + jittered(FIRST, entry.failures, LONGEST));
    }
}
