//! What `/api/v1/` shows of a node.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use sinew_flow::Budget;
use sinew_gateway::Gateway;
use sinew_link::Address;
use sinew_link::pool::Closed;
use sinew_mesh::{LostPeer, Path, PeerInfo};
use sinew_observe::{Metrics, Viewers, Views};
use sinew_pubsub::PubSub;
use sinew_rpc::{BreakerState, InstanceView, ProcedureView, ProviderView};
use sinew_wire::{PeerId, ProviderHealth};
use tokio::runtime::Handle;

use crate::realm::{Others, Realm};

/// Most services in one answer.
const MAX_SERVICES: usize = 10_000;

/// Most providers of one procedure in it.
const MAX_INSTANCES: usize = 256;

/// What the views read. They hold handles only, and ask for a snapshot when somebody looks.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) node: PeerId,
    pub(crate) realm: String,
    pub(crate) open: bool,
    pub(crate) addresses: Vec<Address>,
    pub(crate) started: Instant,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
    pub(crate) pubsub: PubSub,
    pub(crate) gateway: Gateway,
    pub(crate) plane: Realm,
    pub(crate) viewers: Viewers,
}

pub(crate) fn views(sources: Sources) -> Views {
    let sources = Arc::new(sources);
    let live = sources.viewers.clone();
    let view = |show: fn(&Sources) -> Value| {
        let sources = Arc::clone(&sources);
        Arc::new(move || show(&sources)) as sinew_observe::View
    };
    Views {
        node: view(node),
        peers: view(peers),
        clients: view(clients),
        services: view(services),
        topics: view(topics),
        calls: view(calls),
        pool: view(pool),
        live,
    }
}

fn node(sources: &Sources) -> Value {
    let metrics = &sources.metrics;
    json!({
        "node": sources.node.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": sinew_wire::PROTOCOL_VERSION,
        "realm": sources.realm,
        "open": sources.open,
        "client": sources.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mesh": sources.plane.others.as_ref().map(overlay),
        "uptime_seconds": sources.started.elapsed().as_secs(),
        "clients": sources.gateway.client_count(),
        "subscriptions": metrics.subscriptions.get(),
        "retained_values": sources.pubsub.retained_values(),
        "published": metrics.published.get(),
        "delivered": metrics.delivered.get(),
        "dropped": metrics.dropped_sum(),
        "queue_memory": { "used": sources.budget.used(), "limit": sources.budget.limit() },
    })
}

fn overlay(others: &Others) -> Value {
    let status = others.overlay.status();
    let bootstrap = |one: &sinew_overlay::BootstrapStatus| {
        json!({
            "address": one.address,
            "node": one.peer.map(|peer| peer.to_string()),
            "ourselves": one.ourselves,
            "failures": one.failures,
            "problem": one.problem,
        })
    };
    json!({
        "addresses": others.overlay.listen_addresses(),
        "nat": status.nat.as_str(),
        "peers": status.peers,
        "connections": status.connections,
        "dht_nodes": status.table,
        "relays": status.relays.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reservations": status.reservations,
        "bootstrap": status.bootstrap.iter().map(bootstrap).collect::<Vec<_>>(),
        "counters": status.counters.each().map(|(name, n)| (name.to_owned(), json!(n))).collect::<Map<_, _>>(),
    })
}

fn peers(sources: &Sources) -> Value {
    let Some(others) = &sources.plane.others else { return json!([]) };
    let row = |peer: PeerInfo| {
        json!({
            "node": peer.info.peer.to_string(),
            "state": if peer.suspect { "suspect" } else { "up" },
            "path": path(&peer),
            "region": peer.info.region,
            "client": peer.info.data,
            "mesh": peer.info.mesh,
            "since_seconds": peer.since.elapsed().as_secs(),
            "rtt_us": peer.rtt.map(|rtt| rtt.as_micros() as u64),
            "patterns": peer.interest,
            "sent_messages": peer.sent_messages,
            "received_messages": peer.received_messages,
            "sent_bytes": peer.sent_bytes,
            "received_bytes": peer.received_bytes,
            "queued": peer.queued,
            "in_flight": peer.in_flight,
            "dropped": peer.dropped,
        })
    };
    let lost = |peer: LostPeer| {
        json!({
            "node": peer.info.peer.to_string(),
            "state": "down",
            "path": "none",
            "region": peer.info.region,
            "client": peer.info.data,
            "mesh": peer.info.mesh,
            "since_seconds": peer.since.elapsed().as_secs(),
        })
    };
    let (up, down) = (others.mesh.peers(), others.mesh.lost_peers());
    up.into_iter().map(row).chain(down.into_iter().map(lost)).collect()
}

/// What messages to the node go over; without a link, which is made when there are messages, what the overlay has.
pub(crate) fn path(peer: &PeerInfo) -> &'static str {
    match (&peer.link, peer.overlay) {
        (Some(link), _) => match link.path {
            Path::Overlay => "overlay direct",
            other => other.as_str(),
        },
        (None, Some(true)) => "none, overlay direct",
        (None, Some(false)) => "none, overlay relayed",
        (None, None) => "none",
    }
}

fn services(sources: &Sources) -> Value {
    let (rows, more) = sources.plane.discovery.list(None, MAX_SERVICES);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| json!({ "name": row.name, "instances": row.instances, "nodes": row.nodes }))
        .collect();
    json!({ "services": rows, "more": more })
}

fn calls(sources: &Sources) -> Value {
    let view = sources.plane.calls.view();
    let instance = |instance: &InstanceView| {
        json!({
            "node": instance.id.node.to_string(),
            "instance": instance.id.id,
            "local": instance.local,
            "health": health(instance.health),
            "breaker": breaker(instance.breaker),
            "latency_us": instance.latency.map(|latency| latency.as_micros() as u64),
            "in_flight": instance.in_flight,
            "started": instance.started,
            "failed": instance.failed,
        })
    };
    let procedure = |procedure: &ProcedureView| {
        let instances: Vec<_> = procedure.instances.iter().take(MAX_INSTANCES).map(instance).collect();
        json!({ "name": procedure.name, "instances": instances, "more": procedure.instances.len() > MAX_INSTANCES })
    };
    let provider = |provider: &ProviderView| {
        json!({
            "name": provider.name,
            "instance": provider.instance,
            "session": provider.session,
            "running": provider.running,
            "queued": provider.queued,
            "concurrency": provider.concurrency,
            "health": health(provider.health),
        })
    };
    json!({
        "open": view.open,
        "queued": view.queued,
        "procedures": view.procedures.iter().take(MAX_SERVICES).map(procedure).collect::<Vec<_>>(),
        "providers": view.providers.iter().take(MAX_SERVICES).map(provider).collect::<Vec<_>>(),
    })
}

const fn health(health: ProviderHealth) -> &'static str {
    match health {
        ProviderHealth::Good => "good",
        ProviderHealth::Degraded => "degraded",
        ProviderHealth::Down => "down",
    }
}

const fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open { .. } => "open",
        BreakerState::HalfOpen => "half-open",
    }
}

fn pool(sources: &Sources) -> Value {
    let Some(others) = &sources.plane.others else { return Value::Null };
    // On a thread that may block.
    let pool = Handle::current().block_on(others.mesh.pool());
    let closed = Closed::ALL.iter().map(|reason| (reason.as_str().to_owned(), json!(pool.counters.closed(*reason))));
    json!({
        "links": pool.links,
        "dialling": pool.dialling,
        "max": pool.max,
        "opened": pool.counters.opened,
        "failed": pool.counters.failed,
        "refused": pool.counters.full,
        "closed": closed.collect::<Map<_, _>>(),
    })
}

fn clients(sources: &Sources) -> Value {
    let slow = |slow: &sinew_gateway::SlowSubscription| {
        json!({
            "pattern": slow.pattern.as_str(),
            "queued": slow.queued,
            "capacity": slow.capacity,
            "missed": slow.missed,
        })
    };
    let row = |client: sinew_gateway::ClientInfo| {
        json!({
            "session": client.session,
            "peer": client.peer.to_string(),
            "name": client.name,
            "transport": client.transport.to_string(),
            "remote": client.remote,
            "connected_seconds": client.since.elapsed().as_secs(),
            "subscriptions": client.subscriptions,
            "queued": client.queued,
            "missed": client.missed,
            "slow": client.slow.iter().map(slow).collect::<Vec<_>>(),
        })
    };
    sources.gateway.clients().into_iter().map(row).collect()
}

fn topics(sources: &Sources) -> Value {
    let mut topics = sources.pubsub.topics();
    topics.sort_by(|a, b| a.topic.as_str().cmp(b.topic.as_str()));
    let row = |topic: sinew_pubsub::TopicInfo| {
        json!({
            "topic": topic.topic.as_str(),
            "matched": topic.matched,
            "matched_here": topic.local,
            "published": topic.published,
            "unheard": topic.unheard,
        })
    };
    topics.into_iter().map(row).collect()
}
