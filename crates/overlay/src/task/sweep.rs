//! What is done every second: connections that nobody needs or that are dead are closed, reservations are kept, and what
//! handles read is written down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId as Theirs};
use sinew_wire::PeerId;

use super::lane::State;
use super::peer::{Connection, Peer};
use super::{Task, meter};
use crate::{Nat, OverlayPeer, Reserve, Status, address, peer_id};

/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(1);

/// A connection whose pings are not answered for so long is dead. (QUIC notices by itself a little earlier.)
const DEAD: Duration = Duration::from_secs(8);

/// How long a peer may take to say who it is.
const UNIDENTIFIED: Duration = Duration::from_secs(5);

/// A dial whose end was not told for so long is taken for failed.
const STUCK: Duration = Duration::from_secs(30);

/// How long a connection beside a better one is kept, so that both sides have moved to the better one.
const DUPLICATE: Duration = Duration::from_secs(3);

/// How long a node waits to hear whether others can dial it, until it asks a relay all the same.
const UNDECIDED: Duration = Duration::from_secs(5);

/// Addresses of ours that are told, at most.
const ADDRESSES: usize = 16;

/// Why a connection is closed.
#[derive(Clone, Copy)]
enum Reason {
    Dead,
    Duplicate,
}

/// What is to be done about a peer.
enum Due {
    /// Its dial was forgotten.
    Stuck,
    /// It does not say who it is.
    Unidentified,
    /// Its connections are looked through, and messages go over the best one.
    Tend,
}

impl Task {
    pub(super) fn sweep(&mut self, now: Instant) {
        self.forgive_own_pause(now);
        self.sweep_peers(now);
        self.close_duplicates(now);
        self.sweep_requests();
        self.disconnect_idle(now);
        self.straighten(now);
        for theirs in self.nearby.iter().copied().collect::<Vec<_>>() {
            self.dial_nearby(theirs, now);
        }
        self.dirty = true;
    }

    /// If it was this task that stood still, no peer is to blame for it.
    fn forgive_own_pause(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next_sweep);
        self.next_sweep = now + SWEEP;
        if late > SWEEP {
            for connection in self.peers.values_mut().flat_map(|peer| &mut peer.connections) {
                connection.heard += late;
            }
        }
    }

    fn sweep_peers(&mut self, now: Instant) {
        let due: Vec<(PeerId, Due)> =
            self.peers.values_mut().filter_map(|peer| Some((peer.id, is_due(peer, now)?))).collect();
        for (id, due) in due {
            match due {
                Due::Stuck => self.give_up(id),
                Due::Unidentified => {
                    meter!(self, refused_unidentified);
                    let _was_connected = self.swarm.disconnect_peer_id(peer_id::theirs(&id));
                }
                Due::Tend => {
                    let Some(peer) = self.peers.get_mut(&id) else { continue };
                    let dead: Vec<ConnectionId> = dead(peer, now).collect();
                    move_lane(peer, self.own);
                    self.close_all(dead, Reason::Dead);
                    self.open_lane(id, now);
                }
            }
        }
    }

    fn close_duplicates(&mut self, now: Instant) {
        let own = self.own;
        // Circuits and reservations hang on one connection that libp2p chose: then all are kept.
        let carriers: HashSet<PeerId> =
            self.peers.values().filter(|peer| self.is_carrier(peer)).map(|peer| peer.id).collect();
        let several = self.peers.values_mut().filter(|peer| peer.connections.len() > 1 && !carriers.contains(&peer.id));
        let needless: Vec<ConnectionId> = several.flat_map(|peer| duplicates(peer, own, now)).collect();
        self.close_all(needless, Reason::Duplicate);
    }

    fn close_all(&mut self, connections: Vec<ConnectionId>, reason: Reason) {
        for id in connections {
            match reason {
                Reason::Dead => meter!(self, pings_lost),
                Reason::Duplicate => meter!(self, closed_duplicate),
            }
            self.swarm.close_connection(id);
        }
    }

    fn disconnect_idle(&mut self, now: Instant) {
        let idle: Vec<Theirs> =
            self.peers.values().filter(|peer| self.is_idle(peer, now)).map(|peer| peer.theirs).collect();
        for theirs in idle {
            meter!(self, closed_idle);
            let _was_connected = self.swarm.disconnect_peer_id(theirs);
        }
    }

    /// Nothing used it for long, and nothing hangs on it.
    fn is_idle(&self, peer: &Peer, now: Instant) -> bool {
        peer.is_member()
            && now.saturating_duration_since(peer.used) > self.config.idle_timeout
            && now.saturating_duration_since(peer.since) > self.config.idle_timeout
            && peer.links() == 0
            && peer.is_unwanted()
            && !self.bootstrap.wants(peer.id)
            && !self.is_carrier(peer)
    }

    /// It relays for us, or we for it.
    fn is_carrier(&self, peer: &Peer) -> bool {
        self.relays.uses(peer.id)
            || self.reserved.contains(&peer.theirs)
            || self.circuits.contains_key(&peer.theirs)
            || self.through.contains_key(&peer.theirs)
    }

    /// Nobody could say for so long whether others can dial it. A relay more does no harm, and it is given back when an address
    /// turns out to work.
    fn is_undecided(&self, now: Instant) -> bool {
        let beyond_this_host = |one: &Multiaddr| !address::is_local_only(one) && !address::is_loopback(one);
        self.nat == Nat::Unknown
            && now.saturating_duration_since(self.started) > UNDECIDED
            && self.swarm.listeners().any(beyond_this_host)
    }

    /// Asks relays for what is due, and gives back what is not wanted.
    pub(super) fn tend_relays(&mut self, now: Instant) {
        let wanted = match self.config.reserve {
            Reserve::Always => true,
            Reserve::WhenPrivate => self.nat == Nat::Private || self.is_undecided(now),
            Reserve::Never => false,
        };
        if wanted {
            for peer in self.peers.values().filter(|peer| peer.relays && peer.is_member() && peer.is_direct()) {
                self.relays.offer(peer.id, now);
            }
        }
        let peers = &self.peers;
        for listener in self.relays.prune(wanted, |id| peers.get(&id).is_some_and(Peer::is_member)) {
            self.swarm.remove_listener(listener);
        }
        for (id, circuit) in self.relays.due(now) {
            let Some(peer) = self.peers.get(&id).filter(|peer| peer.is_member() && peer.is_direct()) else { continue };
            let circuit = circuit.or_else(|| {
                let at = peer.connections.iter().find(|connection| connection.dialled && !connection.relayed);
                let at = at.map(|connection| &connection.remote).or_else(|| peer.listen.first())?;
                Some(at.clone().with(Protocol::P2p(peer.theirs)).with(Protocol::P2pCircuit))
            });
            match circuit.map(|circuit| self.swarm.listen_on(circuit)) {
                Some(Ok(listener)) => self.relays.asked(id, listener),
                Some(Err(_)) | None => self.relays.refused(id, now),
            }
        }
    }

    pub(super) fn publish_addresses(&mut self) {
        let mut known: Vec<Multiaddr> = Vec::new();
        let listening: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let (relayed, direct): (Vec<_>, Vec<_>) = listening.into_iter().partition(address::is_relayed);
        let only_loopback = direct.iter().chain(&self.external).all(address::is_loopback);
        let told = self.external.iter().cloned().chain(relayed).chain(direct);
        for one in told {
            if address::is_local_only(&one)
                || (address::is_loopback(&one) && !only_loopback && !address::is_relayed(&one))
            {
                continue;
            }
            let Ok(one) = one.with_p2p(self.theirs) else { continue };
            if known.len() < ADDRESSES && !known.contains(&one) {
                known.push(one);
            }
        }
        let mut texts: Vec<String> = known.iter().map(Multiaddr::to_string).collect();
        texts.sort_by_cached_key(|text| (text.contains("/p2p-circuit"), !text.contains("/quic-v1"), text.clone()));
        if texts != **self.shared.addresses.load() {
            self.shared.addresses.store(Arc::new(texts));
            self.out.addresses();
        }
    }

    pub(super) fn publish_snapshots(&mut self) {
        let records = self.swarm.behaviour_mut().kad.store_mut().len();
        let members = self.peers.values().filter(|peer| peer.is_member());
        let mut peers: Vec<OverlayPeer> = members.map(|peer| seen(peer, self.own)).collect();
        peers.sort_unstable_by_key(|peer| peer.peer);
        self.shared.status.store(Arc::new(Status {
            nat: self.nat,
            bootstrap: self.bootstrap.status(),
            peers: peers.len(),
            connections: self.peers.values().map(|peer| peer.connections.len()).sum(),
            table: self.dht.table,
            records,
            relays: self.relays.all_granted(),
            reservations: self.reserved.len(),
            ..Status::default()
        }));
        self.shared.peers.store(Arc::new(peers));
    }
}

/// What waits for it and was given up is forgotten on the way.
fn is_due(peer: &mut Peer, now: Instant) -> Option<Due> {
    peer.waiting.retain(|want| !want.is_given_up());
    let after = |limit: Duration| now.saturating_duration_since(peer.since) > limit;
    match (peer.connections.is_empty(), peer.member) {
        (true, _) => after(STUCK).then_some(Due::Stuck),
        (false, None) => after(UNIDENTIFIED).then_some(Due::Unidentified),
        (false, Some(_)) => Some(Due::Tend),
    }
}

/// Connections that did not answer for too long. All of a peer at once, if all are silent.
fn dead(peer: &mut Peer, now: Instant) -> impl Iterator<Item = ConnectionId> {
    peer.connections.iter_mut().filter_map(move |connection| {
        let silent = !connection.closing && now.saturating_duration_since(connection.heard) > DEAD;
        connection.closing |= silent;
        silent.then_some(connection.id)
    })
}

/// Messages go over the best connection. The writer ends after the message that it is at, and a new one begins.
fn move_lane(peer: &Peer, own: PeerId) {
    if let State::Open { connection, stop, .. } = &peer.lane.state
        && peer.best(own).is_some_and(|best| best.id != *connection)
    {
        stop.cancel();
    }
}

/// Connections that another one makes needless. The side that dialled one closes it, once nothing runs over it.
fn duplicates(peer: &mut Peer, own: PeerId, now: Instant) -> impl Iterator<Item = ConnectionId> {
    let best = peer.best(own).map(|best| (best.id, best.relayed, best.opened));
    let lane = match &peer.lane.state {
        State::Open { connection, .. } => Some(*connection),
        State::Closed(_) | State::Opening(_) => None,
    };
    peer.connections.iter_mut().filter_map(move |connection| {
        let (best, best_is_relayed, since) = best?;
        let settled = |opened: Instant| now.saturating_duration_since(opened) > DUPLICATE;
        let needless = connection.id != best
            && !connection.closing
            && connection.dialled
            && (connection.relayed || !best_is_relayed)
            && lane != Some(connection.id)
            && connection.links() == 0
            && settled(connection.opened)
            && settled(since);
        connection.closing |= needless;
        needless.then_some(connection.id)
    })
}

fn seen(peer: &Peer, own: PeerId) -> OverlayPeer {
    let best = peer.best(own).map(|best| best.id);
    let mut connections: Vec<&Connection> = peer.connections.iter().collect();
    connections.sort_by_key(|connection| Some(connection.id) != best);
    OverlayPeer {
        peer: peer.id,
        addresses: connections.iter().map(|connection| connection.remote.to_string()).collect(),
        direct: peer.is_direct(),
        rtt: peer.rtt,
        since: peer.since,
        agent: peer.agent.clone(),
    }
}
