//! What reaches whom: plans, order, queue groups, retained values, ids, time to live.

mod support;

use std::time::{Duration, Instant};

use sinew_observe::DropReason;
use sinew_pubsub::{PubSubConfig, Wants};
use sinew_wire::{Control, Policy};
use support::{Options, Seen, Service};

fn service() -> Service {
    Service::start(PubSubConfig::default())
}

#[tokio::test]
async fn a_message_reaches_every_subscription_that_matches() {
    let service = service();
    let (mut publisher, near, far) = (service.client(1), service.client(2), service.client(3));
    near.subscribe(1, "sensors.*.temp");
    near.subscribe(2, ">");
    far.subscribe(1, "sensors.kitchen.temp");
    far.subscribe(2, "sensors.kitchen.light");

    publisher.publish("sensors.kitchen.temp", &["21.5"]);

    let got: Vec<_> = [(&near, 1), (&far, 1), (&far, 2)].map(|(client, _)| client.read().len()).into();
    assert_eq!(got, [2, 1, 0]);
    assert_eq!(service.metrics.published.get(), 1);
    assert_eq!(service.metrics.delivered.get(), 3);
}

#[tokio::test]
async fn a_later_subscription_is_in_the_next_plan_and_a_former_one_is_not() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    publisher.publish("a", &["unheard"]);
    let subscription = subscriber.subscribe(1, "a");
    publisher.publish("a", &["heard"]);
    assert_eq!(subscriber.payloads(1), ["heard"]);
    service.hub.unsubscribe(&subscription);
    publisher.publish("a", &["late"]);
    assert!(subscriber.read().is_empty());
}

#[tokio::test]
async fn runs_are_split_by_credit_and_stay_in_order() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    let subscription = subscriber.subscribe_with(1, "a", |spec| spec.window = 30);
    publisher.publish("a", &["one", "two", "three", "four", "five"]);

    let mut got = Vec::new();
    loop {
        let now = subscriber.read();
        if now.is_empty() {
            break;
        }
        for seen in now {
            let Seen::Message { seq, payload, .. } = seen else { panic!("{seen:?}") };
            subscription.grant(8 + payload.len() as u64).expect("credit for what was sent");
            got.push((seq, payload));
        }
    }
    let expected = [(1, "one"), (2, "two"), (3, "three"), (4, "four"), (5, "five")];
    assert_eq!(got, expected.map(|(seq, payload)| (seq, payload.to_owned())));
    assert!(subscription.grant(1).is_err(), "more than was sent");
}

#[tokio::test]
async fn what_a_full_queue_gives_up_is_counted_and_told() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    let subscription = subscriber.subscribe_with(1, "a", |spec| (spec.buffer, spec.window) = (2, 1));
    publisher.publish("a", &["0"]);
    assert_eq!(subscriber.payloads(1), ["0"], "the window is overdrawn by one message");
    publisher.publish("a", &["1", "2", "3"]);
    publisher.publish("a", &["4", "5"]);

    subscription.grant(9).expect("credit for what was sent");
    let seen = subscriber.read();
    assert_eq!(seen[0], Seen::Control(Control::Lagged { subscription: 1, missed: 3 }));
    assert!(matches!(&seen[1], Seen::Message { seq: 5, payload, .. } if payload == "4"), "{seen:?}");
    assert_eq!(service.dropped(DropReason::QueueFull), 3);
}

#[tokio::test]
async fn latest_keeps_one_per_topic_or_key() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    let latest = |spec: &mut sinew_pubsub::SubscriptionSpec| (spec.policy, spec.window) = (Policy::Latest, 1);
    let subscription = subscriber.subscribe_with(1, ">", latest);
    publisher.publish("warm", &["up"]);
    assert_eq!(subscriber.payloads(1), ["up"]);

    publisher.publish("a", &["1", "2"]);
    publisher.publish("b", &["1"]);
    publisher.publish("a", &["3"]);
    let keys = vec!["x", "y", "x"];
    publisher.publish_with("c", &["x1", "y1", "x2"], Options { keys, ..Options::default() });

    let mut got = Vec::new();
    let mut spent = 8 + 2;
    loop {
        subscription.grant(spent).expect("credit for what was sent");
        let payloads = subscriber.payloads(1);
        let [payload] = payloads.as_slice() else { break };
        spent = 8 + payload.len() as u64 + if payload.len() == 2 { 3 + 3 + 1 } else { 0 };
        got.push(payload.clone());
    }
    assert_eq!(got, ["3", "1", "x2", "y1"]);
    assert_eq!(service.dropped(DropReason::Conflated), 3);
}

#[tokio::test]
async fn a_queue_group_hands_each_message_to_one_member() {
    let service = service();
    let mut publisher = service.client(1);
    let members: Vec<_> = (0..4).map(|i| service.client(10 + i)).collect();
    for member in &members {
        member.subscribe_with(1, "jobs.>", |spec| spec.group = Some("workers".into()));
    }
    let other = service.client(20);
    other.subscribe_with(1, "jobs.a", |spec| spec.group = Some("audit".into()));

    let payloads: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    publisher.publish("jobs.a", &payloads.iter().map(String::as_str).collect::<Vec<_>>());

    let shares: Vec<Vec<String>> = members.iter().map(|member| member.payloads(1)).collect();
    assert!(shares.iter().all(|share| share.len() >= 128), "{:?}", shares.iter().map(Vec::len).collect::<Vec<_>>());
    let mut all: Vec<u64> = shares.concat().iter().map(|text| text.parse().expect("a number")).collect();
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<u64>>());
    assert_eq!(other.payloads(1).len(), 1000);
}

#[tokio::test]
async fn what_a_leaving_member_had_not_been_sent_goes_to_the_others() {
    let service = service();
    let mut publisher = service.client(1);
    let (leaver, stayer) = (service.client(2), service.client(3));
    let group = |spec: &mut sinew_pubsub::SubscriptionSpec| spec.group = Some("workers".into());
    let leaving = leaver.subscribe_with(1, "jobs", group);
    publisher.publish("jobs", &["1", "2", "3"]);
    stayer.subscribe_with(1, "jobs", group);
    service.hub.unsubscribe(&leaving);
    assert_eq!(stayer.payloads(1), ["1", "2", "3"]);
    assert_eq!(service.dropped(DropReason::SubscriberGone), 0);
}

#[tokio::test]
async fn a_retained_value_is_there_for_who_asks_until_it_expires_or_is_cleared() {
    let service = service();
    let (mut publisher, early) = (service.client(1), service.client(2));
    early.subscribe_with(1, "state.>", |spec| spec.last = true);
    let retain = || Options { retain: true, ..Options::default() };
    publisher.publish_with("state.door", &["open", "shut"], retain());
    let ttl = Some(Duration::ZERO);
    publisher.publish_with("state.gone", &["old"], Options { ttl, ..retain() });
    publisher.publish_with("state.lamp", &["on"], retain());
    publisher.publish_with("state.lamp", &[""], retain());
    assert_eq!(early.payloads(1), ["open", "shut", "on", ""], "live values come as they are");

    let (late, indifferent) = (service.client(3), service.client(4));
    late.subscribe_with(1, "*.>", |spec| spec.last = true);
    indifferent.subscribe(1, "state.>");
    assert_eq!(late.payloads(1), ["shut"]);
    assert!(indifferent.read().is_empty());
    assert_eq!(service.hub.retained_values(), 2);
}

#[tokio::test]
async fn an_id_seen_before_is_suppressed_and_reported() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    subscriber.subscribe(1, "a");
    let report = |ids: &[&'static str]| Options { ids: ids.to_vec(), wants: Some(Wants::Queued), ..Options::default() };
    publisher.publish_with("a", &["1", "2", "3"], report(&["x", "y", "x"]));
    publisher.publish_with("a", &["4", "5"], report(&["y", "z"]));

    let got: Vec<_> = subscriber.read();
    let seqs = got.iter().map(|seen| if let Seen::Message { seq, .. } = seen { *seq } else { 0 });
    assert_eq!(seqs.collect::<Vec<_>>(), [1, 2, 5], "each keeps the sequence number it was published with");
    let results: Vec<_> = publisher
        .read()
        .into_iter()
        .map(|seen| if let Seen::Control(Control::PublishResult(result)) = seen { result } else { panic!("{seen:?}") })
        .map(|result| (result.first_seq, result.matched, result.delivered, result.duplicates))
        .collect();
    assert_eq!(results, [(1, 2, 2, 1), (4, 1, 1, 1)]);
    assert_eq!(service.metrics.duplicates.get(), 2);
}

#[tokio::test]
async fn a_message_past_its_time_is_dropped_in_the_queue() {
    let service = service();
    let (mut publisher, subscriber) = (service.client(1), service.client(2));
    subscriber.subscribe(1, "a");
    let ttl = Some(Duration::from_secs(1));
    publisher.publish_with("a", &["1", "2"], Options { ttl, ..Options::default() });
    publisher.publish("a", &["3"]);
    let seen = subscriber.read_at(Instant::now() + Duration::from_secs(2));
    assert!(seen.contains(&Seen::Control(Control::Lagged { subscription: 1, missed: 2 })), "{seen:?}");
    assert!(matches!(&seen[..], [Seen::Control(_), Seen::Message { seq: 3, .. }]), "the gap comes first: {seen:?}");
    assert_eq!(service.dropped(DropReason::Expired), 2);
}

#[tokio::test]
async fn many_subscribers_are_served_by_the_workers_in_order() {
    let service = service();
    let mut publisher = service.client(1);
    let subscribers: Vec<_> = (0..500).map(|i| service.client(100 + i)).collect();
    for subscriber in &subscribers {
        subscriber.subscribe(1, "wide");
    }
    for i in 0..200 {
        publisher.publish("wide", &[&i.to_string()]);
    }
    // An acknowledged run must wait for those before it.
    let acked = Options { wants: Some(Wants::Confirmed), ..Options::default() };
    publisher.publish_with("wide", &["last"], acked);
    let woken = publisher.publisher.woken();
    while publisher.publisher.is_parked() {
        woken.notified().await;
        publisher.publisher.advance(Instant::now());
    }
    let expected: Vec<String> = (0..200).map(|i| i.to_string()).chain(["last".to_owned()]).collect();
    for subscriber in &subscribers {
        assert_eq!(subscriber.payloads(1), expected);
    }
}
