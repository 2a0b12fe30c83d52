//! The counts of a frame against a model that keeps every event.
#![expect(clippy::disallowed_methods, reason = "a moment to count from")]

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sinew_live::frame::{MAX_ROWS, OTHER, Row, Window};
use sinew_live::{Aggregate, Local, MAX_KEYS};
use sinew_wire::PeerId;
use sinew_wire::call::Status;
use sinew_wire::live::{Batch, Event, Kind, Outcome};

fn peer(n: usize) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(n as u64).to_le_bytes());
    PeerId::from_public_key(key)
}

#[derive(Debug, Clone)]
struct Happened {
    /// Milliseconds after the event before.
    wait_ms: u64,
    node: usize,
    name: usize,
    kind: Kind,
    provider: Option<usize>,
    messages: u32,
    outcome: Outcome,
    latency_us: Option<u32>,
}

fn happened(names: usize) -> impl Strategy<Value = Happened> {
    let wait = prop_oneof![9 => 0_u64..400, 1 => 0_u64..20_000];
    let outcome = prop_oneof![
        6 => Just(Outcome::Ok),
        1 => Just(Outcome::Unheard),
        1 => Just(Outcome::Dropped),
        1 => Just(Outcome::Failed(Status::TimedOut)),
    ];
    let kind = prop_oneof![Just(Kind::Publish), Just(Kind::Call)];
    let latency = prop::option::of(1_u32..100_000);
    (wait, 0_usize..3, 0..names, kind, prop::option::of(0_usize..3), any::<u16>(), outcome, latency).prop_map(
        |(wait_ms, node, name, kind, provider, messages, outcome, latency_us)| {
            let messages = messages.into();
            Happened { wait_ms, node, name, kind, provider, messages, outcome, latency_us }
        },
    )
}

fn region(node: usize) -> String {
    ["eu", "us", ""][node].to_owned()
}

fn take(aggregate: &mut Aggregate, seq: u64, event: &Happened, now: Instant) {
    let Happened { node, name, kind, provider, messages, outcome, latency_us, .. } = *event;
    let place = provider.map(|_| 0);
    let events = vec![Event { seq, at_ms: 0, kind, name: 0, provider: place, messages, nodes: 0, outcome, latency_us }];
    let (names, peers) = (vec![format!("n{name}")], provider.map(peer).into_iter().collect());
    let batch = Batch { epoch: 1, region: region(node), emitted: seq + 1, dropped: 0, names, peers, events };
    aggregate.take(peer(node), &batch, now);
}

/// Events, messages and failures of what has this key.
fn model(events: &[&Happened], key: impl Fn(&Happened) -> Option<String>) -> BTreeMap<String, (u64, u64, u64)> {
    let mut rows = BTreeMap::new();
    for event in events {
        if let Some(key) = key(event) {
            let row: &mut (u64, u64, u64) = rows.entry(key).or_default();
            row.0 += 1;
            row.1 += u64::from(event.messages);
            row.2 += u64::from(!event.outcome.is_ok());
        }
    }
    rows
}

fn check_rows(shown: &[Row], model: BTreeMap<String, (u64, u64, u64)>) -> Result<(), TestCaseError> {
    let mut rows: Vec<_> = model.into_iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.0));
    let (kept, others) = shown.split_at(shown.iter().position(|row| row.key == OTHER).unwrap_or(shown.len()));
    prop_assert_eq!(kept.len(), rows.len().min(MAX_ROWS));
    prop_assert!(others.len() <= 1);
    prop_assert!(kept.is_sorted_by(|a, b| a.events >= b.events));
    let least = rows.get(MAX_ROWS - 1).map_or(0, |(_, row)| row.0);
    for row in kept {
        let place = rows.iter().position(|(key, _)| *key == row.key).expect("a key that there is");
        prop_assert_eq!((row.events, row.messages, row.failed), rows.remove(place).1);
        prop_assert!(row.events >= least);
    }
    let rest = rows.iter().fold((0, 0, 0), |sum, (_, row)| (sum.0 + row.0, sum.1 + row.1, sum.2 + row.2));
    prop_assert_eq!(others.first().map_or((0, 0, 0), |row| (row.events, row.messages, row.failed)), rest);
    Ok(())
}

fn check_window(window: &Window, events: &[&Happened], covered: u64) -> Result<(), TestCaseError> {
    let count = |test: &dyn Fn(&Happened) -> bool| events.iter().filter(|event| test(event)).count() as u64;
    let failed = count(&|event| !event.outcome.is_ok());
    prop_assert_eq!(u64::from(window.secs), covered);
    prop_assert_eq!(window.events, events.len() as u64);
    prop_assert_eq!(window.messages, events.iter().map(|event| u64::from(event.messages)).sum::<u64>());
    prop_assert_eq!(window.calls, count(&|event| event.kind == Kind::Call));
    prop_assert_eq!(window.publishes, count(&|event| event.kind == Kind::Publish));
    prop_assert_eq!(window.failed, failed);
    prop_assert_eq!(window.success.is_some(), !events.is_empty());
    let mut latencies: Vec<_> = events.iter().filter_map(|event| event.latency_us).collect();
    latencies.sort_unstable();
    prop_assert_eq!(window.max_us, latencies.last().copied());
    prop_assert_eq!(window.p50_us.is_some(), !latencies.is_empty());
    if let Some(p50) = window.p50_us {
        // So few that a bucket holds a value or two: the one of that rank, but for the width of its bucket.
        let exact = f64::from(latencies[(latencies.len() - 1) / 2]);
        prop_assert!((f64::from(p50) - exact).abs() <= exact * 0.001 + 1.0, "{} for {}", p50, exact);
    }
    check_rows(&window.by_region, model(events, |event| Some(region(event.node))))?;
    check_rows(&window.by_node, model(events, |event| Some(peer(event.node).to_string())))?;
    let name = |kind| move |event: &Happened| (event.kind == kind).then(|| format!("n{}", event.name));
    check_rows(&window.by_topic, model(events, name(Kind::Publish)))?;
    check_rows(&window.by_procedure, model(events, name(Kind::Call)))?;
    check_rows(&window.by_provider, model(events, |event| Some(peer(event.provider?).to_string())))
}

/// Takes the events in their time, and looks at the frame after each `every` of them.
fn run(events: &[Happened], every: usize) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(9), "default", start);
    let mut now_ms = 0;
    let mut at: Vec<(u64, &Happened)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        now_ms += event.wait_ms;
        let now = start + Duration::from_millis(now_ms);
        take(&mut aggregate, place as u64, event, now);
        at.push((now_ms / 1000, event));
        if place % every != 0 {
            continue;
        }
        let frame = aggregate.frame(&Local::default(), now, 0);
        let second = now_ms / 1000;
        for (window, secs) in [(&frame.windows.one, 1), (&frame.windows.ten, 10), (&frame.windows.sixty, 60)] {
            let inside = |at: u64| at < second && at + secs >= second;
            let inside: Vec<_> = at.iter().filter(|(at, _)| inside(*at)).map(|(_, event)| *event).collect();
            check_window(window, &inside, secs.min(second))?;
        }
        let messages: u64 = at.iter().map(|(_, event)| u64::from(event.messages)).sum();
        prop_assert_eq!((frame.intake.events, frame.intake.messages), (at.len() as u64, messages));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn as_if_every_event_were_kept(events in prop::collection::vec(happened(60), 1..600)) {
        run(&events, 7)?;
    }
}

/// Percentiles of rows, and of what is beside the rows shown.
#[test]
fn rows_have_percentiles_of_their_own() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(9), "default", start);
    // 30 topics; topic n has 100 + n events with latencies of n + 1 milliseconds, 1 % up and down.
    for n in 0..30_u32 {
        for k in 0..100 + n {
            let latency = 1000 * (n + 1) + 10 * (n + 1) * (k % 3) - 10 * (n + 1);
            let event = Happened {
                wait_ms: 0,
                node: 0,
                name: n as usize,
                kind: Kind::Publish,
                provider: None,
                messages: 1,
                outcome: Outcome::Ok,
                latency_us: Some(latency),
            };
            take(&mut aggregate, u64::from(n) << 32 | u64::from(k), &event, start);
        }
    }
    let frame = aggregate.frame(&Local::default(), start + Duration::from_secs(1), 0);
    for window in [&frame.windows.one, &frame.windows.ten, &frame.windows.sixty] {
        assert_eq!(window.by_topic.len(), MAX_ROWS + 1);
        for (row, n) in window.by_topic.iter().zip((10..30_u32).rev()) {
            assert_eq!((row.key.clone(), row.events), (format!("n{n}"), u64::from(100 + n)));
            let (exact, p50) = (1000 * (n + 1), row.p50_us.expect("latencies"));
            assert!(p50.abs_diff(exact) <= exact / 100, "{p50} for {exact}");
        }
        let others = &window.by_topic[MAX_ROWS];
        assert_eq!((&*others.key, others.events), (OTHER, (0..10).map(|n| 100 + n).sum()));
        let p99 = others.p99_us.expect("latencies");
        assert!((9_800..=10_200).contains(&p99), "the slowest of those not shown take 10 ms: {p99}");
    }
    // A minute later nothing is left of them.
    let frame = aggregate.frame(&Local::default(), start + Duration::from_secs(62), 0);
    assert_eq!((frame.windows.sixty.events, frame.windows.sixty.by_topic.len()), (0, 0));
    assert_eq!(frame.windows.sixty.p99_us, None);
}

#[test]
fn keys_beyond_the_bound_are_others_until_there_is_room() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(9), "default", start);
    let event = |name| Happened {
        wait_ms: 0,
        node: 0,
        name,
        kind: Kind::Publish,
        provider: None,
        messages: 1,
        outcome: Outcome::Ok,
        latency_us: Some(100),
    };
    let late = MAX_KEYS + 5;
    let mut seq = 0;
    let mut publish = |aggregate: &mut Aggregate, name, times, now| {
        for _ in 0..times {
            take(aggregate, seq, &event(name), now);
            seq += 1;
        }
    };
    (0..MAX_KEYS).for_each(|name| publish(&mut aggregate, name, 1, start));
    publish(&mut aggregate, late, 50, start);
    let frame = aggregate.frame(&Local::default(), start + Duration::from_secs(1), 0);
    let rows = &frame.windows.one.by_topic;
    assert!(rows.iter().all(|row| row.key != format!("n{late}")));
    assert_eq!(rows.last().map(|row| (&*row.key, row.events)), Some((OTHER, (MAX_KEYS + 50 - MAX_ROWS) as u64)));

    let later = start + Duration::from_secs(63);
    publish(&mut aggregate, late, 50, later);
    let frame = aggregate.frame(&Local::default(), later + Duration::from_secs(1), 0);
    let keys: HashSet<_> = frame.windows.one.by_topic.iter().map(|row| row.key.clone()).collect();
    assert_eq!(keys, HashSet::from([format!("n{late}")]));
}
