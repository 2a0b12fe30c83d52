use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sinew_gateway::{ClientInfo, Gateway, SlowSubscription};
use sinew_mesh::PeerInfo;
use sinew_observe::{Health, Metrics, Queues, Scope, resident_bytes};
use sinew_pubsub::PubSub;
use sinew_wire::PeerId;
use sinew_wire::live::{LinkState, MAX_LIST, MAX_SLOW, Queue, Slow, State, Totals};

use crate::realm::Realm;

/// What the live view reads. Handles only.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) node: PeerId,
    pub(crate) realm_name: String,
    pub(crate) region: String,
    /// When the node started: milliseconds since 1970.
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) queues: Queues,
    pub(crate) pubsub: PubSub,
    pub(crate) gateway: Gateway,
    pub(crate) realm: Realm,
    pub(crate) intake: Intake,
}

/// What waits to be put together for viewers, while there are any.
#[derive(Clone, Default)]
pub(crate) struct Intake(Arc<Mutex<Option<Depth>>>);

type Depth = Box<dyn Fn() -> usize + Send + Sync>;

impl Intake {
    pub(super) fn set(&self, depth: Option<Depth>) {
        *self.0.lock() = depth;
    }

    /// Messages that wait.
    pub(super) fn depth(&self) -> u64 {
        self.0.lock().as_ref().map_or(0, |depth| depth() as u64)
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Facts {
    /// How the node is now. Looks at every subscription: not for a thread that carries messages.
    pub(super) fn state(&self) -> State {
        let metrics = &self.metrics;
        let report = self.health.report(Scope::Ready);
        let dropped = metrics.drops().into_iter().filter(|(_, n)| *n > 0);
        let queue = |fill: sinew_observe::Fill| Queue {
            queue: fill.queue.to_owned(),
            depth: fill.depth,
            capacity: fill.capacity,
        };
        State {
            epoch: self.epoch,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            region: self.region.clone(),
            leaving: false,
            ready: report.ok,
            failing: report.failing.iter().take(MAX_LIST).map(|failing| failing.check.to_string()).collect(),
            emitted: metrics.events.emitted().saturating_sub(metrics.events.depth()),
            clients: count(metrics.clients.get()),
            subscriptions: count(metrics.subscriptions.get()),
            memory: resident_bytes().unwrap_or(0),
            totals: self.totals(),
            deliver: metrics.deliver_seconds.buckets().to_vec(),
            dropped: dropped.map(|(reason, n)| (reason.as_str().to_owned(), n)).collect(),
            queues: self.queues.fills().into_iter().take(MAX_LIST).map(queue).collect(),
            slow: slow(self.gateway.clients()),
            links: self.links(),
        }
    }

    fn totals(&self) -> Totals {
        let metrics = &self.metrics;
        Totals {
            published: metrics.published.get(),
            delivered: metrics.delivered.get(),
            forwarded: metrics.forwarded.get(),
            dropped: metrics.dropped_sum(),
            calls: metrics.calls_sum(),
            bytes_in: metrics.bytes_in.get(),
            bytes_out: metrics.bytes_out.get(),
        }
    }

    /// The links there are: without one, nothing is exchanged.
    fn links(&self) -> Vec<LinkState> {
        let Some(others) = &self.realm.others else { return Vec::new() };
        let link = |peer: PeerInfo| LinkState {
            to: peer.info.peer,
            path: crate::views::path(&peer).to_owned(),
            rtt_us: peer.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
            sent: peer.sent_messages,
            received: peer.received_messages,
        };
        others.mesh.peers().into_iter().take(MAX_LIST).map(link).collect()
    }
}

fn count(gauge: i64) -> u32 {
    u32::try_from(gauge).unwrap_or(0)
}

/// The subscriptions of all clients that are furthest behind.
fn slow(clients: Vec<ClientInfo>) -> Vec<Slow> {
    let mut all: Vec<(ClientInfo, SlowSubscription)> = Vec::new();
    for mut client in clients {
        let slow = std::mem::take(&mut client.slow);
        all.extend(slow.into_iter().map(|slow| (client.clone(), slow)));
    }
    all.sort_by(|(_, a), (_, b)| SlowSubscription::furthest_first(a, b));
    let row = |(client, slow): (ClientInfo, SlowSubscription)| Slow {
        client: client.session,
        peer: client.peer,
        name: client.name,
        pattern: slow.pattern.to_string(),
        queued: slow.queued as u64,
        capacity: slow.capacity as u64,
        missed: slow.missed,
    };
    all.into_iter().take(MAX_SLOW).map(row).collect()
}
