//! Which protocols of libp2p are used, and how they are set.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, StreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{
    Multiaddr, PeerId, autonat, connection_limits, dcutr, identify, kad, mdns, ping, relay, request_response,
};
use parking_lot::Mutex;

use crate::book::Book;
use crate::codec::Codec;
use crate::status::Meters;
use crate::store::{Quotas, Store};
use crate::{OverlayConfig, OverlayError, Purpose, agent, gate, streams};

/// A ping per connection and this time. It tells the round trip, and that the peer is there.
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(2500);

/// Requests of ours and of the peer under way on one connection, for each purpose. What is beyond is dropped without a word,
/// ours too, so that it has to be more than [`REQUESTS_PER_PEER`] and what honest peers ask at once.
const REQUESTS_PER_CONNECTION: usize = 128;

/// Requests of ours under way to one peer.
pub(crate) const REQUESTS_PER_PEER: usize = 64;

/// How long a request may take at all. Callers say how long they wait; this ends what they gave up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a query of the DHT may take at all.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to one peer. Two are usual for a moment (both sides dialled), a third and a fourth while a relayed path
/// becomes a direct one or an address is tried out.
const PER_PEER: u32 = 6;

/// Handshakes under way, in each direction.
const PENDING: u32 = 256;

/// Addresses that others say they see us at, which are tried out.
const CANDIDATES: usize = 256;

/// The names of our protocols. The realm is part of each.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// What identify says.
    pub(crate) version: String,
    pub(crate) kad: StreamProtocol,
    pub(crate) message: StreamProtocol,
    pub(crate) link: StreamProtocol,
    membership: StreamProtocol,
    discovery: StreamProtocol,
}

impl Names {
    /// # Errors
    ///
    /// [`OverlayError::Realm`].
    pub(crate) fn new(realm: &str) -> Result<Self, OverlayError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if realm.is_empty() || realm.len() > 64 || !realm.bytes().all(fits) {
            return Err(OverlayError::Realm(realm.chars().take(80).collect()));
        }
        let name = |purpose: &str| {
            StreamProtocol::try_from_owned(format!("/sinew/{realm}/{purpose}/1")).expect("it begins with a slash")
        };
        Ok(Self {
            version: format!("/sinew/{realm}/1"),
            kad: name("kad"),
            message: name("message"),
            link: name("link"),
            membership: name("membership"),
            discovery: name("discovery"),
        })
    }
}

/// All protocols together. The gate and the limits come first, so that a connection they refuse is seen by none of the others.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) gate: gate::Behaviour,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) streams: streams::Behaviour,
    pub(crate) membership: request_response::Behaviour<Codec>,
    pub(crate) discovery: request_response::Behaviour<Codec>,
    pub(crate) kad: kad::Behaviour<Store>,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay_server: Toggle<relay::Behaviour>,
    pub(crate) dcutr: dcutr::Behaviour,
    pub(crate) autonat_client: Capped<autonat::v2::client::Behaviour>,
    pub(crate) autonat_server: autonat::v2::server::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(
        keypair: &Keypair,
        names: &Names,
        config: &OverlayConfig,
        relay_client: relay::client::Behaviour,
        book: Arc<Mutex<Book>>,
        meters: &Arc<Meters>,
    ) -> Result<Self, OverlayError> {
        let public = keypair.public();
        let peer = public.to_peer_id();
        let mdns = match config.mdns {
            true => Some(
                mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                    .map_err(|source| OverlayError::Setup { what: "multicast DNS", source })?,
            ),
            false => None,
        };
        let autonat = autonat::v2::client::Config::default().with_probe_interval(Duration::from_secs(2));
        Ok(Self {
            gate: gate::Behaviour::new(book, Arc::clone(meters)),
            limits: connection_limits::Behaviour::new(limits(config.max_connections)),
            identify: identify::Behaviour::new(
                identify::Config::new(names.version.clone(), public)
                    .with_agent_version(agent::join(&config.agent, rand::random()))
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(usize::try_from(config.max_connections).unwrap_or(usize::MAX).clamp(1, 4096)),
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
            streams: streams::Behaviour::new(names.message.clone(), names.link.clone()),
            membership: requests(names, Purpose::Membership, meters),
            discovery: requests(names, Purpose::Discovery, meters),
            kad: kademlia(peer, names, config),
            relay_client,
            relay_server: config.relay_server.then(|| relay_server(peer)).into(),
            dcutr: dcutr::Behaviour::new(peer),
            autonat_client: Capped::new(autonat::v2::client::Behaviour::new(rand::make_rng(), autonat)),
            autonat_server: autonat::v2::server::Behaviour::default(),
            mdns: mdns.into(),
        })
    }

    /// The protocol of requests for this purpose.
    pub(crate) const fn requests(&mut self, purpose: Purpose) -> &mut request_response::Behaviour<Codec> {
        match purpose {
            Purpose::Membership => &mut self.membership,
            Purpose::Discovery => &mut self.discovery,
        }
    }
}

fn limits(connections: u32) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING))
        .with_max_pending_outgoing(Some(PENDING))
        .with_max_established(Some(connections))
        // Whoever floods us with connections leaves us some to dial with.
        .with_max_established_incoming(Some((connections / 8 * 7).max(1)))
        .with_max_established_per_peer(Some(PER_PEER))
}

fn requests(names: &Names, purpose: Purpose, meters: &Arc<Meters>) -> request_response::Behaviour<Codec> {
    let name = match purpose {
        Purpose::Membership => &names.membership,
        Purpose::Discovery => &names.discovery,
    };
    let config = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(REQUESTS_PER_CONNECTION);
    let protocols = [(name.clone(), request_response::ProtocolSupport::Full)];
    request_response::Behaviour::with_codec(Codec::new(Arc::clone(meters)), protocols, config)
}

fn kademlia(peer: PeerId, names: &Names, config: &OverlayConfig) -> kad::Behaviour<Store> {
    let mut settings = kad::Config::new(names.kad.clone());
    settings
        // By default everything that is sent is stored, and every peer that connects is in the table.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_caching(kad::Caching::Disabled)
        .set_record_ttl(Some(Duration::from_secs(1)))
        .set_replication_interval(None)
        .set_publication_interval(None)
        // We publish our provider records ourselves: again as soon as a new node joins, and paced.
        .set_provider_publication_interval(None)
        .set_provider_record_ttl(Some(config.provider_ttl))
        .set_query_timeout(QUERY_TIMEOUT)
        .set_substreams_timeout(Duration::from_secs(5))
        .set_parallelism(const { NonZeroUsize::new(5).unwrap() });
    let mut kad = kad::Behaviour::with_config(peer, Store::new(peer, Quotas::default()), settings);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// A relay for a realm, not for the public: circuits carry the data plane of nodes that have no other path, so their bytes
/// are not limited, only their number.
fn relay_server(peer: PeerId) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: 1024,
        max_reservations_per_peer: 4,
        reservation_duration: Duration::from_secs(30 * 60),
        reservation_rate_limiters: Vec::new(),
        max_circuits: 1024,
        max_circuits_per_peer: 128,
        max_circuit_duration: Duration::from_secs(24 * 60 * 60),
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
    }
    .reservation_rate_per_peer(const { std::num::NonZeroU32::new(30).unwrap() }, Duration::from_secs(10))
    .circuit_src_per_peer(const { std::num::NonZeroU32::new(60).unwrap() }, Duration::from_secs(1));
    let mut relay = relay::Behaviour::new(peer, config);
    relay.set_status(Some(relay::Status::Enable));
    relay
}

/// A protocol that hears of at most [`CANDIDATES`] different addresses at which others say they see us. It would keep all
/// that anybody ever names.
pub(crate) struct Capped<B> {
    inner: B,
    heard: HashSet<Multiaddr>,
}

impl<B> Capped<B> {
    fn new(inner: B) -> Self {
        Self { inner, heard: HashSet::new() }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Capped<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !self.heard.contains(candidate.addr)
        {
            if self.heard.len() >= CANDIDATES {
                return;
            }
            self.heard.insert(candidate.addr.clone());
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// An error of a library, as one of the system.
pub(crate) fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_are_parts_of_names() {
        let names = Names::new("blue-7_a.b").unwrap();
        assert_eq!(names.kad.as_ref(), "/sinew/blue-7_a.b/kad/1");
        assert_eq!(names.version, "/sinew/blue-7_a.b/1");
        for bad in ["", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(matches!(Names::new(bad), Err(OverlayError::Realm(_))), "{bad}");
        }
    }
}
