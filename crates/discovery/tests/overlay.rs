//! Nodes with real overlays, on loopback.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_discovery::{AnnounceSpec, Discovery, DiscoveryConfig, LocalChanges, Owner, ProvidersError};
use sinew_link::Identity;
use sinew_observe::{CacheCounters, Metrics, Registry};
use sinew_overlay::{Ask, Overlay, OverlayConfig, Purpose, RequestError, Started};
use sinew_wire::{CachePolicy, LookupOutcome, PeerId, Procedure, ProviderHealth, Refusal, ServiceInstance, codec};
use tokio::sync::{Semaphore, mpsc};

/// Much longer than anything takes here, so that a slow machine does not fail a test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// A node of the control plane, whose questions about services the test answers.
struct Bare {
    overlay: Overlay,
    asks: mpsc::Receiver<Ask>,
}

impl Bare {
    async fn start(bootstrap: &[String]) -> Self {
        let config = OverlayConfig {
            realm: "test".into(),
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into()],
            bootstrap: bootstrap.to_vec(),
            ..OverlayConfig::default()
        };
        let Started { overlay, mut events, asks } =
            Overlay::start(&Identity::generate(), config).await.expect("starts");
        // Nobody here cares for the events, and they have to be taken.
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        Self { overlay, asks }
    }

    fn id(&self) -> PeerId {
        self.overlay.peer_id()
    }

    fn addresses(&self) -> Vec<String> {
        self.overlay.listen_addresses()
    }

    async fn ask(&mut self) -> Ask {
        soon("a question", self.asks.recv()).await.expect("the overlay runs")
    }
}

struct Node {
    overlay: Overlay,
    discovery: Discovery,
    cached: CacheCounters,
    _changes: LocalChanges,
}

/// Short times, so that a test that waits for one does not wait long.
fn config() -> DiscoveryConfig {
    DiscoveryConfig {
        realm: "test".into(),
        region: "eu".into(),
        absent_ttl: Duration::from_millis(50),
        ..DiscoveryConfig::default()
    }
}

impl Node {
    async fn start(bootstrap: &[String], config: DiscoveryConfig) -> Self {
        let Bare { overlay, asks } = Bare::start(bootstrap).await;
        let metrics = Metrics::new(&mut Registry::default());
        let cached = metrics.cache("services");
        let (discovery, changes) =
            Discovery::start(config, overlay.peer_id(), Some(overlay.clone()), Some(asks), metrics);
        Self { overlay, discovery, cached, _changes: changes }
    }

    fn id(&self) -> PeerId {
        self.overlay.peer_id()
    }

    fn announce(&self, session: u64, name: &str) {
        let owner = Owner { session, peer: client(session), instance: session };
        let metadata = vec![("k".into(), "v".into())];
        let spec = AnnounceSpec { lease: 1, name: name.to_owned(), ttl: Duration::ZERO, metadata, procedure: None };
        self.discovery.announce(owner, spec).expect("has room");
    }

    fn serve(&self, session: u64, name: &str, procedure: &Procedure) -> u64 {
        let owner = Owner { session, peer: client(session), instance: session };
        let (name, procedure) = (name.to_owned(), Some(procedure.clone()));
        let spec = AnnounceSpec { lease: 1, name, ttl: Duration::ZERO, metadata: Vec::new(), procedure };
        self.discovery.announce(owner, spec).expect("has room").id
    }

    async fn lookup(&self, name: &str) -> LookupOutcome {
        self.discovery.lookup(name, PATIENCE).await
    }

    async fn found(&self, name: &str) -> Vec<ServiceInstance> {
        match self.lookup(name).await {
            LookupOutcome::Found(instances) => instances,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Looks until it is found: a record in the DHT takes a moment.
    async fn find(&self, name: &str) -> Vec<ServiceInstance> {
        soon("the service", async {
            loop {
                match self.lookup(name).await {
                    LookupOutcome::Found(instances) => return instances,
                    LookupOutcome::NotFound => tokio::time::sleep(Duration::from_millis(20)).await,
                    other => panic!("unexpected {other:?}"),
                }
            }
        })
        .await
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        soon(what, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn connected(&self, peers: usize) {
        self.until("the peers", |node| node.overlay.peers().len() >= peers).await;
    }
}

fn client(n: u64) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    PeerId::from_public_key(key)
}

/// `count` nodes that know each other by way of the first.
async fn nodes(count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::start(&[], config()).await];
    for _ in 1..count {
        let bootstrap = nodes[0].overlay.listen_addresses();
        nodes.push(Node::start(&bootstrap, config()).await);
    }
    for node in &nodes[1..] {
        node.connected(1).await;
    }
    nodes[0].connected(count - 1).await;
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn found_by_the_dht_alone_cached_and_gone_with_its_lease() {
    let nodes = nodes(4).await;
    nodes[1].announce(7, "echo");
    for node in &nodes[2..] {
        let instances = node.find("echo").await;
        let [instance] = instances.as_slice() else { panic!("is one: {instances:?}") };
        assert_eq!((instance.node, instance.provider, instance.instance), (nodes[1].id(), client(7), 7));
        assert_eq!((&*instance.name, &*instance.region), ("echo", "eu"));
        assert_eq!(instance.metadata, [("k".to_owned(), "v".to_owned())]);
        assert!((1..=60_000).contains(&instance.ttl_ms));
        let (hits, answered) = (node.cached.hits.get(), nodes[1].discovery.stats().asks_answered);
        assert_eq!(node.found("echo").await.len(), 1);
        assert_eq!(node.cached.hits.get(), hits + 1);
        assert_eq!(nodes[1].discovery.stats().asks_answered, answered, "nobody is asked for what is cached");
    }
    // Two have it: whoever has it itself says so first.
    nodes[2].announce(9, "echo");
    assert_eq!(nodes[2].found("echo").await[0].provider, client(9));

    nodes[1].discovery.session_lost(7);
    nodes[2].discovery.session_lost(9);
    // The directory would say so; the DHT still has the record, and the provider knows better.
    for node in &nodes[2..] {
        node.discovery.remote_changed(nodes[1].id(), "echo", Some(1));
        node.discovery.remote_changed(nodes[1].id(), "echo", None);
        assert_eq!(node.lookup("echo").await, LookupOutcome::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_directory_names_is_asked_for_and_what_changes_is_forgotten() {
    let nodes = nodes(3).await;
    let (asker, first, second) = (&nodes[0], &nodes[1], &nodes[2]);
    first.announce(1, "echo");
    asker.discovery.remote_changed(first.id(), "echo", Some(1));
    assert_eq!(asker.found("echo").await.len(), 1);
    second.announce(2, "echo");
    assert_eq!(asker.found("echo").await.len(), 1, "it is cached");
    asker.discovery.remote_changed(second.id(), "echo", Some(1));
    let mut providers: Vec<_> = asker.found("echo").await.iter().map(|instance| instance.provider).collect();
    providers.sort_unstable();
    assert_eq!(providers, [client(1), client(2)]);
    // An absent name that turns up is not absent any more, however long that is remembered.
    assert_eq!(asker.lookup("late").await, LookupOutcome::NotFound);
    first.announce(3, "late");
    asker.discovery.remote_changed(first.id(), "late", Some(1));
    assert_eq!(asker.found("late").await.len(), 1);
    // Our own, and those of others.
    asker.announce(4, "echo");
    assert_eq!(asker.found("echo").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_node_its_services_go() {
    let mut nodes = nodes(3).await;
    let gone = nodes.pop().expect("are three");
    gone.announce(1, "echo");
    for node in &nodes {
        // As the mesh does, from the record of the node.
        node.overlay.add_addresses(gone.id(), &gone.overlay.listen_addresses());
        node.discovery.remote_changed(gone.id(), "echo", Some(1));
        assert_eq!(node.found("echo").await.len(), 1);
    }
    // Known by the DHT too, and cached from there.
    gone.announce(2, "other");
    assert_eq!(nodes[1].find("other").await.len(), 1);
    let id = gone.id();
    gone.discovery.shutdown();
    let Node { overlay, discovery, .. } = gone;
    drop(discovery);
    overlay.shutdown().await;
    for node in &nodes {
        node.until("the end", |node| node.overlay.peers().iter().all(|peer| peer.peer != id)).await;
        node.discovery.remote_gone(id);
        assert_eq!(node.discovery.list(None, 9), (vec![], false));
        for name in ["echo", "other"] {
            // The DHT may try to reach it once more before it says that nobody has it.
            let outcome = node.discovery.lookup(name, Duration::from_millis(300)).await;
            assert!(matches!(outcome, LookupOutcome::NotFound | LookupOutcome::TimedOut), "{outcome:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lonely_node_says_so_if_it_should_not_be() {
    let nowhere = ["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()];
    let lonely = Node::start(&nowhere, DiscoveryConfig { expects_peers: true, ..config() }).await;
    assert_eq!(lonely.lookup("echo").await, LookupOutcome::NoPeers);
    lonely.announce(1, "echo");
    assert_eq!(lonely.found("echo").await.len(), 1);

    // One that was told of nobody is all of its realm, until it has met somebody.
    let first = Node::start(&[], config()).await;
    assert_eq!(first.lookup("echo").await, LookupOutcome::NotFound);
    let second = Node::start(&first.overlay.listen_addresses(), config()).await;
    first.connected(1).await;
    second.connected(1).await;
    assert_eq!(first.lookup("echo").await, LookupOutcome::NotFound);
    second.overlay.clone().shutdown().await;
    first.until("the end", |node| node.overlay.peers().is_empty()).await;
    soon("the answer", async {
        while first.lookup("echo").await != LookupOutcome::NoPeers {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dht_gets_a_bounded_number_of_names() {
    let first = Node::start(&[], config()).await;
    let limited = DiscoveryConfig { dht_names: 3, dht_publications: 2, ..config() };
    let second = Node::start(&first.overlay.listen_addresses(), limited).await;
    second.connected(1).await;
    for session in 0..5 {
        second.announce(session, &format!("n{session}"));
    }
    let counts = |node: &Node| (node.discovery.stats().dht_provided, node.discovery.stats().dht_left_out);
    second.until("the first", |node| counts(node) == (3, 2)).await;
    for name in ["n0", "n1", "n2"] {
        assert_eq!(first.find(name).await.len(), 1);
    }
    assert_eq!(first.lookup("n4").await, LookupOutcome::NotFound);
    // A place becomes free, and another name takes it.
    second.discovery.session_lost(0);
    second.discovery.session_lost(1);
    second.until("the others", |node| counts(node) == (3, 0)).await;
    assert_eq!(first.find("n4").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_instances_come_in_pages() {
    let nodes = nodes(2).await;
    for session in 0..100 {
        let owner = Owner { session, peer: client(session), instance: session };
        let metadata = vec![("large".to_owned(), "x".repeat(3_000))];
        let spec = AnnounceSpec { lease: 1, name: "many".into(), ttl: Duration::ZERO, metadata, procedure: None };
        nodes[1].discovery.announce(owner, spec).expect("has room");
    }
    nodes[0].discovery.remote_changed(nodes[1].id(), "many", Some(100));
    // As many as a frame to a client holds; more of them were fetched, 64 KiB at a time.
    assert_eq!(nodes[0].found("many").await.len(), 5);
    let pages = nodes[1].discovery.stats().asks_answered;
    assert!((3..=4).contains(&pages), "{pages}");
}

/// The same layout as the protocol's: what a node could say.
#[derive(serde::Serialize)]
enum Answer {
    Instances { name: String, region: String, instances: Vec<Detail>, more: bool },
}

#[derive(Clone, serde::Serialize)]
struct Detail {
    provider: PeerId,
    instance: u64,
    metadata: Vec<(String, String)>,
    ttl_ms: u64,
    callable: Option<Callable>,
}

#[derive(Clone, serde::Serialize)]
struct Callable {
    id: u64,
    procedure: Procedure,
    health: ProviderHealth,
}

#[derive(serde::Serialize)]
enum Question {
    Instances { name: String, start: u32, max: u32 },
}

fn detail() -> Detail {
    Detail { provider: client(1), instance: 1, metadata: Vec::new(), ttl_ms: 30_000, callable: None }
}

fn answer(name: &str, instances: Vec<Detail>) -> Bytes {
    codec::encode(&Answer::Instances { name: name.into(), region: String::new(), instances, more: false }).into()
}

/// A node, and one whose answers the test gives.
async fn beside_a_bare_one(config: DiscoveryConfig) -> (Node, Bare) {
    let bare = Bare::start(&[]).await;
    let node = Node::start(&bare.addresses(), config).await;
    node.connected(1).await;
    (node, bare)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_none_are_refused_and_counted() {
    let limits = DiscoveryConfig { fetch_timeout: Duration::from_millis(1500), cache_ttl: Duration::ZERO, ..config() };
    let (node, mut bare) = beside_a_bare_one(limits).await;
    node.discovery.remote_changed(bare.id(), "echo", Some(1));
    let bad = [
        Bytes::new(),
        Bytes::from_static(&[0xff; 100]),
        Bytes::from(vec![0; 65 << 10]),
        answer("other", vec![detail()]),
        answer("echo", vec![detail(); 65]),
        answer("echo", vec![Detail { ttl_ms: u64::MAX, ..detail() }]),
        answer("echo", vec![Detail { metadata: vec![("k".into(), "v".repeat(5_000))], ..detail() }]),
        answer("echo", vec![Detail { metadata: vec![("k".into(), "\u{1b}".into())], ..detail() }]),
    ];
    let count = bad.len() as u64;
    for body in bad {
        let (outcome, ()) = tokio::join!(node.lookup("echo"), async {
            bare.ask().await.reply(body);
        });
        assert!(matches!(outcome, LookupOutcome::Refused(Refusal::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(node.discovery.stats().answers_refused, count);
    // One that refuses, each of the five times that it is asked.
    let (outcome, ()) = tokio::join!(node.lookup("echo"), async {
        for _ in 0..5 {
            drop(bare.ask().await);
        }
    });
    assert!(matches!(outcome, LookupOutcome::Refused(Refusal::Unavailable(_))), "{outcome:?}");
    // One that never answers.
    let (outcome, _unanswered) = tokio::join!(node.lookup("echo"), bare.ask());
    assert_eq!(outcome, LookupOutcome::TimedOut);
    // And one that does at last: the provider may be any, the node is who answered.
    let (outcome, ()) = tokio::join!(node.lookup("echo"), async {
        bare.ask().await.reply(answer("echo", vec![detail()]));
    });
    let LookupOutcome::Found(instances) = outcome else { panic!("unexpected {outcome:?}") };
    assert_eq!((instances[0].node, instances[0].provider), (bare.id(), client(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_at_once_waits_for_one_answer_and_nothing_outdated_is_kept() {
    let (node, mut bare) = beside_a_bare_one(config()).await;
    node.discovery.remote_changed(bare.id(), "echo", Some(1));
    let waiting = Arc::new(Semaphore::new(0));
    let looking: Vec<_> = (0..100)
        .map(|_| {
            let (discovery, waiting) = (node.discovery.clone(), Arc::clone(&waiting));
            tokio::spawn(async move {
                let mut looking = pin!(discovery.lookup("echo", PATIENCE));
                assert!(futures::poll!(&mut looking).is_pending());
                waiting.add_permits(1);
                looking.await
            })
        })
        .collect();
    let first = bare.ask().await;
    // All of them, before any is stopped or anything changes: to be counted is not yet to wait for this answer.
    drop(soon("all", waiting.acquire_many(100)).await);
    assert_eq!(node.cached.misses.get(), 100);
    // Some give up, the first of them too. The others still get their answer.
    for looking in &looking[..50] {
        looking.abort();
    }
    // Meanwhile something changes: who looks from now on asks anew.
    node.discovery.remote_changed(bare.id(), "echo", Some(2));
    let late = tokio::spawn({
        let discovery = node.discovery.clone();
        async move { discovery.lookup("echo", PATIENCE).await }
    });
    let second = bare.ask().await;
    first.reply(answer("echo", vec![detail()]));
    for looking in looking.into_iter().skip(50) {
        let outcome = soon("the answer", looking).await.expect("no panic");
        assert!(matches!(&outcome, LookupOutcome::Found(instances) if instances.len() == 1), "{outcome:?}");
    }
    second.reply(answer("echo", vec![detail(), Detail { instance: 2, ..detail() }]));
    let outcome = soon("the answer", late).await.expect("no panic");
    assert!(matches!(&outcome, LookupOutcome::Found(instances) if instances.len() == 2), "{outcome:?}");
    assert_eq!(node.found("echo").await.len(), 2, "what came first is not kept");
    assert!(bare.asks.try_recv().is_err(), "two were asked in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_end_with_their_deadline_and_are_bounded() {
    let (node, mut bare) = beside_a_bare_one(DiscoveryConfig { fetches: 1, ..config() }).await;
    node.discovery.remote_changed(bare.id(), "slow", Some(1));
    node.discovery.remote_changed(bare.id(), "other", Some(1));
    let begun = Instant::now();
    let (outcome, _unanswered) = tokio::join!(node.discovery.lookup("slow", Duration::from_millis(100)), bare.ask());
    assert_eq!(outcome, LookupOutcome::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(node.lookup("other").await, LookupOutcome::Refused(Refusal::Limit { allowed: 1, .. })));
    // What this node has itself, it says anyway.
    node.announce(1, "other");
    assert_eq!(node.found("other").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_are_none_and_too_many_are_refused() {
    let (node, bare) = beside_a_bare_one(DiscoveryConfig { asks_per_second: 20, ..config() }).await;
    node.announce(1, "echo");
    let ask = |body: Bytes| bare.overlay.request(node.id(), Purpose::Discovery, body, PATIENCE);
    let question = |name: &str| -> Bytes {
        codec::encode(&Question::Instances { name: name.into(), start: 0, max: u32::MAX }).into()
    };
    for body in [Bytes::new(), Bytes::from(vec![7; 1_000]), Bytes::from(vec![0; 100_000]), question("a.*")] {
        assert_eq!(ask(body).await, Err(RequestError::Refused));
    }
    assert!(ask(question("echo")).await.is_ok());
    assert!(ask(question("not.there")).await.is_ok());
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(ask(question("echo")).await == Err(RequestError::Refused));
    }
    assert!(refused > 0);
    let stats = node.discovery.stats();
    assert_eq!(stats.asks_refused as usize, refused + 4);
    assert_eq!(stats.asks_answered as usize, 102 - refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_much_at_once_gets_its_answers_all_the_same() {
    let there = Node::start(&[], DiscoveryConfig { asks_per_second: 40, ..config() }).await;
    let here = Node::start(&there.overlay.listen_addresses(), config()).await;
    here.connected(1).await;
    // Twenty are answered at once.
    let names: Vec<String> = (0..30).map(|n| format!("many.{n}")).collect();
    for (name, session) in names.iter().zip(1..) {
        there.announce(session, name);
        here.discovery.remote_changed(there.id(), name, Some(1));
    }
    let looking = futures::future::join_all(names.iter().map(|name| here.found(name)));
    assert!(soon("all of them", looking).await.iter().all(|found| found.len() == 1));
    assert!(there.discovery.stats().asks_refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn procedures_are_called_by_what_their_node_says_of_them() {
    let nodes = nodes(2).await;
    let (here, there) = (&nodes[0], &nodes[1]);
    let cache = CachePolicy { ttl_ms: 5, vary: vec!["lang".into()], ..CachePolicy::default() };
    let procedure = Procedure { concurrency: 3, idempotent: true, cache: Some(cache) };
    let ids = [there.serve(1, "sum", &procedure), there.serve(2, "sum", &procedure)];
    there.announce(3, "sum");
    assert_eq!(here.discovery.providers_now("sum"), None, "nobody was asked yet");
    here.discovery.remote_changed(there.id(), "sum", Some(3));
    let set = here.discovery.providers("sum", PATIENCE).await.expect("two can be called");
    let seen: Vec<_> =
        set.instances.iter().map(|at| (at.node, at.id, at.provider, &*at.region, &*at.procedure)).collect();
    let expected = [1, 2].map(|n| (there.id(), ids[n as usize - 1], client(n), "eu", &procedure));
    assert_eq!(seen, expected);
    assert_eq!(here.discovery.providers_now("sum").map(|set| set.revision), Some(set.revision), "it is kept");

    // One of this node is there at once, and in front.
    let revision = here.discovery.revision();
    let own = here.serve(9, "sum", &procedure);
    assert!(here.discovery.revision() > revision);
    let set = here.discovery.providers_now("sum").expect("is known");
    assert_eq!((set.instances.len(), set.instances[0].node, set.instances[0].id), (3, here.id(), own));

    // Somebody is gone, and the others have not heard of it: who was called says so.
    there.discovery.session_lost(1);
    assert_eq!(there.discovery.ended().await, [ids[0]]);
    here.discovery.forget("sum");
    here.until("the others are asked again", |node| {
        node.discovery.providers_now("sum").is_some_and(|set| set.instances.len() == 2)
    })
    .await;
    here.discovery.remote_gone(there.id());
    let set = here.discovery.providers("sum", PATIENCE).await.expect("this node's own is left");
    assert_eq!(set.instances.iter().map(|at| at.id).collect::<Vec<_>>(), [own]);
    here.discovery.withdraw(9, 1).expect("is held");
    assert_eq!(here.discovery.providers_now("sum"), None);
    // What can't be called is no provider.
    here.announce(7, "plain");
    assert_eq!(here.discovery.providers("plain", PATIENCE).await, Err(ProvidersError::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_is_used_is_fetched_anew_without_anybody_waiting() {
    let times = DiscoveryConfig { cache_ttl: Duration::from_secs(1), ..config() };
    let (node, mut bare) = beside_a_bare_one(times).await;
    node.discovery.remote_changed(bare.id(), "echo", Some(1));
    let callable = |id| {
        let callable = Callable { id, procedure: Procedure::default(), health: ProviderHealth::Good };
        answer("echo", vec![Detail { callable: Some(callable), ..detail() }])
    };
    let (set, ()) = tokio::join!(node.discovery.providers("echo", PATIENCE), async {
        bare.ask().await.reply(callable(5));
    });
    let first = set.expect("is found");
    // It is asked for as calls do; at some time that asks the other node again.
    let used = tokio::spawn({
        let discovery = node.discovery.clone();
        async move {
            loop {
                let set = discovery.providers_now("echo").expect("is there all the time");
                if set.instances[0].id != 5 {
                    return set;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    // The same again is the same set.
    bare.ask().await.reply(callable(5));
    bare.ask().await.reply(callable(6));
    let second = soon("the new set", used).await.expect("no panic");
    assert!(second.revision > first.revision);
    assert_eq!(second.instances[0].id, 6);
}
