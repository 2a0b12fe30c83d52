use std::time::{Duration, Instant};

use sinew_pubsub::{Block, Publisher, RunLimits, Submission, Wants};
use sinew_wire::Refusal;
use sinew_wire::publish::{Flags, PublishHeader};

/// Deadline of an acknowledged publish that names none.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// Bounds that a publish frame is checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) run: RunLimits,
    pub(crate) max_deadline: Duration,
}

/// Turns the body of a publish frame into a run that the service can take.
pub(crate) fn decode(body: &[u8], publisher: &Publisher, bounds: &Bounds, now: Instant) -> Result<Submission, Refusal> {
    let (header, bytes) = PublishHeader::decode(body)?;
    let topic = publisher.topic(header.topic).map_err(|error| Refusal::InvalidName(error.to_string()))?;
    if topic.is_reserved() {
        return Err(Refusal::Reserved);
    }
    let block = Block {
        bytes,
        packed: header.flags.contains(Flags::PACKED),
        entries_len: header.entries_len,
        messages: header.messages,
        first_seq: header.first_seq,
        ttl_ms: header.ttl_ms,
    };
    let run = publisher.read(topic, block, &bounds.run, now)?;
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
