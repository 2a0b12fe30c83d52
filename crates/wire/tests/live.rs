//! Batches and states: their bytes, their bounds, and what is refused.

use proptest::prelude::*;
use sinew_wire::call::Status;
use sinew_wire::live::{
    Batch, DELIVER_BUCKETS, Event, Kind, LinkState, MAX_BATCH_BYTES, MAX_EVENTS, MAX_LIST, MAX_SLOW, MAX_STATE_BYTES,
    Outcome, Queue, Slow, State, Totals,
};
use sinew_wire::{DecodeError, MAX_NAME, MAX_TOPIC, PeerId, codec};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at_ms: 2,
        kind: Kind::Publish,
        name: 0,
        provider: None,
        messages: 3,
        nodes: 4,
        outcome: Outcome::Unheard,
        latency_us: None,
    }
}

fn batch() -> Batch {
    let call = Event {
        kind: Kind::Call,
        name: 1,
        provider: Some(0),
        outcome: Outcome::Failed(Status::TimedOut),
        latency_us: Some(5),
        ..event(8)
    };
    let names = vec!["a.b".to_owned(), "c".to_owned()];
    Batch {
        epoch: 6,
        region: "eu".to_owned(),
        emitted: 9,
        dropped: 7,
        names,
        peers: vec![peer(0xab)],
        events: vec![event(7), call],
    }
}

/// Checked by hand against the types: fixed integers, little endian; lengths of eight bytes.
#[test]
fn golden_batch() {
    let golden = [
        "0600000000000000 0200000000000000 6575 0900000000000000 0700000000000000",
        "0200000000000000 0300000000000000 612e62 0100000000000000 63",
        "0100000000000000",
        &"ab".repeat(32),
        "0200000000000000",
        "0700000000000000 0200000000000000 00 0000 00 03000000 0400 01 00",
        "0800000000000000 0200000000000000 01 0100 01 0000 03000000 0400 17 01 05000000",
    ];
    let bytes = batch().encode();
    assert_eq!(hex(&bytes), golden.concat().replace(' ', ""));
    assert_eq!(Batch::decode(&bytes), Ok(batch()));
}

fn state() -> State {
    let mut deliver = vec![0; DELIVER_BUCKETS];
    deliver[0] = 9;
    State {
        epoch: 1,
        uptime_ms: 2,
        region: "eu".to_owned(),
        leaving: false,
        ready: true,
        failing: vec!["disk".to_owned()],
        emitted: 3,
        clients: 4,
        subscriptions: 5,
        memory: 6,
        totals: Totals { published: 1, delivered: 2, forwarded: 3, dropped: 4, calls: 5, bytes_in: 6, bytes_out: 7 },
        deliver,
        dropped: vec![("expired".to_owned(), 8)],
        queues: vec![Queue { queue: "live".to_owned(), depth: 1, capacity: 2 }],
        slow: vec![Slow {
            client: 1,
            peer: peer(0xcd),
            name: "n".to_owned(),
            pattern: "a.>".to_owned(),
            queued: 2,
            capacity: 3,
            missed: 4,
        }],
        links: vec![LinkState { to: peer(0xef), path: "quic".to_owned(), rtt_us: Some(5), sent: 6, received: 7 }],
    }
}

#[test]
fn golden_state() {
    let golden = [
        "0100000000000000 0200000000000000 0200000000000000 6575 00 01",
        "0100000000000000 0400000000000000 6469736b",
        "0300000000000000 04000000 05000000 0600000000000000",
        "0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000",
        "0600000000000000 0700000000000000",
        "1100000000000000 0900000000000000",
        &"0000000000000000".repeat(16),
        "0100000000000000 0700000000000000 65787069726564 0800000000000000",
        "0100000000000000 0400000000000000 6c697665 0100000000000000 0200000000000000",
        "0100000000000000 0100000000000000",
        &"cd".repeat(32),
        "0100000000000000 6e 0300000000000000 612e3e 0200000000000000 0300000000000000 0400000000000000",
        "0100000000000000",
        &"ef".repeat(32),
        "0400000000000000 71756963 01 05000000 0600000000000000 0700000000000000",
    ];
    let bytes = state().encode();
    assert_eq!(hex(&bytes), golden.concat().replace(' ', ""));
    assert_eq!(State::decode(&bytes), Ok(state()));
}

#[test]
fn kinds_and_outcomes_have_their_numbers() {
    for (kind, number) in [(Kind::Publish, 0), (Kind::Call, 1)] {
        assert_eq!((u8::from(kind), Kind::try_from(number)), (number, Ok(kind)));
    }
    let outcomes = [(Outcome::Ok, 0), (Outcome::Unheard, 1), (Outcome::Dropped, 2)];
    let failed = Status::ALL.into_iter().filter(|status| *status != Status::Ok);
    let all: Vec<_> = outcomes.into_iter().chain(failed.map(|s| (Outcome::Failed(s), 16 + s as u8))).collect();
    for byte in 0..=u8::MAX {
        let known = all.iter().find(|(_, number)| *number == byte).map(|(outcome, _)| *outcome);
        assert_eq!(Outcome::try_from(byte).ok(), known, "{byte}");
        assert_eq!(Kind::try_from(byte).is_ok(), byte < 2);
    }
    for (outcome, number) in all {
        assert_eq!(u8::from(outcome), number);
        assert!(!outcome.as_str().contains('_'));
        assert_eq!(outcome.is_ok(), number < 2);
    }
    assert_eq!(Outcome::of_call(Status::Ok), Outcome::Ok);
    assert_eq!(Outcome::of_call(Status::Unknown), Outcome::Failed(Status::Unknown));
    let names = [Status::Application, Status::NoProvider, Status::TimedOut].map(|s| Outcome::Failed(s).as_str());
    assert_eq!(names, ["application", "no-provider", "timed-out"]);
}

#[test]
fn a_batch_is_as_long_as_its_maker_reckons() {
    let Batch { region, names, peers, .. } = &batch();
    let longest = Event { provider: Some(0), latency_us: Some(0), ..event(8) };
    let full = Batch { events: vec![longest; 2], ..batch() };
    let names: usize = names.iter().map(|name| Batch::name_bytes(name)).sum();
    let reckoned = Batch::empty_bytes(region) + names + PeerId::LEN * peers.len() + 2 * Batch::EVENT_BYTES;
    assert_eq!(full.encode().len(), reckoned);
}

#[test]
fn batches_that_are_refused() {
    let refused = |what: &str, change: &dyn Fn(&mut Batch)| {
        let mut changed = batch();
        change(&mut changed);
        assert!(Batch::decode(&codec::encode(&changed)).is_err(), "{what}");
    };
    refused("a name that there is not", &|batch| batch.events[0].name = 2);
    refused("a provider that there is not", &|batch| batch.events[0].provider = Some(1));
    refused("an event beyond those there were", &|batch| batch.events[0].seq = 9);
    refused("the last number there is", &|batch| (batch.emitted, batch.events[0].seq) = (u64::MAX, u64::MAX));
    refused("more dropped than there were", &|batch| batch.dropped = 10);
    refused("too many events", &|batch| batch.events = vec![event(0); MAX_EVENTS + 1]);
    refused("too many names", &|batch| batch.names = vec!["a".to_owned(); MAX_EVENTS + 1]);
    refused("too many peers", &|batch| batch.peers = vec![peer(1); MAX_EVENTS + 1]);
    refused("a long name", &|batch| batch.names[0] = "a".repeat(MAX_TOPIC + 1));
    refused("no name", &|batch| batch.names[0].clear());
    refused("a name with an escape sequence", &|batch| batch.names[0] = "\u{1b}[2J".to_owned());
    refused("a long region", &|batch| batch.region = "a".repeat(MAX_NAME + 1));
    let long = vec![0; MAX_BATCH_BYTES + 1];
    assert!(matches!(Batch::decode(&long), Err(DecodeError::TooLarge { .. })));
    // Lengths that claim more than there is are refused before anything is allocated for them.
    let mut bytes = batch().encode();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Batch::decode(&bytes).is_err());
    assert!(Batch::decode(&batch().encode()[..20]).is_err());
    assert!(Batch::decode(&[batch().encode(), vec![0]].concat()).is_err());
}

#[test]
fn states_that_are_refused() {
    let refused = |what: &str, change: &dyn Fn(&mut State)| {
        let mut changed = state();
        change(&mut changed);
        assert!(State::decode(&codec::encode(&changed)).is_err(), "{what}");
    };
    refused("too many checks", &|state| state.failing = vec![String::new(); MAX_LIST + 1]);
    refused("too many reasons", &|state| state.dropped = vec![(String::new(), 1); MAX_LIST + 1]);
    refused("too many queues", &|state| state.queues = vec![state.queues[0].clone(); MAX_LIST + 1]);
    refused("too many slow ones", &|state| state.slow = vec![state.slow[0].clone(); MAX_SLOW + 1]);
    refused("too many links", &|state| state.links = vec![state.links[0].clone(); MAX_LIST + 1]);
    refused("another number of buckets", &|state| state.deliver.push(0));
    refused("a long pattern", &|state| state.slow[0].pattern = "a".repeat(MAX_TOPIC + 1));
    refused("a reason with a control character", &|state| state.dropped[0].0 = "a\nb".to_owned());
    let long = vec![0; MAX_STATE_BYTES + 1];
    assert!(matches!(State::decode(&long), Err(DecodeError::TooLarge { .. })));
}

/// A node says what it can, and never what others refuse.
#[test]
fn a_state_is_cut_to_its_bounds() {
    let long = "\u{1b}ü".repeat(MAX_TOPIC);
    let mut large = state();
    large.region = long.clone();
    large.failing = vec![long.clone(); 2 * MAX_LIST];
    large.dropped = vec![(long.clone(), 1); 2 * MAX_LIST];
    large.queues = vec![Queue { queue: long.clone(), ..large.queues[0].clone() }; 2 * MAX_LIST];
    large.slow = vec![Slow { name: long.clone(), pattern: long.clone(), ..large.slow[0].clone() }; 2 * MAX_SLOW];
    large.links = vec![LinkState { path: long, ..large.links[0].clone() }; 2 * MAX_LIST];
    large.deliver.push(1);
    let bytes = large.encode();
    assert!(bytes.len() <= MAX_STATE_BYTES, "{}", bytes.len());
    let cut = State::decode(&bytes).expect("cut to what is taken");
    assert_eq!((cut.failing.len(), cut.slow.len(), cut.links.len()), (MAX_LIST, MAX_SLOW, MAX_LIST));
    assert!(cut.deliver.is_empty());
}

proptest! {
    #[test]
    fn whatever_comes_is_taken_whole_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(batch) = Batch::decode(&bytes) {
            prop_assert_eq!(batch.encode(), bytes.clone());
        }
        if let Ok(state) = State::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_panics(place in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = batch().encode();
        if let Some(changed) = bytes.get_mut(place) {
            *changed = byte;
        }
        if let Ok(batch) = Batch::decode(&bytes) {
            prop_assert!(batch.events.iter().all(|event| usize::from(event.name) < batch.names.len()));
        }
    }
}
