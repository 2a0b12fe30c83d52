use bytes::Bytes;
use sinew_flow::Budget;
use sinew_pubsub::{Publisher, Run, Submission, Wants};
use sinew_wire::entry::{self, EntryLimits};
use sinew_wire::publish::{Flags, PublishHeader};
use sinew_wire::{DecodeError, FrameLimits, Refusal, pack};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Deadline of an acknowledged publish that names none.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// Bounds that a publish frame is checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entry: EntryLimits,
    pub(crate) frame: FrameLimits,
    pub(crate) max_deadline: Duration,
}

/// Turns the body of a publish frame into a run that the service can take: everything about it is checked here, and
/// its bytes are copied here, once, into memory of exactly their size.
pub(crate) fn decode(
    body: &[u8],
    publisher: &Publisher,
    bounds: &Bounds,
    budget: &Arc<Budget>,
    now: Instant,
) -> Result<Submission, Refusal> {
    let (header, block) = PublishHeader::decode(body).map_err(refuse)?;
    let topic = publisher.topic(header.topic).map_err(|error| Refusal::InvalidName(error.to_string()))?;
    if topic.is_reserved() {
        return Err(Refusal::Reserved);
    }
    let (entries, packed) = if header.flags.contains(Flags::PACKED) {
        let entries = pack::unpack(block, header.entries_len, &bounds.frame).map_err(refuse)?;
        (Bytes::from(entries), Some(Bytes::copy_from_slice(block)))
    } else {
        (Bytes::copy_from_slice(block), None)
    };
    let summary = entry::validate(&entries, &bounds.entry).map_err(refuse)?;
    if summary.messages != header.messages as usize {
        return Err(Refusal::Protocol("the run does not hold as many messages as it says".to_owned()));
    }
    let charge = entries.len() + packed.as_ref().map_or(0, Bytes::len) + Run::OVERHEAD;
    let run = Run {
        topic,
        origin: Arc::clone(publisher.origin()),
        entries,
        packed,
        messages: header.messages,
        first_seq: header.first_seq,
        any_headers: summary.any_headers,
        any_id: summary.any_id,
        received: now,
        expires: (header.ttl_ms > 0).then(|| now + Duration::from_millis(header.ttl_ms.into())),
        retained: false,
        ack: None,
        memory: budget.try_reserve(charge),
    };
    Ok(Submission {
        run,
        wants: wants(header.flags),
        deadline: deadline(header.deadline_ms, bounds.max_deadline),
        retain: header.flags.contains(Flags::RETAIN),
        require_subscribers: header.flags.contains(Flags::REQUIRE_SUBSCRIBERS),
    })
}

const fn wants(flags: Flags) -> Option<Wants> {
    if flags.contains(Flags::ACKED) {
        Some(Wants::Confirmed)
    } else if flags.contains(Flags::REPORT) || flags.contains(Flags::REQUIRE_SUBSCRIBERS) {
        Some(Wants::Queued)
    } else {
        None
    }
}

fn deadline(asked_ms: u32, most: Duration) -> Duration {
    match asked_ms {
        0 => DEFAULT_DEADLINE.min(most),
        asked => Duration::from_millis(asked.into()).min(most),
    }
}

/// What a client is told whose frame can't be decoded.
pub(crate) fn refuse(error: DecodeError) -> Refusal {
    match error {
        DecodeError::TooLarge { limit, allowed, .. } => Refusal::Limit { limit, allowed },
        other => Refusal::Protocol(other.to_string()),
    }
}
