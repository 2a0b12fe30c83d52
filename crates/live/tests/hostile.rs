//! Nodes of the realm that send whatever the decoder lets through, and callers that did not ask it.
#![expect(clippy::disallowed_methods, reason = "a moment to count from")]

use std::time::{Duration, Instant};

use sinew_live::frame::{MAX_ROWS, MAX_SAMPLE, Window};
use sinew_live::{Aggregate, Local, MAX_NODES, MAX_RANGES};
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, DELIVER_BUCKETS, Event, Kind, LinkState, MAX_EVENTS, Outcome, State, Totals};

fn peer(n: usize) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(n as u64).to_le_bytes());
    PeerId::from_public_key(key)
}

fn event(seq: u64, name: u16) -> Event {
    Event {
        seq,
        at_ms: u64::MAX,
        kind: if name.is_multiple_of(2) { Kind::Publish } else { Kind::Call },
        name,
        provider: Some(name),
        messages: u32::MAX,
        nodes: u16::MAX,
        outcome: Outcome::Dropped,
        latency_us: Some(u32::MAX - u32::from(name).wrapping_mul(1_000_003)),
    }
}

/// A full batch: each event has a name and a provider of its own and a gap behind it.
fn flood(round: u64, epoch: u64) -> Batch {
    let names = (0..MAX_EVENTS).map(|n| format!("{round}.{n}.{}", "x".repeat(16))).collect();
    let peers = (0..MAX_EVENTS).map(|n| peer(n + (round as usize) * MAX_EVENTS)).collect();
    let first = round * 2 * MAX_EVENTS as u64;
    let events = (0..MAX_EVENTS as u16).map(|n| event(first + 2 * u64::from(n), n)).collect();
    Batch { epoch, region: format!("r{round}"), emitted: u64::MAX, dropped: u64::MAX, names, peers, events }
}

fn check(window: &Window) {
    for rows in [&window.by_region, &window.by_node, &window.by_topic, &window.by_procedure, &window.by_provider] {
        assert!(rows.len() <= MAX_ROWS + 1);
    }
}

#[test]
fn floods_grow_nothing_beyond_its_bounds() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(0), "default", start);
    for round in 0..400_u64 {
        let now = start + Duration::from_millis(50 * round);
        aggregate.take(peer((round % 5000) as usize), &flood(round, round % 3), now);
        let load = aggregate.load();
        assert!(load.ranges <= 2 * (MAX_RANGES + MAX_EVENTS + 1), "{load:?}");
        assert!(load.marks <= 5 * (3 << 20), "{load:?}");
    }
    let frame = aggregate.frame(&Local::default(), start + Duration::from_secs(21), u64::MAX);
    assert_eq!(frame.intake.events, 400 * MAX_EVENTS as u64);
    assert_eq!(frame.intake.messages, 400 * MAX_EVENTS as u64 * u64::from(u32::MAX));
    assert_eq!(frame.intake.dropped, u64::MAX, "what they claim adds up to more than can be counted");
    assert!(aggregate.load().forgotten_early > 0);
    [&frame.windows.one, &frame.windows.ten, &frame.windows.sixty].into_iter().for_each(check);
    assert_eq!(frame.windows.sixty.events, frame.intake.events);
    assert_eq!(frame.sample.len(), MAX_SAMPLE);
    let json = serde_json::to_vec(&frame).expect("a frame is JSON");
    assert!(json.len() < 256 << 10, "{} bytes", json.len());
}

#[test]
fn the_end_of_the_numbers_and_indices_that_point_nowhere() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(0), "default", start);
    let events = vec![event(u64::MAX, 9), event(u64::MAX, 9), event(0, u16::MAX), event(u64::MAX - 1, 0)];
    let (names, peers) = (Vec::new(), Vec::new());
    let batch = Batch { epoch: u64::MAX, region: String::new(), emitted: 0, dropped: u64::MAX, names, peers, events };
    assert!(Batch::decode(&sinew_wire::codec::encode(&batch)).is_err());
    aggregate.take(peer(1), &batch, start);
    let intake = aggregate.intake();
    assert_eq!((intake.events, intake.duplicates, intake.dropped), (3, 1, 0));
    // Time that stands still, jumps, and runs back.
    for secs in [0, 5, 3, 1_000_000, 0] {
        aggregate.take(peer(1), &flood(1, 1), start + Duration::from_secs(secs));
        aggregate.frame(&Local::default(), start + Duration::from_secs(secs), 0);
    }
}

#[test]
fn nodes_are_bounded_and_lost_ones_make_room() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(0), "default", start);
    let state = |uptime_ms| State { epoch: 1, uptime_ms, emitted: 1, ..State::default() };
    for n in 0..MAX_NODES + 10 {
        aggregate.state(peer(n), state(1), start);
        aggregate.take(peer(n), &Batch { emitted: 2, ..one_event() }, start);
    }
    let intake = aggregate.intake();
    assert_eq!((intake.events, intake.dropped), (MAX_NODES as u64, 10), "events of too many nodes count as lost");
    assert_eq!(aggregate.load().states_refused, 10);
    assert_eq!(aggregate.frame(&Local::default(), start, 0).nodes.len(), MAX_NODES);
    let later = start + Duration::from_secs(10);
    aggregate.state(peer(MAX_NODES + 1), state(1), later);
    let frame = aggregate.frame(&Local::default(), later, 0);
    assert_eq!(frame.nodes.len(), MAX_NODES);
    assert!(frame.nodes.iter().any(|node| node.node == peer(MAX_NODES + 1).to_string()));
    // Nodes that have been silent for long are no longer kept count of.
    let much_later = start + Duration::from_secs(301);
    aggregate.take(peer(MAX_NODES + 5), &one_event(), much_later);
    assert_eq!(aggregate.intake().events, MAX_NODES as u64 + 1);
}

fn one_event() -> Batch {
    let events = vec![event(1, 0)];
    Batch {
        epoch: 1,
        region: String::new(),
        emitted: 2,
        dropped: 0,
        names: vec!["a".to_owned()],
        peers: vec![peer(0)],
        events,
    }
}

#[test]
fn counters_that_jump_and_run_back() {
    let start = Instant::now();
    let mut aggregate = Aggregate::new(peer(0), "default", start);
    for (uptime_ms, n) in [(0, 0), (1, u64::MAX), (2, 0), (u64::MAX, u64::MAX)] {
        let totals =
            Totals { published: n, delivered: n, forwarded: n, dropped: n, calls: n, bytes_in: n, bytes_out: n };
        let link = LinkState { to: peer(1), path: String::new(), rtt_us: Some(u32::MAX), sent: n, received: n };
        let state = State {
            uptime_ms,
            emitted: n,
            totals,
            deliver: vec![n; DELIVER_BUCKETS],
            dropped: vec![("x".to_owned(), n); 3],
            links: vec![link; 2],
            ..State::default()
        };
        aggregate.state(peer(1), state, start + Duration::from_millis(uptime_ms % 1000));
        let frame = aggregate.frame(&Local::default(), start + Duration::from_secs(1), 0);
        assert!(frame.nodes[0].rates.published.is_finite() && frame.nodes[0].links[0].sent.is_finite());
        let json = serde_json::to_string(&frame).expect("a frame is JSON");
        assert!(!json.contains("NaN"));
    }
}
