use std::time::Duration;

use sinew_topic::NameError;
use sinew_wire::{DecodeError, Refusal};

/// Why a service is not announced, or no longer is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The name is not that of a service: the rules are those of topics.
    #[error("invalid name of a service: {0}")]
    Name(#[from] NameError),
    /// Names that start with `$` belong to the system.
    #[error("names that start with $ are reserved for the system")]
    Reserved,
    /// The metadata are too many, too long, or not text for people.
    #[error("{0}")]
    Metadata(#[source] DecodeError),
    /// The node refused. [`Refusal::Limit`] names the limit: [`Limit::LeaseTtl`](crate::Limit::LeaseTtl) for a time to live
    /// that is too short or too long, [`Limit::ServicesPerClient`](crate::Limit::ServicesPerClient) and others.
    #[error("{0}")]
    Refused(Refusal),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

/// Why a look-up found nothing. Each is another answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The name is not that of a service: the rules are those of topics.
    #[error("invalid name of a service: {0}")]
    Name(#[from] NameError),
    /// Nobody in the realm provides it.
    #[error("nobody provides it")]
    NotFound,
    /// The node does not provide it, and there is no other node that it could ask, although there should be.
    #[error("the node has no peers that it could ask")]
    NoPeers,
    /// Nobody is known to provide it, and not everybody has answered in time; or the client was not connected for so long.
    #[error("nothing known within {0:?}")]
    TimedOut(Duration),
    /// The node refused to look, or could not. [`Refusal::Limit`] names the limit.
    #[error("{0}")]
    Refused(Refusal),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

/// Why services cannot be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

/// Why a watch was not begun, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The prefix is too long, or has control characters.
    #[error("{0}")]
    Prefix(#[source] DecodeError),
    /// The node refused, or ended it. [`Refusal::Limit`] names the limit.
    #[error("{0}")]
    Refused(Refusal),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

/// Why it is not known whether other nodes know of the subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The node gave no answer in time, or the client was not connected for so long.
    #[error("not known within {0:?}")]
    TimedOut(Duration),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}
