//! Between nodes: full queues, who waits for whom, and what a stranger's numbers can do.

mod support;

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use sinew_observe::DropReason;
use sinew_pubsub::{ForwardConfig, PubSubConfig, SubscriptionSpec, Wants};
use sinew_wire::entry::Entry;
use sinew_wire::forward::{Flags, ForwardHeader, GroupList, Groups};
use sinew_wire::{Control, MeshControl, PeerId, Policy, PublishResult, Refusal};
use support::mesh::{Mesh, node_id};
use support::{Client, Options, Seen};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(6);

fn small_hold() -> Mesh {
    let forwarding = ForwardConfig { hold_bytes: 60, ..ForwardConfig::default() };
    Mesh::with(2, &PubSubConfig::default(), &forwarding, 256 << 20)
}

/// One message fits into the window and two into the queue.
fn tight(spec: &mut SubscriptionSpec) {
    (spec.policy, spec.buffer, spec.window) = (Policy::Block, 2, 1);
}

/// Whether somebody has been woken since this was asked.
fn was_woken(woken: &Notify) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(woken.notified()).poll(&mut context).is_ready()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("{number:02}")).collect()
}

fn result(client: &Client) -> PublishResult {
    match client.read().as_slice() {
        [Seen::Control(Control::PublishResult(result))] => *result,
        other => panic!("expected one result, got {other:?}"),
    }
}

fn received_and_missed(client: &Client) -> (u64, u64) {
    let mut sum = (0, 0);
    for seen in client.read() {
        match seen {
            Seen::Message { .. } => sum.0 += 1,
            Seen::Control(Control::Lagged { missed, .. }) => sum.1 += missed,
            Seen::Control(other) => panic!("{other:?}"),
        }
    }
    sum
}

#[tokio::test]
async fn a_slow_blocking_subscriber_holds_back_its_publisher_and_nobody_else() {
    let mut mesh = small_hold();
    let (slow, quick) = (mesh.nodes[1].service.client(1), mesh.nodes[1].service.client(2));
    let blocking = slow.subscribe_with(1, "slow", tight);
    quick.subscribe(1, "quick");
    let (mut held, mut free) = (mesh.nodes[0].service.client(3), mesh.nodes[0].service.client(4));
    mesh.join();
    let sent = numbers(0..50);
    for payload in &sent {
        held.publish("slow", &[payload]);
        mesh.flow();
    }
    assert_eq!(mesh.remote(0, 1).stats().held, 1);
    assert!(held.publisher.is_parked(), "it waits at its own node");
    assert!(mesh.inbound(1, 0).is_parked());
    for i in 0..100 {
        free.publish("quick", &[&i.to_string()]);
        mesh.flow();
        assert_eq!(quick.payloads(1), [i.to_string()]);
    }
    assert!(!free.publisher.is_parked());

    let mut got = Vec::new();
    while got.len() < sent.len() {
        let before = got.len();
        got.extend(slow.payloads(1));
        assert!(got.len() > before, "stuck at {before}");
        blocking.grant(10).expect("credit for what was sent");
        // As the readers do: nobody tries again who was not woken.
        let now = mesh.now;
        let woken = mesh.inbound(1, 0).woken();
        if was_woken(&woken) {
            mesh.inbound(1, 0).advance(now);
        }
        mesh.flow();
        let woken = held.publisher.woken();
        if was_woken(&woken) {
            held.publisher.advance(now);
        }
        mesh.flow();
    }
    assert_eq!(got, sent);
    assert_eq!(mesh.remote(0, 1).stats().held, 0);
    assert!(!held.publisher.is_parked() && !mesh.inbound(1, 0).is_parked());
    for node in &mesh.nodes {
        assert_eq!(node.service.metrics.dropped_sum(), 0);
    }
}

#[tokio::test]
async fn who_never_reads_costs_its_publisher_its_patience_and_learns_what_it_missed() {
    let mut mesh = small_hold();
    let slow = mesh.nodes[1].service.client(1);
    let blocking = slow.subscribe_with(1, "slow", tight);
    let mut held = mesh.nodes[0].service.client(3);
    mesh.join();
    for payload in &numbers(0..50) {
        held.publish("slow", &[payload]);
        mesh.flow();
    }
    assert!(held.publisher.is_parked());
    // Both patiences end: first here, then there.
    let later = mesh.now + PATIENCE;
    held.publisher.advance(later);
    assert!(!held.publisher.is_parked(), "it lags");
    for payload in &numbers(50..60) {
        held.publish("slow", &[payload]);
    }
    assert!(!held.publisher.is_parked());
    mesh.now = later;
    mesh.inbound(1, 0).advance(later);
    mesh.settle();
    assert_eq!(mesh.remote(0, 1).stats().held, 0, "released once nothing waits");

    let (mut received, mut missed) = (0, 0);
    loop {
        let (more, gone) = received_and_missed(&slow);
        (received, missed) = (received + more, missed + gone);
        if more == 0 {
            break;
        }
        blocking.grant(10 * more).expect("credit for what was sent");
        mesh.settle();
    }
    assert_eq!(received + missed, 60);
    assert!(received < 30 && missed > 30, "{received} {missed}");
    held.publish("slow", &["60"]);
    mesh.settle();
    assert_eq!(slow.payloads(1), ["60"]);
}

#[tokio::test]
async fn a_full_forward_queue_makes_only_those_wait_who_may() {
    let forwarding = ForwardConfig { max_queue_messages: 4, ..ForwardConfig::default() };
    let mut mesh = Mesh::with(2, &PubSubConfig::default(), &forwarding, 256 << 20);
    let there = mesh.nodes[1].service.client(1);
    there.subscribe_with(1, "block", |spec| spec.policy = Policy::Block);
    there.subscribe(2, "drop");
    there.subscribe_with(3, "jobs", |spec| spec.group = Some("g".into()));
    let mut clients: Vec<Client> = (2..6).map(|i| mesh.nodes[0].service.client(i)).collect();
    let [blocked, dropping, working, acked] = &mut clients[..] else { panic!("four") };
    mesh.join();
    mesh.disconnect(0, 1);
    for payload in &numbers(0..10) {
        dropping.publish("drop", &[payload]);
    }
    for payload in &numbers(0..3) {
        blocked.publish("block", &[payload]);
    }
    working.publish("jobs", &["0", "1"]);
    let deadline = Some(Duration::from_secs(1));
    acked.publish_with("drop", &["x"], Options { wants: Some(Wants::Confirmed), deadline, ..Options::default() });
    assert!(!dropping.publisher.is_parked() && !blocked.publisher.is_parked());
    assert!(working.publisher.is_parked() && acked.publisher.is_parked(), "room for one of two, and for none");
    let stats = mesh.remote(0, 1).stats();
    assert_eq!((stats.queued_messages, stats.max_messages, stats.dropped), (8, 8, 6));

    acked.publisher.advance(mesh.now + PATIENCE);
    let given_up = result(acked);
    assert_eq!((given_up.matched, given_up.dropped), (1, 1));
    mesh.join();
    assert!(was_woken(&working.publisher.woken()), "there is room");
    working.publisher.advance(mesh.now);
    mesh.settle();
    let seen = there.read();
    let of = |number: u32| -> Vec<&str> {
        let payload = |seen: &Seen| match seen {
            Seen::Message { subscription, payload, .. } if *subscription == number => Some(payload.clone()),
            _ => None,
        };
        let all: Vec<String> = seen.iter().filter_map(payload).collect();
        all.into_iter().map(|text| &*text.leak()).collect()
    };
    assert_eq!(of(1), ["00", "01", "02"]);
    assert_eq!(of(2), ["06", "07", "08", "09"]);
    assert_eq!(of(3), ["0", "1"]);
    let lagged = Seen::Control(Control::Lagged { subscription: 2, missed: 7 });
    assert!(seen.contains(&lagged), "{seen:?}");
}

#[tokio::test]
async fn a_dead_link_costs_bounded_memory_and_every_loss_is_told() {
    let memory = 1 << 20;
    let mut mesh = Mesh::with(2, &PubSubConfig::default(), &ForwardConfig::default(), memory);
    let there = mesh.nodes[1].service.client(1);
    there.subscribe_with(1, ">", |spec| (spec.window, spec.buffer) = (8 << 20, 60_000));
    mesh.share_interest();
    let mut publisher = mesh.nodes[0].service.client(2);
    let payload = "x".repeat(500);
    let sent = 10_000;
    for i in 0..sent {
        publisher.publish(&format!("t.{}", i % 100), &[&payload]);
        assert!(mesh.nodes[0].service.budget.used() <= memory);
    }
    // Somebody here is served all the same.
    let here = mesh.nodes[0].service.client(3);
    here.subscribe(1, "live");
    publisher.publish("live", &["still"]);
    assert_eq!(here.payloads(1), ["still"]);

    mesh.connect(0, 1);
    let (mut received, mut missed) = (0, 0);
    for _ in 0..200 {
        mesh.write(0, 1, 4 << 10);
        mesh.write(1, 0, 4 << 10);
        mesh.read(0, 1, usize::MAX);
        mesh.read(1, 0, usize::MAX);
        mesh.now += Duration::from_millis(25);
        let now = mesh.now;
        mesh.inbound(1, 0).advance(now);
        let (more, gone) = received_and_missed(&there);
        (received, missed) = (received + more, missed + gone);
        assert!(mesh.nodes[1].service.budget.used() <= memory);
    }
    mesh.settle();
    let (more, gone) = received_and_missed(&there);
    (received, missed) = (received + more, missed + gone);
    assert_eq!(received + missed, sent + 1);
    assert!(received > 100, "{received}");
    let dropped =
        [DropReason::ForwardQueueFull, DropReason::QueueMemory].map(|reason| mesh.nodes[0].service.dropped(reason));
    assert_eq!(dropped.iter().sum::<u64>(), missed);
    assert!(mesh.nodes[0].service.budget.used() < memory / 10, "given back: {}", mesh.nodes[0].service.budget.used());
}

#[tokio::test]
async fn many_publishers_of_a_node_pass_through_a_few_places() {
    let forwarding = ForwardConfig { max_origins: 3, hold_bytes: 60, ..ForwardConfig::default() };
    let mut mesh = Mesh::with(2, &PubSubConfig::default(), &forwarding, 256 << 20);
    let (there, slow) = (mesh.nodes[1].service.client(1), mesh.nodes[1].service.client(2));
    there.subscribe_with(1, "a", |spec| spec.window = 8 << 20);
    slow.subscribe_with(1, "slow", tight);
    mesh.join();
    let mut clients: Vec<Client> = (10..20).map(|i| mesh.nodes[0].service.client(i)).collect();
    // One of them is parked, and stays while the others come and go.
    let mut held = mesh.nodes[0].service.client(3);
    for payload in &numbers(0..12) {
        held.publish("slow", &[payload]);
        mesh.flow();
    }
    assert!(mesh.inbound(1, 0).is_parked());
    for round in 0..20 {
        for (i, client) in clients.iter_mut().enumerate() {
            client.publish("a", &[&format!("{i}.{round}")]);
            mesh.flow();
        }
    }
    let got = there.payloads(1);
    let expected: Vec<String> = (0..20).flat_map(|round| (0..10).map(move |i| format!("{i}.{round}"))).collect();
    assert_eq!(got, expected);
    assert!(mesh.inbound(1, 0).is_parked(), "the idle ones went");
    assert_eq!(mesh.nodes[1].service.metrics.dropped_sum(), 0);
}

fn header(topic: &str) -> ForwardHeader<'_> {
    ForwardHeader {
        flags: Flags::DIRECT,
        topic,
        messages: 1,
        first_seq: 1,
        entries_len: 9,
        ttl_ms: 0,
        ack: 0,
        deadline_ms: 0,
        instance: 1,
        publisher: PeerId::from_public_key([1; 32]),
        groups: Groups::NONE,
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_frame_is_refused_once() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    let there = mesh.nodes[1].service.client(1);
    there.subscribe(1, ">");
    let mut block = BytesMut::new();
    Entry { id: b"", headers: b"", payload: b"!" }.encode(&mut block);
    let inbound = mesh.inbound(1, 0);
    let before = inbound.received();
    assert!(matches!(inbound.forward(header("a..b"), &block, now), Err(Refusal::InvalidName(_))));
    assert!(matches!(inbound.forward(header("a"), &block[..8], now), Err(Refusal::Protocol(_))));
    let two = ForwardHeader { messages: 2, ..header("a") };
    assert!(matches!(inbound.forward(two, &block, now), Err(Refusal::Protocol(_))));
    let packed = ForwardHeader { flags: Flags::DIRECT.with(Flags::PACKED), entries_len: u32::MAX, ..header("a") };
    assert!(matches!(inbound.forward(packed, &block, now), Err(Refusal::Limit { .. })));
    assert_eq!(inbound.received(), before + 4, "or the same would come again on the next link");
    assert!(inbound.forward(header("a"), &block, now).is_ok());
    assert_eq!(inbound.received(), before + 5);
    assert_eq!(there.payloads(1), ["!"]);
    // A group that was never here.
    let inbound = mesh.inbound(1, 0);
    let groups = GroupList::new(["nobody"]).expect("a name");
    let for_group = ForwardHeader { flags: Flags::default(), groups: groups.as_groups(), ..header("a") };
    assert!(inbound.forward(for_group, &block, now).is_ok());
    assert!(there.read().is_empty());
}

#[tokio::test]
async fn numbers_of_another_node_do_no_harm() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    let there = mesh.nodes[1].service.client(1);
    there.subscribe(1, "a");
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(2);
    let confirmed = || Options { wants: Some(Wants::Confirmed), ..Options::default() };
    publisher.publish_with("a", &["1"], confirmed());
    mesh.write(0, 1, 1 << 20);

    let token = mesh.token_on_the_way(0, 1);
    let inbound = mesh.inbound(0, 1);
    let received = inbound.received();
    assert!(inbound.control(MeshControl::ForwardAck { received: u64::MAX }, now).is_err());
    assert!(inbound.control(MeshControl::Resume { received: 0, window: 0 }, now).is_err());
    assert_eq!(inbound.received(), received, "these are not counted");
    let (delivered, dropped, unknown) = (u64::MAX, u64::MAX, u64::MAX);
    for token in [0, token, token, token + 1, u64::MAX] {
        let result = MeshControl::ForwardResult { token, matched: u64::MAX, delivered, dropped, unknown };
        assert!(inbound.control(result, now).is_ok());
    }
    let settled = result(&publisher);
    assert_eq!((settled.matched, settled.delivered, settled.dropped, settled.unknown), (u64::MAX, u64::MAX, 0, 0));

    let here = mesh.nodes[0].service.client(3);
    here.subscribe(1, "b");
    let inbound = mesh.inbound(0, 1);
    for topic in ["b", "b", ""] {
        let missed = MeshControl::Missed { topic: topic.into(), messages: u64::MAX, direct: true, groups: vec![] };
        assert!(inbound.control(missed, now).is_ok());
    }
    let missed = MeshControl::Missed { topic: "b..".into(), messages: 1, direct: true, groups: vec![] };
    assert!(inbound.control(missed, now).is_err());
    assert_eq!(here.read(), [Seen::Control(Control::Lagged { subscription: 1, missed: u64::MAX })]);
    assert_eq!(mesh.remote(0, 1).stats().unattributed, u64::MAX);

    for instance in 0..65_536 {
        let hold = MeshControl::Hold { publisher: node_id(1), instance };
        assert!(mesh.inbound(0, 1).control(hold, now).is_ok());
    }
    let one_more = MeshControl::Hold { publisher: node_id(1), instance: 65_536 };
    assert!(mesh.inbound(0, 1).control(one_more, now).is_err(), "the table has a bound");
}

#[tokio::test]
async fn a_group_with_room_nowhere_waits_and_a_removed_node_frees_who_waits_for_it() {
    let forwarding = ForwardConfig { max_queue_messages: 2, ..ForwardConfig::default() };
    let mut mesh = Mesh::with(2, &PubSubConfig::default(), &forwarding, 256 << 20);
    let group = |spec: &mut SubscriptionSpec| spec.group = Some("g".into());
    let there = mesh.nodes[1].service.client(1);
    there.subscribe_with(1, "jobs", group);
    there.subscribe_with(2, "block", |spec| spec.policy = Policy::Block);
    mesh.share_interest();
    let (mut working, mut blocked) = (mesh.nodes[0].service.client(2), mesh.nodes[0].service.client(3));
    working.publish("jobs", &["1", "2", "3"]);
    blocked.publish("block", &["1"]);
    assert!(working.publisher.is_parked() && blocked.publisher.is_parked());
    let heir = mesh.nodes[0].service.client(4);
    heir.subscribe_with(1, "jobs", group);
    mesh.remove(1);
    let now = mesh.now;
    assert!(was_woken(&working.publisher.woken()) && was_woken(&blocked.publisher.woken()));
    working.publisher.advance(now);
    blocked.publisher.advance(now);
    assert!(!working.publisher.is_parked() && !blocked.publisher.is_parked());
    assert_eq!(heir.payloads(1), ["1", "2", "3"]);
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::NodeGone), 1);
}
