//! What a node did for traces that applications record, until it is exported.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest;
use sinew_wire::{PeerId, TraceContext};

use crate::{Outlet, Reported};

/// Id of a span within its trace; never zero.
pub type SpanId = [u8; 8];

/// Where services report their part in the traces of applications, and an exporter takes it from. Wanted while somebody
/// exports.
///
/// Only what an application sends with a sampled [trace context](sinew_wire::TraceContext) is reported: how much is traced
/// is up to those who begin the traces.
pub type Spans = Outlet<Span>;

impl Reported for Span {
    /// Of two requests to the collector, those in between.
    const CAPACITY: usize = 8_192;
}

/// What a node did for one message or one call, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace, and the span that caused this one.
    pub parent: TraceContext,
    /// This one.
    pub id: SpanId,
    /// What it was.
    pub kind: SpanKind,
    /// The topic or the procedure.
    pub name: Arc<str>,
    /// When it was over, on the wall clock.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What became of it, and whether that is a failure of the mesh.
    pub outcome: (&'static str, bool),
    /// The other side: of a call its provider's node, of a delivery the peer that published.
    pub other: Option<PeerId>,
    /// Of a message that was published: subscriptions of the realm that match, and other nodes that it went to.
    pub reached: Option<(u64, u64)>,
}

/// What a span was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A message of a client was taken, and handed to queues and other nodes.
    Publish,
    /// A message was written to a subscriber.
    Deliver,
    /// A call of a client was answered.
    Call,
    /// A call from another node was answered by a provider of this one.
    Serve,
}

/// An id for a span that nobody else has to know.
pub fn new_span_id() -> SpanId {
    rand::random::<u64>().max(1).to_be_bytes()
}

/// The id of the span in which a node took a message from its publisher.
///
/// The message crosses the mesh unchanged, so the id can't travel with it: every node finds it out from what the message
/// brings along, and can say what caused its delivery. The first eight bytes of a SHA-256.
pub fn publish_span_id(parent: &TraceContext, publisher: &PeerId, instance: u64, seq: u64) -> SpanId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&parent.trace);
    context.update(&parent.span);
    context.update(publisher.public_key());
    context.update(&instance.to_be_bytes());
    context.update(&seq.to_be_bytes());
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first).max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: TraceContext = TraceContext { trace: [1; 16], span: [2; 8], flags: 1 };

    #[test]
    fn everybody_finds_the_same_id_for_a_message_and_another_one_for_the_next() {
        let peer = PeerId::from_public_key([7; 32]);
        let id = publish_span_id(&PARENT, &peer, 3, 4);
        assert_eq!(id, publish_span_id(&PARENT, &peer, 3, 4));
        assert_ne!(id, publish_span_id(&PARENT, &peer, 3, 5));
        assert_ne!(id, publish_span_id(&PARENT, &peer, 4, 4));
        assert_ne!(id, publish_span_id(&TraceContext { span: [3; 8], ..PARENT }, &peer, 3, 4));
    }
}
