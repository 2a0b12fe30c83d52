use std::time::Duration;

use sinew_link::{Address, AddressError, DialError, LinkError};
use sinew_topic::NameError;
use sinew_wire::{DecodeError, Limit, Refusal, RefusedRun};

/// Why there is no connection to a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The builder was given no server.
    #[error("no server to connect to")]
    NoServer,
    /// A text is not the address of a server.
    #[error("not a server address: {0}")]
    Address(#[from] AddressError),
    /// Realm or name are not what a node accepts.
    #[error("{0}")]
    Options(#[source] DecodeError),
    /// No link came about.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The node did not answer in time.
    #[error("{server}: not connected within {limit:?}")]
    Timeout {
        /// Who was dialled.
        server: Address,
        /// [`Builder::connect_timeout`](crate::Builder::connect_timeout).
        limit: Duration,
    },
    /// The node does not take this client, and says why. [`Refusal::Limit`] names the limit.
    #[error("{server} refused: {refusal}")]
    Refused {
        /// Who was dialled.
        server: Address,
        /// What it said.
        refusal: Refusal,
    },
    /// The link broke before the node had answered.
    #[error("{server}: {source}")]
    Link {
        /// Who was dialled.
        server: Address,
        /// What happened.
        source: LinkError,
    },
    /// What the node answered is not an answer.
    #[error("{server} answered against the protocol: {problem}")]
    Protocol {
        /// Who was dialled.
        server: Address,
        /// What is wrong.
        problem: String,
    },
    /// The connection was lost, and the client was told not to try again.
    #[error("the connection is not to be tried again")]
    GivenUp,
}

impl ConnectError {
    /// Whether trying again cannot help: the answer would be the same.
    ///
    /// So are a wrong realm, a protocol version that the node doesn't speak, a denied permission, and options that no
    /// node accepts. A node that is full or draining, or is not there, may be another day.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::NoServer | Self::Address(_) | Self::Options(_) | Self::GivenUp => true,
            Self::Refused { refusal, .. } => {
                matches!(refusal, Refusal::Realm(_) | Refusal::Version { .. } | Refusal::Denied(_))
            }
            _ => false,
        }
    }

    /// The node's reason, when it was a node that refused.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// Why a message was not published, or why nothing is known of it.
///
/// After [`PublishError::Disconnected`] and [`PublishError::Unanswered`] the message may have been delivered. After all
/// others it has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is not a valid name.
    #[error("invalid topic: {0}")]
    Topic(#[from] NameError),
    /// Topics that start with `$` belong to the system.
    #[error("topics that start with $ are reserved for the system")]
    Reserved,
    /// The message is larger than the node accepts.
    #[error("{limit} is {actual}, the limit is {allowed}")]
    TooLarge {
        /// Which limit.
        limit: Limit,
        /// Size of the message, in bytes; or messages of the batch, for [`Limit::RunMessages`].
        actual: usize,
        /// What the node allows.
        allowed: usize,
    },
    /// The id of the message is too long.
    #[error("message id is {actual} bytes long, the limit is 255")]
    IdTooLong {
        /// Its length in bytes.
        actual: usize,
    },
    /// A header can't be encoded.
    #[error("{0}")]
    Header(#[source] DecodeError),
    /// There is no room now: the node has not processed what was published before, or the client is not connected.
    /// Only from functions that do not wait.
    #[error("no room to publish now")]
    Full,
    /// The node took the message and refused to deliver it.
    #[error("refused: {}", refused(*.0))]
    Refused(RefusedRun),
    /// The deadline passed before the message could be sent. It was not.
    #[error("not sent within {0:?}")]
    NotSent(Duration),
    /// The connection was lost after the message had been accepted for it: it may or may not have been delivered.
    #[error("disconnected before the result was known")]
    Disconnected,
    /// The node did not give a result, although the deadline is long over: it may or may not have been delivered.
    #[error("no result within {0:?}")]
    Unanswered(Duration),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

const fn refused(run: RefusedRun) -> &'static str {
    match run {
        RefusedRun::NoSubscribers => "nobody subscribes to the topic",
        RefusedRun::QueueMemory => "limit queue_memory of the node reached",
        RefusedRun::OpenAcks => "limit max_open_acks of the node reached",
        RefusedRun::Draining => "the node is shutting down",
        _ => "for a reason this client does not know",
    }
}

/// Why there is no subscription, or why it has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The pattern is not valid.
    #[error("invalid pattern: {0}")]
    Pattern(#[from] NameError),
    /// The name of the queue group is not one.
    #[error("{0}")]
    Group(#[source] DecodeError),
    /// The node refused, or ended it. [`Refusal::Limit`] names the limit.
    #[error("{0}")]
    Refused(Refusal),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

/// Why it is not certain that everything published so far has arrived at the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// A connection was lost since the last flush, and with it maybe some messages.
    ///
    /// Told once: the next flush speaks of what is published from here on.
    #[error("disconnected: up to {unconfirmed} messages may not have arrived")]
    Disconnected {
        /// At most so many messages of level fire did not arrive. Those that wait for a result of their own are not
        /// among them.
        unconfirmed: u64,
    },
    /// Not everything was confirmed in the time that [`Client::close`](crate::Client::close) may take.
    #[error("not confirmed within {0:?}")]
    Timeout(Duration),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}
