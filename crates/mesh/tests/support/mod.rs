//! Whole nodes in one process, without gateway: overlay, membership, pub/sub, discovery, and the mesh that joins them.

#![allow(dead_code, unused_imports, reason = "every test file takes what it needs")]

mod client;
mod gate;
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sinew_discovery::{Discovery, DiscoveryConfig};
use sinew_flow::Budget;
use sinew_link::{Address, Dialer, Fill, Identity, LinkConfig, LinkReader, Listener};
use sinew_mesh::{LinkFacts, Mesh, MeshConfig, MeshParts, NodeInfo, PeerInfo, Signer};
use sinew_observe::{Metrics, Readings, Registry, encode};
use sinew_overlay::{Overlay, OverlayConfig, Started};
use sinew_pubsub::{PubSub, PubSubConfig};
use sinew_rpc::{Calls, CallsConfig};
use sinew_wire::{Control, Hello, PeerId};
use tokio::task::JoinHandle;

pub(crate) use self::client::{Client, Seen};
pub(crate) use self::gate::Gate;
pub(crate) use self::proxy::Proxy;

/// Longer than anything should take; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is not the same for all nodes of a test.
pub(crate) struct Setup {
    pub(crate) identity: Identity,
    pub(crate) mesh: MeshConfig,
    pub(crate) overlay: OverlayConfig,
    pub(crate) link: LinkConfig,
    /// Schemes of the listeners of the data plane.
    pub(crate) schemes: &'static [&'static str],
    /// Others are told the address of a proxy instead of the real one.
    pub(crate) proxied: bool,
    /// The same of a gate before each QUIC listener, closed at first.
    pub(crate) gated: bool,
}

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) realm: String,
    pub(crate) epoch: u64,
    pub(crate) mesh: Mesh,
    pub(crate) hub: PubSub,
    pub(crate) budget: Arc<Budget>,
    pub(crate) discovery: Discovery,
    pub(crate) overlay: Overlay,
    pub(crate) metrics: Metrics,
    registry: Registry,
    /// Where its listeners really are.
    pub(crate) listening: Vec<Address>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) gates: Vec<Gate>,
    accepting: Vec<JoinHandle<()>>,
}

pub(crate) struct Key(pub(crate) Identity);

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}

static REALMS: AtomicU64 = AtomicU64::new(0);

/// A realm that no other test has.
pub(crate) fn realm() -> String {
    format!("test-{}-{}", std::process::id(), REALMS.fetch_add(1, Ordering::Relaxed))
}

impl Setup {
    pub(crate) fn new(realm: &str) -> Self {
        let mut mesh = MeshConfig::new(realm);
        // Faster than in the field, since everything is on one host, and slow enough for one that is busy.
        mesh.membership.probe_period = Duration::from_millis(200);
        mesh.membership.probe_rtt = Duration::from_millis(80);
        mesh.membership.suspicion = Duration::from_millis(1500);
        mesh.membership.anti_entropy = Duration::from_millis(300);
        mesh.membership.retry_down = Duration::from_millis(500);
        let overlay = OverlayConfig {
            realm: realm.to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            ..OverlayConfig::default()
        };
        Self {
            identity: Identity::generate(),
            mesh,
            overlay,
            link: LinkConfig::default(),
            schemes: &["quic", "tls"],
            proxied: false,
            gated: false,
        }
    }

    /// Knows these nodes from the start.
    pub(crate) fn knows(mut self, nodes: &[&Node]) -> Self {
        self.overlay.bootstrap = nodes.iter().flat_map(|node| node.overlay.listen_addresses()).collect();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) async fn start(self) -> Node {
        let Self { identity, mesh: config, overlay, link, schemes, proxied, gated } = self;
        let Started { overlay, events, asks } = Overlay::start(&identity, overlay).await.expect("the overlay starts");
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let readings = Readings::new(&mut registry);
        let realm = config.realm.clone();
        let budget = Arc::new(Budget::new(256 << 20));
        let hub = PubSub::start(PubSubConfig::default(), Arc::clone(&budget), metrics.clone());
        let discovery = DiscoveryConfig { realm: config.realm.clone(), ..DiscoveryConfig::default() };
        let peer = identity.peer_id();
        let (discovery, changes) =
            Discovery::start(discovery, peer, Some(overlay.clone()), Some(asks), metrics.clone());
        let (mut listeners, mut proxies, mut gates, mut data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for scheme in schemes {
            let address = format!("{scheme}://127.0.0.1:0").parse().expect("an address");
            let listener = Listener::bind(&address, &identity, &link).await.expect("a free port");
            if proxied {
                let proxy = Proxy::start(&listener.address()).await;
                data.push(proxy.address.to_string());
                proxies.push(proxy);
            } else if gated && *scheme == "quic" {
                let gate = Gate::start(&listener.address()).await;
                data.push(gate.address.to_string());
                gates.push(gate);
            } else {
                data.push(listener.address().to_string());
            }
            listeners.push(listener);
        }
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let info = NodeInfo {
            peer,
            epoch,
            data,
            mesh: overlay.listen_addresses(),
            region: "test".to_owned(),
            features: config.features.0,
        };
        let calls = Calls::start(CallsConfig::default(), peer, discovery.clone(), Arc::clone(&budget), metrics.clone());
        let dialer = Dialer::new(identity.clone(), link);
        let mesh = Mesh::start(MeshParts {
            config,
            info,
            signer: Box::new(Key(identity.clone())),
            overlay: overlay.clone(),
            events,
            pubsub: hub.clone(),
            discovery: discovery.clone(),
            changes,
            calls: calls.clone(),
            dialer,
            metrics: metrics.clone(),
        });
        mesh.export(&readings);
        let listening = listeners.iter().map(Listener::address).collect();
        let accepting = listeners.into_iter().map(|listener| tokio::spawn(accept(listener, mesh.clone()))).collect();
        Node {
            identity,
            realm,
            epoch,
            mesh,
            hub,
            budget,
            discovery,
            overlay,
            metrics,
            registry,
            listening,
            proxies,
            gates,
            accepting,
        }
    }
}

/// What the gateway does with the links of nodes.
async fn accept(mut listener: Listener, mesh: Mesh) {
    while let Ok(incoming) = listener.accept().await {
        let mesh = mesh.clone();
        tokio::spawn(async move {
            let Ok(link) = incoming.establish().await else { return };
            let facts = LinkFacts { peer: link.peer(), transport: link.transport(), remote: link.remote().to_owned() };
            let (mut reader, writer) = link.split();
            if let Some(hello) = read_hello(&mut reader).await {
                mesh.accept((reader, writer), facts, hello).await;
            }
        });
    }
}

async fn read_hello(reader: &mut LinkReader) -> Option<Hello> {
    let Ok(Fill::Frames) = reader.fill().await else { return None };
    let Ok(Some(frame)) = reader.next_frame() else { return None };
    match Control::decode(frame.body) {
        Ok(Control::Hello(hello)) => Some(hello),
        _ => None,
    }
}

impl Node {
    pub(crate) fn peer(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// One of the numbers that the mesh counts.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let row = format!("sinew_mesh_total{{count=\"{name}\"}} ");
        let text = encode(&self.registry);
        let number = text.lines().find_map(|line| line.strip_prefix(&row)).expect("it is counted");
        number.parse().expect("a number")
    }

    /// An application of this node.
    pub(crate) fn client(&self, instance: u64) -> Client {
        Client::new(self, instance)
    }

    /// What it knows of another one.
    pub(crate) fn sees(&self, other: &Self) -> Option<PeerInfo> {
        self.mesh.peers().into_iter().find(|peer| peer.info.peer == other.peer())
    }

    /// Waits until it knows so many others.
    pub(crate) async fn meets(&self, others: usize) {
        eventually("it knows the others", || self.mesh.peer_count() == others).await;
    }

    /// Waits until it knows of so many patterns of another one.
    pub(crate) async fn hears_of(&self, other: &Self, patterns: usize) {
        let heard = || self.sees(other).is_some_and(|peer| peer.interest == patterns);
        eventually("it knows the other's interest", heard).await;
    }

    pub(crate) async fn settled(&self, nodes: u32) {
        let settled = self.mesh.settle(PATIENCE).await;
        assert_eq!((settled.nodes, settled.missing), (nodes, 0));
    }

    /// Ends it without a word, as a crash would, except that its sockets are closed.
    pub(crate) async fn kill(self) {
        self.accepting.iter().for_each(JoinHandle::abort);
        self.overlay.clone().shutdown().await;
        self.mesh.stop().await;
    }

    pub(crate) async fn leave(self) {
        self.mesh.drain(PATIENCE).await;
        self.accepting.iter().for_each(JoinHandle::abort);
        self.overlay.clone().shutdown().await;
    }
}

/// So many nodes that all know each other.
pub(crate) async fn nodes<const N: usize>(change: impl Fn(&mut Setup)) -> [Node; N] {
    let realm = realm();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..N {
        let known: Vec<&Node> = nodes.first().into_iter().collect();
        nodes.push(Setup::new(&realm).knows(&known).with(&change).start().await);
    }
    for node in &nodes {
        node.meets(N - 1).await;
    }
    nodes.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
}

/// Waits until something is so; a test that waits too long has failed.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
