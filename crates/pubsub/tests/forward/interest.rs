//! What nodes are told of each other's subscriptions, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sinew_pubsub::PubSubConfig;
use sinew_wire::Policy;

use crate::{pattern, rt, support};

const TOPICS: [&str; 4] = ["a", "a.b", "b", "b.c"];

proptest! {
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
