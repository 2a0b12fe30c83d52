//! What is published and what others hold of it, against a plain map: whatever is lost, repeated or overtaken.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::published::Published;
use crate::record::check_changes;
use crate::replica::{Asked, Replica};
use crate::state::Change;
use crate::wire::Page;
use crate::{Interest, Key, MembershipConfig, ServiceSummary, Value};

/// What happens, in turn.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, Option<u8>),
    /// The newest changes as a record would carry them, with so much room, now or later.
    Inline(usize, bool),
    Ask,
    /// An answer under way arrives.
    Answer(usize),
    /// A record under way arrives.
    Hear(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..24u8, proptest::option::weighted(0.6, 0..4u8)).prop_map(|(key, value)| Step::Set(key, value)),
        2 => (prop_oneof![Just(0_usize), Just(100), Just(400), Just(4_000)], any::<bool>())
            .prop_map(|(room, now)| Step::Inline(room, now)),
        2 => Just(Step::Ask),
        2 => (0..4_usize).prop_map(Step::Answer),
        1 => (0..4_usize).prop_map(Step::Hear),
    ];
    proptest::collection::vec(step, 1..120)
}

fn key(number: u8) -> Key {
    if number < 16 { Key::Interest(format!("a.{number}.>")) } else { Key::Service(format!("service-{number}")) }
}

fn value(key: &Key, number: u8) -> Value {
    let number = u32::from(number);
    match key {
        Key::Interest(_) => {
            let groups = (0..number).map(|group| (format!("group-{group}"), number)).collect();
            Value::Interest(Interest { direct: number + 1, blocking: number / 2, groups })
        }
        Key::Service(_) => Value::Service(ServiceSummary { instances: number }),
    }
}

/// The map that both sides have to agree with, and what it was at each version.
#[derive(Default)]
struct Model {
    now: BTreeMap<Key, Value>,
    at: BTreeMap<u64, BTreeMap<Key, Value>>,
}

fn page(origin: &Published, asked: Asked) -> Page {
    origin.page(1, asked.after, asked.since)
}

fn held(replica: &Replica) -> BTreeMap<Key, Value> {
    replica.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_replica_ends_as_the_origin(steps in steps(), max_tombstones in prop_oneof![Just(0_usize), Just(3), Just(1_000)]) {
        let config = MembershipConfig { max_tombstones, ..MembershipConfig::new("model") };
        let (mut origin, mut replica, mut model) = (Published::default(), Replica::default(), Model::default());
        model.at.insert(0, BTreeMap::new());
        // As events tell it, to somebody who sees nothing else.
        let mut view: BTreeMap<Key, Value> = BTreeMap::new();
        let mut told = Vec::new();
        let mut answers: Vec<(Asked, Page)> = Vec::new();
        let mut records: Vec<(u64, u64, Vec<Change>)> = Vec::new();
        for step in steps {
            let before = replica.version();
            match step {
                Step::Set(number, set) => {
                    let key = key(number);
                    let set = set.map(|number| value(&key, number));
                    let version = origin.set(key.clone(), set.clone(), &config).expect("far from every bound");
                    match set {
                        Some(value) => model.now.insert(key, value),
                        None => model.now.remove(&key),
                    };
                    prop_assert!(version <= origin.version());
                    model.at.insert(origin.version(), model.now.clone());
                }
                Step::Inline(room, now) => {
                    let (base, changes) = origin.latest(room);
                    prop_assert!(check_changes(&changes, base, origin.version()).is_ok());
                    if now {
                        replica.apply(base, origin.version(), &changes, &config, usize::MAX, &mut told).expect("room");
                    } else {
                        records.push((base, origin.version(), changes));
                    }
                }
                Step::Ask => answers.push((replica.next(), page(&origin, replica.next()))),
                Step::Answer(index) => {
                    if let Some((asked, page)) = answers.get(index).cloned() {
                        answers.remove(index);
                        let start = if page.reset { 0 } else { asked.after };
                        prop_assert!(check_changes(&page.changes, start, page.upto).is_ok());
                        replica.apply_page(asked, page, &config, usize::MAX, &mut told).expect("room");
                    }
                }
                Step::Hear(index) => {
                    if let Some((base, version, changes)) = records.get(index) {
                        replica.apply(*base, *version, changes, &config, usize::MAX, &mut told).expect("room");
                    }
                }
            }
            for (key, value) in told.drain(..) {
                match value {
                    Some(value) => view.insert(key, value),
                    None => view.remove(&key),
                };
            }
            prop_assert!(replica.version() >= before, "versions do not go back");
            prop_assert_eq!(&held(&replica), &view);
            prop_assert_eq!(&view, &model.at[&replica.version()], "at version {}", replica.version());
            prop_assert!(origin.tombstones() <= max_tombstones);
            prop_assert_eq!(origin.len(), model.now.len());
        }
        // Left alone, it asks until there is no more.
        for round in 0.. {
            prop_assert!(round < 10, "it does not end");
            let asked = replica.next();
            let page = page(&origin, asked);
            if !replica.apply_page(asked, page, &config, usize::MAX, &mut told).expect("room") {
                break;
            }
        }
        prop_assert_eq!(replica.version(), origin.version());
        prop_assert_eq!(held(&replica), model.now);
    }

    #[test]
    fn what_is_charged_is_given_back(steps in proptest::collection::vec((0..24u8, proptest::option::of(0..4u8)), 1..100)) {
        let config = MembershipConfig::new("model");
        let (mut origin, mut replica, mut told) = (Published::default(), Replica::default(), Vec::new());
        for (number, set) in steps {
            let key = key(number);
            let set = set.map(|number| value(&key, number));
            origin.set(key, set, &config).expect("far from every bound");
            let asked = replica.next();
            replica.apply_page(asked, page(&origin, asked), &config, usize::MAX, &mut told).expect("room");
        }
        for number in 0..24 {
            origin.set(key(number), None, &config).expect("removals always fit");
        }
        let asked = replica.next();
        replica.apply_page(asked, page(&origin, asked), &config, usize::MAX, &mut told).expect("room");
        prop_assert_eq!((replica.len(), replica.bytes(), origin.len()), (0, 0, 0));
    }
}

#[test]
fn a_large_state_comes_in_pages() {
    let config = MembershipConfig { max_tombstones: 10, ..MembershipConfig::new("model") };
    let (mut origin, mut replica, mut told) = (Published::default(), Replica::default(), Vec::new());
    let name = |number: usize| Key::Interest(format!("{}.{number}", "x".repeat(100)));
    let interest = || Some(Value::Interest(Interest { direct: 1, ..Interest::default() }));
    let pull = |replica: &mut Replica, origin: &Published, told: &mut Vec<_>| {
        let mut pages = 0;
        loop {
            let asked = replica.next();
            let page = page(origin, asked);
            let size = crate::wire::encode(&crate::wire::Response::Page(page.clone())).len();
            assert!(size <= crate::MAX_REQUEST, "a page of {size} bytes");
            pages += 1;
            assert!(pages < 100, "it does not end");
            if !replica.apply_page(asked, page, &config, usize::MAX, told).expect("room") {
                return pages;
            }
        }
    };
    for number in 0..20_000 {
        origin.set(name(number), interest(), &config).expect("room");
    }
    assert!(pull(&mut replica, &origin, &mut told) > 5);
    assert_eq!((replica.len(), told.len()), (20_000, 20_000));
    told.clear();
    // More removals than are remembered, of what a replica in the middle of it holds.
    for number in 0..5_000 {
        origin.set(name(number * 2), None, &config).expect("removals always fit");
    }
    assert!(pull(&mut replica, &origin, &mut told) > 3, "everything is told anew");
    assert_eq!((replica.len(), told.len()), (15_000, 5_000), "but only what changed is an event");
    assert!(told.iter().all(|(_, value)| value.is_none()));
}
