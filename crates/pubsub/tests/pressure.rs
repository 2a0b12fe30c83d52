//! Full queues: who waits, for how long, who is told, and how much memory it takes.

mod support;

use std::time::{Duration, Instant};

use sinew_observe::DropReason;
use sinew_pubsub::{PubSubConfig, SubscriptionSpec, Wants};
use sinew_wire::{Control, Policy, PublishResult, RefusedRun};
use support::{Client, Options, Seen, Service};

fn service() -> Service {
    Service::start(PubSubConfig::default())
}

fn acked() -> Options {
    Options { wants: Some(Wants::Confirmed), ..Options::default() }
}

fn result(client: &Client) -> PublishResult {
    match client.read().as_slice() {
        [Seen::Control(Control::PublishResult(result))] => *result,
        other => panic!("expected one result, got {other:?}"),
    }
}

fn tight(spec: &mut SubscriptionSpec) {
    (spec.buffer, spec.window) = (2, 1);
}

#[tokio::test]
async fn an_acknowledged_run_is_settled_when_every_subscriber_has_confirmed() {
    let service = service();
    let (mut publisher, one, two) = (service.client(1), service.client(2), service.client(3));
    one.subscribe(1, "a");
    two.subscribe(1, "a");
    publisher.publish_with("a", &["1", "2"], acked());
    let token = |client: &Client| match client.read().as_slice() {
        [Seen::Message { ack, .. }, Seen::Message { ack: same, .. }] if ack == same => *ack,
        other => panic!("{other:?}"),
    };
    one.outbox.confirm(token(&one));
    one.outbox.confirm(12345);
    assert!(publisher.read().is_empty(), "one of two is not enough");
    two.outbox.confirm(token(&two));
    let result = result(&publisher);
    assert_eq!((result.matched, result.delivered, result.dropped, result.unknown), (4, 4, 0, 0));
}

#[tokio::test]
async fn a_lost_subscriber_and_a_passed_deadline_are_unknown() {
    let service = service();
    let (mut publisher, lost, silent) = (service.client(1), service.client(2), service.client(3));
    lost.subscribe(1, "a");
    silent.subscribe(1, "a");
    publisher.publish_with("a", &["1"], acked());
    lost.read();
    silent.read();
    lost.outbox.abandon();
    assert!(publisher.read().is_empty());
    let deadline = publisher.publisher.deadline().expect("one is open");
    publisher.publisher.advance(deadline);
    let result = result(&publisher);
    assert_eq!((result.matched, result.delivered, result.unknown), (2, 0, 2));
}

#[tokio::test]
async fn nobody_there_is_a_result_of_its_own() {
    let service = service();
    let mut publisher = service.client(1);
    publisher.publish_with("a", &["1"], acked());
    assert_eq!(result(&publisher).matched, 0);
    publisher.publish_with("a", &["1"], Options { require_subscribers: true, wants: Some(Wants::Queued), ..acked() });
    assert_eq!(result(&publisher).refusal, Some(RefusedRun::NoSubscribers));
}

#[tokio::test]
async fn policy_block_holds_the_publisher_back_and_keeps_order() {
    let service = service();
    let (mut publisher, slow, quick) = (service.client(1), service.client(2), service.client(3));
    let blocking = slow.subscribe_with(1, "a", |spec| {
        tight(spec);
        spec.policy = Policy::Block;
    });
    quick.subscribe(1, ">");
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("a", &[payload]);
    }
    publisher.publish("b", &["5"]);
    publisher.publisher.barrier(9);
    assert!(publisher.publisher.is_parked());
    assert_eq!(publisher.publisher.take_processed(), 2 * 9, "no credit for what waits");
    assert_eq!(quick.payloads(1), ["1", "2", "3"], "the fourth waits behind the third");

    let mut got = Vec::new();
    while got.len() < 4 {
        got.extend(slow.payloads(1));
        publisher.publisher.advance(Instant::now());
        blocking.grant(9).expect("credit for what was sent");
    }
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(quick.payloads(1), ["4", "5"]);
    assert_eq!(publisher.read(), [Seen::Control(Control::Pong { nonce: 9 })], "after all that was before it");
    assert_eq!(publisher.publisher.take_processed(), 3 * 9);
    assert_eq!(service.dropped(DropReason::QueueFull), 0);
}

#[tokio::test]
async fn policy_block_lags_after_its_patience_until_it_was_empty() {
    let service = service();
    let (mut publisher, slow) = (service.client(1), service.client(2));
    let blocking = slow.subscribe_with(1, "a", |spec| {
        tight(spec);
        spec.policy = Policy::Block;
    });
    publisher.publish("a", &["0"]);
    assert_eq!(slow.payloads(1), ["0"]);
    publisher.publish("a", &["1", "2", "3"]);
    assert!(publisher.publisher.is_parked());
    publisher.publisher.advance(Instant::now() + Duration::from_secs(6));
    assert!(!publisher.publisher.is_parked());
    publisher.publish("a", &["4"]);
    assert!(!publisher.publisher.is_parked(), "it lags, nobody waits for it again");

    blocking.grant(9).expect("credit");
    let seen = slow.read();
    assert_eq!(seen[0], Seen::Control(Control::Lagged { subscription: 1, missed: 2 }));
    blocking.grant(9).expect("credit");
    assert_eq!(slow.payloads(1), ["4"]);
    publisher.publish("a", &["5", "6", "7"]);
    assert!(publisher.publisher.is_parked(), "it was empty: it may hold back again");
}

#[tokio::test]
async fn an_acknowledged_run_waits_for_a_full_queue_of_any_policy() {
    let service = service();
    let (mut publisher, slow) = (service.client(1), service.client(2));
    let subscription = slow.subscribe_with(1, "a", tight);
    publisher.publish("a", &["0"]);
    assert_eq!(slow.payloads(1), ["0"]);
    publisher.publish("a", &["1", "2"]);
    publisher.publish_with("a", &["3"], acked());
    assert!(publisher.publisher.is_parked());
    subscription.grant(9).expect("credit");
    assert_eq!(slow.payloads(1), ["1"]);
    publisher.publisher.advance(Instant::now());
    assert!(!publisher.publisher.is_parked());
    assert_eq!(service.dropped(DropReason::QueueFull), 0);

    // And one that never gets room is given up at its deadline, and says so.
    publisher.publish_with("a", &["4"], Options { deadline: Some(Duration::from_secs(1)), ..acked() });
    publisher.publisher.advance(Instant::now() + Duration::from_secs(2));
    let given_up = result(&publisher);
    assert_eq!((given_up.first_seq, given_up.matched, given_up.dropped), (5, 1, 1));
    assert_eq!(service.dropped(DropReason::BlockTimeout), 1);
}

#[tokio::test]
async fn a_subscriber_that_leaves_frees_who_waits_for_it() {
    let service = service();
    let (mut publisher, slow) = (service.client(1), service.client(2));
    let subscription = slow.subscribe_with(1, "a", tight);
    publisher.publish("a", &["1", "2"]);
    publisher.publish_with("a", &["3"], acked());
    assert!(publisher.publisher.is_parked());
    service.hub.unsubscribe(&subscription);
    publisher.publisher.woken().notified().await;
    publisher.publisher.advance(Instant::now());
    assert_eq!(result(&publisher).dropped, 1);
    assert_eq!(service.dropped(DropReason::SubscriberGone), 3);
}

#[tokio::test]
async fn stalled_subscribers_stay_within_the_memory_of_the_node() {
    let memory = 1 << 20;
    let service = Service::with_memory(PubSubConfig::default(), memory);
    let mut publisher = service.client(1);
    let stalled: Vec<_> = (0..50).map(|i| service.client(10 + i)).collect();
    for (i, client) in stalled.iter().enumerate() {
        client.subscribe_with(1, &format!("t.{i}"), |spec| spec.window = 1);
    }
    let payload = "x".repeat(1000);
    let rounds = 200;
    for _ in 0..rounds {
        for i in 0..stalled.len() {
            publisher.publish(&format!("t.{i}"), &[&payload]);
            assert!(service.budget.used() <= memory);
        }
    }
    // Somebody who reads is served all the same.
    let reader = service.client(2);
    reader.subscribe(1, "live");
    for _ in 0..100 {
        publisher.publish("live", &[&payload]);
        assert_eq!(reader.payloads(1).len(), 1);
    }
    let queued_or_lost = |client: &Client| {
        let missed: u64 = client
            .read()
            .iter()
            .map(|seen| if let Seen::Control(Control::Lagged { missed, .. }) = seen { *missed } else { 1 })
            .sum();
        missed
    };
    let dropped = service.dropped(DropReason::QueueFull) + service.dropped(DropReason::QueueMemory);
    let told: u64 = stalled.iter().map(queued_or_lost).sum();
    assert!(dropped > 0 && told > dropped, "{dropped} dropped, {told} delivered or told");
}

#[tokio::test]
async fn open_acknowledgements_are_bounded() {
    let service = Service::start(PubSubConfig { max_open_acks: 3, ..PubSubConfig::default() });
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    subscriber.subscribe(1, "a");
    for payload in ["1", "2", "3", "4"] {
        publisher.publish_with("a", &[payload], acked());
    }
    let refused = result(&publisher);
    assert_eq!((refused.first_seq, refused.refusal), (4, Some(RefusedRun::OpenAcks)));
}
