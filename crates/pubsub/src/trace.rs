//! The part of this node in traces that applications record: see [`sinew_observe::Spans`].

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sinew_observe::{Span, SpanKind, Spans, new_span_id, publish_span_id};
use sinew_topic::Topic;
use sinew_wire::{Headers, TraceContext, entry};

use crate::run::{Origin, Run, Slice};

/// A run that a client of this node publishes, as far as traces want to know of it.
pub(crate) struct Traced {
    topic: Topic,
    origin: Arc<Origin>,
    entries: Bytes,
    first_seq: u64,
    received: Instant,
}

impl Traced {
    /// Nearly always none: spans are exported, and the run has headers.
    pub(crate) fn of(run: &Run, spans: &Spans) -> Option<Self> {
        (run.any_headers && spans.wanted()).then(|| Self {
            topic: run.topic.clone(),
            origin: Arc::clone(&run.origin),
            entries: run.entries.clone(),
            first_seq: run.first_seq,
            received: run.received,
        })
    }

    /// It was handed to queues and other nodes.
    pub(crate) fn published(self, spans: &Spans, outcome: (&'static str, bool), reached: (u64, u64)) {
        for (seq, parent) in contexts(self.first_seq, &self.entries) {
            spans.emit(|| Span {
                parent,
                id: publish_span_id(&parent, &self.origin.peer, self.origin.instance, seq),
                kind: SpanKind::Publish,
                name: self.topic.clone().into(),
                ended: SystemTime::now(),
                took: self.received.elapsed(),
                outcome,
                other: None,
                reached: Some(reached),
            });
        }
    }
}

/// Messages go to a subscriber. What was caused by their publication, whichever node that was on.
pub(crate) fn delivered(slice: &Slice, spans: &Spans) {
    let run = slice.run();
    if !run.any_headers || !spans.wanted() {
        return;
    }
    let origin = &run.origin;
    for (seq, parent) in contexts(slice.first_seq(), slice.block()) {
        spans.emit(|| Span {
            parent: TraceContext { span: publish_span_id(&parent, &origin.peer, origin.instance, seq), ..parent },
            id: new_span_id(),
            kind: SpanKind::Deliver,
            name: run.topic.clone().into(),
            ended: SystemTime::now(),
            took: run.received.elapsed(),
            outcome: ("ok", false),
            other: Some(origin.peer),
            reached: None,
        });
    }
}

/// The messages of a block that belong to recorded traces, with their sequence numbers.
fn contexts(first_seq: u64, block: &[u8]) -> impl Iterator<Item = (u64, TraceContext)> {
    // The last number there is has no next one: a stranger may have chosen it.
    let seqs = (0..).map(move |n| first_seq.wrapping_add(n));
    let numbered = seqs.zip(entry::Entries::new(block)).filter(|(_, (_, entry))| !entry.headers.is_empty());
    numbered.filter_map(|(seq, (_, entry))| Some((seq, TraceContext::sampled(&Headers::decode(entry.headers).ok()?)?)))
}
