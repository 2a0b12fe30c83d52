use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ReadError,
    RecvStream, SendStream, ServerConfig, TransportConfig, TransportErrorCode, VarInt, WriteError,
};
use ring::hmac;
use rustls::pki_types::CertificateDer;
use sinew_wire::PeerId;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::debug;

use crate::connection_id::ConnectionIds;
use crate::inline::{self, InlineRuntime};
use crate::probe::Probe;
use crate::tls::{Credentials, SERVER_NAME, peer_of_chain};
use crate::verifier::PeerVerifier;
use crate::{LinkConfig, LinkError, socket};

/// Both halves of the link were dropped.
const CLOSE_DROPPED: VarInt = VarInt::from_u32(0);
/// The peer gave the link up on purpose.
const CLOSE_ABORTED: VarInt = VarInt::from_u32(1);

/// A write of so many bytes sends them itself. More is for another thread, while this one prepares what comes next.
const INLINE: usize = 16 << 10;

/// What may be under way at the start between two processes of one host, where there is no network to be careful with. From
/// the ten packets of RFC 9002 on, the first messages of a busy link wait for acknowledgements that the peer may hold
/// back for 25 ms (`max_ack_delay`), several times over: a pause of up to 80 ms, measured.
const LOCAL_WINDOW: u64 = 1 << 20;

/// How often a dialer makes the transport send something. A listener that was restarted answers the next packet with a
/// reset: this is how long it takes an idle link to notice.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// First packets of strangers that may wait to be accepted, and the memory of what follows them.
const MAX_WAITING: usize = 1024;
const WAITING_BYTES: u64 = 64 << 10;
const ALL_WAITING_BYTES: u64 = 8 << 20;

/// quinn hands the kernel up to ten packets at once, and the kernel takes at most 65,507 bytes at once: with larger packets
/// such a write is lost without a word, so they go one by one.
const LARGEST_SEGMENT: u16 = 6550;

/// A link's connection, shared by its halves and closed, with a reason, with the last of them.
#[derive(Debug)]
pub(crate) struct Quic {
    connection: Connection,
    /// Of the listener it came in by.
    windows: Option<Arc<Windows>>,
}

/// The memory that all links of a listener share: what was written and not acknowledged, and what came and was not read.
/// Few links have the whole window of the configuration, many have their share.
#[derive(Debug)]
pub(crate) struct Windows {
    total: u64,
    most: u64,
    links: AtomicU64,
}

impl Windows {
    /// A share below this would stall links on a path of any length.
    const LEAST: u64 = 64 << 10;

    pub(crate) fn new(config: &LinkConfig) -> Arc<Self> {
        let most = u64::from(config.send_window.min(config.receive_window)).max(Self::LEAST);
        Arc::new(Self { total: config.shared_windows, most, links: AtomicU64::new(0) })
    }

    fn share(&self) -> u64 {
        (self.total / self.links.load(Ordering::Relaxed).max(1)).clamp(Self::LEAST, self.most)
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        if let Some(windows) = &self.windows {
            windows.links.fetch_sub(1, Ordering::Relaxed);
        }
        let path = self.connection.stats().path;
        debug!(
            remote = %self.connection.remote_address(),
            rtt = ?path.rtt,
            mtu = path.current_mtu,
            packets = path.sent_packets,
            lost = path.lost_packets,
            "closing a QUIC link"
        );
        self.connection.close(CLOSE_DROPPED, b"the peer dropped the link");
    }
}

#[derive(Debug)]
pub(crate) struct QuicReader {
    stream: RecvStream,
    open: Arc<Quic>,
}

#[derive(Debug)]
pub(crate) struct QuicWriter {
    stream: SendStream,
    open: Arc<Quic>,
    /// The share of the listener's memory that the link was given last.
    share: u64,
}

/// How a listener answers, by where the peer is.
#[derive(Debug)]
pub(crate) struct ServerConfigs {
    local: Arc<ServerConfig>,
    remote: Arc<ServerConfig>,
    windows: Arc<Windows>,
}

/// A link that has passed its handshake.
pub(crate) type Established = (PeerId, QuicReader, QuicWriter);

pub(crate) fn listen(
    address: SocketAddr,
    credentials: &Arc<Credentials>,
    config: &LinkConfig,
) -> Result<(Endpoint, ServerConfigs), ListenError> {
    let tls = credentials.server_config().map_err(|error| ListenError::Setup(error.to_string()))?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| ListenError::Setup(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.max_incoming(MAX_WAITING).incoming_buffer_size(WAITING_BYTES).incoming_buffer_size_total(ALL_WAITING_BYTES);
    let mut local = server.clone();
    local.transport_config(Arc::new(transport(config, true, 1)));
    server.transport_config(Arc::new(transport(config, false, 1)));
    let endpoint = endpoint(address, known_after_restart(credentials), Some(server.clone()), config)?;
    Ok((endpoint, ServerConfigs { local: Arc::new(local), remote: Arc::new(server), windows: Windows::new(config) }))
}

/// Why an endpoint cannot listen.
#[derive(Debug)]
pub(crate) enum ListenError {
    Io(io::Error),
    Setup(String),
}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A listener that was killed and started again answers packets of its former links with a stateless reset (RFC 9000,
/// section 10.3), so that its peers need not wait for a timeout. For that it must recognise connection ids it gave out
/// in its former life, and derive the same reset tokens from them: both keys come from the identity.
fn known_after_restart(credentials: &Credentials) -> EndpointConfig {
    let reset = credentials.secret_for(b"sinew/1 stateless reset");
    let ids = credentials.secret_for(b"sinew/1 connection ids");
    let mut endpoint = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)));
    // Each reset is smaller than the packet it answers, so nothing is amplified; 50 a second, quinn's default, would keep
    // thousands of links waiting.
    endpoint.min_reset_interval(Duration::from_millis(1));
    endpoint.cid_generator(move || Box::new(ConnectionIds::new(&ids)));
    endpoint
}

/// For dialling.
pub(crate) fn dialling_endpoint(address: SocketAddr, config: &LinkConfig) -> io::Result<Endpoint> {
    endpoint(address, EndpointConfig::default(), None, config)
}

/// Must be called inside of a tokio runtime.
fn endpoint(
    address: SocketAddr,
    mut endpoint: EndpointConfig,
    server: Option<ServerConfig>,
    config: &LinkConfig,
) -> io::Result<Endpoint> {
    let largest = config.local_udp_payload.max(config.remote_udp_payload);
    endpoint
        .max_udp_payload_size(largest)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a UDP payload is from 1200 to 65527 bytes"))?;
    let socket = socket::udp(address, config.socket_buffer)?;
    #[cfg(unix)]
    let socket = Arc::new(crate::quic_socket::QuicSocket::new(socket)?);
    #[cfg(not(unix))]
    let socket = quinn::Runtime::wrap_udp_socket(&InlineRuntime, socket)?;
    Endpoint::new_with_abstract_socket(endpoint, server, socket, Arc::new(InlineRuntime))
}

fn transport(config: &LinkConfig, local: bool, streams_of_peer: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let payload = if local { config.local_udp_payload } else { config.remote_udp_payload };
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(payload);
    transport
        .max_concurrent_bidi_streams(streams_of_peer.into())
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(config.idle_timeout).ok())
        .send_window(config.send_window.into())
        .stream_receive_window(config.receive_window.into())
        .receive_window(config.receive_window.into())
        .enable_segmentation_offload(config.segmentation_offload && payload <= LARGEST_SEGMENT)
        .mtu_discovery_config(Some(discovery));
    if local {
        let mut congestion = CubicConfig::default();
        congestion.initial_window(LOCAL_WINDOW);
        transport.congestion_controller_factory(Arc::new(congestion));
    }
    transport
}

fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

pub(crate) async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    credentials: &Arc<Credentials>,
    expected: Option<PeerId>,
    config: &LinkConfig,
) -> Result<Established, LinkError> {
    let setup = |error: &dyn std::fmt::Display| LinkError::Handshake(error.to_string());
    let verifier = Arc::new(PeerVerifier::expecting(expected));
    let tls = credentials.client_config(Arc::clone(&verifier)).map_err(|error| setup(&error))?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| setup(&error))?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(config, is_local(address), 0);
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    client.transport_config(Arc::new(transport));
    let connecting = endpoint.connect_with(client, address, SERVER_NAME).map_err(|error| setup(&error))?;
    let connection = tokio::select! {
        biased;
        connected = timeout(config.handshake_timeout, connecting) => match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(verifier.why().map_or_else(|| error_of(error), LinkError::from)),
            Err(_) => return Err(LinkError::HandshakeTimeout(config.handshake_timeout)),
        },
        error = unreachable(address) => return Err(LinkError::Io(error)),
    };
    // The listener's transport parameters have arrived with the handshake, and its one stream with them.
    let (send, receive) = connection.open_bi().await.map_err(error_of)?;
    established(connection, send, receive, None)
}

/// Ends when the network says that the port is closed, or the host out of reach: quinn does not listen to that, and would
/// wait for the whole deadline. Asks with a datagram that a QUIC endpoint throws away.
pub(crate) async fn unreachable(address: SocketAddr) -> io::Error {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match asked.await {
        Err(error) => error,
        // It answers to nonsense, so somebody is there.
        Ok(_) => std::future::pending().await,
    }
}

pub(crate) async fn accept(incoming: quinn::Incoming, configs: &ServerConfigs) -> Result<Established, LinkError> {
    let config = if is_local(incoming.remote_address()) { &configs.local } else { &configs.remote };
    let connection = incoming.accept_with(Arc::clone(config)).map_err(error_of)?.await.map_err(error_of)?;
    let (send, receive) = connection.accept_bi().await.map_err(error_of)?;
    established(connection, send, receive, Some(Arc::clone(&configs.windows)))
}

fn established(
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    windows: Option<Arc<Windows>>,
) -> Result<Established, LinkError> {
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let peer = peer_of_chain(chain.as_deref().map(Vec::as_slice))?;
    if let Some(windows) = &windows {
        windows.links.fetch_add(1, Ordering::Relaxed);
    }
    let open = Arc::new(Quic { connection, windows });
    let reader = QuicReader { stream: receive, open: Arc::clone(&open) };
    Ok((peer, reader, QuicWriter { stream: send, open, share: 0 }))
}

impl QuicReader {
    pub(crate) fn rtt(&self) -> Duration {
        if is_local(self.open.connection.remote_address()) {
            return Duration::ZERO;
        }
        self.open.connection.rtt()
    }

    pub(crate) fn probe(&self) -> Probe {
        let connection = self.open.connection.clone();
        Probe::new(move || connection.remote_address())
    }

    /// Takes all that is there, as far as there is room. 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        let mut room = ReadBuf::new(room);
        self.stream.poll_read_buf(cx, &mut room).map(|read| match read {
            Ok(()) => Ok(room.filled().len()),
            Err(ReadError::Reset(_)) => Err(LinkError::Closed("the peer gave the link up".to_owned())),
            Err(ReadError::ConnectionLost(error)) => Err(error_of(error)),
            Err(other) => Err(LinkError::Transport(other.to_string())),
        })
    }
}

impl QuicWriter {
    pub(crate) async fn send(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        self.fit_windows();
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        let mut writing = pin!(self.stream.write_all_chunks(chunks));
        let written =
            if bytes <= INLINE { poll_fn(|cx| inline::run(|| writing.as_mut().poll(cx))).await } else { writing.await };
        written.map_err(|error| match error {
            WriteError::Stopped(_) => LinkError::Closed("the peer reads no more".to_owned()),
            WriteError::ConnectionLost(error) => error_of(error),
            other => LinkError::Transport(other.to_string()),
        })
    }

    /// Follows the link's share of the listener's memory, in steps of an eighth.
    fn fit_windows(&mut self) {
        let Some(windows) = &self.open.windows else { return };
        let share = windows.share();
        if share.abs_diff(self.share) > self.share / 8 {
            self.share = share;
            self.open.connection.set_send_window(share);
            self.open.connection.set_receive_window(VarInt::from_u64(share).unwrap_or(VarInt::MAX));
        }
    }

    /// Ends the stream and waits until the peer has acknowledged all of it.
    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        self.stream.finish().map_err(|_| LinkError::ClosedHere)?;
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(LinkError::Closed("the peer reads no more".to_owned())),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(error_of(error)),
            Err(other) => Err(LinkError::Transport(other.to_string())),
        }
    }

    pub(crate) fn abort(&self) {
        self.open.connection.close(CLOSE_ABORTED, b"the peer gave the link up");
    }
}

/// TLS alerts travel as transport errors with this bit.
const CRYPTO_ERROR: u64 = 0x100;

fn is_crypto(code: TransportErrorCode) -> bool {
    (CRYPTO_ERROR..2 * CRYPTO_ERROR).contains(&u64::from(code))
}

pub(crate) fn error_of(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::TransportError(error) if is_crypto(error.code) => match certificate_problem(&error.reason) {
            Some(why) => LinkError::Certificate(why.to_owned()),
            None => LinkError::Handshake(error.reason),
        },
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            LinkError::Rejected("no room for another connection".to_owned())
        }
        ConnectionError::ConnectionClosed(close) if is_crypto(close.error_code) => {
            let reason = String::from_utf8_lossy(&close.reason);
            LinkError::Rejected(certificate_problem(&reason).unwrap_or(&reason).to_owned())
        }
        ConnectionError::ConnectionClosed(close) => LinkError::Closed(close.to_string()),
        ConnectionError::ApplicationClosed(close) => {
            LinkError::Closed(String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::Reset => LinkError::Reset,
        ConnectionError::TimedOut => LinkError::TimedOut,
        ConnectionError::LocallyClosed => LinkError::ClosedHere,
        ConnectionError::VersionMismatch => LinkError::Handshake("no common version of QUIC".to_owned()),
        other => LinkError::Transport(other.to_string()),
    }
}

/// The reason our verifier gave, out of the words in which rustls wraps it.
fn certificate_problem(text: &str) -> Option<&str> {
    let why = text.strip_prefix("invalid peer certificate: ")?;
    Some(why.strip_prefix("Other(OtherError(").and_then(|why| why.strip_suffix("))")).unwrap_or(why))
}
