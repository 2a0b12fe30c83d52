//! What nodes tell those that show the realm to a viewer: which messages and calls they route, and how they are.
//!
//! Both travel as messages on reserved topics, to the nodes with viewers only: a [`Batch`] of [`Event`]s ten times a second on
//! [`EVENTS_TOPIC`], a [`State`] twice a second on [`STATE_TOPIC`]. They are serde types behind [`crate::codec`], bounded
//! before anything is allocated for them, and checked as a whole: what [`Batch::decode`] returns has no index that points
//! nowhere.

use serde::{Deserialize, Serialize};

use crate::call::Status;
use crate::label::{check_name, check_region, check_text, check_topic};
use crate::{DecodeError, Limit, MAX_TOPIC, PeerId, codec};

/// Where nodes publish their [`Batch`]es.
pub const EVENTS_TOPIC: &str = "$live.events";

/// Where nodes publish their [`State`]s.
pub const STATE_TOPIC: &str = "$live.state";

/// Most events in one batch.
pub const MAX_EVENTS: usize = 4096;

/// Most bytes of one encoded batch: 256 KiB.
pub const MAX_BATCH_BYTES: usize = 256 << 10;

/// Most bytes of one encoded state: 64 KiB.
pub const MAX_STATE_BYTES: usize = 64 << 10;

/// Most reasons, queues, failing checks and links in one state, each.
pub const MAX_LIST: usize = 64;

/// Most slow subscriptions in one state.
pub const MAX_SLOW: usize = 10;

/// Upper bounds of the buckets of [`State::deliver`] in microseconds, but for the last one, which is open: 50 us to 10 s.
pub const DELIVER_BOUNDS_US: [u64; 16] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000,
    10_000_000,
];

/// Buckets of [`State::deliver`].
pub const DELIVER_BUCKETS: usize = DELIVER_BOUNDS_US.len() + 1;

/// What was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Kind {
    /// A run that a client of the node has published.
    Publish = 0,
    /// A call of a client of the node that has ended.
    Call = 1,
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        kind as Self
    }
}

impl TryFrom<u8> for Kind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Publish),
            1 => Ok(Self::Call),
            _ => Err(DecodeError::invalid("event kind", "is unknown")),
        }
    }
}

/// What became of it. One byte on the wire: 0 to 2 in the order here, and 16 + the number of the status of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Outcome {
    /// Delivered, or answered.
    Ok,
    /// A publish that matched nobody. Not a failure.
    Unheard,
    /// Some delivery of the publish was dropped, or nobody knows what became of it.
    Dropped,
    /// The call ended like this, which is never [`Status::Ok`].
    Failed(Status),
}

impl Outcome {
    const FAILED: u8 = 16;

    /// Whether it counts as a success.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Ok | Self::Unheard)
    }

    /// Of a call that ended like this.
    pub fn of_call(status: Status) -> Self {
        if status == Status::Ok { Self::Ok } else { Self::Failed(status) }
    }

    /// The name that viewers see: `ok`, `unheard`, `dropped`, or that of the status of the call, with hyphens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unheard => "unheard",
            Self::Dropped => "dropped",
            Self::Failed(status) => match status {
                Status::NoProvider => "no-provider",
                Status::NoPeers => "no-peers",
                Status::NotSent => "not-sent",
                Status::TimedOut => "timed-out",
                single_word => single_word.as_str(),
            },
        }
    }
}

impl From<Outcome> for u8 {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => 0,
            Outcome::Unheard => 1,
            Outcome::Dropped => 2,
            Outcome::Failed(status) => Outcome::FAILED + status as Self,
        }
    }
}

impl TryFrom<u8> for Outcome {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Ok),
            1 => Ok(Self::Unheard),
            2 => Ok(Self::Dropped),
            _ => match byte.checked_sub(Self::FAILED).map(Status::try_from) {
                Some(Ok(status)) if status != Status::Ok => Ok(Self::Failed(status)),
                _ => Err(DecodeError::invalid("event outcome", "is unknown")),
            },
        }
    }
}

/// One run or call that a node has routed for a client of its own.
///
/// Its id is the node, the [epoch](Batch::epoch) of the node and [`Event::seq`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Events of the node before this one, since it started.
    pub seq: u64,
    /// Wall clock of the node in milliseconds since 1970. To be shown; nothing is computed with it.
    pub at_ms: u64,
    /// What it was.
    pub kind: Kind,
    /// The topic or procedure: its place in [`Batch::names`].
    pub name: u16,
    /// Who answered the call: its place in [`Batch::peers`].
    pub provider: Option<u16>,
    /// Messages of the run; 1 for a call.
    pub messages: u32,
    /// Other nodes that it went to.
    pub nodes: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// Microseconds from request to result; of calls and of publishes at level acked.
    pub latency_us: Option<u32>,
}

/// Consecutive events of one node, less those that its ring has dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// When the node started, in milliseconds since 1970: tells its lives apart.
    pub epoch: u64,
    /// Region label of the node; may be empty.
    pub region: String,
    /// Events of the node since it started, up to and with the last one of this batch.
    pub emitted: u64,
    /// Those of them that its ring has dropped.
    pub dropped: u64,
    /// The topics and procedures of the events, each once.
    pub names: Vec<String>,
    /// The providers of the events, each once.
    pub peers: Vec<PeerId>,
    /// At most [`MAX_EVENTS`].
    pub events: Vec<Event>,
}

impl Batch {
    /// Most bytes that an event takes.
    pub const EVENT_BYTES: usize = 8 + 8 + 1 + 2 + 3 + 4 + 2 + 1 + 5;

    /// Bytes of a batch with this region and without names, peers and events.
    pub const fn empty_bytes(region: &str) -> usize {
        8 + 8 + region.len() + 8 + 8 + 8 + 8 + 8
    }

    /// Bytes that a name takes in a batch.
    pub const fn name_bytes(name: &str) -> usize {
        8 + name.len()
    }

    /// Encodes the batch, which must be within the bounds that [`Batch::decode`] checks.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = codec::encode(self);
        debug_assert!(bytes.len() <= MAX_BATCH_BYTES && self.validate().is_ok(), "whoever made it kept to its bounds");
        bytes
    }

    /// Decodes and checks a batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        bounded(bytes, MAX_BATCH_BYTES)?;
        let batch: Self = codec::decode(bytes)?;
        batch.validate()?;
        Ok(batch)
    }

    /// Whether its lists are within their bounds, its texts short, and its indices in place.
    fn validate(&self) -> Result<(), DecodeError> {
        check_region(&self.region)?;
        at_most("events", self.events.len(), MAX_EVENTS)?;
        at_most("names of events", self.names.len(), MAX_EVENTS)?;
        at_most("providers of events", self.peers.len(), MAX_EVENTS)?;
        self.names.iter().try_for_each(|name| check_topic(name))?;
        if self.dropped > self.emitted {
            return Err(DecodeError::invalid("dropped events", "are more than there were"));
        }
        self.events.iter().try_for_each(|event| {
            let provider = event.provider.unwrap_or(0);
            let in_place = usize::from(event.name) < self.names.len()
                && (event.provider.is_none() || usize::from(provider) < self.peers.len());
            if !in_place {
                return Err(DecodeError::invalid("event", "names what the batch has not"));
            }
            if event.seq >= self.emitted {
                return Err(DecodeError::invalid("event number", "is beyond the events of the node"));
            }
            Ok(())
        })
    }
}

/// Counters of a node since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Messages accepted from publishers.
    pub published: u64,
    /// Messages written towards subscribers.
    pub delivered: u64,
    /// Messages written towards other nodes.
    pub forwarded: u64,
    /// Deliveries that did not happen, for any reason.
    pub dropped: u64,
    /// Calls of the node's clients that have ended.
    pub calls: u64,
    /// Bytes read from client links.
    pub bytes_in: u64,
    /// Bytes written to client links.
    pub bytes_out: u64,
}

/// How full a queue is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name in metrics.
    pub queue: String,
    /// What is in it, in the unit its name tells.
    pub depth: u64,
    /// What it holds at most.
    pub capacity: u64,
}

/// A subscription that does not keep up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// The client's session on the node.
    pub client: u64,
    /// Who it is.
    pub peer: PeerId,
    /// Its name for people; may be empty.
    pub name: String,
    /// What it subscribed to.
    pub pattern: String,
    /// Messages queued for it.
    pub queued: u64,
    /// Messages its queue holds.
    pub capacity: u64,
    /// Messages it has missed.
    pub missed: u64,
}

/// A link to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// That node.
    pub to: PeerId,
    /// What the link runs over: `quic`, `tls`, `relay`...
    pub path: String,
    /// Round trip in microseconds, where it was measured.
    pub rtt_us: Option<u32>,
    /// Messages written to it since it came up.
    pub sent: u64,
    /// Messages read from it since it came up.
    pub received: u64,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// As in [`Batch::epoch`].
    pub epoch: u64,
    /// Milliseconds since it started, by its monotonic clock: rates are differences over differences of this.
    pub uptime_ms: u64,
    /// Its region label; may be empty.
    pub region: String,
    /// It is about to end.
    pub leaving: bool,
    /// It is ready for clients.
    pub ready: bool,
    /// The checks that say it is not: at most [`MAX_LIST`].
    pub failing: Vec<String>,
    /// Events that it has taken out of its ring or lost in it, since it started: those up to here have been sent in
    /// batches, or dropped.
    pub emitted: u64,
    /// Clients connected.
    pub clients: u32,
    /// Subscriptions in place.
    pub subscriptions: u32,
    /// Resident memory of its process, in bytes.
    pub memory: u64,
    /// Its counters.
    pub totals: Totals,
    /// How long deliveries took: how many fell into each bucket of [`DELIVER_BOUNDS_US`] since it started, each delivery
    /// in one bucket. [`DELIVER_BUCKETS`] numbers, or none.
    pub deliver: Vec<u64>,
    /// Deliveries that did not happen by reason, those above zero: at most [`MAX_LIST`].
    pub dropped: Vec<(String, u64)>,
    /// Its queues: at most [`MAX_LIST`].
    pub queues: Vec<Queue>,
    /// Its subscriptions that do not keep up: at most [`MAX_SLOW`].
    pub slow: Vec<Slow>,
    /// Its links to other nodes: at most [`MAX_LIST`].
    pub links: Vec<LinkState>,
}

impl State {
    /// Encodes the state. Lists and texts longer than their bounds are cut to them.
    pub fn encode(mut self) -> Vec<u8> {
        self.clip();
        let bytes = codec::encode(&self);
        debug_assert!(bytes.len() <= MAX_STATE_BYTES, "the bounds of its lists and texts add up to less");
        bytes
    }

    /// Decodes and checks a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        bounded(bytes, MAX_STATE_BYTES)?;
        let state: Self = codec::decode(bytes)?;
        state.validate()?;
        Ok(state)
    }

    fn clip(&mut self) {
        self.failing.truncate(MAX_LIST);
        self.dropped.truncate(MAX_LIST);
        self.queues.truncate(MAX_LIST);
        self.slow.truncate(MAX_SLOW);
        self.links.truncate(MAX_LIST);
        if self.deliver.len() != DELIVER_BUCKETS {
            self.deliver.clear();
        }
        let labels = self.failing.iter_mut().chain(self.dropped.iter_mut().map(|(reason, _)| reason));
        let labels = labels.chain(self.queues.iter_mut().map(|queue| &mut queue.queue));
        let labels = labels.chain(self.links.iter_mut().map(|link| &mut link.path));
        let labels = labels.chain(self.slow.iter_mut().map(|slow| &mut slow.name));
        labels.chain([&mut self.region]).for_each(|label| clean(label, crate::MAX_NAME));
        self.slow.iter_mut().for_each(|slow| clean(&mut slow.pattern, MAX_TOPIC));
    }

    fn validate(&self) -> Result<(), DecodeError> {
        check_region(&self.region)?;
        at_most("failing checks", self.failing.len(), MAX_LIST)?;
        at_most("drop reasons", self.dropped.len(), MAX_LIST)?;
        at_most("queues", self.queues.len(), MAX_LIST)?;
        at_most("slow subscriptions", self.slow.len(), MAX_SLOW)?;
        at_most("links", self.links.len(), MAX_LIST)?;
        if !self.deliver.is_empty() && self.deliver.len() != DELIVER_BUCKETS {
            return Err(DecodeError::invalid("delivery times", "have another number of buckets"));
        }
        self.failing.iter().try_for_each(|check| check_name(check))?;
        self.dropped.iter().try_for_each(|(reason, _)| check_name(reason))?;
        self.queues.iter().try_for_each(|queue| check_name(&queue.queue))?;
        self.links.iter().try_for_each(|link| check_name(&link.path))?;
        self.slow.iter().try_for_each(|slow| {
            check_name(&slow.name)?;
            check_text("pattern", &slow.pattern, MAX_TOPIC)
        })
    }
}

/// Cuts a text to what a receiver takes: so many bytes, no control characters.
fn clean(text: &mut String, longest: usize) {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.retain(|c| !c.is_control());
}

const fn bounded(bytes: &[u8], allowed: usize) -> Result<(), DecodeError> {
    if bytes.len() > allowed { Err(DecodeError::too_large(Limit::FrameBytes, bytes.len(), allowed)) } else { Ok(()) }
}

const fn at_most(field: &'static str, actual: usize, allowed: usize) -> Result<(), DecodeError> {
    if actual > allowed { Err(DecodeError::TooLong { field, actual, allowed }) } else { Ok(()) }
}
