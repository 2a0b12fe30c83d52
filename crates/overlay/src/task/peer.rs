use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::core::ConnectedPoint;
use libp2p::request_response::ResponseChannel;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p::{Multiaddr, PeerId as Theirs};
use sinew_link::Link;
use sinew_wire::PeerId;
use tokio::sync::oneshot;

use super::lane::Lane;
use crate::codec::Body;
use crate::streams::Kind;
use crate::{OverlayError, Purpose, RequestError, address, peer_id};

/// Requests and links that wait for one peer to be connected, at most.
pub(super) const WAITING: usize = 64;

/// Requests that wait for a connected peer to answer others, at most.
pub(super) const QUEUED: usize = 960;

/// What a peer sent before it was identified, and is kept for it, at most.
pub(super) const EARLY: usize = 16;

/// What waits for a peer to be connected, or to answer others before. Messages wait in its lane.
pub(super) enum Want {
    Request { purpose: Purpose, body: Bytes, reply: oneshot::Sender<Result<Bytes, RequestError>> },
    Link { reply: oneshot::Sender<Result<Link, OverlayError>> },
}

impl Want {
    pub(super) fn unreachable(self, peer: PeerId) {
        // Who does not wait any more need not be told.
        match self {
            Self::Request { reply, .. } => drop(reply.send(Err(RequestError::Unreachable))),
            Self::Link { reply } => drop(reply.send(Err(OverlayError::Unreachable(peer)))),
        }
    }

    pub(super) fn refuse(self) {
        match self {
            Self::Request { reply, .. } => drop(reply.send(Err(RequestError::Busy))),
            Self::Link { reply } => drop(reply.send(Err(OverlayError::Busy))),
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::Request { reply, .. } => reply.is_closed(),
            Self::Link { reply } => reply.is_closed(),
        }
    }
}

/// What a peer sent before it was identified.
pub(super) enum Early {
    Stream { connection: ConnectionId, kind: Kind, stream: Stream },
    Request { purpose: Purpose, body: Body, channel: ResponseChannel<Body> },
}

/// One connection to a peer.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Without `/p2p/ID` of the peer at its end.
    pub(super) remote: Multiaddr,
    /// The relay it leads through. Nothing for a direct one.
    pub(super) relay: Option<Theirs>,
    pub(super) relayed: bool,
    /// Over QUIC; a relayed one, if it is so to the relay.
    pub(super) quic: bool,
    /// We dialled it.
    pub(super) dialled: bool,
    pub(super) opened: Instant,
    /// The last ping that was answered.
    pub(super) heard: Instant,
    /// Links that run over it.
    pub(super) links: Arc<AtomicUsize>,
    /// Streams of messages that are read from it.
    pub(super) readers: Arc<AtomicUsize>,
    /// Which run of the peer is at its end, once that was told.
    pub(super) run: Option<u64>,
    /// It is being closed.
    pub(super) closing: bool,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, point: &ConnectedPoint, now: Instant) -> Self {
        let (remote, through) = match point {
            ConnectedPoint::Dialer { address, .. } => (address, address),
            ConnectedPoint::Listener { local_addr, send_back_addr } => (send_back_addr, local_addr),
        };
        let remote = match point.is_relayed() {
            // A dialled one ends in the peer. Of an inbound one nothing is known but the relay, which its own address names.
            true if point.is_dialer() => address::split_peer(remote.clone()).0,
            true => through.clone(),
            false => address::split_peer(remote.clone()).0,
        };
        Self {
            id,
            relay: address::relay_of(through),
            relayed: point.is_relayed(),
            quic: address::is_quic(&remote),
            remote,
            dialled: point.is_dialer(),
            opened: now,
            heard: now,
            links: Arc::default(),
            readers: Arc::default(),
            run: None,
            closing: false,
        }
    }

    pub(super) fn links(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }
}

/// A peer that is connected, or is to be.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) theirs: Theirs,
    pub(super) connections: Vec<Connection>,
    /// It said that it is of our realm. A number that differs each time it becomes so.
    pub(super) member: Option<u64>,
    /// Since when there is a connection, or a dial under way.
    pub(super) since: Instant,
    /// When something of ours last used it.
    pub(super) used: Instant,
    pub(super) agent: String,
    /// It relays for others.
    pub(super) relays: bool,
    /// Where it says that it listens, without `/p2p/ID`.
    pub(super) listen: Vec<Multiaddr>,
    pub(super) rtt: Option<Duration>,
    pub(super) lane: Lane,
    pub(super) waiting: VecDeque<Want>,
    pub(super) early: Vec<Early>,
    /// How often its direct addresses were tried while it was behind a relay, and when they are next.
    pub(super) straighten: (u32, Instant),
    /// Requests of ours under way.
    pub(super) asked: usize,
    /// A dial is under way, ours or of one of the protocols.
    pub(super) dialling: bool,
}

impl Peer {
    pub(super) fn new(id: PeerId, now: Instant) -> Self {
        Self {
            id,
            theirs: peer_id::theirs(&id),
            connections: Vec::new(),
            member: None,
            since: now,
            used: now,
            agent: String::new(),
            relays: false,
            listen: Vec::new(),
            rtt: None,
            lane: Lane::new(now),
            waiting: VecDeque::new(),
            early: Vec::new(),
            straighten: (0, now),
            asked: 0,
            dialling: false,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        self.member.is_some() && !self.connections.is_empty()
    }

    pub(super) fn is_direct(&self) -> bool {
        self.connections.iter().any(|connection| !connection.relayed)
    }

    /// There is no better path than the one it has.
    pub(super) fn is_straight(&self) -> bool {
        self.connections.iter().any(|connection| !connection.relayed && connection.quic)
    }

    /// The connection to use. Both sides come to the same one where both have a direct one: over QUIC rather than TCP, which
    /// stands still for seconds where packets get lost, until a living peer is taken for dead; then that which the smaller
    /// id dialled, and of several the oldest. One that has not told yet which run of the peer is at its end may lead to a
    /// process that is no more: it has to wait.
    pub(super) fn best(&self, own: PeerId) -> Option<&Connection> {
        let smaller_dials = own < self.id;
        let told = self.connections.iter().filter(|connection| connection.run.is_some());
        let run = told.max_by_key(|connection| connection.opened).and_then(|connection| connection.run);
        self.connections
            .iter()
            .filter(|connection| !connection.closing)
            .min_by_key(|one| (one.run != run, one.relayed, !one.quic, one.dialled != smaller_dials, one.opened))
            .or_else(|| self.connections.first())
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    pub(super) fn links(&self) -> usize {
        self.connections.iter().map(Connection::links).sum()
    }

    /// A connection told which run of the peer is at its end. Older connections to another run lead to a process that is no
    /// more, and so do those that are older still: they are given, to be closed, and used no longer.
    pub(super) fn runs_as(&mut self, id: ConnectionId, run: u64) -> Vec<ConnectionId> {
        let Some(told) = self.connection(id) else { return Vec::new() };
        told.run = Some(run);
        let opened = told.opened;
        let is_of_another = |other: &Connection| other.run.is_some_and(|other| other != run) && other.opened <= opened;
        let Some(last) = self.connections.iter().filter(|other| is_of_another(other)).map(|other| other.opened).max()
        else {
            return Vec::new();
        };
        let is_former = |other: &Connection| is_of_another(other) || (other.run.is_none() && other.opened <= last);
        let former = self.connections.iter_mut().filter(|other| other.id != id && !other.closing && is_former(other));
        former
            .map(|other| {
                other.closing = true;
                other.id
            })
            .collect()
    }

    /// Nothing of ours needs it.
    pub(super) fn is_unwanted(&self) -> bool {
        self.waiting.is_empty() && self.lane.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    use super::*;

    const QUIC: &str = "/ip4/10.0.0.1/udp/4500/quic-v1";
    const TCP: &str = "/ip4/10.0.0.1/tcp/4500";

    fn peer(byte: u8) -> Peer {
        Peer::new(PeerId::from_public_key([byte; 32]), Instant::now())
    }

    /// A connection as one end sees it.
    fn connection(number: usize, address: &str, dialled: bool, now: Instant) -> Connection {
        let address: Multiaddr = address.parse().unwrap();
        let point = if dialled {
            ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::Reuse }
        } else {
            ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address }
        };
        Connection::new(ConnectionId::new_unchecked(number), &point, now)
    }

    /// Whoever dialled what, and in whichever order it came about: where there is a way over QUIC, both ends take one, and
    /// the same.
    #[test]
    fn both_ends_use_the_same_connection_and_quic_before_tcp() {
        let now = Instant::now();
        for dialled in 0..16u8 {
            let (mut here, mut there) = (peer(2), peer(1));
            let addresses = [TCP, QUIC, TCP, QUIC];
            for (number, address) in addresses.into_iter().enumerate() {
                let (ours, at) = (dialled & (1 << number) != 0, now + Duration::from_secs(number as u64));
                here.connections.push(connection(number, address, ours, at));
                there.connections.push(connection(number, address, !ours, at));
            }
            let (ours, theirs) = (here.best(there.id).unwrap(), there.best(here.id).unwrap());
            assert_eq!(ours.id, theirs.id, "{dialled:04b}");
            assert!(ours.quic && here.is_straight(), "{dialled:04b}");
            here.connections.retain(|connection| !connection.quic);
            assert!(!here.is_straight() && here.is_direct() && here.best(there.id).is_some());
        }
    }

    /// A peer that was killed may have been connected twice, and have told who it is over one of the two only.
    #[test]
    fn what_has_not_told_its_run_is_not_used_and_goes_with_what_came_after_it() {
        let (now, own) = (Instant::now(), PeerId::from_public_key([1; 32]));
        let id = ConnectionId::new_unchecked;
        let best = |peer: &Peer| peer.best(own).map(|connection| connection.id);
        let connect = |peer: &mut Peer, number: usize, address: &str| {
            peer.connections.push(connection(number, address, false, now + Duration::from_secs(number as u64)));
        };
        let mut peer = peer(2);
        connect(&mut peer, 0, QUIC);
        assert_eq!(best(&peer), Some(id(0)), "there is no other");
        connect(&mut peer, 1, TCP);
        assert_eq!(peer.runs_as(id(1), 7), []);
        connect(&mut peer, 2, QUIC);
        assert_eq!(best(&peer), Some(id(1)));
        // It is back.
        connect(&mut peer, 3, TCP);
        assert_eq!(peer.runs_as(id(3), 8), [id(0), id(1)]);
        assert_eq!(best(&peer), Some(id(3)), "the second may lead to either run");
        assert_eq!(peer.runs_as(id(2), 8), [], "to the new one");
        assert_eq!(best(&peer), Some(id(2)));
    }
}
