//! What the registry refuses, and that it stays quick when it is full.

#![expect(clippy::disallowed_methods, reason = "a test begins at some time; from there on it passes time in")]

use std::time::{Duration, Instant};

use sinew_registry::{AnnounceError, LeaseId, Limits, NoSuchLease, Offer, Owner, Registry};
use sinew_wire::{PeerId, Procedure, ProviderHealth};

fn owner(number: u64) -> Owner {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Owner { session: number, peer: PeerId::from_public_key(key), instance: number }
}

fn offer(lease: u32, name: &str) -> Offer<'_> {
    Offer { lease, name, ttl: Duration::ZERO, metadata: Vec::new(), procedure: None }
}

fn pair(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), value.to_owned())]
}

#[test]
fn refusals_name_the_limit_and_change_nothing() {
    let mut registry = Registry::new(Limits::default());
    let now = Instant::now();
    let mut refused = |offer: Offer<'_>| registry.announce(owner(1), offer, now).expect_err("is refused");
    assert!(matches!(refused(offer(1, "")), AnnounceError::Name(_)));
    assert!(matches!(refused(offer(1, "a.*")), AnnounceError::Name(_)));
    assert!(matches!(refused(offer(1, &"a".repeat(513))), AnnounceError::Name(_)));
    assert_eq!(refused(offer(1, "$node.load")), AnnounceError::Reserved);
    for asked in
        [Duration::from_millis(9_999), Duration::from_millis(3_600_001), Duration::from_millis(u64::MAX), Duration::MAX]
    {
        let (min, max) = (Duration::from_secs(10), Duration::from_secs(3_600));
        assert_eq!(refused(Offer { ttl: asked, ..offer(1, "a") }), AnnounceError::Ttl { asked, min, max });
    }
    let large = refused(Offer { metadata: pair("k", &"v".repeat(4_096)), ..offer(1, "a") });
    assert_eq!(large, AnnounceError::MetadataBytes { actual: 4_097, allowed: 4_096 });
    let many = refused(Offer { metadata: vec![("k".to_owned(), String::new()); 17], ..offer(1, "a") });
    assert_eq!(many, AnnounceError::Metadata("has more than 16 pairs"));
    for (key, value) in [("", "v"), (&"k".repeat(129), "v"), ("k\n", "v"), ("k", "\u{1b}[2J")] {
        let bad = refused(Offer { metadata: pair(key, value), ..offer(1, "a") });
        assert!(matches!(bad, AnnounceError::Metadata(_)), "{bad}");
    }
    assert!(registry.is_empty() && registry.next_deadline().is_none() && registry.snapshot().get("a").is_none());
}

#[test]
fn one_client_gets_its_quota_however_often_it_asks() {
    let mut registry = Registry::new(Limits::default());
    let now = Instant::now();
    let mut refused = 0;
    for n in 0..100_000 {
        match registry.announce(owner(1), offer(n, &format!("service.n{n}")), now) {
            Ok(_) => {}
            Err(AnnounceError::PerPublisher { allowed: 64 }) => refused += 1,
            Err(other) => panic!("unexpected {other}"),
        }
    }
    assert_eq!((registry.len(), refused), (64, 99_936));
    // Another session of the same publisher shares the quota, another publisher does not.
    let second = Owner { session: 2, instance: 2, ..owner(1) };
    assert!(registry.announce(second, offer(0, "x"), now).is_err());
    assert!(registry.announce(owner(3), offer(0, "x"), now).is_ok());
}

#[test]
fn a_full_registry_refuses_and_goes_on() {
    let mut registry = Registry::new(Limits { services: 100_000, ..Limits::default() });
    let now = Instant::now();
    for n in 0..100_000_u32 {
        // One name for all of them, and a reader that keeps what it saw: nothing may take time by their number.
        let _reader = registry.snapshot();
        let announced = registry.announce(owner(u64::from(n / 64)), offer(n, "all.the.same"), now);
        assert_eq!(announced.expect("has room").instances, n + 1);
    }
    let full = registry.announce(owner(1 << 40), offer(0, "b"), now);
    assert_eq!(full, Err(AnnounceError::Services { allowed: 100_000 }));
    assert_eq!(registry.session_lost(7).len(), 64);
    assert!(registry.announce(owner(1 << 40), offer(0, "b"), now).is_ok());
    let ended = registry.expire(now + Duration::from_secs(60), usize::MAX);
    assert_eq!(ended.len(), 100_000 - 64 + 1);
    assert!(registry.is_empty() && registry.snapshot().names() == 0);
}

#[test]
fn a_client_that_reconnects_takes_its_leases_along() {
    let mut registry = Registry::new(Limits { per_publisher: 1, ..Limits::default() });
    let now = Instant::now();
    let (before, after) = (owner(1), Owner { session: 2, ..owner(1) });
    registry.announce(before, offer(1, "a"), now).expect("has room");
    let again = registry.announce(after, offer(1, "a"), now).expect("counts once");
    let ended = again.ended.expect("the one of the session before has ended");
    assert_eq!((again.instances, ended.instances, ended.id.session), (1, 1, 1));
    assert_ne!(again.number, ended.number, "what was on its way to the old session is not for the new one");
    assert!(registry.session_lost(1).is_empty(), "the old session has nothing any more");
    let old = LeaseId { session: 1, lease: 1 };
    assert_eq!(registry.renew(old, now), Err(NoSuchLease(old)));
    assert_eq!(registry.instances("a"), 1);
    // A lease is for one name in a session; in the next one the client begins anew.
    assert_eq!(registry.announce(after, offer(1, "b"), now), Err(AnnounceError::LeaseInUse(1)));
    let third = Owner { session: 3, ..owner(1) };
    let moved = registry.announce(third, offer(1, "b"), now).expect("counts once");
    assert_eq!(moved.ended.map(|ended| (ended.name, ended.instances)), Some(("a".into(), 0)));
}

#[test]
fn metadata_are_bounded_for_all_together() {
    let limits = Limits { metadata_total: 10, ..Limits::default() };
    let mut registry = Registry::new(limits);
    let now = Instant::now();
    let of = |value: &str| Offer { metadata: pair("k", value), ..offer(1, "a") };
    registry.announce(owner(1), of("1234"), now).expect("has room");
    registry.announce(owner(2), of("1234"), now).expect("has room");
    assert_eq!(registry.announce(owner(3), of(""), now), Err(AnnounceError::MetadataTotal { allowed: 10 }));
    // What replaces needs only what it has more.
    registry.announce(owner(2), of(""), now).expect("has room");
    registry.announce(owner(3), of(""), now).expect("has room");
    assert!(registry.withdraw(LeaseId { session: 1, lease: 1 }).is_ok());
    registry.announce(owner(4), of("123"), now).expect("has room");
}

#[test]
fn instances_have_numbers_of_their_own_and_a_health() {
    let mut registry = Registry::numbering_from(Limits::default(), 41);
    let now = Instant::now();
    let procedure = Procedure { concurrency: 3, ..Procedure::default() };
    let callable = || Offer { procedure: Some(procedure.clone()), ..offer(1, "a") };
    let first = registry.announce(owner(1), callable(), now).expect("has room").number;
    let second = registry.announce(owner(2), callable(), now).expect("has room").number;
    assert_eq!((first, second), (42, 43));
    let id = LeaseId { session: 1, lease: 1 };
    assert_eq!(registry.set_health(id, ProviderHealth::Degraded), Ok(Some("a".into())));
    assert_eq!(registry.set_health(id, ProviderHealth::Degraded), Ok(None), "nothing has changed");
    // Announced again it is still the same one.
    let again = registry.announce(owner(1), callable(), now).expect("has room");
    assert_eq!((again.number, again.ended), (42, None));
    registry.renew(id, now).expect("is held");
    let snapshot = registry.snapshot();
    let instances = snapshot.get("a").expect("is there").live(now);
    let mut instances: Vec<_> =
        instances.map(|instance| (instance.number, instance.health, instance.procedure.as_deref())).collect();
    instances.sort_unstable_by_key(|(number, ..)| *number);
    let expected = [(42, ProviderHealth::Degraded, Some(&procedure)), (43, ProviderHealth::Good, Some(&procedure))];
    assert_eq!(instances, expected);
    assert_eq!(registry.withdraw(id).expect("is held").number, 42);
    assert_eq!(registry.set_health(id, ProviderHealth::Good), Err(NoSuchLease(id)));
    assert_eq!(registry.announce(owner(1), callable(), now).expect("has room").number, 44, "never used twice");
}
