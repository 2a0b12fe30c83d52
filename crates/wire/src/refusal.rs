use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::{DecodeError, MAX_TEXT};

/// A limit of the contract, by name. What a client is told and what `sinew_limit_refused_total{limit}` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Limit {
    /// Clients connected to the node.
    Clients,
    /// Subscriptions of one client.
    SubscriptionsPerClient,
    /// Subscriptions of the node.
    Subscriptions,
    /// Bytes of one payload.
    MessageBytes,
    /// Bytes of the headers of one message.
    HeaderBytes,
    /// Bytes of one frame.
    FrameBytes,
    /// Messages of one run.
    RunMessages,
    /// Time to finish a handshake.
    HandshakeTime,
    /// Time without a frame.
    IdleTime,
    /// Handshakes under way at once.
    PendingHandshakes,
    /// Bytes published beyond the credit.
    PublishCredit,
    /// Bytes of all queues of the node together.
    QueueMemory,
    /// Acknowledged publishes of one client that are still open.
    OpenAcks,
    /// Control frames a client leaves unread.
    ControlQueue,
    /// Services announced on the node.
    Services,
    /// Services announced by one client.
    ServicesPerClient,
    /// How long a lease may hold.
    LeaseTtl,
    /// Bytes of the metadata of one service.
    MetadataBytes,
    /// Look-ups of one client that are open.
    Lookups,
    /// Service watches of one client.
    Watches,
    /// Links to other nodes.
    Peers,
    /// Calls of one client that are open.
    CallsPerClient,
    /// Calls of the node that are open.
    Calls,
    /// Bytes of the argument or of the result of one call that is no stream.
    CallBytes,
    /// How long a call may take.
    CallDeadline,
    /// Bytes of calls that wait to be written to one link.
    CallQueue,
    /// Bytes of a call sent beyond the credit.
    CallCredit,
}

impl Limit {
    /// Every limit, for metrics that want a row each from the start.
    pub const ALL: [Self; 27] = [
        Self::Clients,
        Self::SubscriptionsPerClient,
        Self::Subscriptions,
        Self::MessageBytes,
        Self::HeaderBytes,
        Self::FrameBytes,
        Self::RunMessages,
        Self::HandshakeTime,
        Self::IdleTime,
        Self::PendingHandshakes,
        Self::PublishCredit,
        Self::QueueMemory,
        Self::OpenAcks,
        Self::ControlQueue,
        Self::Services,
        Self::ServicesPerClient,
        Self::LeaseTtl,
        Self::MetadataBytes,
        Self::Lookups,
        Self::Watches,
        Self::Peers,
        Self::CallsPerClient,
        Self::Calls,
        Self::CallBytes,
        Self::CallDeadline,
        Self::CallQueue,
        Self::CallCredit,
    ];

    /// The name used in errors, metrics and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "max_clients",
            Self::SubscriptionsPerClient => "max_subscriptions_per_client",
            Self::Subscriptions => "max_subscriptions",
            Self::MessageBytes => "max_message_bytes",
            Self::HeaderBytes => "max_header_bytes",
            Self::FrameBytes => "max_frame_bytes",
            Self::RunMessages => "max_run_messages",
            Self::HandshakeTime => "handshake_timeout",
            Self::IdleTime => "idle_timeout",
            Self::PendingHandshakes => "max_pending_handshakes",
            Self::PublishCredit => "publish_window",
            Self::QueueMemory => "queue_memory",
            Self::OpenAcks => "max_open_acks",
            Self::ControlQueue => "control_queue",
            Self::Services => "max_services",
            Self::ServicesPerClient => "max_services_per_client",
            Self::LeaseTtl => "lease_ttl",
            Self::MetadataBytes => "max_metadata_bytes",
            Self::Lookups => "max_lookups",
            Self::Watches => "max_watches",
            Self::Peers => "max_peers",
            Self::CallsPerClient => "max_calls_per_client",
            Self::Calls => "max_calls",
            Self::CallBytes => "max_call_bytes",
            Self::CallDeadline => "max_call_deadline",
            Self::CallQueue => "call_queue",
            Self::CallCredit => "call_credit",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a node refuses a request or ends a link. Travels in control frames.
///
/// Texts often quote what the peer sent; they are cut to [`MAX_TEXT`] bytes on their way out, so that an answer is never
/// larger than a control frame may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A limit of the node was reached.
    #[error("limit {limit} reached: at most {allowed}")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// Its value, in the unit the limit's name tells (durations in milliseconds).
        allowed: u64,
    },
    /// The peer broke the protocol; the text says how.
    #[error("protocol violation: {0}")]
    Protocol(#[serde(serialize_with = "short")] String),
    /// No version that both sides speak.
    #[error("no common protocol version: the node speaks {node}")]
    Version {
        /// What the node speaks.
        node: u16,
    },
    /// The node serves another realm.
    #[error("this node serves another realm than {0:?}")]
    Realm(#[serde(serialize_with = "short")] String),
    /// A topic or pattern is not valid; the text names the position and the rule.
    #[error("{0}")]
    InvalidName(#[serde(serialize_with = "short")] String),
    /// The name is reserved for the system.
    #[error("names that start with $ are reserved for the system")]
    Reserved,
    /// The request names a subscription that does not exist, or one that exists already.
    #[error("subscription {0}: {1}")]
    Subscription(u32, #[serde(serialize_with = "short")] String),
    /// Not permitted.
    #[error("denied: {0}")]
    Denied(#[serde(serialize_with = "short")] String),
    /// The node is draining; connect to another one or later.
    #[error("the node is shutting down")]
    Draining,
    /// The peer said nothing for too long.
    #[error("nothing received for {0} ms")]
    Idle(u64),
    /// The link was closed because its owner asked for it.
    #[error("closed by the application")]
    Closed,
    /// The request names a lease that does not exist or has ended, or one that exists already.
    #[error("lease {0}: {1}")]
    Lease(u32, #[serde(serialize_with = "short")] String),
    /// This node has a newer link to the peer, which takes the place of this one.
    #[error("replaced by another link")]
    Replaced,
    /// The node does not serve this kind of request.
    #[error("not available: {0}")]
    Unavailable(#[serde(serialize_with = "short")] String),
}

/// What a peer is told whose frame can't be decoded.
impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { limit, allowed, .. } => Self::Limit { limit, allowed },
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// Writes at most [`MAX_TEXT`] bytes of a text.
fn short<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    serializer.serialize_str(&text[..end])
}
