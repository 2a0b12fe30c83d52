use std::fmt;

use bytes::Bytes;
use sinew_link::Link;
use sinew_wire::PeerId;

/// Which protocol a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `/sinew/<realm>/membership/1`: arrives as [`Event::Request`].
    Membership,
    /// `/sinew/<realm>/discovery/1`: arrives at [`Started::asks`](crate::Started::asks).
    Discovery,
}

/// What happens in the overlay. All events are of peers of the realm: the first one of a peer is `Connected`, and nothing
/// of it follows `Disconnected` until it is connected again.
///
/// The queue is bounded. While it is full, messages of others wait with their senders (who drop their oldest), requests are
/// refused and counted; changes of connections are not lost: those of one peer collapse into the newest.
#[derive(Debug)]
pub enum Event {
    /// There is a connection to this peer, and it belongs to the realm.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Whether a connection leads to it directly, not only through a relay.
        direct: bool,
    },
    /// The way to a connected peer has changed: a hole was punched, or a direct connection was lost and a relayed one is left.
    Path {
        /// The peer.
        peer: PeerId,
        /// Whether a connection leads to it directly now.
        direct: bool,
    },
    /// The last connection to this peer is gone.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A message came.
    Message {
        /// Its sender, proven by the connection.
        from: PeerId,
        /// At most [`MAX_MESSAGE`](crate::MAX_MESSAGE) bytes.
        body: Bytes,
    },
    /// A request of [`Purpose::Membership`] came.
    Request(Ask),
    /// A peer has opened a link to us. It carries the frames of the data plane, and begins with a hello of the peer.
    Link(Link),
    /// What [`Overlay::listen_addresses`](crate::Overlay::listen_addresses) says has changed.
    ListenAddresses(Vec<String>),
}

/// A request of another node, to be answered with [`Ask::reply`]. Dropped, it is refused: the peer gets
/// [`RequestError::Refused`](crate::RequestError::Refused).
pub struct Ask {
    /// The asker, proven by the connection.
    pub from: PeerId,
    /// At most [`MAX_REQUEST`](crate::MAX_REQUEST) bytes.
    pub body: Bytes,
}

impl Ask {
    /// Answers. A body larger than [`MAX_REQUEST`](crate::MAX_REQUEST) is refused like a dropped request. Never waits.
    pub fn reply(self, body: Bytes) {
        let _ = body;
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("from", &self.from).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
