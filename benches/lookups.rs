//! Look-ups of services that another node has: two nodes of a realm in one process, each with a real overlay on loopback and a
//! discovery of its own. What the mesh would tell by gossip, who has which name, is told here by hand.
//!
//! `cargo bench -p sinew-benches --bench lookups`
//!
//! | row | what is looked up, of 10,000 services of one instance each at the other node |
//! |---|---|
//! | warm | details that are in the cache, by two threads |
//! | cold mix | in random order, ten look-ups for each service, beginning with an empty cache: every tenth asks the other node |
//! | the same, unbounded | without the bound of 2,000 questions that a node answers another one in a second (`asks_per_second`) |
//! | all cold, unbounded | in random order with a cache of 100 names, without that bound: 99 of 100 ask the other node |
//!
//! Both nodes share the process and its two threads; everything else is as configured by default. CPU is that of the whole
//! process, so that a machine with other work to do can be told from a slow look-up.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use sinew_discovery::{AnnounceSpec, Discovery, DiscoveryConfig, LocalChanges, Owner};
use sinew_link::Identity;
use sinew_observe::{CacheCounters, Metrics, Registry};
use sinew_overlay::{Overlay, OverlayConfig, Started};
use sinew_wire::{LookupOutcome, PeerId};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SERVICES: usize = 10_000;

/// Services that one client announces: no more than a client may.
const PER_CLIENT: usize = 50;

const PATIENCE: Duration = Duration::from_secs(10);

/// How long each row takes at least.
const LONG: Duration = Duration::from_secs(5);

/// Look-ups under way at once where they may have to wait.
const AT_ONCE: [usize; 3] = [1, 64, 512];

struct Node {
    overlay: Overlay,
    discovery: Discovery,
    cached: CacheCounters,
    _changes: LocalChanges,
}

impl Node {
    async fn start(bootstrap: Vec<String>, config: DiscoveryConfig) -> Result<Self> {
        let overlay = OverlayConfig {
            realm: config.realm.clone(),
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()],
            bootstrap,
            ..OverlayConfig::default()
        };
        let Started { overlay, mut events, asks } = Overlay::start(&Identity::generate(), overlay).await?;
        // Nobody here cares for the events, and they have to be taken.
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let metrics = Metrics::new(&mut Registry::default());
        let cached = metrics.cache("services");
        let (discovery, changes) =
            Discovery::start(config, overlay.peer_id(), Some(overlay.clone()), Some(asks), metrics);
        Ok(Self { overlay, discovery, cached, _changes: changes })
    }

    fn announce_all(&self) -> Result<()> {
        for (n, name) in names().into_iter().enumerate() {
            let session = (n / PER_CLIENT) as u64;
            let mut key = [0; 32];
            key[..8].copy_from_slice(&session.to_le_bytes());
            let owner = Owner { session, peer: PeerId::from_public_key(key), instance: session };
            let spec = AnnounceSpec {
                lease: n as u32,
                name,
                ttl: Duration::from_secs(3_600),
                metadata: vec![("version".into(), "1.2.3".into()), ("zone".into(), "a".into())],
                procedure: None,
            };
            self.discovery.announce(owner, spec).map_err(|refusal| refusal.to_string())?;
        }
        Ok(())
    }
}

fn names() -> Vec<String> {
    (0..SERVICES).map(|n| format!("service.region-{}.n{n}", n % 7)).collect()
}

fn config() -> DiscoveryConfig {
    DiscoveryConfig {
        realm: "bench".into(),
        region: "eu".into(),
        asks_per_second: u32::MAX,
        ..DiscoveryConfig::default()
    }
}

fn main() -> Result<()> {
    // Cargo's own word is all that it takes.
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let provider = Node::start(Vec::new(), config()).await?;
    provider.announce_all()?;
    let unbounded = Node::start(Vec::new(), DiscoveryConfig { asks_per_second: u32::MAX, ..config() }).await?;
    unbounded.announce_all()?;
    println!("| row | at once | look-ups | look-ups/s | CPU, us/look-up | asked the other node | not found |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    warm(&asker(&provider, config()).await?).await?;
    for (row, provider) in [("cold mix", &provider), ("the same, unbounded", &unbounded)] {
        for at_once in AT_ONCE {
            let mix: Vec<String> = names().iter().flat_map(|name| std::iter::repeat_n(name.clone(), 10)).collect();
            cold(row, &asker(provider, config()).await?, at_once, &mix, Duration::ZERO).await?;
        }
    }
    for at_once in AT_ONCE {
        let node = asker(&unbounded, DiscoveryConfig { cache_names: 100, ..config() }).await?;
        cold("all cold, unbounded", &node, at_once, &names(), LONG).await?;
    }
    Ok(())
}

/// A node that knows by name what the other one has.
async fn asker(provider: &Node, config: DiscoveryConfig) -> Result<Node> {
    let node = Node::start(provider.overlay.listen_addresses(), config).await?;
    let has = provider.overlay.peer_id();
    for name in names() {
        node.discovery.remote_changed(has, &name, Some(1));
    }
    while node.overlay.peers().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(node)
}

async fn warm(node: &Node) -> Result<()> {
    let names = Arc::new(names());
    look_up_all(node, 64, &names).await?;
    let watch = Watch::start(node);
    let mut threads = JoinSet::new();
    for thread in 0..2 {
        let (discovery, names) = (node.discovery.clone(), Arc::clone(&names));
        threads.spawn(async move {
            let (begin, mut done) = (Instant::now(), 0);
            // Well inside of the time for which details are used.
            while begin.elapsed() < LONG {
                for n in 0..1_000 {
                    let name = &names[(done + n * 7_919 + thread * SERVICES / 2) % SERVICES];
                    let LookupOutcome::Found(_) = discovery.lookup(name, PATIENCE).await else { return Err(done) };
                }
                done += 1_000;
            }
            Ok(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = threads.join_next().await {
        done += ended?.map_err(|_| "a look-up found nothing")?;
    }
    watch.tell("warm", 2, done, 0);
    Ok(())
}

/// Looks up all of these, and again until it took so long.
async fn cold(row: &str, node: &Node, at_once: usize, asked: &[String], long: Duration) -> Result<()> {
    let mut asked = asked.to_vec();
    asked.shuffle(&mut rand::rng());
    let asked = Arc::new(asked);
    let watch = Watch::start(node);
    let (mut done, mut failed) = (0, 0);
    while done == 0 || watch.begin.elapsed() < long {
        failed += look_up_all(node, at_once, &asked).await?;
        done += asked.len();
    }
    watch.tell(row, at_once, done, failed);
    Ok(())
}

/// What a row took.
struct Watch<'a> {
    node: &'a Node,
    begin: Instant,
    cpu: Duration,
    missed: u64,
}

impl<'a> Watch<'a> {
    fn start(node: &'a Node) -> Self {
        Self { node, begin: Instant::now(), cpu: cpu(), missed: node.cached.misses.get() }
    }

    fn tell(&self, row: &str, at_once: usize, done: usize, failed: usize) {
        let rate = done as f64 / self.begin.elapsed().as_secs_f64();
        let cpu = (cpu() - self.cpu).as_secs_f64() * 1e6 / done as f64;
        let missed = self.node.cached.misses.get() - self.missed;
        println!("| {row} | {at_once} | {done} | {rate:.0} | {cpu:.2} | {missed} | {failed} |");
    }
}

/// CPU time of this process so far, to a hundredth of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before it may have spaces.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Looks them all up, so many at once, and gives how many were not found.
async fn look_up_all(node: &Node, at_once: usize, names: &Arc<Vec<String>>) -> Result<usize> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..at_once {
        let (discovery, names, next) = (node.discovery.clone(), Arc::clone(names), Arc::clone(&next));
        askers.spawn(async move {
            let mut failed = 0;
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = discovery.lookup(name, PATIENCE).await;
                failed += usize::from(!matches!(outcome, LookupOutcome::Found(_)));
            }
            failed
        });
    }
    let mut failed = 0;
    while let Some(ended) = askers.join_next().await {
        failed += ended?;
    }
    Ok(failed)
}
