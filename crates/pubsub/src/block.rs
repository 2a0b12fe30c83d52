use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_flow::Budget;
use sinew_topic::Topic;
use sinew_wire::entry::{self, EntryLimits};
use sinew_wire::{FrameLimits, Refusal, pack};

use crate::run::{Origin, Run};

/// What the block of a run is checked against.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunLimits {
    /// What a message may be at most.
    pub entry: EntryLimits,
    /// What a frame may be at most, unpacked.
    pub frame: FrameLimits,
}

impl RunLimits {
    /// Of messages of this size, and frames that hold one.
    pub const fn for_message(entry: EntryLimits) -> Self {
        Self { entry, frame: FrameLimits::for_payload(entry.payload) }
    }
}

/// The entries of a run as a frame brings them, with what its header says of them. Nothing about it is checked yet.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The entries, packed or not.
    pub bytes: &'a [u8],
    /// Whether they are packed by lz4.
    pub packed: bool,
    /// Bytes of the entries, unpacked.
    pub entries_len: u32,
    /// How many messages they hold.
    pub messages: u32,
    /// Sequence number of the first one.
    pub first_seq: u64,
    /// Time to live from now on, in milliseconds; 0 for none.
    pub ttl_ms: u32,
}

impl Block<'_> {
    /// Everything about it is checked here, and its bytes are copied here, once, into memory of exactly their size.
    pub(crate) fn into_run(
        self,
        topic: Topic,
        origin: &Arc<Origin>,
        limits: &RunLimits,
        budget: &Arc<Budget>,
        now: Instant,
    ) -> Result<Run, Refusal> {
        let (entries, packed) = if self.packed {
            let entries = pack::unpack(self.bytes, self.entries_len, &limits.frame)?;
            (Bytes::from(entries), Some(Bytes::copy_from_slice(self.bytes)))
        } else {
            (Bytes::copy_from_slice(self.bytes), None)
        };
        let summary = entry::validate(&entries, &limits.entry)?;
        if summary.messages != self.messages as usize {
            return Err(Refusal::Protocol("the run does not hold as many messages as it says".to_owned()));
        }
        let charge = entries.len() + packed.as_ref().map_or(0, Bytes::len) + Run::OVERHEAD;
        Ok(Run {
            topic,
            origin: Arc::clone(origin),
            entries,
            packed,
            messages: self.messages,
            first_seq: self.first_seq,
            any_headers: summary.any_headers,
            any_id: summary.any_id,
            received: now,
            expires: (self.ttl_ms > 0).then(|| now + Duration::from_millis(self.ttl_ms.into())),
            retained: false,
            ack: None,
            memory: budget.try_reserve(charge),
        })
    }
}
