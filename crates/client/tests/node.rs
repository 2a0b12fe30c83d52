//! The SDK with a real node in the same process.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use sinew_client::{
    Client, ConnectionEvent, Event, FlushError, Policy, PublishError, Reconnect, RefusedRun, RunEvent, Subscription,
};
use sinew_node::{Config, Mesh, Node};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

fn config(dir: &Path) -> Config {
    let socket = format!("unix://{}", dir.join("node.sock").display());
    let mut config = Config {
        listen: Some(vec![socket.parse().expect("is an address")]),
        data_dir: Some(dir.to_owned()),
        admin: None,
        // It stays alone: the nodes of other tests are none of its business.
        mesh: Mesh { listen: Some(Vec::new()), ..Mesh::default() },
        ..Config::default()
    };
    config.drain_timeout = Duration::from_secs(2);
    config
}

async fn node(change: impl FnOnce(&mut Config)) -> (TempDir, Node) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let mut config = config(dir.path());
    change(&mut config);
    let node = Node::start(config).await.expect("starts");
    (dir, node)
}

async fn connect(node: &Node) -> Client {
    let reconnect =
        Reconnect { min_delay: Duration::from_millis(5), max_delay: Duration::from_millis(50), max_attempts: None };
    let server = node.client_addresses()[0].to_string();
    Client::builder().server(server).reconnect(reconnect).connect().await.expect("connects")
}

/// Takes messages until `count` of them were received or missed. Gives the numbers in the payloads, and what was missed.
async fn take(subscription: &mut Subscription, count: u64) -> (Vec<u64>, u64) {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.len() as u64 + missed < count {
        match soon("a message", subscription.next_run()).await.expect("goes on") {
            RunEvent::Run(run) => {
                numbers.extend(run.iter().map(|message| {
                    let (number, _) = message.payload().split_first_chunk().expect("is a number");
                    u64::from_le_bytes(*number)
                }));
            }
            RunEvent::Lagged(some) => missed += some,
            other => panic!("unexpected {other:?}"),
        }
    }
    (numbers, missed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_every_publisher_comes_once_and_in_order() {
    const EACH: u64 = 20_000;
    let (_dir, node) = node(|_| {}).await;
    let client = connect(&node).await;
    let blocking = client.subscription("load.*").policy(Policy::Block);
    let mut subscription = blocking.subscribe().await.expect("is subscribed");
    let publishers: Vec<_> = join_all((0..4).map(|_| connect(&node))).await;
    let publishing: Vec<_> = publishers
        .into_iter()
        .enumerate()
        .map(|(number, publisher)| {
            tokio::spawn(async move {
                for n in 0..EACH {
                    // Two topics in turn: runs of one message, and runs of many.
                    let topic = if n % 1_000 < 500 { n % 2 } else { 0 };
                    publisher.publish(format!("load.{number}-{topic}"), n.to_le_bytes()).await.expect("is published");
                }
                publisher.close().await.expect("is flushed");
            })
        })
        .collect();

    let mut seen: HashMap<_, Vec<u64>> = HashMap::new();
    let mut last: HashMap<_, u64> = HashMap::new();
    for _ in 0..4 * EACH {
        match soon("a message", subscription.next()).await {
            Some(Event::Message(message)) => {
                let number = u64::from_le_bytes(message.payload().as_ref().try_into().expect("is a number"));
                let publisher = (message.publisher(), message.instance());
                let before = last.insert((publisher, message.topic().to_owned()), message.seq());
                assert!(before.is_none_or(|before| before < message.seq()), "of one topic in order");
                seen.entry(publisher).or_default().push(number);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    for publishing in publishing {
        publishing.await.expect("no panic");
    }
    assert_eq!(seen.len(), 4);
    for mut numbers in seen.into_values() {
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..EACH));
    }
}

#[tokio::test]
async fn who_does_not_read_learns_exactly_what_it_missed() {
    const COUNT: u64 = 20_000;
    let (_dir, node) = node(|config| config.limits.max_queue_messages = 1_000).await;
    let (slow, fast, publisher) = (connect(&node).await, connect(&node).await, connect(&node).await);
    let mut slow = slow.subscription("a").window(16 << 10).subscribe().await.expect("is subscribed");
    let mut fast = fast.subscription("a").policy(Policy::Block).subscribe().await.expect("is subscribed");
    let publishing = tokio::spawn(async move {
        let publisher = publisher.publisher("a").expect("is a topic");
        for n in 0..COUNT {
            publisher.publish(n.to_le_bytes()).await.expect("is published");
        }
        publisher.publish_acked(COUNT.to_le_bytes(), DEADLINE).await
    });
    let (numbers, missed) = take(&mut fast, COUNT + 1).await;
    assert!(missed == 0 && numbers.into_iter().eq(0..=COUNT), "the fast one is not disturbed");
    let (numbers, missed) = take(&mut slow, COUNT + 1).await;
    assert!(missed > 0 && numbers.is_sorted(), "missed {missed}");
    assert_eq!(numbers.last(), Some(&COUNT), "the oldest are dropped");
    let report = publishing.await.expect("no panic").expect("has a result");
    assert_eq!((report.matched, report.delivered), (2, 2));
}

#[tokio::test]
async fn acknowledged_messages_flow_through_a_window_smaller_than_they_are() {
    // The node grants less than the subscription asks for, and keeps less than is published at once.
    let limits = |config: &mut Config| {
        config.limits.deliver_window = 64 << 10;
        config.limits.max_queue_messages = 10;
    };
    let (_dir, node) = node(limits).await;
    let (subscriber, client) = (connect(&node).await, connect(&node).await);
    let mut subscription = subscriber.subscribe("a").await.expect("is subscribed");
    let publisher = client.publisher("a").expect("is a topic");
    let acked = join_all((0..500_u64).map(|n| {
        let mut payload = vec![0; 1_000];
        payload[..8].copy_from_slice(&n.to_le_bytes());
        publisher.publish_acked(payload, DEADLINE)
    }));
    let (reports, (mut numbers, missed)) = tokio::join!(acked, take(&mut subscription, 500));
    // They were begun side by side: any order is theirs.
    numbers.sort_unstable();
    assert!(missed == 0 && numbers.into_iter().eq(0..500));
    for report in reports {
        let report = report.expect("has a result");
        assert_eq!((report.matched, report.delivered), (1, 1));
    }
}

#[tokio::test]
async fn matching_is_a_number() {
    let (_dir, node) = node(|_| {}).await;
    let client = connect(&node).await;
    let nobody = client.message("a.b").payload("x").report().await.expect("has a result");
    assert_eq!((nobody.matched, nobody.delivered), (0, 0));
    let refused = client.message("a.b").require_subscribers().publish().await;
    assert_eq!(refused, Err(PublishError::Refused(RefusedRun::NoSubscribers)));
    let _one = client.subscribe("a.*").await.expect("is subscribed");
    let _two = client.subscribe("a.>").await.expect("is subscribed");
    let _other = client.subscribe("b.>").await.expect("is subscribed");
    let both = client.message("a.b").require_subscribers().report().await.expect("has a result");
    assert_eq!(both.matched, 2);
    let again = client.message("a.b").id("once").report().await.expect("has a result");
    assert_eq!((again.matched, again.duplicates), (2, 0));
    let again = client.message("a.b").id("once").report().await.expect("has a result");
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn a_queue_group_and_last_values() {
    let (_dir, node) = node(|_| {}).await;
    let client = connect(&node).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let member = client.subscription("jobs").queue_group("workers").subscribe().await;
        members.push(member.expect("is subscribed"));
    }
    let jobs: Vec<_> = (0..300_u64).map(u64::to_le_bytes).collect();
    let publisher = client.publisher("jobs").expect("is a topic");
    let report = publisher.publish_batch_acked(&jobs, DEADLINE);
    let taking = join_all(members.iter_mut().map(|member| async {
        let mut numbers = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), member.next_run()).await {
            let RunEvent::Run(run) = event else { panic!("unexpected {event:?}") };
            numbers.extend(run.iter().map(|message| message.payload()[0] as u64 + 256 * message.payload()[1] as u64));
        }
        numbers
    }));
    let (report, taken) = tokio::join!(report, taking);
    let report = report.expect("has a result");
    assert_eq!((report.matched, report.delivered), (300, 300));
    let mut all: Vec<_> = taken.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..300), "each went to one of them");

    let value = client.message("state.door").payload("open").retain().publish();
    value.await.expect("is published");
    client.flush().await.expect("is processed");
    let mut late = client.subscription("state.*").last_values().subscribe().await.expect("is subscribed");
    match soon("the last value", late.next()).await {
        Some(Event::Message(message)) => assert!(message.is_retained() && message.payload() == "open"),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_their_subscriptions_come_back_with_the_node() {
    const CLIENTS: usize = 100;
    let (dir, first) = node(|_| {}).await;
    let publisher = connect(&first).await;
    let clients: Vec<_> = join_all((0..CLIENTS).map(|_| connect(&first))).await;
    let mut subscriptions = Vec::new();
    for client in &clients {
        subscriptions.push(client.subscribe("news.*").await.expect("is subscribed"));
    }
    let mut watching: Vec<_> = clients.iter().map(Client::events).collect();
    publisher.publish("news.one", 1_u64.to_le_bytes()).await.expect("is published");
    publisher.flush().await.expect("is processed");
    first.shutdown().await;

    let waiting = tokio::spawn(async move {
        publisher.publish("news.nobody", 2_u64.to_le_bytes()).await.expect("waits for the node");
        // At most that message was lost; more likely none.
        match publisher.flush().await {
            Ok(()) | Err(FlushError::Disconnected { unconfirmed: 0..=1 }) => publisher,
            other => panic!("unexpected {other:?}"),
        }
    });
    let second = Node::start(config(dir.path())).await.expect("starts again");
    soon("the clients", async {
        for events in &mut watching {
            while !matches!(events.next().await, Some(ConnectionEvent::Resubscribed { subscriptions: 1 })) {}
        }
    })
    .await;
    let publisher = soon("the publisher", waiting).await.expect("no panic");
    let report = publisher.message("news.two").payload(3_u64.to_le_bytes()).report().await.expect("has a result");
    assert_eq!(report.matched, CLIENTS as u64);
    for subscription in &mut subscriptions {
        let mut seen = Vec::new();
        while seen.last() != Some(&3) {
            match soon("an event", subscription.next()).await {
                Some(Event::Message(message)) => seen.push(u64::from(message.payload()[0])),
                Some(Event::Resumed) => seen.push(0),
                other => panic!("unexpected {other:?}"),
            }
        }
        seen.retain(|number| *number != 2);
        assert_eq!(seen, [1, 0, 3]);
    }
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_talks_to_the_node_that_it_embeds_through_memory() {
    const COUNT: u64 = 50_000;
    let embedded = || Config {
        listen: Some(vec!["memory://of-this-test".parse().expect("is an address")]),
        data_dir: None,
        ..config(Path::new("/unused"))
    };
    let first = Node::start(embedded()).await.expect("starts");
    let (publisher, client) = (connect(&first).await, connect(&first).await);
    assert_eq!(publisher.connection().expect("is connected").node, first.peer_id());
    let mut subscription = client.subscription("load").policy(Policy::Block).subscribe().await.expect("is subscribed");
    let publishing = tokio::spawn(async move {
        for n in 0..COUNT {
            publisher.publish("load", n.to_le_bytes()).await.expect("is published");
        }
        let acked = publisher.message("load").payload(COUNT.to_le_bytes()).acked(DEADLINE).await;
        (publisher, acked.expect("has a result"))
    });
    let (numbers, missed) = take(&mut subscription, COUNT + 1).await;
    assert!(missed == 0 && numbers.into_iter().eq(0..=COUNT), "missed {missed}");
    // What was taken is confirmed when the next is asked for.
    let (publisher, report) = tokio::select! {
        event = subscription.next() => panic!("unexpected {event:?}"),
        published = soon("the result", publishing) => published.expect("no panic"),
    };
    assert!(report.is_complete() && report.matched == 1, "{report:?}");

    let mut events = client.events();
    first.shutdown().await;
    let second = Node::start(embedded()).await.expect("the name is free again");
    soon("the client", async {
        while !matches!(events.next().await, Some(ConnectionEvent::Resubscribed { subscriptions: 1 })) {}
    })
    .await;
    assert!(matches!(soon("an event", subscription.next()).await, Some(Event::Resumed)));
    publisher.publish("load", "again").await.expect("is published");
    let again = soon("a message", subscription.next()).await;
    assert!(matches!(&again, Some(Event::Message(message)) if message.payload() == "again"), "{again:?}");
    second.shutdown().await;
}

#[tokio::test]
async fn no_more_results_are_awaited_than_the_node_allows() {
    let (_dir, node) = node(|config| config.limits.max_open_acks = 3).await;
    let (client, listener) = (connect(&node).await, connect(&node).await);
    let mut subscription = listener.subscription("a").policy(Policy::Block).subscribe().await.expect("is subscribed");
    let publisher = client.publisher("a").expect("is a topic");
    let publishing = join_all((0..200_u64).map(|n| publisher.publish_acked(n.to_le_bytes(), DEADLINE)));
    let results = tokio::select! {
        results = soon("the results", publishing) => results,
        () = async { while subscription.next().await.is_some() {} } => panic!("the subscription has ended"),
    };
    for result in results {
        assert!(result.as_ref().is_ok_and(|report| report.is_complete() && report.matched == 1), "{result:?}");
    }
}

#[tokio::test]
async fn compressed_runs_arrive() {
    let (_dir, node) = node(|_| {}).await;
    let server = node.client_addresses()[0].to_string();
    let client = Client::builder().server(server).compression(true).connect().await.expect("connects");
    let mut subscription = client.subscribe("a").await.expect("is subscribed");
    let payload = b"the same again and again ".repeat(400);
    for _ in 0..3 {
        client.publish("a", &payload).await.expect("is published");
    }
    for _ in 0..3 {
        match soon("a message", subscription.next()).await {
            Some(Event::Message(message)) => assert_eq!(message.payload(), payload.as_slice()),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn many_acknowledged_messages_that_nobody_hears_leave_nothing_open() {
    let (_dir, node) = node(|config| config.limits.max_open_acks = 100).await;
    let client = connect(&node).await;
    let publisher = client.publisher("nobody.there").expect("is a topic");
    for _ in 0..300 {
        let report = publisher.publish_acked("x", DEADLINE).await.expect("has a result");
        assert_eq!(report.matched, 0);
    }
}
