use std::fmt;

use sinew_wire::PeerId;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::memory::Pipe;
use crate::reader::{LinkReader, ReadStream};
use crate::writer::{LinkWriter, WriteStream};
use crate::{LinkConfig, memory, over, quic, tcp};

/// What a link runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TLS over TCP.
    Tls,
    /// A Unix stream socket.
    Unix,
    /// Memory of this process.
    Memory,
    /// A stream of the overlay, direct or relayed: [`Link::over`].
    Overlay,
}

impl Transport {
    /// The scheme of its addresses, where it has any.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
            Self::Unix => "unix",
            Self::Memory => "memory",
            Self::Overlay => "overlay",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream of frames in both directions, between two peers that have proven who they are.
#[derive(Debug)]
pub struct Link {
    peer: PeerId,
    transport: Transport,
    remote: String,
    reader: LinkReader,
    writer: LinkWriter,
}

impl Link {
    pub(crate) fn quic((peer, reader, writer): quic::Established, remote: String, config: &LinkConfig) -> Self {
        Self::new(peer, Transport::Quic, remote, ReadStream::Quic(reader), WriteStream::Quic(writer), config)
    }

    pub(crate) fn tls((peer, reader, writer): tcp::Established, remote: String, config: &LinkConfig) -> Self {
        Self::new(peer, Transport::Tls, remote, ReadStream::Tls(reader), WriteStream::Tls(writer), config)
    }

    #[cfg(unix)]
    pub(crate) fn unix(peer: PeerId, stream: tokio::net::UnixStream, remote: String, config: &LinkConfig) -> Self {
        let (reader, writer) = crate::unix::split(stream);
        Self::new(peer, Transport::Unix, remote, ReadStream::Unix(reader), WriteStream::Unix(writer), config)
    }

    pub(crate) fn memory(pipe: Pipe, config: &LinkConfig) -> Self {
        let (read, write) = tokio::io::split(pipe.stream);
        Self::over(pipe.peer, Transport::Memory, memory::REMOTE.to_owned(), read, write, config)
    }

    /// A link over a byte stream that something else made, and whose other end it has proven to be `peer`.
    ///
    /// Slower than the transports of this crate: every chunk is a write of its own. [`LinkWriter::abort`] ends the
    /// reader with [`LinkError::ClosedHere`](crate::LinkError::ClosedHere); what the peer reads then is up to the stream.
    pub fn over(
        peer: PeerId,
        transport: Transport,
        remote: String,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        config: &LinkConfig,
    ) -> Self {
        let (reader, writer) = over::split(Box::new(read), Box::new(write));
        Self::new(peer, transport, remote, ReadStream::Over(reader), WriteStream::Over(writer), config)
    }

    fn new(
        peer: PeerId,
        transport: Transport,
        remote: String,
        reader: ReadStream,
        writer: WriteStream,
        config: &LinkConfig,
    ) -> Self {
        let (reader, writer) = (LinkReader::new(reader, config), LinkWriter::new(writer, config));
        Self { peer, transport, remote, reader, writer }
    }

    /// The peer, proven by the handshake.
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// What the link runs over.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the peer is, for people: its IP address and port, user and process of a Unix peer, or that it is in this
    /// process.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The halves, for one task each. The link is closed when both are dropped.
    pub fn split(self) -> (LinkReader, LinkWriter) {
        (self.reader, self.writer)
    }
}
