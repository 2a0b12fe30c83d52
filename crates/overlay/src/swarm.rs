//! The swarm: its transports, and its protocols on them.

use std::sync::Arc;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Swarm, noise, quic, relay, swarm, tcp, yamux};
use parking_lot::Mutex;

use crate::behaviour::{Behaviour, Names, io_error};
use crate::book::Book;
use crate::names::Named;
use crate::status::Meters;
use crate::{OverlayConfig, OverlayError};

/// Time for a connection, its handshake included. Dials that fail are made again, so it need not suit the slowest.
const HANDSHAKE: Duration = Duration::from_secs(4);

/// Time for a connection through a relay: two handshakes, one of them end to end.
const CONNECT: Duration = Duration::from_secs(10);

/// A QUIC connection without a packet for so long is lost. A peer that was killed shows after this time; one that stands
/// still for two seconds does not.
const QUIC_IDLE: Duration = Duration::from_secs(6);

/// Packets to keep it alive.
const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(1500);

/// Bytes a peer may send on one stream that are not read yet.
const STREAM_WINDOW: u32 = 1 << 20;

/// Bytes a peer may send on one connection that are not read yet.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Streams a peer may have open on one connection.
const STREAMS: u32 = 256;

pub(crate) fn build(
    keypair: &Keypair,
    names: &Names,
    config: &OverlayConfig,
    book: Arc<Mutex<Book>>,
    meters: &Arc<Meters>,
) -> Result<Swarm<Behaviour>, OverlayError> {
    let peer = keypair.public().to_peer_id();
    let (relay_transport, relay_client) = relay::client::new(peer);
    let transport = transport(keypair, relay_transport)?;
    let behaviour = Behaviour::new(keypair, names, config, relay_client, book, meters)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_smart_dial()
        .with_max_negotiating_inbound_streams(64)
        .with_idle_connection_timeout(Duration::from_secs(60));
    Ok(Swarm::new(transport, behaviour, peer, settings))
}

fn transport(
    keypair: &Keypair,
    relay: relay::client::Transport,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, OverlayError> {
    let noise =
        noise::Config::new(keypair).map_err(|error| OverlayError::Setup { what: "noise", source: io_error(error) })?;
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(STREAMS as usize);

    let mut settings = quic::Config::new(keypair);
    settings.handshake_timeout = HANDSHAKE;
    settings.max_idle_timeout = u32::try_from(QUIC_IDLE.as_millis()).expect("seconds fit in 32 bits of milliseconds");
    settings.keep_alive_interval = QUIC_KEEP_ALIVE;
    settings.max_concurrent_stream_limit = STREAMS;
    settings.max_stream_data = STREAM_WINDOW;
    settings.max_connection_data = CONNECTION_WINDOW;
    let quic = quic::tokio::Transport::new(settings).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(muxer.clone())
        .timeout(HANDSHAKE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let direct = Named::new(quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed());
    let relayed = relay
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(muxer)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let all = relayed.or_transport(direct).map(|either, _| either.into_inner());
    Ok(TransportTimeout::new(all, CONNECT).boxed())
}
