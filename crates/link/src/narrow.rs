//! Transfers over QUIC between sockets whose sends really find no room: [`Writability`] as quinn uses it.
//!
//! UDP over loopback always has room, because a datagram is its reader's once it is sent. A Unix socket counts it
//! against the sender until it is read.

use std::io::{self, IoSliceMut, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller,
};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Identity;
use crate::tls::{Credentials, SERVER_NAME};
use crate::verifier::PeerVerifier;
use crate::writability::{Writability, register};

const CONNECTIONS: usize = 3;
const BYTES: usize = 1 << 20;

/// One end of a pair of Unix sockets that passes for UDP, with room for about a dozen datagrams.
#[derive(Debug)]
struct Narrow {
    io: AsyncFd<Arc<OwnedFd>>,
    writability: Arc<Writability>,
    address: SocketAddr,
    peer: SocketAddr,
    sent: AtomicUsize,
    blocked: AtomicUsize,
}

impl Narrow {
    fn pair() -> io::Result<[Arc<Self>; 2]> {
        let [left, right] = [1, 2].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let (one, other) = UnixDatagram::pair()?;
        Ok([Self::new(one, left, right)?, Self::new(other, right, left)?])
    }

    fn new(socket: UnixDatagram, address: SocketAddr, peer: SocketAddr) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_send_buffer_size(16 << 10)?;
        let socket = Arc::new(OwnedFd::from(socket));
        let io = register(Arc::clone(&socket), Interest::READABLE)?;
        let (sent, blocked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Arc::new(Self { io, writability: Writability::new(socket), address, peer, sent, blocked }))
    }
}

impl AsyncUdpSocket for Narrow {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.writability).poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.writability.try_send(|socket| SockRef::from(socket).send(transmit.contents).map(drop));
        let count = if sent.is_ok() { &self.sent } else { &self.blocked };
        // Within quinn, which never ends of itself if its poller does not wait.
        assert!(count.fetch_add(1, Ordering::Relaxed) < 100 * CONNECTIONS * BYTES / 1200, "sends, and does not wait");
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            if let Ok(read) = ready.try_io(|io| (&*SockRef::from(io)).read(&mut bufs[0])) {
                let len = read?;
                meta[0] = RecvMeta { addr: self.peer, len, stride: len, ..RecvMeta::default() };
                return Poll::Ready(Ok(1));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

fn endpoint(socket: &Arc<Narrow>, server: Option<ServerConfig>) -> Endpoint {
    let socket: Arc<dyn AsyncUdpSocket> = Arc::clone(socket) as _;
    let config = EndpointConfig::default();
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime)).expect("needs nothing")
}

fn server_config() -> ServerConfig {
    let credentials = Arc::new(Credentials::new(&Identity::generate()).expect("a certificate"));
    let tls = credentials.server_config().expect("is valid");
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("is valid")))
}

fn client_config() -> ClientConfig {
    let credentials = Arc::new(Credentials::new(&Identity::generate()).expect("a certificate"));
    let tls = credentials.client_config(Arc::new(PeerVerifier::expecting(None))).expect("is valid");
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("is valid")))
}

fn content(number: usize) -> Vec<u8> {
    (0..BYTES).map(|at| (at * 31 + at / 251 + number) as u8).collect()
}

/// Sends each connection what belongs to it, until all of it has arrived.
async fn serve(server: &Endpoint) -> Vec<Connection> {
    let mut sending = JoinSet::new();
    for number in 0..CONNECTIONS {
        let connection = server.accept().await.expect("is open").await.expect("shakes hands");
        sending.spawn(async move {
            let mut stream = connection.open_uni().await.expect("is connected");
            stream.write_all(&[number as u8]).await.expect("is written");
            stream.write_all(&content(number)).await.expect("is written");
            stream.finish().expect("is open");
            stream.stopped().await.expect("all of it arrives");
            connection
        });
    }
    sending.join_all().await
}

async fn take(client: Endpoint) -> Connection {
    let connection = client.connect_with(client_config(), ([127, 0, 0, 1], 1).into(), SERVER_NAME);
    let connection = connection.expect("is valid").await.expect("shakes hands");
    let mut stream = connection.accept_uni().await.expect("is connected");
    let got = stream.read_to_end(1 + BYTES).await.expect("comes whole");
    let (&number, got) = got.split_first().expect("says whose it is");
    assert!(got == content(number.into()), "is what was sent");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_find_no_room_take_turns_and_lose_nothing() {
    let [left, right] = Narrow::pair().expect("a pair");
    let (server, client) = (endpoint(&left, Some(server_config())), endpoint(&right, None));
    let taking: JoinSet<_> = (0..CONNECTIONS).map(|_| take(client.clone())).collect();
    // Who closed first would take from the other what it has not read yet.
    let transfers = async { tokio::join!(serve(&server), taking.join_all()) };
    let (serving, _taking) = timeout(Duration::from_secs(20), transfers).await.expect("is done in time");
    assert_eq!(serving.iter().map(|connection| connection.stats().path.lost_packets).sum::<u64>(), 0);
    let [sent, blocked] = [&left.sent, &left.blocked].map(|count| count.load(Ordering::Relaxed));
    println!("{sent} datagrams sent, {blocked} times no room");
    assert!(blocked > 0, "there was always room");
    // Each connection asks again once a report, and a report means room for several.
    assert!(blocked <= sent, "{blocked} attempts without room for {sent} datagrams");
}
