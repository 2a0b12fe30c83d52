//! A frame made by hand: three nodes, of which one is lost and one has a slow subscriber.

use sinew_live::frame::{
    Deliver, Frame, Intake, Kind, Link, Node, NodeState, Queue, Rates, Row, Sample, Service, Slow, Topic, Window,
    Windows,
};

pub(super) fn frame() -> Frame {
    let window = Window {
        secs: 10,
        events: 1234,
        messages: 5678,
        publishes: 1000,
        calls: 234,
        failed: 3,
        success: Some(0.9975),
        rate: 123.4,
        message_rate: 567.8,
        p50_us: Some(90),
        p95_us: Some(1200),
        p99_us: Some(3000),
        max_us: Some(8000),
        by_region: vec![sums("eu", 1234)],
        by_node: vec![sums("12D3KooWnode-one", 1000), sums("12D3KooWnode-two", 234)],
        by_topic: vec![sums("sensors.kitchen.temp", 1000), sums("(other)", 5)],
        by_procedure: vec![sums("math.square", 234)],
        by_provider: vec![sums("12D3KooWprovider", 234)],
    };
    Frame {
        v: 1,
        time_ms: 1_732_212_345_678,
        node: "12D3KooWnode-one".to_owned(),
        realm: "default".to_owned(),
        viewers: 1,
        intake: Intake { events: 99, dropped: 2, depth: 1, capacity: 64, ..Intake::default() },
        windows: Windows { one: window.clone(), ten: window.clone(), sixty: window },
        nodes: vec![
            node("12D3KooWnode-one", NodeState::Up, 12),
            slow_node(),
            node("12D3KooWnode-three!", NodeState::Lost, 1),
        ],
        services: vec![Service { name: "math.square".to_owned(), instances: 2, nodes: 2 }],
        topics: vec![
            Topic { topic: "sensors.kitchen.temp".to_owned(), matched: 3, published: 1000, unheard: 0 },
            Topic { topic: "nobody.listens".to_owned(), matched: 0, published: 7, unheard: 7 },
        ],
        sample: vec![
            event("12D3KooWnode-one", 1, Kind::Publish, "ok"),
            event("12D3KooWnode-two", 2, Kind::Call, "timed-out"),
        ],
    }
}

fn sums(key: &str, events: u64) -> Row {
    let rate = events as f64 / 10.0;
    Row {
        key: key.to_owned(),
        events,
        messages: events,
        failed: 0,
        rate,
        p50_us: Some(80),
        p95_us: None,
        p99_us: Some(700),
    }
}

fn node(id: &str, state: NodeState, clients: u32) -> Node {
    Node {
        node: id.to_owned(),
        region: "eu".to_owned(),
        state,
        heard_ms: 230,
        uptime_s: 334,
        ready: true,
        clients,
        subscriptions: 40,
        memory: 71_000_000,
        rates: Rates { published: 100.0, delivered: 300.0, bytes_in: 12_800.0, ..Rates::default() },
        deliver_us: Some(Deliver { p50: 90, p99: 400 }),
        queues: vec![Queue { queue: "memory_bytes".to_owned(), depth: 95, capacity: 100 }],
        links: vec![Link {
            to: "12D3KooWnode-two".to_owned(),
            path: "quic".to_owned(),
            rtt_us: Some(120),
            sent: 10.0,
            received: 3.0,
        }],
        ..Node::default()
    }
}

fn slow_node() -> Node {
    let slow = Slow {
        client: "5".to_owned(),
        peer: "12D3KooWslow-one".to_owned(),
        name: "a \u{1b}[31mpump".to_owned(),
        pattern: "sensors.>".to_owned(),
        queued: 60_000,
        capacity: 65_536,
        missed: 77,
    };
    let mut node = node("12D3KooWnode-two", NodeState::Up, 3);
    node.ready = false;
    node.failing = vec!["overlay".to_owned()];
    node.rates.dropped = 12.0;
    node.dropped.insert("queue_full".to_owned(), 120);
    node.slow = vec![slow];
    node
}

fn event(node: &str, number: u64, kind: Kind, outcome: &str) -> Sample {
    Sample {
        id: format!("{node}/{number}"),
        time_ms: 1_732_212_345_000 + number,
        node: node.to_owned(),
        region: "eu".to_owned(),
        kind,
        name: format!("name-{number}"),
        messages: 1,
        nodes: 1,
        provider: None,
        outcome: outcome.to_owned(),
        latency_us: Some(123),
    }
}
