//! What travels to which node, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use sinew_observe::DropReason;
use sinew_wire::Control;

use crate::support::mesh::Mesh;
use crate::support::{Client, Options, Seen};
use crate::{report, results, wide_open};

#[tokio::test]
async fn one_copy_reaches_every_node_with_interest_and_no_other() {
    let mut mesh = Mesh::new(3);
    let mut publisher = mesh.nodes[0].service.client(1);
    let (here, there, there_too) =
        (mesh.nodes[0].service.client(2), mesh.nodes[1].service.client(3), mesh.nodes[1].service.client(4));
    here.subscribe(1, "a.>");
    there.subscribe(1, "a.*");
    there_too.subscribe(1, ">");
    let bystander = mesh.nodes[2].service.client(5);
    bystander.subscribe(1, "b");
    mesh.join();

    publisher.publish_with("a.b", &["1", "2"], report());
    mesh.settle();
    assert_eq!(here.payloads(1), ["1", "2"]);
    assert_eq!(there.payloads(1), ["1", "2"]);
    assert_eq!(there_too.payloads(1), ["1", "2"]);
    assert!(bystander.read().is_empty());
    assert_eq!(mesh.nodes[0].service.metrics.forwarded.get(), 2, "one copy for the node with two subscribers");
    assert_eq!(mesh.nodes[1].service.metrics.forwarded.get(), 0, "what was forwarded is not forwarded again");
    assert_eq!(mesh.remote(0, 2).stats().forwarded, 0);
    let results = results(&publisher);
    assert_eq!((results[0].matched, results[0].delivered, results[0].dropped), (6, 6, 0));
    let topics = mesh.nodes[0].service.hub.topics();
    let topic = topics.iter().find(|topic| topic.topic.as_str() == "a.b").expect("was published");
    assert_eq!((topic.matched, topic.local, topic.published, topic.unheard), (3, 1, 2, 0));
}

#[tokio::test]
async fn what_nobody_in_the_realm_hears_is_counted() {
    let mut mesh = Mesh::new(2);
    let mut publisher = mesh.nodes[0].service.client(1);
    mesh.join();
    publisher.publish("a", &["1", "2"]);
    let there = mesh.nodes[1].service.client(2);
    let subscription = there.subscribe(1, "a");
    mesh.join();
    publisher.publish("a", &["3"]);
    mesh.nodes[1].service.hub.unsubscribe(&subscription);
    mesh.join();
    publisher.publish("a", &["4"]);
    let topics = mesh.nodes[0].service.hub.topics();
    assert_eq!((topics[0].matched, topics[0].published, topics[0].unheard), (0, 4, 3));
}

#[tokio::test]
async fn packed_blocks_stay_packed_and_whole_runs_keep_their_bytes() {
    let mut mesh = Mesh::new(2);
    let mut publisher = mesh.nodes[0].service.client(1);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe_with(1, "a", wide_open);
    mesh.join();
    let payload = "x".repeat(100_000);
    publisher.publish_with("a", &[&payload], Options { pack: true, ..Options::default() });
    mesh.write(0, 1, 1 << 20);
    let bytes: usize = mesh.bytes_on_the_way(0, 1);
    assert!(bytes < 2_000, "{bytes} bytes for 100 KB that pack well");
    mesh.settle();
    assert_eq!(there.payloads(1), [payload]);
}

#[tokio::test]
async fn a_time_to_live_travels_along() {
    let mut mesh = Mesh::new(2);
    let mut publisher = mesh.nodes[0].service.client(1);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.join();
    let ttl = || Options { ttl: Some(Duration::from_secs(1)), ..Options::default() };
    publisher.publish_with("a", &["late"], ttl());
    mesh.settle();
    let later = mesh.now + Duration::from_secs(2);
    assert_eq!(there.read_at(later), [Seen::Control(Control::Lagged { subscription: 1, missed: 1 })]);
    assert_eq!(mesh.nodes[1].service.dropped(DropReason::Expired), 1);

    mesh.disconnect(0, 1);
    publisher.publish_with("a", &["old"], ttl());
    publisher.publish("a", &["new"]);
    mesh.now += Duration::from_secs(2);
    mesh.join();
    let seen = there.read();
    assert_eq!(seen[0], Seen::Control(Control::Lagged { subscription: 1, missed: 1 }), "the gap comes first");
    assert!(matches!(&seen[1..], [Seen::Message { payload, .. }] if payload == "new"), "{seen:?}");
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::Expired), 1);
    assert_eq!(mesh.nodes[1].service.dropped(DropReason::Expired), 1, "each is counted once in the realm");
}

#[tokio::test]
async fn an_id_counts_once_in_the_realm_however_it_comes() {
    let mut mesh = Mesh::new(3);
    let there = mesh.nodes[2].service.client(9);
    there.subscribe(1, "a");
    there.subscribe_with(2, "a", |spec| spec.group = Some("g".into()));
    there.subscribe_with(3, "*", |spec| spec.group = Some("h".into()));
    mesh.join();
    let ids = |ids: &[&'static str]| Options { ids: ids.to_vec(), ..Options::default() };
    let mut first = mesh.nodes[0].service.client(1);
    let mut second = mesh.nodes[1].service.client(2);
    first.publish_with("a", &["1", "2"], ids(&["x", "y"]));
    mesh.settle();
    second.publish_with("a", &["3", "4"], ids(&["y", "z"]));
    mesh.settle();
    let mut here = mesh.nodes[2].service.client(3);
    here.publish_with("a", &["5", "6"], ids(&["x", "w"]));
    let mut got: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for seen in there.read() {
        let Seen::Message { subscription, payload, .. } = seen else { panic!("{seen:?}") };
        got.entry(subscription).or_default().push(payload);
    }
    for number in 1..=3 {
        assert_eq!(got[&number], ["1", "2", "4", "6"], "subscription {number}");
    }
}

#[tokio::test]
async fn a_group_takes_local_members_first_and_spans_the_realm() {
    let mut mesh = Mesh::new(3);
    let group = |spec: &mut sinew_pubsub::SubscriptionSpec| spec.group = Some("workers".into());
    let mut publisher = mesh.nodes[0].service.client(1);
    let local = mesh.nodes[0].service.client(2);
    let far: Vec<Client> = (1..3).map(|node| mesh.nodes[node].service.client(10)).collect();
    let here = local.subscribe_with(1, "jobs", |spec| {
        group(spec);
        spec.buffer = 5;
        spec.window = 1;
    });
    far.iter().for_each(|client| _ = client.subscribe_with(1, "jobs", group));
    mesh.join();
    publisher.publish_with("jobs", &["0"], report());
    assert_eq!(local.payloads(1).len(), 1, "there is room here");
    assert_eq!(results(&publisher)[0].matched, 1, "a group counts once in the realm");
    // Its window is used up: five fit into the queue, the others go elsewhere.
    for i in 1..=25 {
        publisher.publish("jobs", &[&i.to_string()]);
    }
    mesh.settle();
    let shares: Vec<usize> = far.iter().map(|client| client.payloads(1).len()).collect();
    assert_eq!(shares, [10, 10], "by turns");
    assert_eq!(here.queued(), 5);

    // The local member leaves; what it had not been sent goes to the others.
    mesh.nodes[0].service.hub.unsubscribe(&here);
    mesh.settle();
    let late: usize = far.iter().map(|client| client.payloads(1).len()).sum();
    assert_eq!(late, 5);
    let dropped: u64 = DropReason::ALL.map(|reason| mesh.nodes[0].service.dropped(reason)).iter().sum();
    assert_eq!(dropped, 0);
}

#[tokio::test]
async fn a_node_gets_one_copy_for_all_of_its_recipients() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(0, "a");
    for number in 1..=40 {
        there.subscribe_with(number, "a", |spec| spec.group = Some(format!("group {number}").into()));
    }
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish_with("a", &["1", "2"], report());
    mesh.write(0, 1, 1 << 20);
    assert_eq!(mesh.on_the_way(0, 1), 2, "a frame names at most 32 groups");
    mesh.settle();
    let seen = there.read();
    assert_eq!(seen.len(), 2 * 41);
    for number in 0..=40 {
        let of_it = |seen: &&Seen| matches!(seen, Seen::Message { subscription, .. } if *subscription == number);
        assert_eq!(seen.iter().filter(of_it).count(), 2, "subscription {number}");
    }
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered), (82, 82));
}
