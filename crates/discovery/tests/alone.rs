//! A node without an overlay: its own services, and what it is told of others.

use std::sync::Arc;
use std::time::Duration;

use sinew_discovery::{AnnounceSpec, Discovery, DiscoveryConfig, Limits, LocalChanges, Owner, ProvidersError, Watched};
use sinew_observe::{Metrics, Registry};
use sinew_wire::{Limit, LookupOutcome, PeerId, Procedure, ProviderHealth, Refusal, ServiceSummaryRow};

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

fn owner(session: u64) -> Owner {
    Owner { session, peer: peer(session as u8), instance: session }
}

fn spec(lease: u32, name: &str) -> AnnounceSpec {
    AnnounceSpec {
        lease,
        name: name.to_owned(),
        ttl: Duration::ZERO,
        metadata: vec![("k".into(), "v".into())],
        procedure: None,
    }
}

fn start(config: DiscoveryConfig) -> (Discovery, LocalChanges) {
    let metrics = Metrics::new(&mut Registry::default());
    let (discovery, changes) = Discovery::start(config, peer(200), None, None, metrics);
    (discovery, changes)
}

async fn found(discovery: &Discovery, name: &str) -> usize {
    match discovery.lookup(name, Duration::ZERO).await {
        LookupOutcome::Found(instances) => instances.len(),
        LookupOutcome::NotFound => 0,
        other => panic!("unexpected {other:?}"),
    }
}

fn row(name: &str, instances: u32, nodes: u32) -> ServiceSummaryRow {
    ServiceSummaryRow { name: name.to_owned(), instances, nodes }
}

#[tokio::test]
async fn announced_found_renewed_withdrawn() {
    let (discovery, changes) = start(DiscoveryConfig { region: "eu".into(), ..DiscoveryConfig::default() });
    let granted = discovery.announce(owner(1), spec(7, "a.b"));
    assert_eq!(granted.map(|grant| grant.ttl), Ok(Duration::from_secs(60)));
    let LookupOutcome::Found(instances) = discovery.lookup("a.b", PATIENCE).await else { panic!("is there") };
    let [instance] = instances.as_slice() else { panic!("is one") };
    assert_eq!((&*instance.name, &*instance.region, instance.instance), ("a.b", "eu", 1));
    assert_eq!((instance.node, instance.provider), (peer(200), peer(1)));
    assert_eq!(instance.metadata, [("k".to_owned(), "v".to_owned())]);
    assert!((55_000..=60_000).contains(&instance.ttl_ms));
    soon("the change", changes.changed()).await;
    assert_eq!(changes.take(9), [("a.b".to_owned(), Some(1))]);

    assert_eq!(discovery.renew(1, 7), Ok(Duration::from_secs(60)));
    assert!(matches!(discovery.renew(2, 7), Err(Refusal::Lease(7, _))));
    discovery.announce(owner(2), spec(7, "a.b")).expect("has room");
    assert_eq!(found(&discovery, "a.b").await, 2);
    assert_eq!(discovery.list(None, 10), (vec![row("a.b", 2, 1)], false));

    assert_eq!(discovery.withdraw(1, 7), Ok(()));
    assert!(matches!(discovery.withdraw(1, 7), Err(Refusal::Lease(7, _))));
    discovery.session_lost(2);
    assert_eq!(found(&discovery, "a.b").await, 0);
    soon("the change", changes.changed()).await;
    assert_eq!(changes.take(9), [("a.b".to_owned(), None)]);

    let refused = discovery.announce(owner(1), AnnounceSpec { ttl: Duration::from_secs(1), ..spec(1, "a") });
    assert_eq!(refused, Err(Refusal::Limit { limit: Limit::LeaseTtl, allowed: 10_000 }));
    let refused = discovery.announce(owner(1), AnnounceSpec { ttl: Duration::from_millis(u64::MAX), ..spec(1, "a") });
    assert_eq!(refused, Err(Refusal::Limit { limit: Limit::LeaseTtl, allowed: 3_600_000 }));
    assert_eq!(discovery.announce(owner(1), spec(1, "$sys")), Err(Refusal::Reserved));
    assert!(matches!(discovery.announce(owner(1), spec(1, "a b")), Err(Refusal::InvalidName(_))));
    let name = discovery.lookup("a.>", Duration::ZERO).await;
    assert!(matches!(name, LookupOutcome::Refused(Refusal::InvalidName(_))));
}

#[tokio::test]
async fn leases_end_by_themselves() {
    let limits = Limits { min_ttl: Duration::from_millis(50), ..Limits::default() };
    let (discovery, changes) = start(DiscoveryConfig { limits, ..DiscoveryConfig::default() });
    let short = AnnounceSpec { ttl: Duration::from_millis(200), ..spec(1, "short") };
    discovery.announce(owner(1), spec(2, "long")).expect("has room");
    discovery.announce(owner(1), short).expect("has room");
    soon("both", changes.changed()).await;
    assert_eq!(changes.take(9).len(), 2);
    soon("the end of one", changes.changed()).await;
    assert_eq!(changes.take(9), [("short".to_owned(), None)]);
    assert_eq!(found(&discovery, "short").await, 0);
    assert!(matches!(discovery.renew(1, 1), Err(Refusal::Lease(1, _))));
    assert_eq!((discovery.stats().expired, discovery.stats().leases), (1, 1));
}

#[tokio::test]
async fn one_client_is_held_to_its_quota() {
    let (discovery, changes) = start(DiscoveryConfig::default());
    for n in 0..100_000 {
        let result = discovery.announce(owner(1), spec(n, &format!("service.n{n}")));
        let refused = Err(Refusal::Limit { limit: Limit::ServicesPerClient, allowed: 64 });
        assert!(if n < 64 { result.is_ok() } else { result == refused }, "{n}: {result:?}");
    }
    assert_eq!(discovery.stats().leases, 64);
    assert_eq!(changes.take(usize::MAX).len(), 64);
    // It may come and go as it likes: nothing piles up.
    for n in 0..10_000 {
        discovery.announce(owner(2), spec(1, &format!("come.and.go{n}"))).expect("has room");
        discovery.withdraw(2, 1).expect("is there");
    }
    assert_eq!(changes.take(usize::MAX), []);
    assert_eq!(discovery.stats().names, 64);
}

#[tokio::test]
async fn many_instances_of_one_name_take_turns_in_answers() {
    let (discovery, _changes) = start(DiscoveryConfig { instances_taken: 10, ..DiscoveryConfig::default() });
    for n in 1..=100 {
        discovery.announce(owner(n), spec(1, "many")).expect("has room");
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let LookupOutcome::Found(instances) = discovery.lookup("many", Duration::ZERO).await else {
            panic!("are there")
        };
        assert_eq!(instances.len(), 10);
        seen.extend(instances.into_iter().map(|instance| instance.provider));
    }
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn the_directory_is_listed_in_pages_and_bounded() {
    let config = DiscoveryConfig { directory_entries: 5, ..DiscoveryConfig::default() };
    let (discovery, _changes) = start(config);
    discovery.announce(owner(1), spec(1, "b")).expect("has room");
    for (node, name, instances) in [(1, "a", 2), (1, "b", 1), (2, "b", u32::MAX), (2, "c", 1), (3, "d", 1)] {
        discovery.remote_changed(peer(node), name, Some(instances));
    }
    // More than there is room for, names that are none, and ourselves.
    discovery.remote_changed(peer(4), "e", Some(1));
    discovery.remote_changed(peer(4), "no name", Some(1));
    discovery.remote_changed(peer(4), "$sys", Some(1));
    discovery.remote_changed(peer(200), "f", Some(1));
    assert_eq!((discovery.stats().directory_refused, discovery.stats().directory_entries), (3, 5));
    assert_eq!(discovery.list(None, 2), (vec![row("a", 2, 1), row("b", u32::MAX, 3)], true));
    assert_eq!(discovery.list(Some("b"), 2), (vec![row("c", 1, 1), row("d", 1, 1)], false));
    discovery.remote_changed(peer(3), "d", None);
    discovery.remote_gone(peer(2));
    assert_eq!(discovery.list(None, 9), (vec![row("a", 2, 1), row("b", 2, 2)], false));
    discovery.remote_gone(peer(1));
    assert_eq!(discovery.list(None, 9), (vec![row("b", 1, 1)], false));
}

fn changed(name: &str, instances: u32) -> Watched {
    Watched::Changed { name: name.into(), instances }
}

#[tokio::test]
async fn a_watch_tells_what_there_is_and_what_changes() {
    let (discovery, _changes) = start(DiscoveryConfig { watchers: 1, ..DiscoveryConfig::default() });
    for (n, name) in ["x.a", "y.a", "y.b", "y.c", "z"].into_iter().enumerate() {
        discovery.remote_changed(peer(n as u8), name, Some(1));
    }
    let mut watch = discovery.watch("y.").expect("is the first");
    let refused = discovery.watch("").expect_err("is one too many");
    assert_eq!(refused, Refusal::Limit { limit: Limit::Watches, allowed: 1 });
    assert_eq!(watch.take(2), [changed("y.a", 1), changed("y.b", 1)]);
    assert_eq!(soon("the last", watch.next()).await, changed("y.c", 1));
    assert_eq!(watch.take(9), []);

    let waiting = tokio::spawn(async move {
        let first = watch.next().await;
        (first, watch)
    });
    tokio::task::yield_now().await;
    discovery.announce(owner(1), spec(1, "x.b")).expect("has room");
    discovery.announce(owner(1), spec(2, "y.d")).expect("has room");
    let (first, mut watch) = soon("a change", waiting).await.expect("no panic");
    assert_eq!(first, changed("y.d", 1));
    // Often changed, told once; what is gone has none.
    for _ in 0..3 {
        discovery.remote_changed(peer(9), "y.d", Some(4));
        discovery.remote_changed(peer(9), "y.d", None);
    }
    discovery.remote_gone(peer(1));
    assert_eq!(watch.take(9), [changed("y.d", 1), changed("y.a", 0)]);
    drop(watch);
    assert_eq!(discovery.stats().watchers, 0);
    discovery.watch("").expect("is the first again");
}

#[tokio::test]
async fn a_watcher_that_does_not_look_begins_anew() {
    let (discovery, _changes) = start(DiscoveryConfig { watch_backlog: 10, ..DiscoveryConfig::default() });
    let mut watch = discovery.watch("").expect("has room");
    assert_eq!(watch.take(1), []);
    for n in 10..30 {
        discovery.remote_changed(peer(1), &format!("n{n}"), Some(1));
    }
    discovery.remote_changed(peer(1), "n10", None);
    assert_eq!(watch.take(1), [Watched::Resync]);
    let mut told = Vec::new();
    loop {
        let page = watch.take(3);
        told.extend(page.iter().cloned());
        if page.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (11..30).map(|n| changed(&format!("n{n}"), 1)).collect();
    assert_eq!(told, expected);
    discovery.remote_changed(peer(1), "n11", None);
    assert_eq!(watch.take(9), [changed("n11", 0)]);
}

#[tokio::test]
async fn who_should_have_peers_says_that_it_has_none() {
    let (alone, _changes) = start(DiscoveryConfig::default());
    assert_eq!(alone.lookup("a", Duration::ZERO).await, LookupOutcome::NotFound);
}

#[tokio::test]
async fn a_procedure_of_this_node_can_be_called_at_once() {
    let (discovery, _changes) = start(DiscoveryConfig::default());
    assert_eq!(discovery.providers_now("sum"), None);
    assert_eq!(discovery.providers("sum", Duration::ZERO).await, Err(ProvidersError::NotFound));
    let invalid = discovery.providers("a.*", Duration::ZERO).await;
    assert!(matches!(invalid, Err(ProvidersError::Refused(Refusal::InvalidName(_)))), "{invalid:?}");
    let callable = || AnnounceSpec { procedure: Some(Procedure::default()), ..spec(1, "sum") };
    let first = discovery.announce(owner(1), callable()).expect("has room").id;
    let set = discovery.providers_now("sum").expect("is known");
    assert_eq!((set.instances.len(), set.instances[0].id), (1, first));
    assert!(Arc::ptr_eq(&set, &discovery.providers_now("sum").expect("is known")), "nothing has changed");

    discovery.set_health(1, 1, ProviderHealth::Down).expect("is held");
    let ill = discovery.providers_now("sum").expect("is known");
    assert!(ill.revision > set.revision && ill.instances[0].health == ProviderHealth::Down);

    // The client is back with another session, before the node has missed it.
    let moved = Owner { session: 2, ..owner(1) };
    let second = discovery.announce(moved, callable()).expect("has room").id;
    assert_eq!(discovery.ended().await, [first]);
    assert_eq!(discovery.providers_now("sum").map(|set| set.instances[0].id), Some(second));
    discovery.session_lost(2);
    assert_eq!((discovery.ended().await, discovery.providers_now("sum")), (vec![second], None));
}
