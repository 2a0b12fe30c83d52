//! What a node did for traces that applications record, until it is exported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use ring::digest;
use sinew_live::{Ring, Taken};
use sinew_wire::{PeerId, TraceContext};

/// Spans that may wait to be exported.
const CAPACITY: usize = 8_192;

/// Id of a span within its trace; never zero.
pub type SpanId = [u8; 8];

/// Where services report their part in the traces of applications, and an exporter takes it from. Cloning it shares the spans.
///
/// While nobody exports, a report is one relaxed load. Otherwise it goes into a ring of 8,192 spans, which gives up the oldest
/// when it is full, and counts it. Only what an application sends with a sampled
/// [trace context](sinew_wire::TraceContext) is reported: how much is traced is up to those who begin the traces.
#[derive(Debug, Clone)]
pub struct Spans(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: AtomicBool,
    ring: Mutex<Ring<Span>>,
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

impl Spans {
    /// Spans that the ring holds.
    pub const CAPACITY: usize = CAPACITY;

    /// Whether somebody exports. Costs a relaxed load.
    pub fn wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// Somebody exports from now on, or nobody does.
    pub fn want(&self, wanted: bool) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Reports a span, if anybody exports. Never waits for more than others that do the same.
    pub fn emit(&self, span: impl FnOnce() -> Span) {
        if self.wanted() {
            let span = span();
            self.0.ring.lock().push(span);
        }
    }

    /// Takes what has been reported since it was last taken, less what the ring has given up.
    pub fn take(&self) -> Taken<Span> {
        self.0.ring.lock().take()
    }

    /// How many there have been since the node started.
    pub fn emitted(&self) -> u64 {
        self.0.ring.lock().emitted()
    }

    /// How many of them the ring has given up.
    pub fn dropped(&self) -> u64 {
        self.0.ring.lock().dropped()
    }

    /// How many wait to be taken.
    pub fn depth(&self) -> u64 {
        self.0.ring.lock().len() as u64
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self(Arc::new(Inner { wanted: AtomicBool::new(false), ring: Mutex::new(Ring::new(CAPACITY)) }))
    }
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

    fn span() -> Span {
        Span {
            parent: PARENT,
            id: new_span_id(),
            kind: SpanKind::Publish,
            name: "a".into(),
            ended: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            outcome: ("ok", false),
            other: None,
            reached: None,
        }
    }

    #[test]
    fn while_nobody_exports_nothing_is_made() {
        let spans = Spans::default();
        spans.emit(|| panic!("nobody wants it"));
        assert_eq!((spans.emitted(), spans.dropped(), spans.depth()), (0, 0, 0));
    }

    #[test]
    fn a_full_ring_gives_up_the_oldest_and_counts_exactly() {
        let spans = Spans::default();
        spans.want(true);
        for _ in 0..CAPACITY + 10 {
            spans.emit(span);
        }
        assert_eq!((spans.emitted(), spans.dropped(), spans.depth()), ((CAPACITY + 10) as u64, 10, CAPACITY as u64));
        assert_eq!(spans.take().items.len(), CAPACITY);
        assert_eq!(spans.depth(), 0);
    }

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
