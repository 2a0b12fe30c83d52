use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use sinew_wire::PeerId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tracing::debug;

use crate::LinkError;
use crate::tls::{Credentials, SERVER_NAME, error_of_io, peer_of_chain};
use crate::verifier::PeerVerifier;

/// Encrypted bytes that wait for the socket, per link. One batch of a writer becomes one system call.
const TLS_BUFFER: usize = 256 << 10;

/// Slices per vectored write. Chunks are coalesced before, so this is a large batch.
const SLICES: usize = 64;

type Shared = Arc<Mutex<TlsStream<TcpStream>>>;

/// Reads and writes share the TLS state, so they share its lock, which is never held across a wait.
#[derive(Debug)]
pub(crate) struct TlsReader(Shared);

#[derive(Debug)]
pub(crate) struct TlsWriter(Shared);

pub(crate) type Established = (PeerId, TlsReader, TlsWriter);

pub(crate) async fn connect(
    stream: TcpStream,
    credentials: &Arc<Credentials>,
    expected: Option<PeerId>,
) -> Result<Established, LinkError> {
    suit_messages(&stream)?;
    let verifier = Arc::new(PeerVerifier::expecting(expected));
    let config = credentials.client_config(verifier).map_err(|error| LinkError::Handshake(error.to_string()))?;
    let name = ServerName::try_from(SERVER_NAME).expect("the constant is a name");
    let connecting =
        TlsConnector::from(Arc::new(config)).connect_with(name, stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
    established(connecting.await.map_err(handshake_error)?.into())
}

pub(crate) async fn accept(stream: TcpStream, config: &Arc<rustls::ServerConfig>) -> Result<Established, LinkError> {
    suit_messages(&stream)?;
    let accepting =
        TlsAcceptor::from(Arc::clone(config)).accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
    established(accepting.await.map_err(handshake_error)?.into())
}

fn handshake_error(error: io::Error) -> LinkError {
    match error_of_io(error) {
        LinkError::Reset => LinkError::Handshake("the peer hung up".to_owned()),
        error => error,
    }
}

fn established(stream: TlsStream<TcpStream>) -> Result<Established, LinkError> {
    let tls = stream.get_ref().1;
    if tls.alpn_protocol() != Some(crate::tls::ALPN) {
        return Err(LinkError::Handshake("the peer does not speak sinew/1".to_owned()));
    }
    let peer = peer_of_chain(tls.peer_certificates())?;
    let shared = Arc::new(Mutex::new(stream));
    Ok((peer, TlsReader(Arc::clone(&shared)), TlsWriter(shared)))
}

impl TlsReader {
    /// Takes one record at least, see [`crate::reader`]. 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        poll_read(&self.0, cx, room)
    }
}

fn poll_read(shared: &Shared, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
    let mut stream = shared.lock();
    let mut room = ReadBuf::new(room);
    ready!(Pin::new(&mut *stream).poll_read(cx, &mut room)).map_err(error_of_io)?;
    Poll::Ready(Ok(room.filled().len()))
}

impl TlsWriter {
    pub(crate) async fn send(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        let mut rest = chunks;
        while !rest.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = slices.iter_mut().zip(rest.iter()).map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count();
            let written = poll_fn(|cx| Pin::new(&mut *self.0.lock()).poll_write_vectored(cx, &slices[..count]));
            let written = written.await.map_err(error_of_io)?;
            if written == 0 {
                return Err(LinkError::Reset);
            }
            rest = advance(rest, written);
        }
        poll_fn(|cx| Pin::new(&mut *self.0.lock()).poll_flush(cx)).await.map_err(error_of_io)
    }

    /// Says the end, and waits until the peer has said its own if nobody else reads: a socket that is closed with unread
    /// bytes in it takes back what is still on its way out.
    pub(crate) async fn finish(self) -> Result<(), LinkError> {
        poll_fn(|cx| Pin::new(&mut *self.0.lock()).poll_shutdown(cx)).await.map_err(error_of_io)?;
        let mut unheard = vec![0; 4 << 10];
        while Arc::strong_count(&self.0) == 1 {
            if !matches!(poll_fn(|cx| poll_read(&self.0, cx, &mut unheard)).await, Ok(1..)) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn abort(&self) {
        let stream = self.0.lock();
        let _gone_already = socket2::SockRef::from(stream.get_ref().0).shutdown(std::net::Shutdown::Both);
    }
}

/// Small messages go out at once, and what of them gets lost is sent again at a steady pace.
///
/// By itself TCP waits twice as long after each try that was lost: where every fifth packet is, some message stands
/// still for two seconds every now and then, and all behind it. Linux offers to try six times without that, where so
/// little is under way that it cannot be what the network suffers from.
fn suit_messages(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_thin_linear_timeouts(true) {
        // Not in every sandbox; the link works without.
        debug!(%error, "lost packets are sent again with doubling pauses");
    }
    Ok(())
}

/// Takes `count` written bytes off the front.
pub(crate) fn advance(mut chunks: &mut [Bytes], mut count: usize) -> &mut [Bytes] {
    while let Some(first) = chunks.first_mut() {
        if count < first.len() {
            first.advance(count);
            break;
        }
        count -= first.len();
        chunks = &mut chunks[1..];
    }
    chunks
}

pub(crate) async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}
