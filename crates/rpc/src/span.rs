//! The part of this node in traces that callers record: see [`sinew_observe::Spans`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sinew_observe::{Span, SpanId, SpanKind, Spans, new_span_id};
use sinew_wire::call::{Request, Status};
use sinew_wire::{PeerId, TraceContext};

/// A call as a span of this node: on its caller's node and on its provider's.
#[derive(Debug)]
pub(crate) struct CallSpan {
    parent: TraceContext,
    id: SpanId,
    kind: SpanKind,
    name: Arc<str>,
}

impl CallSpan {
    /// Begins one, if spans are exported and the caller records its trace, and copies the body of the request's frame.
    /// Whoever gets that next is told that this span has caused it.
    pub(crate) fn begin(
        spans: &Spans,
        kind: SpanKind,
        request: &Request<'_>,
        frame: &[u8],
    ) -> (Option<Box<Self>>, Bytes) {
        let parent = if spans.wanted() { TraceContext::sampled(&request.headers) } else { None };
        let Some(parent) = parent else { return (None, Bytes::copy_from_slice(frame)) };
        let id = new_span_id();
        let mut frame = frame.to_vec();
        request.set_parent(&mut frame, id);
        (Some(Box::new(Self { parent, id, kind, name: request.name.into() })), Bytes::from(frame))
    }

    /// The call has ended. `provider` is the node that was to answer last, where that is known.
    pub(crate) fn end(&self, spans: &Spans, provider: Option<PeerId>, status: Status, took: Duration) {
        spans.emit(|| Span {
            parent: self.parent,
            id: self.id,
            kind: self.kind,
            name: Arc::clone(&self.name),
            ended: SystemTime::now(),
            took,
            outcome: (status.as_str(), !matches!(status, Status::Ok | Status::Application | Status::Cancelled)),
            other: provider,
            reached: None,
        });
    }
}
