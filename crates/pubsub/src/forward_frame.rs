//! A run as it goes over the link to another node.

use std::time::{Duration, Instant};

use sinew_flow::Batch as _;
use sinew_wire::Features;
use sinew_wire::forward::{Flags, ForwardHeader};

use crate::ack::Wants;
use crate::outbox::WriteBatch;
use crate::recipients::Forwarded;

/// Writes a run for another node. `token`: under which it answers with the result, 0 for none.
pub(crate) fn encode(item: &Forwarded, token: u64, features: Features, now: Instant, batch: &mut WriteBatch) {
    let slice = &item.slice;
    let run = slice.run();
    let packed = slice.packed().filter(|_| features.contains(Features::LZ4));
    let mut flags = Flags::default();
    if item.to.direct > 0 {
        flags = flags.with(Flags::DIRECT);
    }
    let mut deadline_ms = 0;
    match run.ack.as_ref().filter(|_| token != 0) {
        Some(ack) if ack.wants() == Wants::Confirmed => {
            flags = flags.with(Flags::ACKED);
            deadline_ms = ack.deadline().map_or(0, |at| millis(at.saturating_duration_since(now)));
        }
        Some(_) => flags = flags.with(Flags::REPORT),
        None => {}
    }
    if packed.is_some() {
        flags = flags.with(Flags::PACKED);
    }
    let header = ForwardHeader {
        flags,
        topic: run.topic.as_str(),
        messages: slice.messages() as u32,
        first_seq: slice.first_seq(),
        entries_len: slice.bytes() as u32,
        ttl_ms: run.expires.map_or(0, |at| millis(at.saturating_duration_since(now))),
        ack: token,
        deadline_ms,
        instance: run.origin.instance,
        publisher: run.origin.peer,
        groups: item.to.groups.as_groups(),
    };
    let len = packed.map_or_else(|| slice.bytes(), bytes::Bytes::len);
    header.encode(len, batch.head());
    batch.body(
        len,
        |out| out.extend_from_slice(packed.map_or_else(|| slice.block(), AsRef::as_ref)),
        || packed.map_or_else(|| slice.shared_block(), Clone::clone),
    );
}

/// Whole milliseconds, at least 1: 0 stands for none.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
