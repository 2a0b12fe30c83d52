use std::io;
use std::time::Duration;

use sinew_wire::PeerId;

/// Why an overlay did not start, or a link over it was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A realm that cannot be part of a protocol name.
    #[error("realm {0:?} is not 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'")]
    Realm(String),
    /// An address that is no multiaddress, or of a kind that is not served.
    #[error("address {address:?}: {problem}")]
    Address {
        /// The address as it was given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The system refused to let us listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Multicast DNS or a transport could not be set up.
    #[error("cannot set up {what}: {source}")]
    Setup {
        /// What it was.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The peer cannot be reached now: no address is known, or no dial came through, or the last ones just failed.
    #[error("no connection to {0}")]
    Unreachable(PeerId),
    /// The peer does not take links.
    #[error("{0} takes no links")]
    Unsupported(PeerId),
    /// The peer hung up while the link was opened.
    #[error("the link to {peer} broke while it was opened: {source}")]
    Broken {
        /// The peer.
        peer: PeerId,
        /// What happened.
        source: io::Error,
    },
    /// It took longer than the caller wanted to wait.
    #[error("no link to {peer} within {timeout:?}")]
    TimedOut {
        /// The peer.
        peer: PeerId,
        /// What the caller allowed.
        timeout: Duration,
    },
    /// The command queue is full, or too many links are being opened.
    #[error("the overlay has too much to do")]
    Busy,
    /// The overlay has shut down.
    #[error("the overlay has shut down")]
    Closed,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Larger than [`MAX_MESSAGE`](crate::MAX_MESSAGE).
    #[error("a message of {size} bytes; at most {limit} are sent")]
    TooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
    /// To ourselves.
    #[error("a message to ourselves")]
    Ourselves,
    /// The command queue is full, or the messages on their way fill the memory they may have.
    #[error("the overlay has too much to send")]
    Busy,
    /// The overlay has shut down.
    #[error("the overlay has shut down")]
    Closed,
}

/// Why a request got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Larger than [`MAX_REQUEST`](crate::MAX_REQUEST).
    #[error("a request of {size} bytes; at most {limit} are sent")]
    TooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
    /// To ourselves.
    #[error("a request to ourselves")]
    Ourselves,
    /// The peer cannot be reached now: no address is known, or no dial came through, or the last ones just failed. It
    /// certainly did not get the request.
    #[error("no connection to the peer")]
    Unreachable,
    /// No reply in time. Whether the peer got the request is not known.
    #[error("no reply in time")]
    TimedOut,
    /// The connection was lost. Whether the peer got the request is not known.
    #[error("the connection was lost before the reply came")]
    Lost,
    /// The peer took the request and gave no reply, or one that is too large.
    #[error("the peer refused the request")]
    Refused,
    /// The command queue is full, or too many requests are under way.
    #[error("the overlay has too many requests under way")]
    Busy,
    /// The overlay has shut down.
    #[error("the overlay has shut down")]
    Closed,
}

/// Why the DHT gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DhtError {
    /// The key does not have [`KEY_LEN`](crate::KEY_LEN) bytes.
    #[error("a key of {0} bytes; keys have 32")]
    Key(usize),
    /// This node knows no other node, so that nothing can be said about what others provide.
    #[error("no peers")]
    NoPeers,
    /// No node answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// This node provides as many keys as it may.
    #[error("{0} keys are provided already, as many as may be")]
    TooMany(usize),
    /// The command queue is full, or too many queries are under way.
    #[error("too many queries under way")]
    Busy,
    /// The overlay has shut down.
    #[error("the overlay has shut down")]
    Closed,
}
