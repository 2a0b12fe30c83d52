//! What nodes tell each other on reserved names, and what the live view is told of the runs of clients.

use std::time::{Duration, Instant};

use sinew_observe::{DropReason, RoutingEvent};
use sinew_pubsub::{Heard, Tap, Wants};
use sinew_topic::{Pattern, Topic};
use sinew_wire::live::{Kind, Outcome};

use crate::support::mesh::{Mesh, node_id};
use crate::support::{Options, Service};
use crate::{acked, confirm_all, report, wide_open};

const NAME: &str = "$live.events";

fn tap(service: &Service) -> Tap {
    service.hub.tap(Pattern::parse("$live.>").expect("valid"), 4, Instant::now())
}

fn topic() -> Topic {
    Topic::parse(NAME).expect("valid")
}

/// What a tap has, and what it has missed.
fn heard(tap: &mut Tap) -> (Vec<(sinew_wire::PeerId, String)>, u64) {
    let mut got = Vec::new();
    let missed = tap.take(Instant::now(), |Heard { from, topic, payload }| {
        assert_eq!(topic.as_str(), NAME);
        got.push((from, String::from_utf8(payload.to_vec()).expect("text")));
    });
    (got, missed)
}

#[tokio::test]
async fn a_node_hears_itself_and_the_others_and_none_of_it_counts() {
    let mut mesh = Mesh::new(3);
    let mut tap = tap(&mesh.nodes[1].service);
    let everything = mesh.nodes[1].service.client(9);
    everything.subscribe_with(1, ">", wide_open);
    mesh.join();
    for node in 0..2 {
        let hub = &mesh.nodes[node].service.hub;
        assert!(hub.is_wanted(&topic()), "node {node}");
        hub.announcer(node_id(node)).publish(&topic(), format!("of {node}").as_bytes(), mesh.now).expect("is taken");
    }
    mesh.settle();
    let (mut got, missed) = heard(&mut tap);
    got.sort();
    assert_eq!(got, [(node_id(0), "of 0".to_owned()), (node_id(1), "of 1".to_owned())]);
    assert_eq!(missed, 0);
    assert!(everything.read().is_empty(), "no pattern of a client matches it");
    for (at, node) in mesh.nodes.iter().enumerate() {
        let metrics = &node.service.metrics;
        let counted =
            [metrics.published.get(), metrics.delivered.get(), metrics.forwarded.get(), metrics.dropped_sum()];
        assert_eq!(counted, [0; 4], "node {at}");
        assert!(node.service.hub.topics().is_empty(), "node {at}");
    }
    assert_eq!(mesh.remote(0, 1).stats().forwarded, 0);
    assert_eq!(mesh.nodes[1].service.metrics.subscriptions.get(), 1, "that of the client");

    drop(tap);
    mesh.share_interest();
    for node in &mesh.nodes {
        assert!(!node.service.hub.is_wanted(&topic()));
    }
}

#[tokio::test]
async fn a_tap_that_is_not_read_gives_up_the_oldest_and_learns_how_many() {
    let service = Service::start(Default::default());
    let mut tap = tap(&service);
    let depth = tap.depth();
    let mut announcer = service.hub.announcer(node_id(0));
    for n in 0..10 {
        announcer.publish(&topic(), format!("{n}").as_bytes(), Instant::now()).expect("is taken");
    }
    assert_eq!(depth(), 4);
    let (got, missed) = heard(&mut tap);
    assert_eq!(got.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["6", "7", "8", "9"]);
    assert_eq!(missed, 6);
    assert_eq!(service.metrics.live_lost.get(), 6);
    assert_eq!(service.metrics.dropped_sum(), 0);
    assert_eq!(heard(&mut tap), (Vec::new(), 0));
    // It hears of what comes after it was empty.
    announcer.publish(&topic(), b"more", Instant::now()).expect("is taken");
    tokio::time::timeout(Duration::from_secs(5), tap.ready()).await.expect("something is there");
    assert_eq!(heard(&mut tap).0.len(), 1);
    drop(tap);
    assert_eq!(depth(), 0);
}

#[tokio::test]
async fn more_than_is_taken_at_once_is_announced_again() {
    let service = Service::start(Default::default());
    let mut tap = tap(&service);
    let mut announcer = service.hub.announcer(node_id(0));
    for _ in 0..3 {
        announcer.publish(&topic(), &[b'x'; 100_000], Instant::now()).expect("is taken");
    }
    let mut got = 0;
    while got < 3 {
        tokio::time::timeout(Duration::from_secs(5), tap.ready()).await.expect("there is more");
        got += heard(&mut tap).0.len();
    }
}

#[tokio::test]
async fn what_a_node_forwards_in_the_name_of_another_is_dropped_and_counted() {
    let mut mesh = Mesh::new(2);
    let mut tap = tap(&mesh.nodes[1].service);
    mesh.join();
    // Node 0 forwards what a client of it, or a third node, would have said.
    for liar in [PeerIdOf::CLIENT, PeerIdOf::NODE] {
        let hub = &mesh.nodes[0].service.hub;
        hub.announcer(liar).publish(&topic(), b"forged", mesh.now).expect("its own node takes it");
    }
    mesh.nodes[0].service.hub.announcer(node_id(0)).publish(&topic(), b"true", mesh.now).expect("is taken");
    mesh.settle();
    assert_eq!(heard(&mut tap).0, [(node_id(0), "true".to_owned())]);
    assert_eq!(mesh.nodes[1].service.metrics.live_forged.get(), 2);
}

struct PeerIdOf;

impl PeerIdOf {
    const CLIENT: sinew_wire::PeerId = sinew_wire::PeerId::from_public_key([7; 32]);
    const NODE: sinew_wire::PeerId = sinew_wire::PeerId::from_public_key([102; 32]);
}

/// Name, messages, nodes, outcome and whether there is a latency, of all events of a node.
fn events(service: &Service) -> Vec<(String, u32, usize, Outcome, bool)> {
    let row = |event: RoutingEvent| {
        assert_eq!((event.kind, event.provider), (Kind::Publish, None));
        (event.name.to_string(), event.messages, event.nodes, event.outcome, event.latency.is_some())
    };
    service.metrics.events.take().items.into_iter().map(|recorded| row(recorded.event)).collect()
}

fn row(
    name: &str,
    messages: u32,
    nodes: usize,
    outcome: Outcome,
    latency: bool,
) -> (String, u32, usize, Outcome, bool) {
    (name.to_owned(), messages, nodes, outcome, latency)
}

#[tokio::test]
async fn a_run_is_one_event_of_the_node_it_was_published_on() {
    let mut mesh = Mesh::new(3);
    let mut publisher = mesh.nodes[0].service.client(1);
    let (near, far) = (mesh.nodes[1].service.client(2), mesh.nodes[2].service.client(3));
    near.subscribe_with(1, "a", wide_open);
    near.subscribe_with(2, "g", |spec| spec.group = Some("group".into()));
    far.subscribe_with(1, "a", wide_open);
    far.subscribe_with(2, "g", |spec| spec.group = Some("group".into()));
    mesh.join();

    publisher.publish("a", &["before anybody watches"]);
    mesh.settle();
    assert_eq!(mesh.nodes[0].service.metrics.events.emitted(), 0);
    for node in &mesh.nodes {
        node.service.metrics.events.want(true);
    }
    publisher.publish("a", &["1", "2", "3"]);
    publisher.publish_with("a", &["4"], report());
    publisher.publish("nobody", &["5"]);
    publisher.publish_with("nobody", &["6"], Options { require_subscribers: true, ..report() });
    publisher.publish("g", &["7"]);
    mesh.settle();
    let expected = [
        row("a", 3, 2, Outcome::Ok, false),
        row("a", 1, 2, Outcome::Ok, false),
        row("nobody", 1, 0, Outcome::Unheard, false),
        row("nobody", 1, 0, Outcome::Unheard, false),
        row("g", 1, 1, Outcome::Ok, false),
    ];
    assert_eq!(events(&mesh.nodes[0].service), expected, "of a group, the one node that was chosen");
    for node in &mesh.nodes[1..] {
        assert_eq!(events(&node.service), [], "it was published elsewhere");
    }
    let published = mesh.nodes[0].service.metrics.published.get();
    assert_eq!(published, 1 + expected.iter().map(|event| u64::from(event.1)).sum::<u64>());
}

#[tokio::test]
async fn an_acknowledged_run_is_an_event_when_its_result_is_known() {
    let mut mesh = Mesh::new(2);
    let (mut publisher, here) = (mesh.nodes[0].service.client(1), mesh.nodes[0].service.client(2));
    let far = mesh.nodes[1].service.client(3);
    here.subscribe_with(1, "a", wide_open);
    let gone = far.subscribe_with(1, "a", wide_open);
    mesh.join();
    mesh.nodes[0].service.metrics.events.want(true);
    publisher.publish_with("a", &["1"], acked());
    mesh.settle();
    assert_eq!(events(&mesh.nodes[0].service), [], "nothing is known yet");
    assert_eq!(confirm_all(&here) + confirm_all(&far), 2);
    mesh.settle();
    assert_eq!(events(&mesh.nodes[0].service), [row("a", 1, 1, Outcome::Ok, true)]);

    publisher.publish_with("a", &["2"], acked());
    mesh.settle();
    assert_eq!(confirm_all(&here), 1);
    mesh.nodes[1].service.hub.unsubscribe(&gone);
    far.outbox.abandon();
    mesh.settle();
    assert_eq!(events(&mesh.nodes[0].service), [row("a", 1, 1, Outcome::Dropped, true)], "it is not known");

    publisher.publish_with("nobody", &["3"], acked());
    assert_eq!(events(&mesh.nodes[0].service), [row("nobody", 1, 0, Outcome::Unheard, true)]);
}

#[tokio::test]
async fn a_run_that_finds_no_memory_is_dropped_in_the_live_view_too() {
    let service = Service::with_memory(Default::default(), 0);
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    subscriber.subscribe(1, "a");
    service.metrics.events.want(true);
    publisher.publish("a", &["1"]);
    assert_eq!(events(&service), [row("a", 1, 0, Outcome::Dropped, false)]);
    assert_eq!(service.dropped(DropReason::QueueMemory), 1);
    publisher.publish_with("a", &["2"], Options { wants: Some(Wants::Confirmed), ..Options::default() });
    assert_eq!(events(&service), [], "it was refused: nothing was published");
}

#[tokio::test]
async fn a_subscription_tells_how_far_it_is_behind() {
    let service = Service::start(Default::default());
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    let subscription = subscriber.subscribe_with(1, "a", |spec| spec.buffer = 2);
    let fresh = subscription.lagging();
    assert_eq!((fresh.queued, fresh.capacity, fresh.missed, fresh.last_missed), (0, 2, 0, None));
    let before = Instant::now();
    publisher.publish("a", &["1", "2", "3"]);
    let behind = subscription.lagging();
    assert_eq!((behind.queued, behind.missed), (2, 1));
    assert!(behind.last_missed.is_some_and(|at| at >= before) && behind.queued_bytes > 0);
    subscriber.read();
    let told = subscription.lagging();
    assert_eq!((told.queued, told.missed), (0, 1), "what was missed stays missed");
}
