use std::fmt;

use sinew_wire::Refusal;

/// Why a delivery did not happen: the `reason` of `sinew_dropped_total`.
///
/// One drop is one message that one matching subscription did not get. What was never due (an id seen before, a run
/// refused as a whole) is not a drop and has counters of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The subscription's queue was full, and its policy let go of the oldest or refused the newest.
    QueueFull,
    /// A newer message of the same topic or key took its place (policy `latest`).
    Conflated,
    /// Its time to live ended in the queue.
    Expired,
    /// The queue was full, and the subscription had pushed back for as long as it may (policy `block`).
    BlockTimeout,
    /// The queues of the node together were at their memory budget.
    QueueMemory,
    /// The subscription ended, or its session was lost, with the message still queued.
    SubscriberGone,
    /// The node shut down before the message was written.
    Draining,
    /// The queue towards another node was full, or that node held the publisher back for longer than it may. Counted by
    /// the node that dropped it, for each subscription it knew of.
    ForwardQueueFull,
    /// The other node was gone, or had started anew, with the message queued for it or on its way.
    NodeGone,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::Conflated,
        Self::Expired,
        Self::BlockTimeout,
        Self::QueueMemory,
        Self::SubscriberGone,
        Self::Draining,
        Self::ForwardQueueFull,
        Self::NodeGone,
    ];

    /// The label in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Conflated => "conflated",
            Self::Expired => "expired",
            Self::BlockTimeout => "block_timeout",
            Self::QueueMemory => "queue_memory",
            Self::SubscriberGone => "subscriber_gone",
            Self::Draining => "draining",
            Self::ForwardQueueFull => "forward_queue_full",
            Self::NodeGone => "node_gone",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a client's link ended: the `reason` of `sinew_links_closed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said goodbye.
    Client,
    /// The node is shutting down.
    Draining,
    /// Nothing was received for too long.
    Idle,
    /// A limit was reached; `sinew_limit_refused_total` says which.
    Limit,
    /// The client broke the protocol.
    Protocol,
    /// The client spoke another version or named another realm.
    Mismatch,
    /// Not permitted.
    Denied,
    /// The link broke without a goodbye.
    Lost,
}

impl CloseReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Client,
        Self::Draining,
        Self::Idle,
        Self::Limit,
        Self::Protocol,
        Self::Mismatch,
        Self::Denied,
        Self::Lost,
    ];

    /// The label in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Draining => "draining",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::Protocol => "protocol",
            Self::Mismatch => "mismatch",
            Self::Denied => "denied",
            Self::Lost => "lost",
        }
    }
}

impl From<&Refusal> for CloseReason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Limit { .. } => Self::Limit,
            Refusal::Version { .. } | Refusal::Realm(_) => Self::Mismatch,
            Refusal::Denied(_) | Refusal::Reserved => Self::Denied,
            Refusal::Draining => Self::Draining,
            Refusal::Idle(_) => Self::Idle,
            Refusal::Closed => Self::Client,
            // Refusals of a single request never end a link; whatever ends one beyond those above is a violation.
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
