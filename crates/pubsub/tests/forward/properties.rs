//! Whatever publishers and links do.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sinew_observe::DropReason;
use sinew_pubsub::{ForwardConfig, PubSubConfig, Wants};

use crate::support::mesh::Mesh;
use crate::support::{Client, Options, Seen};
use crate::{pattern, results, rt, tally, wide_open};

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
}
