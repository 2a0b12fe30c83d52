//! The counters of one node.

mod histogram;
mod process;
mod queues;
mod readings;
pub(crate) mod text;

use std::ops::Deref;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
pub use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;
use sinew_wire::Limit;
use sinew_wire::call::Status;

pub use self::histogram::Histogram;
pub use self::process::resident_bytes;
pub use self::queues::{Fill, Queues};
pub use self::readings::{Reading, Readings};
use crate::{CloseReason, DropReason, Events, Spans};

/// One label with a name known at compile time: every value comes from an enum or a literal, never from a peer, so
/// the number of rows is bounded.
type Label = [(&'static str, &'static str); 1];

/// What every name begins with.
pub(crate) const PREFIX: &str = "sinew";

/// All metrics of one node, registered once. Cloning it shares the counters.
///
/// ```
/// use sinew_observe::{DropReason, Metrics, Registry};
///
/// let mut registry = Registry::default();
/// let metrics = Metrics::new(&mut registry);
/// metrics.published.inc_by(64);
/// metrics.dropped(DropReason::QueueFull).inc_by(2);
/// assert_eq!(metrics.published.get(), 64);
/// ```
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Handles>);

/// The resolved counters behind [`Metrics`]. Recording is one atomic addition; nothing is looked up by label.
#[derive(Debug)]
pub struct Handles {
    /// Messages accepted from publishers.
    pub published: Counter,
    /// Messages written towards subscribers: one for each subscription that got it.
    pub delivered: Counter,
    /// Messages written towards other nodes: one for each node that got it.
    pub forwarded: Counter,
    /// Messages whose id had been seen before, and which therefore went to nobody.
    pub duplicates: Counter,
    /// Retained values forgotten because their bound was reached.
    pub retained_evicted: Counter,
    /// Bytes read from client links, frames included, encryption not.
    pub bytes_in: Counter,
    /// Bytes written to client links, frames included, encryption not.
    pub bytes_out: Counter,
    /// Bytes read from links to other nodes, frames included, encryption not.
    pub peer_bytes_in: Counter,
    /// Bytes written to links to other nodes, frames included, encryption not.
    pub peer_bytes_out: Counter,
    /// Clients connected now.
    pub clients: Gauge,
    /// Subscriptions in place now.
    pub subscriptions: Gauge,
    /// 1 while the node admits anyone who names its realm.
    pub open: Gauge,
    /// Time from reading a message to handing it to the subscriber's link.
    pub deliver_seconds: Histogram,
    /// Client links whose handshake was completed.
    pub links_opened: Counter,
    /// Handshakes that failed or did not finish in time.
    pub handshakes_failed: Counter,
    /// Other nodes of the realm that are up.
    pub peers: Gauge,
    /// Links to other nodes there are now.
    pub pool_links: Gauge,
    /// Links to other nodes that came up, dialled or accepted.
    pub pool_opened: Counter,
    /// Dials of other nodes that failed on all their addresses.
    pub pool_dials_failed: Counter,
    /// Time from the request of a client of this node to its answer.
    pub call_seconds: Histogram,
    /// Events of what this node routes.
    pub events: Events,
    /// What this node did for traces of applications.
    pub spans: Spans,
    /// Messages of the live view that did not reach a node that watches.
    pub live_lost: Counter,
    /// Messages that came over a link as the live view's, and were not of the node at its other end.
    pub live_forged: Counter,
    calls: [Counter; Status::ALL.len()],
    dropped: [Counter; DropReason::ALL.len()],
    links_closed: [Counter; CloseReason::ALL.len()],
    limit_refused: [Counter; Limit::ALL.len()],
    pool_closed: Family<Label, Counter>,
    cache_hits: Family<Label, Counter>,
    cache_misses: Family<Label, Counter>,
}

/// How often a cache had the answer. Made by [`Handles::cache`].
#[derive(Debug, Clone)]
pub struct CacheCounters {
    /// Look-ups answered from the cache.
    pub hits: Counter,
    /// Look-ups that had to be computed.
    pub misses: Counter,
}

impl Metrics {
    /// Registers everything under the prefix `sinew_`. Call it once per registry: a second call would register every
    /// name twice.
    pub fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        process::register(registry);
        let handles = Handles {
            published: counter(registry, "published", "Messages accepted from publishers"),
            delivered: counter(registry, "delivered", "Messages written to subscribers, one for each subscription"),
            forwarded: counter(registry, "forwarded", "Messages written to other nodes, one for each node"),
            duplicates: counter(registry, "duplicates", "Messages suppressed because their id had been seen before"),
            retained_evicted: counter(registry, "retained_evicted", "Retained values forgotten at their bound"),
            bytes_in: counter(registry, "bytes_in", "Bytes read from client links"),
            bytes_out: counter(registry, "bytes_out", "Bytes written to client links"),
            peer_bytes_in: counter(registry, "peer_bytes_in", "Bytes read from links to other nodes"),
            peer_bytes_out: counter(registry, "peer_bytes_out", "Bytes written to links to other nodes"),
            clients: gauge(registry, "clients", "Clients connected"),
            subscriptions: gauge(registry, "subscriptions", "Subscriptions in place"),
            open: gauge(registry, "open", "1 while the node admits anyone who names its realm"),
            deliver_seconds: histogram(
                registry,
                "deliver",
                "Time from reading a message to writing it to a subscriber",
            ),
            links_opened: counter(registry, "links_opened", "Client links that completed their handshake"),
            handshakes_failed: counter(registry, "handshakes_failed", "Handshakes that failed or timed out"),
            peers: gauge(registry, "peers", "Other nodes of the realm that are up"),
            pool_links: gauge(registry, "pool_links", "Links to other nodes"),
            pool_opened: counter(registry, "pool_opened", "Links to other nodes that came up"),
            pool_dials_failed: counter(registry, "pool_dials_failed", "Dials of other nodes that failed"),
            pool_closed: family(registry, "pool_closed", "Links to other nodes that ended, by reason"),
            events: Events::default(),
            spans: Spans::default(),
            live_lost: counter(registry, "live_lost", "Messages of the live view that a node that watches did not get"),
            live_forged: counter(registry, "live_forged", "Messages in the name of the live view of another node"),
            call_seconds: histogram(registry, "call", "Time from a client's request to its answer"),
            calls: rows(
                registry,
                ("calls", "Calls of this node's clients, by how they ended"),
                "outcome",
                Status::ALL.map(Status::as_str),
            ),
            dropped: rows(
                registry,
                ("dropped", "Deliveries that did not happen, by reason"),
                "reason",
                DropReason::ALL.map(DropReason::as_str),
            ),
            links_closed: rows(
                registry,
                ("links_closed", "Client links that ended, by reason"),
                "reason",
                CloseReason::ALL.map(CloseReason::as_str),
            ),
            limit_refused: rows(
                registry,
                ("limit_refused", "Requests and links refused because of a limit"),
                "limit",
                Limit::ALL.map(Limit::as_str),
            ),
            cache_hits: family(registry, "cache_hits", "Look-ups answered by a cache"),
            cache_misses: family(registry, "cache_misses", "Look-ups a cache could not answer"),
        };
        Self(Arc::new(handles))
    }
}

impl Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl Handles {
    /// Deliveries that did not happen for this reason.
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// Drops of every kind since the start.
    pub fn dropped_sum(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }

    /// Deliveries that did not happen, by reason: each reason there is.
    pub fn drops(&self) -> [(DropReason, u64); DropReason::ALL.len()] {
        DropReason::ALL.map(|reason| (reason, self.dropped(reason).get()))
    }

    /// Calls of clients of this node that have ended, however.
    pub fn calls_sum(&self) -> u64 {
        self.calls.iter().map(Counter::get).sum()
    }

    /// Calls of clients of this node that ended like this.
    pub fn calls(&self, outcome: Status) -> &Counter {
        &self.calls[outcome as usize]
    }

    /// Client links that ended for this reason.
    pub fn link_closed(&self, reason: CloseReason) -> &Counter {
        &self.links_closed[reason as usize]
    }

    /// Refusals because of this limit.
    pub fn limit_refused(&self, limit: Limit) -> &Counter {
        &self.limit_refused[limit as usize]
    }

    /// Links to other nodes that ended for this reason. The reasons are the pool's: it asks for all of them when it starts,
    /// so that every row is there from then on.
    pub fn pool_closed(&self, reason: &'static str) -> Counter {
        self.pool_closed.get_or_create_owned(&[("reason", reason)])
    }

    /// Adds the rows of a cache and gives its counters.
    pub fn cache(&self, name: &'static str) -> CacheCounters {
        let label = [("cache", name)];
        CacheCounters {
            hits: self.cache_hits.get_or_create_owned(&label),
            misses: self.cache_misses.get_or_create_owned(&label),
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::default();
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

fn family<M>(registry: &mut Registry, name: &str, help: &str) -> Family<Label, M>
where
    M: prometheus_client::encoding::EncodeMetric + prometheus_client::metrics::TypedMetric + Default,
    Family<Label, M>: prometheus_client::registry::Metric + Clone,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// A counter for each value of a label, there from the start: a row that appears with its first event hides that event
/// from every rate.
fn rows<const N: usize>(
    registry: &mut Registry,
    (name, help): (&str, &str),
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family: Family<Label, Counter> = family(registry, name, help);
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

/// Everything in the registry as OpenMetrics text.
pub fn encode(registry: &Registry) -> String {
    let mut text = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a String takes every write");
    text
}

/// States what the node is; the value is always 1.
pub(crate) fn build_info() -> Info<Label> {
    Info::new([("version", env!("CARGO_PKG_VERSION"))])
}
