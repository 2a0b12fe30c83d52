use std::sync::Arc;
use std::time::Duration;

use sinew_discovery::Discovery;
use sinew_link::Listener;
use sinew_mesh::Mesh;
use sinew_observe::{Metrics, Pulse};
use sinew_pubsub::{PubSub, RunLimits};
use sinew_rpc::Calls;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::config::GatewayConfig;
use crate::incoming::Bounds;
use crate::roster::{ClientInfo, Roster};

/// The client side of a node: accepts links, runs sessions, drains them. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Context>);

/// What a gateway stands in front of.
#[derive(Debug, Clone)]
pub struct Services {
    /// Messages.
    pub pubsub: PubSub,
    /// Services of applications.
    pub discovery: Discovery,
    /// Remote calls.
    pub calls: Calls,
    /// The other nodes of the realm; `None` refuses them.
    pub mesh: Option<Mesh>,
}

/// What accept loops and sessions share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: GatewayConfig,
    pub(crate) bounds: Bounds,
    pub(crate) pubsub: PubSub,
    pub(crate) discovery: Discovery,
    pub(crate) calls: Calls,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) metrics: Metrics,
    pub(crate) roster: Arc<Roster>,
    /// One permit per handshake under way.
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    /// No new links; sessions deliver what is queued and say goodbye.
    pub(crate) draining: CancellationToken,
    /// The end of patience: sessions stop where they are.
    pub(crate) abort: CancellationToken,
}

impl Gateway {
    /// A gateway in front of services. It serves nobody until [`Gateway::serve`].
    pub fn new(config: GatewayConfig, services: Services, metrics: Metrics) -> Self {
        let Services { pubsub, discovery, calls, mesh } = services;
        let bounds = Bounds { run: RunLimits::for_message(config.message), max_deadline: config.max_deadline };
        Self(Arc::new(Context {
            bounds,
            pubsub,
            discovery,
            calls,
            mesh,
            metrics,
            roster: Roster::new(config.max_clients),
            handshakes: Arc::new(Semaphore::new(config.max_pending_handshakes)),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            abort: CancellationToken::new(),
            config,
        }))
    }

    /// Accepts clients on a listener until the gateway drains. Needs a tokio runtime. The handle is finished when the
    /// listener is no longer served, which before a drain means that something is broken; the pulse is that of the loop that
    /// accepts.
    pub fn serve(&self, listener: Listener) -> (tokio::task::JoinHandle<()>, Pulse) {
        let pulse = Pulse::new();
        (self.0.tasks.spawn(accept::accept(listener, Arc::clone(&self.0), pulse.beats())), pulse)
    }

    /// Clients connected now.
    pub fn client_count(&self) -> usize {
        self.0.roster.taken()
    }

    /// The connected clients, by session number.
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.0.roster.list()
    }

    /// Stops accepting, lets every session deliver what is queued and say goodbye, and returns how many had to be cut
    /// off because they were not done within `patience`.
    ///
    /// Cancel safe: a dropped drain goes on in the sessions, without the final cut.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.0.draining.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(patience, self.0.tasks.wait()).await.is_ok() {
            return 0;
        }
        let cut = self.client_count();
        self.0.abort.cancel();
        self.0.tasks.wait().await;
        cut
    }
}
