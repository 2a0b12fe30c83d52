//! Who is connected, how, and of which realm.

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId as Theirs, autonat, connection_limits, identify, kad, mdns, ping, relay};
use sinew_wire::PeerId;

use super::lane::State;
use super::peer::{Connection, Early, Peer};
use super::{Task, meter};
use crate::behaviour::BehaviourEvent;
use crate::book::PER_PEER;
use crate::{Nat, Purpose, address, agent, peer_id};

/// How long a peer of another realm is turned away without being asked again.
const FOREIGN: Duration = Duration::from_secs(60);

/// The protocol of a relay, in what identify says.
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// Peers found by multicast DNS that are tried again.
const NEARBY: usize = 256;

impl Task {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.on_closed(peer_id, connection_id, cause.is_some(), now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. }
                if cause.downcast_ref::<connection_limits::Exceeded>().is_some() =>
            {
                meter!(self, refused_connections);
            }
            SwarmEvent::Dialing { .. } => meter!(self, dials),
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if self.config.relay_server
                    && self.config.external.is_empty()
                    && self.listeners.contains_key(&listener_id)
                    && !address::is_local_only(&address)
                {
                    self.swarm.add_external_address(address.clone());
                    self.external.insert(address);
                    self.nat = Nat::Public;
                }
                self.addresses_dirty = true;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                if self.config.relay_server && self.config.external.is_empty() {
                    self.swarm.remove_external_address(&address);
                    self.external.remove(&address);
                }
                self.addresses_dirty = true;
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if self.relays.closed(listener_id, now) {
                    meter!(self, reservations_lost);
                    tracing::debug!(?reason, "a relay keeps no address for us any more");
                } else if let Some(address) = self.listeners.remove(&listener_id) {
                    tracing::error!(address, ?reason, "no longer listening");
                }
                self.addresses_dirty = true;
                self.dirty = true;
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                if !address::is_relayed(&address) {
                    self.nat = Nat::Public;
                    self.external.insert(address::split_peer(address).0);
                }
                self.addresses_dirty = true;
                self.dirty = true;
            }
            SwarmEvent::ExternalAddrExpired { address } => {
                self.external.remove(&address::split_peer(address).0);
                self.addresses_dirty = true;
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, connection_id, info }) => {
                self.on_identified(peer_id, Some(connection_id), info, now);
            }
            BehaviourEvent::Identify(identify::Event::Pushed { peer_id, info, .. }) => {
                let known = peer_id::ours(&peer_id).and_then(|id| self.peers.get(&id)).is_some_and(Peer::is_member);
                if known {
                    self.on_identified(peer_id, None, info, now);
                }
            }
            BehaviourEvent::Ping(ping::Event { peer, connection, result: Ok(rtt) }) => {
                if let Some(peer) = peer_id::ours(&peer).and_then(|id| self.peers.get_mut(&id)) {
                    peer.rtt = Some(rtt);
                    if let Some(connection) = peer.connection(connection) {
                        connection.heard = now;
                    }
                }
            }
            BehaviourEvent::Streams(event) => self.on_stream(event, now),
            BehaviourEvent::Membership(event) => self.on_requests(Purpose::Membership, event, now),
            BehaviourEvent::Discovery(event) => self.on_requests(Purpose::Discovery, event, now),
            BehaviourEvent::Kad(event) => self.on_kad(event, now),
            BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted { relay_peer_id, .. }) => {
                meter!(self, reservations_granted);
                if let Some(relay) = peer_id::ours(&relay_peer_id) {
                    self.relays.granted(relay);
                }
                self.addresses_dirty = true;
                self.dirty = true;
            }
            BehaviourEvent::RelayServer(event) => self.on_relay_server(event),
            BehaviourEvent::Dcutr(event) => match event.result {
                Ok(_) => meter!(self, holes_punched),
                Err(error) => {
                    meter!(self, holes_failed);
                    tracing::debug!(peer = %event.remote_peer_id, %error, "no hole");
                }
            },
            BehaviourEvent::AutonatClient(event) => self.on_tried(&event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, _) in found {
                    if self.nearby.len() < NEARBY {
                        self.nearby.insert(peer);
                    }
                    self.dial_nearby(peer, now);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(expired)) => {
                for (peer, _) in expired {
                    self.nearby.remove(&peer);
                }
            }
            _ => {}
        }
    }

    fn on_established(&mut self, theirs: Theirs, id: ConnectionId, point: &ConnectedPoint, now: Instant) {
        meter!(self, connections_opened);
        self.dirty = true;
        let Some(peer) = peer_id::ours(&theirs) else {
            self.swarm.close_connection(id);
            return;
        };
        let entry = self.peers.entry(peer).or_insert_with(|| Peer::new(peer, now));
        if entry.connections.is_empty() {
            entry.since = now;
            entry.used = now;
            entry.straighten = (0, now);
        }
        entry.dialling = false;
        let connection = Connection::new(id, point, now);
        if let Some(relay) = connection.relay {
            *self.through.entry(relay).or_default() += 1;
        }
        entry.connections.push(connection);
        tracing::debug!(%peer, ?point, "connected");
        self.backoff.succeeded(&peer);
        self.bootstrap.established(id, peer);
        if self.peers.get(&peer).is_some_and(Peer::is_member) {
            self.bootstrap.member(peer);
            self.out.state(peer);
        }
    }

    fn on_closed(&mut self, theirs: Theirs, id: ConnectionId, broke: bool, now: Instant) {
        meter!(self, connections_closed);
        self.dirty = true;
        let Some(peer) = peer_id::ours(&theirs) else { return };
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if let Some(index) = entry.connections.iter().position(|connection| connection.id == id) {
            let relay = entry.connections.remove(index).relay;
            if let Some(relay) = relay {
                count_down(&mut self.through, &relay);
            }
        }
        if entry.member.is_some() {
            self.out.state(peer);
        }
        if !entry.connections.is_empty() {
            entry.early.retain(|early| !matches!(early, Early::Stream { connection, .. } if *connection == id));
            return;
        }
        entry.member = None;
        entry.early.clear();
        entry.rtt = None;
        let unwanted = entry.is_unwanted();
        self.reserved.remove(&theirs);
        self.bootstrap.lost(peer, None, now);
        if broke {
            // It may be dead. One that went quietly, or for lack of use, stays in the table.
            self.forget_route(&theirs);
        }
        if unwanted {
            self.peers.remove(&peer);
        } else {
            self.reach(peer, now);
        }
    }

    pub(super) fn forget_route(&mut self, theirs: &Theirs) {
        if self.swarm.behaviour_mut().kad.remove_peer(theirs).is_some() {
            self.count_table();
        }
    }

    /// A peer said who it is.
    fn on_identified(&mut self, theirs: Theirs, connection: Option<ConnectionId>, info: identify::Info, now: Instant) {
        let Some(peer) = peer_id::ours(&theirs) else { return };
        if info.protocol_version != self.names.version {
            meter!(self, refused_realm);
            tracing::debug!(%peer, version = %info.protocol_version.chars().take(80).collect::<String>(), "another realm");
            self.swarm.behaviour_mut().gate.remember(theirs, now + FOREIGN);
            let _was_connected = self.swarm.disconnect_peer_id(theirs);
            self.bootstrap.lost(peer, Some("of another realm"), now);
            return;
        }
        let number = self.number();
        let Some(entry) = self.peers.get_mut(&peer).filter(|entry| !entry.connections.is_empty()) else { return };
        let near = entry.connections.iter().any(|connection| address::is_loopback(&connection.remote));
        entry.listen = listen_addresses(&theirs, &info.listen_addrs, near);
        entry.relays = info.protocols.iter().any(|protocol| protocol.as_ref() == HOP);
        let (agent, run) = agent::split(&info.agent_version);
        entry.agent = agent.chars().filter(|char| !char.is_control()).take(64).collect();
        let former = connection.zip(run).map(|(id, run)| entry.runs_as(id, run)).unwrap_or_default();
        let mut routes = entry.listen.clone();
        let dialled = connection.and_then(|id| entry.connection(id)).filter(|connection| connection.dialled);
        routes.extend(dialled.map(|connection| connection.remote.clone()));
        let new = entry.member.is_none();
        let early = if new { std::mem::take(&mut entry.early) } else { Vec::new() };
        if new {
            entry.member = Some(number);
            entry.since = now;
            entry.used = now;
        }
        self.dirty = true;
        self.set_routes(&theirs, routes);
        if !former.is_empty() {
            tracing::debug!(%peer, connections = former.len(), "it was restarted");
            self.leave_former(peer, &former);
        }
        if new {
            self.bootstrap.member(peer);
            self.out.state(peer);
            for early in early {
                self.on_early(peer, early, now);
            }
            self.now_connected(peer, now);
        }
    }

    /// A peer that was killed and is back: nobody told that its former connections are dead, and until that is noticed all
    /// that goes over them is lost.
    fn leave_former(&mut self, peer: PeerId, former: &[ConnectionId]) {
        if let Some(entry) = self.peers.get(&peer)
            && let State::Open { connection, stop, .. } = &entry.lane.state
            && former.contains(connection)
        {
            stop.cancel();
        }
        for id in former {
            meter!(self, closed_duplicate);
            self.swarm.close_connection(*id);
        }
    }

    /// Puts a peer into the routing table with these addresses, and no others: by itself the table would keep all that the
    /// peer ever named.
    fn set_routes(&mut self, theirs: &Theirs, routes: Vec<Multiaddr>) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let key = kad::KBucketKey::from(*theirs);
        let mut old: Vec<Multiaddr> = Vec::new();
        if let Some(bucket) = kad.kbucket(*theirs) {
            let entry = bucket.iter().find(|entry| *entry.node.key == key);
            old.extend(entry.into_iter().flat_map(|entry| entry.node.value.iter().cloned()));
        }
        for address in &routes {
            kad.add_address(theirs, address.clone());
        }
        for address in old {
            if !routes.contains(&address::split_peer(address.clone()).0) {
                kad.remove_address(theirs, &address);
            }
        }
    }

    /// Others tried one of our addresses.
    fn on_tried(&mut self, event: &autonat::v2::client::Event) {
        match &event.result {
            Ok(()) => self.nat = Nat::Public,
            Err(error) => {
                tracing::debug!(address = %event.tested_addr, %error, "cannot be dialled from outside");
                // An address that failed is not tried again. Where it was the other side's fault, a relay more does no harm.
                if self.external.is_empty() {
                    self.nat = Nat::Private;
                }
            }
        }
        self.dirty = true;
    }

    fn on_relay_server(&mut self, event: relay::Event) {
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                self.reserved.insert(src_peer_id);
            }
            relay::Event::ReservationClosed { src_peer_id } | relay::Event::ReservationTimedOut { src_peer_id } => {
                self.reserved.remove(&src_peer_id);
            }
            relay::Event::CircuitReqAccepted { src_peer_id, dst_peer_id } => {
                for end in [src_peer_id, dst_peer_id] {
                    *self.circuits.entry(end).or_default() += 1;
                }
            }
            relay::Event::CircuitClosed { src_peer_id, dst_peer_id, .. } => {
                for end in [src_peer_id, dst_peer_id] {
                    count_down(&mut self.circuits, &end);
                }
            }
            _ => {}
        }
        self.dirty = true;
    }
}

fn count_down(counts: &mut HashMap<Theirs, u32>, of: &Theirs) {
    if let Some(count) = counts.get_mut(of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// What a peer says of itself, as far as it can be dialled from here.
fn listen_addresses(theirs: &Theirs, said: &[Multiaddr], near: bool) -> Vec<Multiaddr> {
    let mut listen: Vec<Multiaddr> = Vec::new();
    for one in said {
        if address::check(one).is_err() || address::is_local_only(one) || (address::is_loopback(one) && !near) {
            continue;
        }
        let (bare, of) = address::split_peer(one.clone());
        if of.is_none_or(|of| of == *theirs) && listen.len() < PER_PEER && !listen.contains(&bare) {
            listen.push(bare);
        }
    }
    listen
}
