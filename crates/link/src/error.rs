use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sinew_wire::{DecodeError, PeerId};

use crate::Address;

/// Why a [`Listener`](crate::Listener) could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there already: another process, or this one.
    #[error("{} is in use by {}", .0, .0.holder())]
    InUse(Address),
    /// The system does not let us.
    #[error("{0}: permission denied")]
    Permission(Address),
    /// The host is none of this machine's.
    #[error("{0} is not an address of this host")]
    NotLocal(Address),
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// In place of the Unix socket stands a file of another kind. It was not touched.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// This platform has no such transport.
    #[error("{0}: not supported on this platform")]
    Unsupported(Address),
    /// The certificate could not be made, or the configuration is out of its range.
    #[error("{address}: {problem}")]
    Setup {
        /// What was to be bound.
        address: Address,
        /// What is wrong.
        problem: String,
    },
    /// Anything else the system said.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// What was to be bound.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn from_io(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Permission(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            _ => Self::Io { address, source },
        }
    }
}

/// Why a listener could not accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The endpoint has stopped; it will not accept again.
    #[error("the listener is closed")]
    Closed,
    /// The system refused, most often for want of file descriptors. Try again after a pause.
    #[error("cannot accept: {0}")]
    Io(#[from] io::Error),
}

/// Why there is no link to an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("{0}: connection refused, nobody listens there")]
    Refused(Address),
    /// No answer, or no end of the handshake, in time.
    #[error("{address}: no answer within {after:?}")]
    TimedOut {
        /// Who was dialled.
        address: Address,
        /// The deadline.
        after: Duration,
    },
    /// Somebody is there, and it came to no handshake.
    #[error("{address}: {source}")]
    Handshake {
        /// Who was dialled.
        address: Address,
        /// What went wrong.
        source: LinkError,
    },
    /// Somebody else than expected is there.
    #[error("{address}: expected peer {expected}, found {actual}")]
    WrongPeer {
        /// Who was dialled.
        address: Address,
        /// Who was to be there.
        expected: PeerId,
        /// Who is.
        actual: PeerId,
    },
    /// This platform has no such transport.
    #[error("{0}: not supported on this platform")]
    Unsupported(Address),
    /// Anything else the system said: no route, no permission, no file descriptors.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Who was dialled.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl DialError {
    pub(crate) fn from_io(address: &Address, source: io::Error) -> Self {
        match source.kind() {
            // A Unix socket whose file is missing has nobody behind it either.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused(address.clone()),
            _ => Self::Io { address: address.clone(), source },
        }
    }

    pub(crate) fn from_link(address: &Address, error: LinkError, expected: Option<PeerId>) -> Self {
        if let LinkError::Io(source) = error {
            return Self::from_io(address, source);
        }
        let address = address.clone();
        match (error, expected) {
            (LinkError::HandshakeTimeout(after), _) => Self::TimedOut { address, after },
            (LinkError::WrongPeer(actual), Some(expected)) => Self::WrongPeer { address, expected, actual },
            (source, _) => Self::Handshake { address, source },
        }
    }
}

/// Why a link did not come about, or is no more. After any of these the link is of no further use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer sent something that is no frame, or a frame above its limit.
    #[error("bad frame: {0}")]
    Frame(#[from] DecodeError),
    /// The peer's stream ended inside a frame.
    #[error("the link ended inside a frame, {0} bytes into it")]
    CutShort(usize),
    /// The handshake was not finished in time.
    #[error("handshake not finished within {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer's certificate proves no peer id.
    #[error("the peer's certificate is not acceptable: {0}")]
    Certificate(String),
    /// Another peer than the one expected.
    #[error("another peer than expected: {0}")]
    WrongPeer(PeerId),
    /// The peer did not accept our part of the handshake, its certificate check included.
    #[error("the peer refused the handshake: {0}")]
    Rejected(String),
    /// The peers found no common ground: another protocol, another version, or a broken handshake.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// The peer broke the rules of the transport, or the transport its own.
    #[error("the transport broke: {0}")]
    Transport(String),
    /// The peer closed the link.
    #[error("closed by the peer: {0}")]
    Closed(String),
    /// The peer is gone without a word.
    #[error("reset by the peer")]
    Reset,
    /// Nothing was heard from the peer for too long.
    #[error("the peer has fallen silent")]
    TimedOut,
    /// The link was closed on this side.
    #[error("closed on this side")]
    ClosedHere,
    /// An earlier send failed or was cancelled, so that the peer may have half a frame.
    #[error("an earlier send was cut short")]
    Poisoned,
    /// The peer does not take the last bytes.
    #[error("the last bytes did not arrive within {0:?}")]
    FinishTimeout(Duration),
    /// Anything else the system said.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}
