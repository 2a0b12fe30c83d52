//! What `/api/v1/` shows of a node.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use sinew_flow::Budget;
use sinew_gateway::Gateway;
use sinew_link::Address;
use sinew_observe::{Metrics, Views};
use sinew_pubsub::PubSub;
use sinew_wire::PeerId;

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
}

pub(crate) fn views(sources: Sources) -> Views {
    let sources = Arc::new(sources);
    let view = |show: fn(&Sources) -> Value| {
        let sources = Arc::clone(&sources);
        Arc::new(move || show(&sources)) as sinew_observe::View
    };
    Views { node: view(node), clients: view(clients), topics: view(topics) }
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

fn clients(sources: &Sources) -> Value {
    let row = |client: sinew_gateway::ClientInfo| {
        json!({
            "session": client.session,
            "peer": client.peer.to_string(),
            "name": client.name,
            "transport": client.transport.to_string(),
            "remote": client.remote,
            "connected_seconds": client.since.elapsed().as_secs(),
            "subscriptions": client.subscriptions,
        })
    };
    sources.gateway.clients().into_iter().map(row).collect()
}

fn topics(sources: &Sources) -> Value {
    let mut topics = sources.pubsub.topics();
    topics.sort_by(|a, b| a.topic.as_str().cmp(b.topic.as_str()));
    let row = |topic: sinew_pubsub::TopicInfo| json!({ "topic": topic.topic.as_str(), "matched": topic.matched, "published": topic.published });
    topics.into_iter().map(row).collect()
}
