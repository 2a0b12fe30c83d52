use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_discovery::Discovery;
use sinew_flow::Budget;
use sinew_gateway::{Gateway, Services};
use sinew_link::{Address, BindError, Listener};
use sinew_mesh::PeerInfo;
use sinew_observe::{
    Admin, AdminConfig, Check, Health, Jam, Metrics, Queues, Readings, Registry, Scope, Viewers, wall_clock_ms,
};
use sinew_overlay::{Overlay, OverlayError};
use sinew_pubsub::PubSub;
use sinew_wire::PeerId;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::health::{self, Tasks, Watch};
use crate::live::{self, Live, LiveProbe};
#[cfg(feature = "otlp")]
use crate::otlp::{About, Otlp};
use crate::realm::Realm;
use crate::storage::{Storage, StorageError};
use crate::views::{self, Sources};
use crate::{Config, Invalid, compose};

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration can't work.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The data directory or the identity can't be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A client listener can't be opened.
    #[error("can't listen for clients: {0}")]
    Listen(#[from] BindError),
    /// The other nodes can't be met.
    #[error("can't listen for other nodes: {0}")]
    Mesh(#[from] OverlayError),
    /// Traces can't be exported there.
    #[error("can't export traces to {url}: {problem}")]
    Trace {
        /// Where to.
        url: String,
        /// Why.
        problem: String,
    },
    /// The admin server can't be opened.
    #[error("can't listen on {address} for the admin server: {}", why(.source))]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running node.
///
/// End it with [`Node::shutdown`]; a node that is dropped stops without a word to its clients.
#[derive(Debug)]
pub struct Node {
    peer: PeerId,
    addresses: Vec<Address>,
    drain_timeout: Duration,
    gateway: Gateway,
    realm: Realm,
    serving: Check,
    admin: Option<Admin>,
    tasks: Tasks,
    live: Live,
    #[cfg(feature = "otlp")]
    traces: Option<Otlp>,
    _watch: Watch,
    _storage: Storage,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Clients that had to be cut off, because they had not taken what was queued for them in time.
    pub cut: usize,
}

impl Node {
    /// Builds and starts everything, in this order: identity, metrics, memory budget, listeners, pub/sub, realm (overlay,
    /// discovery, calls, mesh), gateway, admin server. When it returns, clients can connect, and other nodes are being looked for.
    ///
    /// Not cancel safe as a whole, but a dropped start leaves nothing behind that runs.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::starting(config).await
    }

    /// Boxed: a future is compiled where it is awaited, and this one is a whole node.
    fn starting(config: Config) -> Pin<Box<dyn Future<Output = Result<Self, StartError>> + Send>> {
        Box::pin(Self::assemble(config))
    }

    async fn assemble(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let storage = open_storage(config.clone()).await?;
        let peer = storage.identity.peer_id();

        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.open.set(i64::from(config.open));
        let health = Health::new();
        health.export(&mut registry);
        health.state_fact("open", config.open);
        let serving = health.check("serving", Scope::Ready);

        let budget = Arc::new(Budget::new(compose::bytes(config.limits.queue_memory)));
        let admin_listener = bind_admin(config.admin).await?;
        let listeners = bind_clients(&config, &storage).await?;
        let addresses: Vec<Address> = listeners.iter().map(Listener::address).collect();

        let forward = compose::forward(&config);
        let pubsub = PubSub::start_with(compose::pubsub(&config), forward, Arc::clone(&budget), metrics.clone());
        let realm = Realm::start(&config, &storage.identity, &addresses, &pubsub, (&budget, &metrics)).await?;
        let services = Services {
            pubsub: pubsub.clone(),
            discovery: realm.discovery.clone(),
            calls: realm.calls.clone(),
            mesh: realm.others.as_ref().map(|others| others.mesh.clone()),
        };
        let gateway = Gateway::new(compose::gateway(&config, peer), services, metrics.clone());
        let queues = Queues::new(&mut registry);
        show(&queues, &pubsub, &budget);
        let mut tasks = Tasks::default();
        tasks.add(&health, "delivery workers", pubsub.pulses().to_vec());
        tasks.add_realm(&health, &realm);
        let readings = Readings::new(&mut registry);
        export(&readings, &realm.discovery);
        realm.calls.export(&readings);
        if let Some(others) = &realm.others {
            show_overlay(&queues, &others.overlay);
            health::watch_overlay(&health, &others.overlay);
            others.mesh.export(&readings);
            let max = config.mesh.pool_max as u64;
            readings.gauge("pool_max", "Links to other nodes there may be at once", move || max);
        }
        for listener in listeners {
            tasks.serve(&health, &gateway, listener);
        }
        let viewers = Viewers::default();
        let facts = live::Facts {
            node: peer,
            realm_name: config.realm.clone(),
            region: config.mesh.region.clone(),
            epoch: wall_clock_ms(),
            started: Instant::now(),
            metrics: metrics.clone(),
            health: health.clone(),
            queues: queues.clone(),
            pubsub: pubsub.clone(),
            gateway: gateway.clone(),
            realm: realm.clone(),
            intake: live::Intake::default(),
        };
        live::export(&facts, &viewers, &queues, &readings);
        let live = Live::start(facts, &viewers, &health, &mut tasks);
        #[cfg(feature = "otlp")]
        let traces = export_traces(&config, peer, &metrics, (&health, &mut tasks), (&queues, &readings))?;
        let watch = Watch::start(&health, &queues, &readings, config.data_dir.clone()).await;

        let sources = Sources {
            node: peer,
            realm: config.realm.clone(),
            open: config.open,
            addresses: addresses.clone(),
            started: Instant::now(),
            budget,
            metrics,
            pubsub,
            gateway: gateway.clone(),
            plane: realm.clone(),
            viewers,
        };
        let admin = match admin_listener {
            Some((address, listener)) => {
                let admin = AdminConfig { token: storage.admin_token.clone(), ..AdminConfig::default() };
                let serve = Admin::serve(listener, registry, health, views::views(sources), admin);
                Some(serve.map_err(|source| StartError::Admin { address, source })?)
            }
            None => None,
        };
        serving.pass();
        info!(node = %peer, realm = config.realm, open = config.open, "serving");
        let drain_timeout = config.drain_timeout;
        Ok(Self {
            peer,
            addresses,
            drain_timeout,
            gateway,
            realm,
            serving,
            admin,
            tasks,
            live,
            #[cfg(feature = "otlp")]
            traces,
            _watch: watch,
            _storage: storage,
        })
    }

    /// The node's identity.
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Where clients connect, with the real ports.
    pub fn client_addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where other nodes find this one: multiaddresses with its identity and the real ports. Empty for a node that stays
    /// alone.
    pub fn mesh_addresses(&self) -> Vec<String> {
        self.realm.others.as_ref().map(|others| others.overlay.listen_addresses()).unwrap_or_default()
    }

    /// The other nodes of the realm that are up.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.realm.others.as_ref().map(|others| others.mesh.peers()).unwrap_or_default()
    }

    /// Where the admin server listens, with the real port; `None` when there is none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Clients connected now.
    pub fn client_count(&self) -> usize {
        self.gateway.client_count()
    }

    /// For measurements of the live view only.
    #[doc(hidden)]
    pub fn live_probe(&self) -> LiveProbe {
        self.live.probe()
    }

    /// For tests of the health checks only: the tasks that can be stopped by [`Node::jam`].
    #[doc(hidden)]
    pub fn tasks(&self) -> Vec<String> {
        self.tasks.names()
    }

    /// For tests of the health checks only: really stops the tasks of this name, as if they waited for something that never
    /// comes, until what it returns is dropped. Empty if there is none of that name.
    #[doc(hidden)]
    pub fn jam(&self, task: &str) -> Vec<Jam> {
        self.tasks.jam(task)
    }

    /// Turns readiness red, takes no new calls and lets open ones come to their end; stops accepting, lets every session deliver
    /// what is queued and say goodbye; and leaves the realm. Each of the three takes at most [`Config::drain_timeout`]; who is not
    /// done by then is cut off. Health and metrics stay to be looked at.
    ///
    /// Cancel safe: a dropped drain goes on, without the final cut.
    pub async fn drain(&self) -> Drained {
        self.serving.fail("draining");
        self.tasks.end();
        self.live.leave().await;
        info!(clients = self.client_count(), "draining");
        self.realm.finish_calls(self.drain_timeout).await;
        let cut = self.gateway.drain(self.drain_timeout).await;
        // After the clients: what they had published is on its way to other nodes.
        self.realm.leave(self.drain_timeout).await;
        // Last: what the drain itself delivered is told too.
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            traces.finish().await;
        }
        if cut > 0 {
            warn!(cut, "some clients had not taken everything in time");
        }
        Drained { cut }
    }

    /// [`Node::drain`], and then the end of the admin server and of everything else.
    pub async fn shutdown(mut self) -> Drained {
        let drained = self.drain().await;
        if let Some(admin) = self.admin.take() {
            admin.shutdown().await;
        }
        info!("stopped");
        drained
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // After a shutdown there is nothing left to drain, and without a runtime nothing runs.
        if let Ok(runtime) = Handle::try_current() {
            let (gateway, realm) = (self.gateway.clone(), self.realm.clone());
            runtime.spawn(async move {
                gateway.drain(Duration::ZERO).await;
                realm.leave(Duration::ZERO).await;
            });
        }
    }
}

/// An error of the system in the words people look for.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "it is in use by another process".to_owned(),
        io::ErrorKind::AddrNotAvailable => "it is not an address of this host".to_owned(),
        _ => error.to_string(),
    }
}

async fn open_storage(config: Config) -> Result<Storage, StorageError> {
    match tokio::task::spawn_blocking(move || Storage::open(&config)).await {
        Ok(opened) => opened,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

async fn bind_admin(admin: Option<SocketAddr>) -> Result<Option<(SocketAddr, TcpListener)>, StartError> {
    let Some(address) = admin else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| StartError::Admin { address, source })?;
    Ok(Some((address, listener)))
}

async fn bind_clients(config: &Config, storage: &Storage) -> Result<Vec<Listener>, BindError> {
    let link = compose::link(config);
    let mut listeners = Vec::new();
    for address in config.listeners() {
        listeners.push(Listener::bind(&address, &storage.identity, &link).await?);
    }
    Ok(listeners)
}

#[cfg(feature = "otlp")]
fn export_traces(
    config: &Config,
    node: PeerId,
    metrics: &Metrics,
    checked: (&Health, &mut Tasks),
    shown: (&Queues, &Readings),
) -> Result<Option<Otlp>, StartError> {
    let Some(url) = &config.trace.otlp else { return Ok(None) };
    let about = About { node, realm: config.realm.clone(), region: config.mesh.region.clone() };
    let started = Otlp::start(url, &about, &metrics.spans, checked, shown);
    started.map(Some).map_err(|error| StartError::Trace { url: url.clone(), problem: error.to_string() })
}

/// Shows the queues of the services.
fn show(queues: &Queues, pubsub: &PubSub, budget: &Arc<Budget>) {
    let used = Arc::clone(budget);
    queues.add("memory_bytes", budget.limit() as u64, move || used.used() as u64);
    let backlog = pubsub.clone();
    queues.add("delivery_jobs", pubsub.delivery_backlog().1 as u64, move || backlog.delivery_backlog().0 as u64);
}

/// What discovery counts.
fn export(readings: &Readings, discovery: &Discovery) {
    let of = |discovery: &Discovery| discovery.clone();
    let (leases, expired, now, counted) = (of(discovery), of(discovery), of(discovery), of(discovery));
    readings.gauge("registry_services", "Services announced on this node", move || leases.stats().leases as u64);
    readings.counter("registry_expired", "Leases that nobody renewed", move || expired.stats().expired);
    readings.gauges("discovery_now", "What discovery holds", move || now.stats().gauges().to_vec());
    readings.counters("discovery", "What discovery counts", move || counted.stats().counters().to_vec());
}

/// The queues of the overlay.
fn show_overlay(queues: &Queues, overlay: &Overlay) {
    let status = overlay.status();
    let (commands, messages) = (overlay.clone(), overlay.clone());
    queues.add("overlay_commands", status.commands_capacity as u64, move || commands.status().commands_queued as u64);
    queues.add("overlay_message_bytes", status.messages_capacity_bytes as u64, move || {
        messages.status().messages_queued_bytes as u64
    });
}
