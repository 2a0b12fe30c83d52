use crate::Batch;

/// What a queue does with messages for which it has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Makes room by giving up the oldest messages.
    DropOldest,
    /// Takes the leading messages that fit and gives up the rest of the batch.
    DropNewest,
    /// Holds one message per key; see [`Queue::push_latest`](crate::Queue::push_latest). What is pushed without a key
    /// is treated as under [`Policy::DropOldest`].
    Latest,
    /// Takes the leading messages that fit and hands back the rest.
    Block,
}

/// Bounds of a queue, both of which hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages. A queue with room for none gives up or hands back everything.
    pub messages: usize,
    /// Most bytes, as [`Batch::bytes`] charges them. A single message that charges more is never queued.
    pub bytes: usize,
}

impl Limits {
    /// Whether all of a batch fits.
    pub(crate) fn hold_all<B: Batch>(&self, batch: &B) -> bool {
        batch.messages() <= self.messages && batch.bytes() <= self.bytes
    }

    /// How many leading messages of a batch fit.
    pub(crate) fn hold<B: Batch>(&self, batch: &B) -> usize {
        let within = if batch.bytes() <= self.bytes { batch.messages() } else { batch.messages_within(self.bytes) };
        within.min(self.messages)
    }
}

/// Why a queue gave messages up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue was full: the oldest were evicted, or the newest refused. Also a single message that charges more
    /// than the whole queue may hold.
    QueueFull,
    /// A newer message of the same key took its place.
    Conflated,
}

impl DropReason {
    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Conflated => "conflated",
        }
    }
}
