//! What viewers get: one [`Frame`] each half second, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use sinew_wire::live::{Kind, Totals};

/// Version of the frame's layout: [`Frame::v`].
pub const FRAME_VERSION: u32 = 1;

/// Rows of one dimension of a window, but for the one of all others.
pub const MAX_ROWS: usize = 20;

/// Most services in a frame.
pub const MAX_SERVICES: usize = 50;

/// Most topics in a frame.
pub const MAX_TOPICS: usize = 50;

/// Most events in the sample.
pub const MAX_SAMPLE: usize = 50;

/// Key of the row of all others.
pub const OTHER: &str = "(other)";

/// The realm at one moment, as one node sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Frame {
    /// [`FRAME_VERSION`].
    pub v: u32,
    /// Wall clock of the node in milliseconds since 1970.
    pub time_ms: u64,
    /// The node that made the frame.
    pub node: String,
    /// Its realm.
    pub realm: String,
    /// Viewers of this node.
    pub viewers: u32,
    /// What has come in since the first viewer came.
    pub intake: Intake,
    /// Sums over the last whole seconds.
    pub windows: Windows,
    /// Every node heard of, by its id.
    pub nodes: Vec<Node>,
    /// Services of the realm.
    pub services: Vec<Service>,
    /// Topics that clients of this node publish on.
    pub topics: Vec<Topic>,
    /// Some of the last events, newest last. The next frame may have some of them again.
    pub sample: Vec<Sample>,
}

/// What has come in since the first viewer of the node came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Intake {
    /// Events, each counted once.
    pub events: u64,
    /// Messages of these events.
    pub messages: u64,
    /// Events that came again.
    pub duplicates: u64,
    /// Events that were to come and did not: dropped by the ring of their node, or on the way.
    pub dropped: u64,
    /// Batches and states that no node of the realm has published, or none that can be read.
    pub forged: u64,
    /// Batches that wait to be taken.
    pub depth: u64,
    /// Batches that may wait.
    pub capacity: u64,
}

/// Sums over the last 1, 10 and 60 whole seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Windows {
    /// The last second.
    #[serde(rename = "1")]
    pub one: Window,
    /// The last ten seconds.
    #[serde(rename = "10")]
    pub ten: Window,
    /// The last minute.
    #[serde(rename = "60")]
    pub sixty: Window,
}

/// Sums over some seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Window {
    /// Seconds really covered: fewer after the first viewer came.
    pub secs: u32,
    /// Events: runs published and calls ended.
    pub events: u64,
    /// Messages of these events.
    pub messages: u64,
    /// Runs published.
    pub publishes: u64,
    /// Calls ended.
    pub calls: u64,
    /// Events without success.
    pub failed: u64,
    /// Share of the events with success, 0 to 1; none without events.
    pub success: Option<f64>,
    /// Events per second.
    pub rate: f64,
    /// Messages per second.
    pub message_rate: f64,
    /// Latency that half of those that have one do not pass, in microseconds.
    pub p50_us: Option<u32>,
    /// The same of 95 %.
    pub p95_us: Option<u32>,
    /// The same of 99 %.
    pub p99_us: Option<u32>,
    /// The longest latency.
    pub max_us: Option<u32>,
    /// By the region of the node that routed it.
    pub by_region: Vec<Row>,
    /// By the node that routed it.
    pub by_node: Vec<Row>,
    /// Of publishes, by topic.
    pub by_topic: Vec<Row>,
    /// Of calls, by procedure.
    pub by_procedure: Vec<Row>,
    /// Of calls that somebody answered, by who did.
    pub by_provider: Vec<Row>,
}

/// The part of a window that has something in common.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Row {
    /// What they have in common, or [`OTHER`].
    pub key: String,
    /// Events.
    pub events: u64,
    /// Messages of these events.
    pub messages: u64,
    /// Events without success.
    pub failed: u64,
    /// Events per second.
    pub rate: f64,
    /// As in [`Window::p50_us`].
    pub p50_us: Option<u32>,
    /// As in [`Window::p95_us`].
    pub p95_us: Option<u32>,
    /// As in [`Window::p99_us`].
    pub p99_us: Option<u32>,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It tells how it is.
    #[default]
    Up,
    /// It has told nothing for two seconds, or the realm holds it dead.
    Lost,
    /// It said that it ends.
    Leaving,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub node: String,
    /// Its region label; may be empty.
    pub region: String,
    /// Whether it is there.
    pub state: NodeState,
    /// Milliseconds since it last told how it is.
    pub heard_ms: u64,
    /// Seconds that it had run then.
    pub uptime_s: u64,
    /// It was ready for clients.
    pub ready: bool,
    /// The checks that said it was not.
    pub failing: Vec<String>,
    /// Clients connected.
    pub clients: u32,
    /// Subscriptions in place.
    pub subscriptions: u32,
    /// Resident memory of its process, in bytes.
    pub memory: u64,
    /// Its counters per second, between the last two times it told them.
    pub rates: Rates,
    /// Its counters.
    pub totals: Totals,
    /// How long deliveries took in the last ten seconds; none without deliveries.
    pub deliver_us: Option<Deliver>,
    /// Deliveries that did not happen since it started, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Its queues.
    pub queues: Vec<Queue>,
    /// Its subscriptions that do not keep up.
    pub slow: Vec<Slow>,
    /// Its links to other nodes.
    pub links: Vec<Link>,
}

/// [`Totals`] per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Messages accepted from publishers.
    pub published: f64,
    /// Messages written towards subscribers.
    pub delivered: f64,
    /// Messages written towards other nodes.
    pub forwarded: f64,
    /// Deliveries that did not happen.
    pub dropped: f64,
    /// Calls ended.
    pub calls: f64,
    /// Bytes read from client links.
    pub bytes_in: f64,
    /// Bytes written to client links.
    pub bytes_out: f64,
}

/// How long deliveries took, in microseconds. Interpolated between the bounds of a histogram with three buckets to the
/// decade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deliver {
    /// Half of them took at most this.
    pub p50: u64,
    /// 99 % of them took at most this.
    pub p99: u64,
}

/// How full a queue is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Its name in metrics.
    pub queue: String,
    /// What is in it, in the unit its name tells.
    pub depth: u64,
    /// What it holds at most.
    pub capacity: u64,
}

/// A subscription that does not keep up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slow {
    /// The client's session on the node.
    pub client: String,
    /// Who it is.
    pub peer: String,
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

/// A link from one node to another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Link {
    /// The other node.
    pub to: String,
    /// What it runs over.
    pub path: String,
    /// Round trip in microseconds, where it was measured.
    pub rtt_us: Option<u32>,
    /// Messages written to it per second.
    pub sent: f64,
    /// Messages read from it per second.
    pub received: f64,
}

/// A service of the realm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Who provides it.
    pub instances: u64,
    /// Nodes with at least one of them.
    pub nodes: u64,
}

/// A topic that clients of this node publish on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// Subscriptions that match it now.
    pub matched: u64,
    /// Messages published on it.
    pub published: u64,
    /// Those of them that matched nobody.
    pub unheard: u64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The node and the number of the event there, with a slash between them.
    pub id: String,
    /// When, by the clock of that node, in milliseconds since 1970.
    pub time_ms: u64,
    /// The node that routed it.
    pub node: String,
    /// Its region label.
    pub region: String,
    /// `publish` or `call`.
    #[serde(with = "kind")]
    pub kind: Kind,
    /// The topic or procedure.
    pub name: String,
    /// Messages of the run; 1 for a call.
    pub messages: u32,
    /// Other nodes that it went to.
    pub nodes: u16,
    /// Who answered the call.
    pub provider: Option<String>,
    /// `ok`, `unheard`, `dropped`, or how the call failed ([`sinew_wire::live::Outcome::as_str`]).
    pub outcome: String,
    /// Microseconds from request to result, where there is one.
    pub latency_us: Option<u32>,
}

/// A [`Kind`] in words: on the wire it is a number.
mod kind {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use sinew_wire::live::Kind;

    pub(super) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match kind {
            Kind::Publish => "publish",
            Kind::Call => "call",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        match &*String::deserialize(deserializer)? {
            "publish" => Ok(Kind::Publish),
            "call" => Ok(Kind::Call),
            other => Err(de::Error::unknown_variant(other, &["publish", "call"])),
        }
    }
}
