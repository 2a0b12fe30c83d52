//! What broken and hostile nodes send: refused with a reason, counted, and nothing grows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sinew_wire::PeerId;

use super::Membership;
use crate::packet::{Identity, Packet};
use crate::record::{Draft, MAX_COUNT};
use crate::state::Change;
use crate::wire::{self, Blob, Holds, Message, Page, Request, Response};
use crate::{
    Event, Interest, Key, MAX_MESSAGE, MAX_RECORD, MembershipConfig, NodeInfo, Output, Refused, Signer, Value,
};

/// A real key.
struct Key25519(Ed25519KeyPair);

impl Key25519 {
    fn new(number: u32) -> Self {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Self(Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed"))
    }

    fn peer(&self) -> PeerId {
        PeerId::from_public_key(self.0.public_key().as_ref().try_into().expect("32 bytes"))
    }
}

impl Signer for Key25519 {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("64 bytes")
    }
}

fn info(peer: PeerId, epoch: u64) -> NodeInfo {
    NodeInfo { peer, epoch, data: vec![], mesh: vec![], region: String::new(), features: 0 }
}

#[expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]
fn now() -> Instant {
    Instant::now()
}

fn config() -> MembershipConfig {
    MembershipConfig { max_members: 4, ..MembershipConfig::new("here") }
}

fn node(number: u32, now: Instant) -> Membership {
    let key = Key25519::new(number);
    let peer = key.peer();
    Membership::new(config(), info(peer, 100), Box::new(key), 1, now)
}

/// A record that can be bent.
struct Forged<'a> {
    key: &'a Key25519,
    claims: PeerId,
    realm: &'a str,
    epoch: u64,
    seq: u64,
    lifetime: Duration,
    changes: Vec<Change>,
    region: String,
}

impl<'a> Forged<'a> {
    fn new(key: &'a Key25519) -> Self {
        Self {
            key,
            claims: key.peer(),
            realm: "here",
            epoch: 100,
            seq: 5,
            lifetime: Duration::from_secs(60),
            changes: Vec::new(),
            region: String::new(),
        }
    }

    fn blob(self) -> Blob {
        let info = NodeInfo { region: self.region, ..info(self.claims, self.epoch) };
        let version = self.changes.len() as u64;
        let draft = Draft {
            realm: self.realm,
            info: &info,
            seq: self.seq,
            life: 0,
            left: false,
            version,
            expires_after: self.lifetime,
            base: 0,
            changes: self.changes,
        };
        Blob(draft.sign(self.key).signed.clone())
    }
}

fn message(records: Vec<Blob>, swim: Bytes) -> Vec<u8> {
    wire::encode(&Message { summary: 0, holds: Holds::default(), swim: Blob(swim), records })
}

fn with_record(record: Blob) -> Vec<u8> {
    message(vec![record], Bytes::new())
}

fn count(node: &Membership, reason: &str) -> u64 {
    let index = Refused::NAMES.iter().position(|name| *name == reason).expect("a reason");
    node.counters().refused[index]
}

fn drain(node: &mut Membership) -> Vec<Output> {
    std::iter::from_fn(|| node.poll_output()).collect()
}

/// It refuses this, counts it once, and is what it was before.
fn refuses(reason: &str, forge: impl FnOnce(&Key25519) -> Vec<u8>) {
    let (now, stranger) = (now(), Key25519::new(77));
    let mut node = node(1, now);
    let bytes = forge(&stranger);
    let refused = node.handle_message(stranger.peer(), &bytes, now).expect_err("it is refused");
    assert_eq!(refused.reason(), reason, "{refused}");
    assert!(refused.is_hostile(), "{refused}");
    assert_eq!(count(&node, reason), 1);
    assert_eq!((node.counters().members, node.counters().remembered), (0, 0));
    assert!(!drain(&mut node).iter().any(|output| matches!(output, Output::Event(_))));
}

#[test]
fn another_realm() {
    refuses("realm", |key| with_record(Forged { realm: "elsewhere", ..Forged::new(key) }.blob()));
}

#[test]
fn signed_by_another() {
    refuses("signature", |key| with_record(Forged { claims: Key25519::new(5).peer(), ..Forged::new(key) }.blob()));
}

#[test]
fn one_bit_is_another() {
    refuses("signature", |key| {
        let mut bytes = Forged { region: "north".to_owned(), ..Forged::new(key) }.blob().0.to_vec();
        let at = bytes.windows(5).position(|window| window == b"north").expect("the region");
        bytes[at] ^= 1;
        with_record(Blob(bytes.into()))
    });
}

#[test]
fn lives_for_ever() {
    refuses("lifetime", |key| with_record(Forged { lifetime: Duration::MAX, ..Forged::new(key) }.blob()));
    refuses("lifetime", |key| with_record(Forged { lifetime: Duration::ZERO, ..Forged::new(key) }.blob()));
}

#[test]
fn numbers_that_could_overflow() {
    refuses("malformed", |key| with_record(Forged { epoch: u64::MAX, ..Forged::new(key) }.blob()));
    refuses("malformed", |key| with_record(Forged { seq: MAX_COUNT + 1, ..Forged::new(key) }.blob()));
}

#[test]
fn too_large() {
    refuses("too_large", |_| vec![1; MAX_MESSAGE + 1]);
    refuses("too_large", |_| with_record(Blob(vec![0; MAX_RECORD + 1].into())));
    refuses("too_large", |key| with_record(Forged { region: "x".repeat(100), ..Forged::new(key) }.blob()));
}

#[test]
fn names_that_are_not_valid() {
    let change = |key, value| Change { version: 1, key, value: Some(value) };
    let interest = |interest| Value::Interest(interest);
    for (key, value) in [
        (Key::Interest("a..b".to_owned()), interest(Interest::default())),
        (Key::Interest("a.>.b".to_owned()), interest(Interest::default())),
        (Key::Interest("x".repeat(513)), interest(Interest::default())),
        (Key::Service("a b".to_owned()), Value::Service(Default::default())),
        (Key::Service("a".to_owned()), interest(Interest::default())),
        (Key::Interest("a".to_owned()), interest(Interest { direct: 1, blocking: 2, groups: vec![] })),
        (Key::Interest("a".to_owned()), interest(Interest { groups: vec![(String::new(), 1)], ..Interest::default() })),
        (
            Key::Interest("a".to_owned()),
            interest(Interest { groups: vec![("g".to_owned(), 1), ("g".to_owned(), 2)], ..Interest::default() }),
        ),
    ] {
        let changes = vec![change(key, value)];
        refuses("key", |signer| with_record(Forged { changes, ..Forged::new(signer) }.blob()));
    }
}

#[test]
fn a_replayed_record_changes_nothing() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    let old = with_record(Forged { seq: 4, region: "old".to_owned(), ..Forged::new(&peer) }.blob());
    let new = with_record(Forged { seq: 5, region: "new".to_owned(), ..Forged::new(&peer) }.blob());
    node.handle_message(peer.peer(), &old, now).expect("it is news");
    node.handle_message(peer.peer(), &new, now).expect("it is news");
    for _ in 0..10 {
        assert_eq!(node.handle_message(Key25519::new(3).peer(), &old, now), Err(Refused::Replayed));
    }
    assert_eq!(count(&node, "replayed"), 10);
    let member = node.members().next().expect("it is up");
    assert_eq!((member.record().info.region.as_str(), node.members().count()), ("new", 1));
}

#[test]
fn a_hundred_thousand_bogus_records() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("a member");
    drain(&mut node);
    // Real signatures of keys that nobody stands behind; and more than anybody would check.
    for number in 0..100 {
        let bogus = Key25519::new(1_000 + number);
        let _ = node.handle_message(peer.peer(), &with_record(Forged::new(&bogus).blob()), now);
    }
    let genuine = Forged::new(&Key25519::new(9_999)).blob().0;
    for number in 0..100_000_u32 {
        let mut bytes = genuine.to_vec();
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        assert!(node.handle_message(peer.peer(), &with_record(Blob(bytes.into())), now).is_err());
    }
    let counters = node.counters();
    assert_eq!(counters.members, config().max_members - 1);
    assert!(counters.remembered <= config().max_members);
    assert!(counters.verified < 10, "checked {} signatures though there is no room", counters.verified);
    assert_eq!(count(&node, "too_many_members"), 100_000 + 98);
    assert!(drain(&mut node).len() < 10);
    // Who comes itself finds room all the same.
    let late = Key25519::new(3);
    node.handle_message(late.peer(), &with_record(Forged::new(&late).blob()), now).expect("in the place of hearsay");
    assert!(node.members().any(|member| member.record().peer() == late.peer()));
    assert_eq!(node.counters().members, config().max_members - 1);
}

#[test]
fn one_bad_signature_ends_a_message() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    let bad = Forged { claims: Key25519::new(5).peer(), ..Forged::new(&peer) };
    let records = std::iter::repeat_n(bad.blob(), 100).collect();
    assert_eq!(node.handle_message(peer.peer(), &message(records, Bytes::new()), now), Err(Refused::Signature));
    assert_eq!(node.counters().verified, 1);
}

fn identity(key: &Key25519) -> Identity {
    Identity { peer: key.peer(), epoch: 100, life: 0 }
}

/// A packet of the detector from one to another, with updates.
fn packet(src: Identity, dst: Identity, updates: Vec<foca::Member<Identity>>) -> Bytes {
    let header = foca::Header { src, src_incarnation: 0, dst, message: foca::Message::Gossip };
    Packet { header, updates }.write().expect("few updates")
}

#[test]
fn the_detector_hears_only_of_those_who_signed() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    let me = identity(&Key25519::new(1));
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("a member");
    for round in 0..100 {
        let strangers = (0..100).map(|number| {
            let peer = PeerId::from_public_key([number as u8 ^ round; 32]);
            foca::Member::new(Identity { peer, epoch: u64::MAX, life: u32::MAX }, u16::MAX, foca::State::Alive)
        });
        let bytes = message(vec![], packet(identity(&peer), me, strangers.collect()));
        node.handle_message(peer.peer(), &bytes, now).expect("not an offence: a record may have been lost");
    }
    assert_eq!((node.counters().members, node.counters().remembered), (1, 0));
    assert_eq!(node.counters().requests, 1, "it asks once who they are");
    assert_eq!(node.counters().detector_errors, 0);
}

#[test]
fn nobody_speaks_for_another() {
    let (now, peer, other) = (now(), Key25519::new(2), Key25519::new(3));
    let mut node = node(1, now);
    let me = identity(&Key25519::new(1));
    for key in [&peer, &other] {
        node.handle_message(key.peer(), &with_record(Forged::new(key).blob()), now).expect("a member");
    }
    let bytes = message(vec![], packet(identity(&other), me, vec![]));
    assert_eq!(node.handle_message(peer.peer(), &bytes, now), Err(Refused::Impostor));
    let request = wire::encode(&Request::Confirm { record: Forged::new(&other).blob() });
    assert_eq!(node.handle_request(peer.peer(), &request, now), Err(Refused::Impostor));
    assert_eq!(count(&node, "impostor"), 2);
}

#[test]
fn saying_that_a_node_is_down_does_not_keep_it_busy() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("a member");
    for _ in 0..1_000 {
        let me = Identity { life: node.record().life, ..identity(&Key25519::new(1)) };
        let down = foca::Member::new(me, 0, foca::State::Down);
        let bytes = message(vec![], packet(identity(&peer), me, vec![down]));
        let _ = node.handle_message(peer.peer(), &bytes, now);
    }
    assert_eq!(node.counters().renewals, 1);
    assert!(node.counters().signed < 5);
}

/// A member whose state is to be pulled, and the number of the request that does it.
fn pulling(node: &mut Membership, peer: &Key25519, version: usize, now: Instant) -> u64 {
    let info = info(peer.peer(), 100);
    let draft = Draft {
        realm: "here",
        info: &info,
        seq: 5,
        life: 0,
        left: false,
        version: version as u64,
        expires_after: Duration::from_secs(60),
        base: version as u64,
        changes: vec![],
    };
    let record = Blob(draft.sign(peer).signed.clone());
    node.handle_message(peer.peer(), &with_record(record), now).expect("a member");
    let asked = drain(node).into_iter().find_map(|output| match output {
        Output::Request { id, to, .. } if to == peer.peer() => Some(id),
        _ => None,
    });
    asked.expect("a pull")
}

fn page(changes: Vec<Change>) -> Vec<u8> {
    let upto = changes.last().map_or(0, |change| change.version);
    wire::encode(&Response::Page(Page { epoch: 100, reset: false, version: upto, upto, more: false, changes }))
}

fn pattern(number: usize) -> Change {
    let value = Some(Value::Interest(Interest { direct: 1, ..Interest::default() }));
    Change { version: number as u64 + 1, key: Key::Interest(format!("p.{number}")), value }
}

#[test]
fn a_page_with_more_than_a_node_may_publish() {
    let (now, peer) = (now(), Key25519::new(2));
    let key = Key25519::new(1);
    let small = MembershipConfig { max_keys: 100, ..config() };
    let mut node = Membership::new(small, info(key.peer(), 100), Box::new(key), 1, now);
    let id = pulling(&mut node, &peer, 1_000, now);
    let changes = (0..1_000).map(pattern).collect();
    let refused = node.handle_response(peer.peer(), id, Ok(&page(changes)), now).expect_err("too many");
    assert_eq!(refused.reason(), "too_much_state");
    assert!(node.counters().entries <= 100);
    assert!(node.counters().entry_bytes < 100 * 200);
}

#[test]
fn pages_out_of_order_or_of_something_else() {
    let (now, peer) = (now(), Key25519::new(2));
    for (changes, reason) in [
        (vec![pattern(3), pattern(2)], "malformed"),
        (vec![Change { key: Key::Interest("a..b".to_owned()), ..pattern(0) }], "key"),
    ] {
        let mut node = node(1, now);
        let id = pulling(&mut node, &peer, 10, now);
        let refused = node.handle_response(peer.peer(), id, Ok(&page(changes)), now).expect_err("it is refused");
        assert_eq!(refused.reason(), reason);
        assert_eq!(node.counters().entries, 0);
    }
    let mut node = node(1, now);
    let id = pulling(&mut node, &peer, 10, now);
    assert_eq!(node.handle_response(peer.peer(), id + 1, Ok(&page(vec![])), now), Err(Refused::Unsolicited));
    let other = Key25519::new(3).peer();
    assert_eq!(node.handle_response(other, id, Ok(&page(vec![])), now), Err(Refused::Unsolicited));
    let held = wire::encode(&Response::Held { epoch: 1, version: u64::MAX });
    assert_eq!(node.handle_response(peer.peer(), id, Ok(&held), now), Err(Refused::Unsolicited));
    assert_eq!(node.handle_response(peer.peer(), id, Ok(&page(vec![])), now), Err(Refused::Unsolicited), "done with");
}

#[test]
fn what_nobody_fetches_is_bounded() {
    let (now, key) = (now(), Key25519::new(1));
    let narrow = MembershipConfig { max_outputs: 50, max_members: 1_000, ..config() };
    let mut node = Membership::new(narrow, info(key.peer(), 100), Box::new(key), 1, now);
    for number in 0..300 {
        let peer = Key25519::new(1_000 + number);
        let _ = node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now);
    }
    assert!(node.counters().outputs < 60);
    assert!(count(&node, "busy") > 200);
    drain(&mut node);
    let peer = Key25519::new(5);
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("there is room again");
}

#[test]
fn a_newer_record_of_ourselves_is_outdone() {
    let now = now();
    let (mut node, own, peer) = (node(1, now), Key25519::new(1), Key25519::new(2));
    // From before the clock was set back.
    let former = Forged { epoch: 5_000, ..Forged::new(&own) }.blob();
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("a member");
    node.handle_message(peer.peer(), &with_record(former.clone()), now).expect("it is genuine");
    assert_eq!(node.record().info.epoch, 5_001);
    for epoch in 6_000..6_100 {
        let again = Forged { epoch, ..Forged::new(&own) }.blob();
        node.handle_message(peer.peer(), &with_record(again), now).expect("it is genuine");
    }
    assert_eq!(node.record().info.epoch, 5_001, "once a second at most");
}

#[test]
fn down_and_up_again_are_events() {
    let (now, peer) = (now(), Key25519::new(2));
    let mut node = node(1, now);
    node.handle_message(peer.peer(), &with_record(Forged::new(&peer).blob()), now).expect("a member");
    let restarted = Forged { epoch: 101, seq: 1, ..Forged::new(&peer) }.blob();
    node.handle_message(peer.peer(), &with_record(restarted), now).expect("it is news");
    let told: Vec<_> = drain(&mut node)
        .into_iter()
        .filter_map(|output| match output {
            Output::Event(Event::Up(record)) => Some(format!("up {}", record.info.epoch)),
            Output::Event(Event::Down { reason, .. }) => Some(format!("{reason:?}")),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["up 100", "Restarted", "up 101"]);
}
