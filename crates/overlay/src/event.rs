use std::fmt;

use bytes::Bytes;
use libp2p::request_response::ResponseChannel;
use sinew_link::Link;
use sinew_wire::PeerId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::OwnedPermit;

use crate::MAX_REQUEST;
use crate::codec::Body;

/// Which protocol a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `/sinew/<realm>/membership/1`: arrives as [`Event::Request`].
    Membership,
    /// `/sinew/<realm>/discovery/1`: arrives at [`Started::asks`](crate::Started::asks).
    Discovery,
}

/// What happens in the overlay. All events are of peers of the realm: the first one of a peer is `Connected`, and nothing
/// of it follows `Disconnected` until it is connected again, except messages that were on their way.
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
    /// At most [`MAX_REQUEST`] bytes.
    pub body: Bytes,
    pub(crate) answer: Answer,
    /// Its share of the memory that requests may take.
    pub(crate) _held: Option<OwnedSemaphorePermit>,
}

/// The way back, with a place in the queue to the task that is reserved already: replies never wait and are never refused.
pub(crate) struct Answer {
    pub(crate) place: OwnedPermit<Reply>,
    pub(crate) channel: ResponseChannel<Body>,
    pub(crate) purpose: Purpose,
}

/// A reply on its way to the task.
pub(crate) struct Reply {
    pub(crate) channel: ResponseChannel<Body>,
    pub(crate) purpose: Purpose,
    pub(crate) body: Bytes,
}

impl Ask {
    /// Answers. A body larger than [`MAX_REQUEST`] is not sent, and the request refused instead. Never waits.
    pub fn reply(self, body: Bytes) {
        if body.len() <= MAX_REQUEST {
            let Answer { place, channel, purpose } = self.answer;
            place.send(Reply { channel, purpose, body });
        }
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("from", &self.from).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
