use std::time::Duration;

use sinew_topic::NameError;

use crate::LeaseId;

/// Why an announcement is refused. Nothing has changed then, whatever the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The name is not that of a service: the rules are those of topics.
    #[error("not the name of a service: {0}")]
    Name(#[from] NameError),
    /// The name starts with `$`.
    #[error("names that start with $ are reserved for the system")]
    Reserved,
    /// The time to live is shorter or longer than leases may be.
    #[error("a lease of {asked:?} was asked for, from {min:?} to {max:?} are allowed")]
    Ttl {
        /// What was asked for.
        asked: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Keys and values of the metadata have too many bytes together.
    #[error("metadata of {actual} bytes, the limit is {allowed}")]
    MetadataBytes {
        /// How many they have.
        actual: usize,
        /// How many they may have.
        allowed: usize,
    },
    /// The metadata of all services of the node have too many bytes together.
    #[error("the metadata of all services are at their limit of {allowed} bytes")]
    MetadataTotal {
        /// How many there may be.
        allowed: usize,
    },
    /// The metadata have too many pairs; or a key is empty or too long; or a key or value has a control character, which would
    /// reach the terminal of whoever lists the services.
    #[error("metadata {0}")]
    Metadata(&'static str),
    /// The publisher holds as many leases as one may, over all of its sessions.
    #[error("{allowed} services of this publisher are announced, which is the limit")]
    PerPublisher {
        /// How many one may hold.
        allowed: usize,
    },
    /// The node holds as many leases as it may.
    #[error("{allowed} services are announced at this node, which is the limit")]
    Services {
        /// How many it may hold.
        allowed: usize,
    },
    /// The session holds a lease of this number, for another name.
    #[error("lease {0} is held for another name")]
    LeaseInUse(u32),
}

/// A lease that was never there, or has ended: it expired, was withdrawn, or its client took it along to another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("session {} holds no lease {}", .0.session, .0.lease)]
pub struct NoSuchLease(pub LeaseId);
