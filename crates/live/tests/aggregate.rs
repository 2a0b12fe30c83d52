//! Batches and states of several nodes, as frames show them.
#![expect(clippy::disallowed_methods, reason = "a moment to count from")]

use std::time::{Duration, Instant};

use sinew_live::frame::{Frame, Node, NodeState, Service, Topic};
use sinew_live::{Aggregate, Local};
use sinew_wire::PeerId;
use sinew_wire::call::Status;
use sinew_wire::live::{Batch, DELIVER_BUCKETS, Event, Kind, LinkState, Outcome, State, Totals};

fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at_ms: 1_700_000_000_000 + seq,
        kind: Kind::Publish,
        name: 0,
        provider: None,
        messages: 2,
        nodes: 1,
        outcome: Outcome::Ok,
        latency_us: None,
    }
}

/// The events of these numbers, of a node whose ring has dropped so many.
fn batch(epoch: u64, seqs: impl IntoIterator<Item = u64>, dropped: u64) -> Batch {
    let events: Vec<_> = seqs.into_iter().map(event).collect();
    let emitted = events.iter().map(|event| event.seq + 1).max().unwrap_or(0);
    let (names, peers) = (vec!["sensors.a".to_owned()], vec![peer(77)]);
    Batch { epoch, region: "eu".to_owned(), emitted, dropped, names, peers, events }
}

struct Realm {
    aggregate: Aggregate,
    start: Instant,
}

impl Realm {
    fn new() -> Self {
        let start = Instant::now();
        Self { aggregate: Aggregate::new(peer(1), "default", start), start }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn take(&mut self, from: u8, batch: &Batch) {
        self.aggregate.take(peer(from), batch, self.start);
    }

    fn state(&mut self, from: u8, state: State, ms: u64) {
        let now = self.at(ms);
        self.aggregate.state(peer(from), state, now);
    }

    fn frame(&mut self, ms: u64) -> Frame {
        let now = self.at(ms);
        self.aggregate.frame(&Local::default(), now, ms)
    }

    fn nodes(&mut self, ms: u64) -> Vec<NodeState> {
        self.frame(ms).nodes.into_iter().map(|node| node.state).collect()
    }

    /// Events, duplicates, lost.
    fn counts(&self) -> (u64, u64, u64) {
        let intake = self.aggregate.intake();
        (intake.events, intake.duplicates, intake.dropped)
    }
}

fn state(uptime_ms: u64) -> State {
    State { epoch: 1, uptime_ms, ready: true, ..State::default() }
}

#[test]
fn an_event_counts_once_however_often_it_comes() {
    let mut realm = Realm::new();
    realm.take(2, &batch(1, 0..10, 0));
    realm.take(2, &batch(1, 5..15, 0));
    realm.take(3, &batch(1, 0..10, 0));
    realm.take(2, &batch(1, 0..15, 0));
    assert_eq!(realm.counts(), (25, 20, 0));
    assert_eq!(realm.aggregate.intake().messages, 50);
    realm.take(2, &batch(2, 0..10, 0));
    assert_eq!(realm.counts(), (35, 20, 0), "in another life of the node the numbers begin anew");
}

#[test]
fn what_was_lost_is_known_exactly() {
    let mut realm = Realm::new();
    // The ring of node 2 has dropped its first 100 events: of the first batch ever, that is known.
    realm.take(2, &batch(1, 100..110, 100));
    assert_eq!(realm.counts(), (10, 0, 100));
    // Nodes 3 and 4 had viewers before: what they sent then is not missing.
    realm.take(3, &batch(1, 500..510, 20));
    realm.aggregate.state(peer(4), State { emitted: 300, ..state(1) }, realm.start);
    realm.take(4, &batch(1, 300..310, 20));
    assert_eq!(realm.counts(), (30, 0, 100));
    // A batch on its way is missed with the next one, and found when it comes late.
    realm.take(3, &batch(1, 520..530, 20));
    assert_eq!(realm.counts(), (40, 0, 110));
    realm.take(3, &batch(1, 510..520, 20));
    assert_eq!(realm.counts(), (50, 0, 100));
    // The last batch of all is missed with the next state.
    realm.aggregate.state(peer(4), State { emitted: 317, ..state(2) }, realm.start);
    assert_eq!(realm.counts(), (50, 0, 107));
    // A node starts anew, twice; what was lost of its lives stays lost.
    realm.take(4, &batch(2, 0..5, 0));
    realm.take(4, &batch(3, 10..15, 10));
    assert_eq!(realm.counts(), (60, 0, 117));
    realm.take(4, &batch(2, 5..6, 0));
    assert_eq!(realm.counts(), (61, 0, 117), "the life before may still have something on its way");
}

#[test]
fn a_node_is_up_then_lost_then_gone() {
    let mut realm = Realm::new();
    realm.state(2, state(0), 0);
    realm.state(2, state(500), 500);
    assert_eq!(realm.nodes(2500), [NodeState::Up]);
    assert_eq!(realm.nodes(2501), [NodeState::Lost]);
    assert_eq!(realm.nodes(62_500), [NodeState::Lost]);
    assert_eq!(realm.frame(62_501).nodes, []);
    // It comes again.
    realm.state(2, state(70_000), 70_000);
    assert_eq!(realm.nodes(70_100), [NodeState::Up]);
}

#[test]
fn a_dead_node_is_lost_at_once_until_it_speaks() {
    let mut realm = Realm::new();
    realm.state(2, state(0), 0);
    let now = realm.at(10);
    realm.aggregate.gone(peer(2), now);
    realm.aggregate.gone(peer(3), now);
    assert_eq!(realm.nodes(11), [NodeState::Lost]);
    realm.state(2, state(0), 20);
    assert_eq!(realm.nodes(21), [NodeState::Lost], "what it said before comes late");
    realm.state(2, state(500), 510);
    assert_eq!(realm.nodes(511), [NodeState::Up]);
}

#[test]
fn a_leaving_node_goes_after_two_seconds() {
    let mut realm = Realm::new();
    realm.state(2, state(0), 0);
    realm.state(2, State { leaving: true, ..state(500) }, 500);
    let now = realm.at(600);
    realm.aggregate.gone(peer(2), now);
    assert_eq!(realm.nodes(2500), [NodeState::Leaving]);
    assert_eq!(realm.nodes(2501), []);
}

#[test]
fn rates_are_between_the_last_two_states() {
    let mut realm = Realm::new();
    let with = |uptime_ms, published, sent| State {
        totals: Totals { published, bytes_in: 10 * published, ..Totals::default() },
        links: vec![LinkState { to: peer(3), path: "quic".to_owned(), rtt_us: Some(120), sent, received: 2 * sent }],
        ..state(uptime_ms)
    };
    realm.state(2, with(1000, 100, 50), 0);
    let first = &realm.frame(1).nodes[0];
    assert_eq!((first.rates.published, first.totals.published), (0.0, 100), "one state has no rate");
    // Half a second by its own clock, however long it was on its way.
    realm.state(2, with(1500, 200, 60), 900);
    let node = realm.frame(900).nodes.remove(0);
    assert_eq!((node.rates.published, node.rates.bytes_in, node.totals.published), (200.0, 2000.0, 200));
    assert_eq!((node.links[0].sent, node.links[0].received, node.links[0].rtt_us), (20.0, 40.0, Some(120)));
    // A link that broke and came again counts from zero; a node that started anew has no rate yet.
    realm.state(2, with(2000, 200, 5), 1000);
    assert_eq!(realm.frame(1000).nodes[0].links[0].sent, 0.0);
    realm.state(2, State { epoch: 2, ..with(10, 5, 5) }, 1100);
    assert_eq!(realm.frame(1100).nodes[0].rates.published, 0.0);
    realm.state(2, with(9000, 9000, 9000), 1200);
    assert_eq!(realm.frame(1200).nodes[0].totals.published, 5, "the life before is over");
}

#[test]
fn deliveries_of_the_last_ten_seconds() {
    let mut realm = Realm::new();
    let with = |uptime_ms, fast, slow| {
        let mut deliver = vec![0; DELIVER_BUCKETS];
        (deliver[1], deliver[7], deliver[16]) = (fast, slow, slow / 100);
        State { deliver, ..state(uptime_ms) }
    };
    realm.state(2, with(0, 1000, 0), 0);
    assert_eq!(realm.frame(1).nodes[0].deliver_us, None, "nothing since the first state");
    realm.state(2, with(5000, 2000, 0), 5000);
    let deliver = realm.frame(5000).nodes[0].deliver_us.expect("a thousand deliveries");
    assert_eq!((deliver.p50, deliver.p99), (75, 99), "evenly from 50 to 100 us");
    realm.state(2, with(10_000, 2000, 1000), 10_000);
    realm.state(2, with(15_000, 2000, 1000), 15_000);
    let deliver = realm.frame(15_000).nodes[0].deliver_us.expect("a thousand deliveries");
    assert_eq!((deliver.p50, deliver.p99), (7_525, 10_000), "the fast ones were before; the open bucket has too few");
    realm.state(2, with(26_000, 2000, 1000), 26_000);
    assert_eq!(realm.frame(26_000).nodes[0].deliver_us, None);
}

#[test]
fn the_sample_has_the_last_events_newest_last() {
    let mut realm = Realm::new();
    realm.take(2, &batch(1, 0..30, 0));
    let ids = |frame: &Frame| frame.sample.iter().map(|sample| sample.id.clone()).collect::<Vec<_>>();
    let expected: Vec<_> = (0..30).map(|seq| format!("{}/{seq}", peer(2))).collect();
    assert_eq!(ids(&realm.frame(500)), expected);
    realm.take(2, &batch(1, 30..70, 0));
    let expected: Vec<_> = (20..70).map(|seq| format!("{}/{seq}", peer(2))).collect();
    assert_eq!(ids(&realm.frame(1000)), expected);
    // Of many, fifty from all over.
    realm.take(2, &batch(1, 70..4070, 0));
    let frame = realm.frame(1500);
    let seqs: Vec<u64> = frame
        .sample
        .iter()
        .map(|sample| sample.id.rsplit_once('/').expect("a slash").1.parse().expect("a number"))
        .collect();
    assert_eq!(seqs.len(), 50);
    assert!(seqs.is_sorted() && seqs[0] >= 70);
    assert!(
        seqs.iter().filter(|seq| **seq < 2070).count() > 10 && seqs.iter().filter(|seq| **seq >= 2070).count() > 10
    );
}

/// The layout that the page and the terminal read.
#[test]
fn a_frame_as_json() {
    let mut realm = Realm::new();
    let mut batch = batch(1, 0..1, 0);
    batch.events[0] = Event {
        kind: Kind::Call,
        provider: Some(0),
        messages: 1,
        outcome: Outcome::Failed(Status::TimedOut),
        latency_us: Some(1500),
        ..event(0)
    };
    realm.take(2, &batch);
    let dropped = vec![("queue_full".to_owned(), 12), ("expired".to_owned(), 0)];
    realm.state(2, State { region: "eu".to_owned(), dropped, ..state(2500) }, 900);
    let local = Local {
        viewers: 3,
        forged: 1,
        depth: 2,
        capacity: 64,
        services: vec![Service { name: "math.square".to_owned(), instances: 2, nodes: 2 }; 60],
        topics: vec![Topic { topic: "a".to_owned(), matched: 3, published: 100, unheard: 0 }; 60],
    };
    let now = realm.at(1000);
    let frame = realm.aggregate.frame(&local, now, 1_732_212_345_678);
    let json = serde_json::to_value(&frame).expect("a frame is JSON");
    assert_eq!(json["v"], 1);
    assert_eq!(json["time_ms"], 1_732_212_345_678_u64);
    assert_eq!(json["node"], peer(1).to_string());
    assert_eq!((&json["realm"], &json["viewers"]), (&"default".into(), &3.into()));
    let intake = serde_json::json!({
        "events": 1, "messages": 1, "duplicates": 0, "dropped": 0, "forged": 1, "depth": 2, "capacity": 64
    });
    assert_eq!(json["intake"], intake);
    let window = &json["windows"]["10"];
    assert_eq!(
        (&window["secs"], &window["calls"], &window["failed"], &window["success"]),
        (&1.into(), &1.into(), &1.into(), &0.0.into())
    );
    assert_eq!((&window["p50_us"], &window["max_us"]), (&1500.into(), &1500.into()));
    let row = &window["by_procedure"][0];
    assert_eq!((&row["key"], &row["events"], &row["rate"]), (&"sensors.a".into(), &1.into(), &1.0.into()));
    assert_eq!(window["by_provider"][0]["key"], peer(77).to_string());
    assert_eq!(json["windows"]["1"]["by_topic"], serde_json::json!([]));
    let node = &json["nodes"][0];
    assert_eq!((&node["state"], &node["heard_ms"], &node["uptime_s"]), (&"up".into(), &100.into(), &2.into()));
    assert_eq!(node["dropped"], serde_json::json!({ "queue_full": 12 }));
    assert_eq!(node["deliver_us"], serde_json::Value::Null);
    assert_eq!(
        (json["services"].as_array().map(Vec::len), json["topics"].as_array().map(Vec::len)),
        (Some(50), Some(50))
    );
    let sample = serde_json::json!({
        "id": format!("{}/0", peer(2)), "time_ms": 1_700_000_000_000_u64, "node": peer(2).to_string(), "region": "eu",
        "kind": "call", "name": "sensors.a", "messages": 1, "nodes": 1, "provider": peer(77).to_string(),
        "outcome": "timed-out", "latency_us": 1500
    });
    assert_eq!(json["sample"][0], sample);
    let back: Frame = serde_json::from_value(json).expect("and a frame again");
    assert_eq!(back, frame);
}

#[test]
fn the_same_input_makes_the_same_frames() {
    let frames = || {
        let start = Instant::now();
        let mut aggregate = Aggregate::new(peer(1), "default", start);
        (0..20_u64)
            .map(|round| {
                let now = start + Duration::from_millis(500 * round);
                for from in (0..30).rev() {
                    aggregate.take(peer(from), &batch(1, 200 * round..200 * (round + 1), 0), now);
                    aggregate.state(peer(from), state(500 * round), now);
                }
                serde_json::to_string(&aggregate.frame(&Local::default(), now, round)).expect("a frame is JSON")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(frames(), frames());
}

#[test]
fn nodes_are_listed_by_id() {
    let mut realm = Realm::new();
    (0..50).rev().for_each(|n| realm.state(n, state(1), 0));
    let nodes: Vec<Node> = realm.frame(1).nodes;
    assert!(nodes.len() == 50 && nodes.is_sorted_by(|a, b| a.node < b.node));
}
