//! Between nodes: who gets what, in which order, and what a broken link costs.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sinew_observe::DropReason;
use sinew_pubsub::{ForwardConfig, PubSubConfig, Wants};
use sinew_wire::{Control, Policy, PublishResult};
use support::mesh::Mesh;
use support::{Client, Options, Seen};

fn rt() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn wide_open(spec: &mut sinew_pubsub::SubscriptionSpec) {
    spec.window = 8 << 20;
}

/// Publisher instance and sequence number of every message seen, and the sum of what was missed.
fn tally(client: &Client, number: u32) -> (BTreeMap<String, Vec<u64>>, u64) {
    let mut topics: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut missed = 0;
    for seen in client.read() {
        match seen {
            Seen::Message { subscription, topic, payload, .. } if subscription == number => {
                let publisher = payload.split('.').next().unwrap_or_default();
                let sent: u64 = payload.split('.').nth(1).and_then(|n| n.parse().ok()).expect("a number");
                topics.entry(format!("{publisher}/{topic}")).or_default().push(sent);
            }
            Seen::Control(Control::Lagged { subscription, missed: more }) if subscription == number => missed += more,
            _ => {}
        }
    }
    (topics, missed)
}

fn results(client: &Client) -> Vec<PublishResult> {
    let result = |seen| match seen {
        Seen::Control(Control::PublishResult(result)) => Some(result),
        _ => None,
    };
    client.read().into_iter().filter_map(result).collect()
}

fn acked() -> Options {
    Options { wants: Some(Wants::Confirmed), ..Options::default() }
}

fn report() -> Options {
    Options { wants: Some(Wants::Queued), ..Options::default() }
}

/// Reads everything and confirms it.
fn confirm_all(client: &Client) -> usize {
    let mut messages = 0;
    let mut tokens = Vec::new();
    for seen in client.read() {
        if let Seen::Message { ack, .. } = seen {
            messages += 1;
            tokens.push(ack);
        }
    }
    tokens.dedup();
    tokens.into_iter().filter(|token| *token != 0).for_each(|token| client.outbox.confirm(token));
    messages
}

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

#[tokio::test]
async fn acknowledgements_cross_nodes_and_correct_what_was_expected() {
    let mut mesh = Mesh::new(2);
    let mut publisher = mesh.nodes[0].service.client(1);
    let (here, there) = (mesh.nodes[0].service.client(2), mesh.nodes[1].service.client(3));
    here.subscribe(1, "a");
    there.subscribe(1, "a");
    mesh.join();
    // Nobody here knows of these two yet.
    there.subscribe(2, "*");
    there.subscribe(3, ">");
    publisher.publish_with("a", &["1", "2"], acked());
    mesh.settle();
    assert_eq!(confirm_all(&here), 2);
    assert!(results(&publisher).is_empty(), "the other node has not answered");
    assert_eq!(confirm_all(&there), 6);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.dropped, result.unknown), (8, 8, 0, 0));

    // Somebody there never confirms: the deadline of the publisher holds on both nodes.
    publisher.publish_with("a", &["3"], Options { deadline: Some(Duration::from_secs(1)), ..acked() });
    mesh.settle();
    confirm_all(&here);
    there.read();
    mesh.now += Duration::from_secs(2);
    let now = mesh.now;
    mesh.inbound(1, 0).advance(now);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.unknown), (4, 1, 3));
}

#[tokio::test]
async fn a_member_that_left_meanwhile_is_a_drop_and_not_silence() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(3);
    let group = there.subscribe_with(1, "a", |spec| spec.group = Some("g".into()));
    let direct = there.subscribe(2, "a");
    mesh.join();
    mesh.nodes[1].service.hub.unsubscribe(&group);
    mesh.nodes[1].service.hub.unsubscribe(&direct);
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish_with("a", &["1", "2"], acked());
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.dropped), (2, 0, 2), "the group was due, the other not");
    assert_eq!(mesh.nodes[1].service.dropped(DropReason::SubscriberGone), 2);
}

#[tokio::test]
async fn a_lost_node_settles_everything() {
    let mut mesh = Mesh::new(3);
    let group = |spec: &mut sinew_pubsub::SubscriptionSpec| spec.group = Some("g".into());
    let dead = mesh.nodes[1].service.client(2);
    dead.subscribe(1, "a");
    dead.subscribe_with(2, "jobs", group);
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(1);
    // One is taken and not confirmed, one on its way, one queued.
    publisher.publish_with("a", &["1"], acked());
    mesh.settle();
    publisher.publish_with("a", &["2"], acked());
    mesh.write(0, 1, 1 << 20);
    publisher.publish("a", &["in flight"]);
    mesh.write(0, 1, 1 << 20);
    mesh.disconnect(0, 1);
    publisher.publish_with("a", &["3"], acked());
    publisher.publish("a", &["queued"]);
    publisher.publish_with("jobs", &["job"], acked());
    assert!(!mesh.remote(0, 1).is_idle());
    let remote = Arc::clone(mesh.remote(0, 1));

    // Somebody else of the group turns up in time.
    let heir = mesh.nodes[2].service.client(3);
    heir.subscribe_with(1, "jobs", group);
    mesh.share_interest();
    mesh.remove(1);
    let outcomes = |client: &Client| -> Vec<_> {
        let counts = |r: PublishResult| (r.first_seq, r.matched, r.delivered, r.dropped, r.unknown);
        let mut all: Vec<_> = results(client).into_iter().map(counts).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(outcomes(&publisher), [(1, 1, 0, 0, 1), (2, 1, 0, 0, 1), (4, 1, 0, 1, 0)]);
    mesh.settle();
    assert_eq!(confirm_all(&heir), 1, "the job went to the other member");
    mesh.settle();
    assert_eq!(outcomes(&publisher), [(6, 1, 1, 0, 0)]);
    // Two in flight, and two queued; that taken before is not known to be lost.
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::NodeGone), 4);
    assert!(remote.is_idle());
    assert_eq!(remote.stats().patterns, 0);
    publisher.publish_with("a", &["4"], report());
    assert_eq!(results(&publisher)[0].matched, 0);
    assert!(!mesh.nodes[0].service.hub.set_remote_interest(&remote, &pattern("a"), Some(direct(1))));
}

fn pattern(text: &str) -> sinew_topic::Pattern {
    sinew_topic::Pattern::parse(text).expect("valid")
}

fn direct(direct: u32) -> sinew_pubsub::NodeInterest {
    sinew_pubsub::NodeInterest { direct, ..Default::default() }
}

#[tokio::test]
async fn a_node_that_started_anew_loses_what_was_in_flight_and_gets_the_rest() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    mesh.settle();
    publisher.publish_with("a", &["2"], acked());
    mesh.write(0, 1, 1 << 20);
    mesh.disconnect(0, 1);
    publisher.publish("a", &["3"]);
    // Its new life remembers nothing of ours.
    mesh.meet(1, 0);
    mesh.connect(0, 1);
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.unknown), (1, 1));
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::NodeGone), 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["1", "3"]);
    publisher.publish("a", &["4"]);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["4"]);
}

/// Also where nothing was ever acknowledged, and the counts alone would not tell.
#[tokio::test]
async fn a_node_that_knows_us_anew_is_told_apart_from_the_first_frame_on() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.share_interest();
    mesh.connect(0, 1);
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish_with("a", &["1"], acked());
    mesh.write(0, 1, 1 << 20);
    mesh.read(0, 1, usize::MAX);
    // The other node takes us for gone, and meets us again.
    mesh.meet(1, 0);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(confirm_all(&there), 1, "once");
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.unknown), (1, 0, 1));
    publisher.publish_with("a", &["2"], acked());
    mesh.settle();
    assert_eq!(confirm_all(&there), 1);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered), (1, 1));
}

#[tokio::test]
async fn an_older_link_takes_nothing_any_more() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.join();
    let remote = Arc::clone(mesh.remote(0, 1));
    let old = remote.outbox().expect("is up");
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    // The former link stands in line with it, and its writer has not noticed that another one is up.
    let (received, window) = (mesh.inbound(1, 0).received(), mesh.inbound(1, 0).window());
    let new = remote.link_up(received, window, sinew_wire::Features::LZ4);
    let mut batch = sinew_pubsub::WriteBatch::default();
    assert_eq!(old.collect(mesh.now, &mut batch, 1 << 20), sinew_pubsub::Next::Wait);
    assert_eq!(batch.bytes(), 0);
    // Its end comes late, and does not end the new one.
    remote.link_down(&old);
    assert!(remote.stats().up);
    assert_eq!(new.collect(mesh.now, &mut batch, 1 << 20), sinew_pubsub::Next::Write);
    remote.link_down(&new);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["1"]);
}

#[tokio::test]
async fn work_for_a_node_without_a_link_asks_for_one() {
    let mut mesh = Mesh::new(2);
    mesh.nodes[1].service.client(2).subscribe(1, "a");
    mesh.share_interest();
    let remote = Arc::clone(mesh.remote(0, 1));
    let mut waiting = Box::pin(remote.has_work());
    assert!(futures_poll(&mut waiting).is_none());
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    assert!(futures_poll(&mut waiting).is_some());
    mesh.join();
    let mut waiting = Box::pin(remote.has_work());
    assert!(futures_poll(&mut waiting).is_none(), "all was taken");
    publisher.publish("a", &["2"]);
    mesh.write(0, 1, 1 << 20);
    assert!(futures_poll(&mut waiting).is_none(), "a link is up");
    mesh.disconnect(0, 1);
    assert!(futures_poll(&mut waiting).is_some(), "what became of it is not known");
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// What the nodes are made to do.
#[derive(Debug, Clone)]
enum Step {
    Publish { publisher: usize, topic: usize, messages: usize },
    Write { from: usize, to: usize, bytes: usize },
    Read { from: usize, to: usize, frames: usize },
    Break { a: usize, b: usize },
    Connect { a: usize, b: usize },
    Time { ms: u64 },
}

const NODES: usize = 3;
const PUBLISHERS: usize = 4;
const TOPICS: [&str; 4] = ["a", "a.b", "b", "b.c"];

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..NODES, 1..NODES).prop_map(|(a, ahead)| (a, (a + ahead) % NODES));
    prop_oneof![
        6 => (0..PUBLISHERS, 0..TOPICS.len(), 1..40_usize)
            .prop_map(|(publisher, topic, messages)| Step::Publish { publisher, topic, messages }),
        6 => (pair(), 50..2000_usize).prop_map(|((from, to), bytes)| Step::Write { from, to, bytes }),
        6 => (pair(), 1..10_usize).prop_map(|((from, to), frames)| Step::Read { from, to, frames }),
        2 => pair().prop_map(|(a, b)| Step::Break { a, b }),
        3 => pair().prop_map(|(a, b)| Step::Connect { a, b }),
        1 => (1..60_u64).prop_map(|ms| Step::Time { ms }),
    ]
}

/// Carries out the steps; gives for each publisher and topic how many messages were published.
fn play(
    mesh: &mut Mesh,
    publishers: &mut [Client],
    steps: &[Step],
    mut options: impl FnMut() -> Options,
) -> BTreeMap<String, u64> {
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    for step in steps {
        match *step {
            Step::Publish { publisher, topic, messages } => {
                let count = sent.entry(format!("{publisher}/{}", TOPICS[topic])).or_default();
                let payloads: Vec<String> =
                    (0..messages as u64).map(|i| format!("{publisher}.{}", *count + i)).collect();
                *count += messages as u64;
                let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
                publishers[publisher].publish_with(TOPICS[topic], &payloads, options());
            }
            Step::Write { from, to, bytes } => _ = mesh.write(from, to, bytes),
            Step::Read { from, to, frames } => mesh.read(from, to, frames),
            Step::Break { a, b } => mesh.disconnect(a, b),
            Step::Connect { a, b } => mesh.connect(a, b),
            Step::Time { ms } => {
                mesh.now += Duration::from_millis(ms);
                let now = mesh.now;
                for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
                    mesh.inbound(a, b).advance(now);
                }
            }
        }
    }
    sent
}

fn publishers(mesh: &Mesh) -> Vec<Client> {
    (0..PUBLISHERS).map(|i| mesh.nodes[i % NODES].service.client(i as u64)).collect()
}

proptest! {
    /// Whatever links do, below overload everything arrives once and in order, and acknowledgements are exact.
    #[test]
    fn broken_links_lose_and_repeat_nothing(
        steps in prop::collection::vec(step(), 1..120),
        small_window: bool,
        levels in prop::collection::vec(0..3_u8, 1..5),
    ) {
        let runtime = rt();
        let _guard = runtime.enter();
        let window = if small_window { 600 } else { 8 << 20 };
        let forwarding = ForwardConfig { window, ..ForwardConfig::default() };
        let mut mesh = Mesh::with(NODES, &PubSubConfig::default(), &forwarding, 256 << 20);
        let patterns = ["a", "a.>", "*", ">", "b.c"];
        let subscribers: Vec<(usize, Client)> =
            (0..patterns.len() * 2).map(|i| (i % NODES, mesh.nodes[i % NODES].service.client(100 + i as u64))).collect();
        for (i, (_, client)) in subscribers.iter().enumerate() {
            client.subscribe_with(1, patterns[i % patterns.len()], wide_open);
        }
        let mut publishers = publishers(&mesh);
        mesh.join();
        let mut turn = 0;
        let mut runs = 0;
        let sent = play(&mut mesh, &mut publishers, &steps, || {
            turn += 1;
            let wants = [None, Some(Wants::Queued), Some(Wants::Confirmed)][usize::from(levels[turn % levels.len()])];
            runs += usize::from(wants.is_some());
            Options { wants, ..Options::default() }
        });
        mesh.join();

        let mut due = 0;
        let mut tokens = Vec::new();
        for (i, (_, client)) in subscribers.iter().enumerate() {
            let pattern = pattern(patterns[i % patterns.len()]);
            let mut got: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for seen in client.read() {
                let Seen::Message { topic, payload, ack, .. } = seen else { panic!("{seen:?}") };
                let (publisher, number) = payload.split_once('.').expect("is made so");
                got.entry(format!("{publisher}/{topic}")).or_default().push(number.parse().expect("a number"));
                tokens.push((i, ack));
            }
            for (key, count) in &sent {
                let topic = key.split_once('/').expect("is made so").1;
                let expected: Vec<u64> = if pattern.matches(topic) { (0..*count).collect() } else { Vec::new() };
                due += expected.len();
                prop_assert_eq!(got.remove(key).unwrap_or_default(), expected, "{} at {}", key, pattern.as_str());
            }
            prop_assert!(got.is_empty());
        }
        tokens.dedup();
        for (i, token) in tokens {
            subscribers[i].1.outbox.confirm(token);
        }
        mesh.settle();
        let mut settled = 0;
        for publisher in &publishers {
            for result in results(publisher) {
                prop_assert_eq!(result.matched, result.delivered, "{:?}", result);
                settled += 1;
            }
        }
        prop_assert_eq!(settled, runs);
        let delivered: u64 = mesh.nodes.iter().map(|node| node.service.metrics.delivered.get()).sum();
        prop_assert_eq!(delivered, due as u64);
        for a in 0..NODES {
            for b in (0..NODES).filter(|b| *b != a) {
                prop_assert!(mesh.remote(a, b).is_idle(), "{} to {}: {:?}", a, b, mesh.remote(a, b).stats());
            }
        }
    }

    /// In overload every subscriber gets what it gets in order, and learns exactly how much it missed.
    #[test]
    fn in_overload_received_and_missed_make_sent(
        steps in prop::collection::vec(step(), 1..150),
        room in 1..60_usize,
    ) {
        let runtime = rt();
        let _guard = runtime.enter();
        let forwarding = ForwardConfig { max_queue_messages: room, window: 2000, ..ForwardConfig::default() };
        let mut mesh = Mesh::with(NODES, &PubSubConfig::default(), &forwarding, 256 << 20);
        let patterns = ["a", "a.>", "*", ">", "b.c"];
        let subscribers: Vec<Client> =
            (0..patterns.len() * 2).map(|i| mesh.nodes[i % NODES].service.client(100 + i as u64)).collect();
        for (i, client) in subscribers.iter().enumerate() {
            client.subscribe_with(1, patterns[i % patterns.len()], wide_open);
        }
        let mut publishers = publishers(&mesh);
        mesh.join();
        let sent = play(&mut mesh, &mut publishers, &steps, Options::default);
        mesh.join();
        let mut missed_by_all = 0;
        for (i, client) in subscribers.iter().enumerate() {
            let pattern = pattern(patterns[i % patterns.len()]);
            let (got, missed) = tally(client, 1);
            missed_by_all += missed;
            let matches = |key: &&String| pattern.matches(key.split_once('/').expect("is made so").1);
            let due: u64 = sent.iter().filter(|(key, _)| matches(key)).map(|(_, count)| count).sum();
            for (key, numbers) in &got {
                prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{}: {:?}", key, numbers);
            }
            let received: u64 = got.values().map(|numbers| numbers.len() as u64).sum();
            prop_assert_eq!(received + missed, due, "at {}", pattern.as_str());
        }
        let dropped: u64 = mesh.nodes.iter().map(|node| node.service.dropped(DropReason::ForwardQueueFull)).sum();
        prop_assert_eq!(dropped, missed_by_all, "each counted once in the realm");
    }

    /// Each message goes to exactly one member of each group, wherever its members are.
    #[test]
    fn each_message_goes_to_one_member_of_each_group(
        steps in prop::collection::vec(step(), 1..100),
        members in prop::collection::vec((0..NODES, 0..2_usize, 0..3_usize), 1..10),
    ) {
        let runtime = rt();
        let _guard = runtime.enter();
        let mut mesh = Mesh::new(NODES);
        let patterns = ["a", "a.>", ">"];
        let names = ["g", "h"];
        let clients: Vec<Client> = members
            .iter()
            .enumerate()
            .map(|(i, (node, group, pattern))| {
                let client = mesh.nodes[*node].service.client(100 + i as u64);
                client.subscribe_with(1, patterns[*pattern], |spec| {
                    wide_open(spec);
                    spec.group = Some(names[*group].into());
                });
                client
            })
            .collect();
        let mut publishers = publishers(&mesh);
        mesh.join();
        let sent = play(&mut mesh, &mut publishers, &steps, Options::default);
        mesh.join();
        let mut got: BTreeMap<(usize, String), Vec<u64>> = BTreeMap::new();
        for (client, (_, group, _)) in clients.iter().zip(&members) {
            let (share, missed) = tally(client, 1);
            prop_assert_eq!(missed, 0);
            for (key, numbers) in share {
                prop_assert!(numbers.is_sorted_by(|a, b| a < b), "a share is in order");
                got.entry((*group, key)).or_default().extend(numbers);
            }
        }
        for (group, name) in names.iter().enumerate() {
            for (key, count) in &sent {
                let topic = key.split_once('/').expect("is made so").1;
                let heard = members.iter().any(|(_, of, at)| *of == group && pattern(patterns[*at]).matches(topic));
                let mut numbers = got.remove(&(group, key.clone())).unwrap_or_default();
                numbers.sort_unstable();
                let expected: Vec<u64> = if heard { (0..*count).collect() } else { Vec::new() };
                prop_assert_eq!(numbers, expected, "{} in {}", key, name);
            }
        }
        prop_assert!(got.is_empty());
    }

    /// A plan is what the subscriptions and interests come to, added up by hand.
    #[test]
    fn matched_is_the_sum_over_the_realm(
        local in prop::collection::vec((0..6_usize, 0..4_usize), 0..8),
        remote in prop::collection::vec((0..2_usize, 0..6_usize, 0..4_u32, prop::collection::vec(0..3_usize, 0..3)), 0..12),
        removed in prop::option::of(0..2_usize),
    ) {
        let runtime = rt();
        let _guard = runtime.enter();
        let patterns = ["a", "a.>", "*", ">", "a.*", "b.c"];
        let names = ["f", "g", "h"];
        let service = support::Service::start(PubSubConfig::default());
        let nodes: Vec<_> = (0..2).map(|i| service.hub.add_remote(support::mesh::node_id(i))).collect();
        let client = service.client(1);
        for (number, (at, group)) in local.iter().enumerate() {
            client.subscribe_with(number as u32, patterns[*at], |spec| {
                spec.group = names.get(*group).map(|name| (*name).into());
            });
        }
        let mut interests: BTreeMap<(usize, usize), (u32, Vec<usize>)> = BTreeMap::new();
        for (node, at, direct, groups) in &remote {
            let named = groups.iter().map(|group| (names[*group].into(), 1)).collect();
            let interest = sinew_pubsub::NodeInterest { direct: *direct, blocking: 0, groups: named };
            assert!(service.hub.set_remote_interest(&nodes[*node], &pattern(patterns[*at]), Some(interest)));
            interests.insert((*node, *at), (*direct, groups.clone()));
        }
        if let Some(node) = removed {
            service.hub.remove_remote(&nodes[node]);
            interests.retain(|(of, _), _| *of != node);
        }
        let mut publisher = service.client(2);
        for topic in TOPICS {
            let matches = |at: usize| pattern(patterns[at]).matches(topic);
            let mut direct = 0;
            let mut groups = BTreeSet::new();
            for (_, group) in local.iter().filter(|(at, _)| matches(*at)) {
                if *group < names.len() { _ = groups.insert(*group) } else { direct += 1 }
            }
            let here = direct + groups.len();
            for ((_, _), (count, named)) in interests.iter().filter(|((_, at), _)| matches(*at)) {
                direct += *count as usize;
                groups.extend(named.iter().copied());
            }
            publisher.publish(topic, &["1"]);
            let topics = service.hub.topics();
            let info = topics.iter().find(|info| info.topic.as_str() == topic).expect("was published");
            prop_assert_eq!((info.matched, info.local), (direct + groups.len(), here), "{}", topic);
        }
    }
}

#[tokio::test]
async fn interest_is_told_once_and_not_at_all_if_it_comes_to_nothing() {
    let service = support::Service::start(PubSubConfig::default());
    let client = service.client(1);
    let feed = service.hub.interest();
    assert!(feed.take(10).is_empty());
    let (one, two) = (client.subscribe(1, "a"), client.subscribe_with(2, "a", |spec| spec.policy = Policy::Block));
    let three = client.subscribe_with(3, "a", |spec| spec.group = Some("g".into()));
    let passing = client.subscribe(4, "b");
    service.hub.unsubscribe(&passing);
    feed.changed().await;
    let taken = feed.take(10);
    assert_eq!(taken.len(), 1, "{taken:?}");
    let (told, interest) = taken.into_iter().next().expect("there is one");
    let interest = interest.expect("somebody is interested");
    assert_eq!((told.as_str(), interest.direct, interest.blocking), ("a", 2, 1));
    assert_eq!(interest.groups, [("g".into(), 1)]);
    assert!(feed.take(10).is_empty());
    // Back to what was told.
    let four = client.subscribe(5, "a");
    service.hub.unsubscribe(&four);
    assert!(feed.take(10).is_empty());
    for subscription in [one, two, three] {
        service.hub.unsubscribe(&subscription);
    }
    assert_eq!(feed.take(10), [(pattern("a"), None)]);
    assert!(feed.snapshot().is_empty());
}
