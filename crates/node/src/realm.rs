//! The parts of a node that know the other nodes: overlay, discovery, calls, mesh.

use std::sync::Arc;
use std::time::Duration;

use sinew_discovery::Discovery;
use sinew_flow::Budget;
use sinew_link::{Address, Dialer, Identity};
use sinew_mesh::{Mesh, MeshParts, NodeInfo, Signer};
use sinew_observe::{Metrics, wall_clock_ms};
use sinew_overlay::{Overlay, OverlayError, Started};
use sinew_pubsub::PubSub;
use sinew_rpc::Calls;
use sinew_wire::Features;

use crate::{Config, advertise, compose};

/// How often a drain looks whether calls are open.
const LOOK: Duration = Duration::from_millis(10);

/// What a node has to do with its realm. A node that stays alone has no overlay and no mesh, and finds only what its own
/// clients announce.
#[derive(Debug, Clone)]
pub(crate) struct Realm {
    pub(crate) discovery: Discovery,
    pub(crate) calls: Calls,
    pub(crate) others: Option<Others>,
}

/// Handles of what knows other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    pub(crate) overlay: Overlay,
    pub(crate) mesh: Mesh,
}

impl Realm {
    /// Starts the overlay on its listeners, then discovery, then calls, then the mesh on top of them.
    pub(crate) async fn start(
        config: &Config,
        identity: &Identity,
        clients: &[Address],
        pubsub: &PubSub,
        (budget, metrics): (&Arc<Budget>, &Metrics),
    ) -> Result<Self, OverlayError> {
        let peer = identity.peer_id();
        let call = |discovery: &Discovery| {
            let (config, discovery) = (compose::calls(config), discovery.clone());
            Calls::start(config, peer, discovery, Arc::clone(budget), metrics.clone())
        };
        let discovery = compose::discovery(config);
        if config.mesh.listeners().is_empty() {
            let (discovery, _changes) = Discovery::start(discovery, peer, None, None, metrics.clone());
            return Ok(Self { calls: call(&discovery), discovery, others: None });
        }
        let Started { overlay, events, asks } = Overlay::start(identity, compose::overlay(config)).await?;
        let (discovery, changes) =
            Discovery::start(discovery, peer, Some(overlay.clone()), Some(asks), metrics.clone());
        let calls = call(&discovery);
        let addresses = overlay.listen_addresses();
        let info = NodeInfo {
            peer,
            // A node that was restarted is newer than it was before.
            epoch: wall_clock_ms(),
            data: advertise::addresses(&config.mesh.advertise, clients, &addresses),
            mesh: addresses,
            region: config.mesh.region.clone(),
            features: Features::OURS.0,
        };
        let mesh = Mesh::start(MeshParts {
            config: compose::mesh(config),
            info,
            signer: Box::new(Key(identity.clone())),
            overlay: overlay.clone(),
            events,
            pubsub: pubsub.clone(),
            discovery: discovery.clone(),
            changes,
            calls: calls.clone(),
            dialer: Dialer::new(identity.clone(), compose::link(config)),
            metrics: metrics.clone(),
        });
        Ok(Self { discovery, calls, others: Some(Others { overlay, mesh }) })
    }

    /// Takes no new calls, and waits until there are no open ones, at most for so long.
    pub(crate) async fn finish_calls(&self, patience: Duration) {
        self.calls.drain();
        let finished = async {
            while self.calls.open() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _out_of_patience = tokio::time::timeout(patience, finished).await;
    }

    /// Leaves the realm: the other nodes hear it, what is queued for them goes out, links and connections end.
    pub(crate) async fn leave(&self, patience: Duration) {
        if let Some(Others { overlay, mesh }) = &self.others {
            mesh.drain(patience).await;
            overlay.clone().shutdown().await;
        }
    }
}

/// The identity, as the membership sees it.
struct Key(Identity);

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}
