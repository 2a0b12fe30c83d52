use std::sync::Arc;
use std::time::Duration;

use sinew_discovery::{Discovery, Owner};
use sinew_flow::Budget;
use sinew_link::Lane;
use sinew_observe::{Metrics, Readings};
use sinew_wire::{PeerId, ProviderHealth, Refusal, Serve};

use crate::{CallsConfig, CallsView, Port};

/// The calls of one node. A handle: cloning it shares the service. Its task ends when the last clone and the last [`Port`] are
/// dropped.
#[derive(Debug, Clone)]
pub struct Calls(());

impl Calls {
    /// Starts the service and its task for deadlines. Must be called in a tokio runtime.
    pub fn start(
        config: CallsConfig,
        node: PeerId,
        discovery: Discovery,
        budget: Arc<Budget>,
        metrics: Metrics,
    ) -> Self {
        let _ = (config, node, discovery, budget, metrics);
        Self(())
    }

    /// The session of a client has begun. Frames of calls for it go to `lane`.
    pub fn client(&self, owner: Owner, lane: Arc<Lane>) -> Port {
        let _ = (owner, lane);
        Port::new()
    }

    /// A link to another node is up. Frames of calls for it go to `lane`. If there was one to the same node, calls that are
    /// under way on that one stay there until its port is dropped.
    pub fn node(&self, peer: PeerId, lane: Arc<Lane>) -> Port {
        let _ = (peer, lane);
        Port::new()
    }

    /// Waits for a node to which calls wait for a link. Each is given once, until it had a link or was
    /// [unreachable](Self::unreachable). Cancel safe. For one task.
    pub async fn wanted(&self) -> PeerId {
        std::future::pending().await
    }

    /// There will be no link to this node for now: calls that wait for one go elsewhere.
    pub fn unreachable(&self, peer: PeerId) {
        let _ = peer;
    }

    /// Whether calls to or from this node are under way, or wait for a link to it.
    pub fn busy_with(&self, peer: &PeerId) -> bool {
        let _ = peer;
        false
    }

    /// Announces a procedure through discovery, and takes calls for it from now on. Gives the time to live of the lease.
    ///
    /// # Errors
    /// Those of [`Discovery::announce`]; [`Refusal::Protocol`] for a procedure whose policy is none.
    pub fn serve(&self, owner: Owner, serve: Serve) -> Result<Duration, Refusal> {
        let _ = (owner, serve);
        Err(Refusal::Unavailable("this node serves no calls".to_owned()))
    }

    /// Begins the time to live of a lease anew through discovery, whether it is of a procedure or of any service.
    ///
    /// # Errors
    /// Those of [`Discovery::renew`].
    pub fn renew(&self, session: u64, lease: u32) -> Result<Duration, Refusal> {
        let _ = (session, lease);
        Err(Refusal::Unavailable("this node serves no calls".to_owned()))
    }

    /// Withdraws a lease through discovery, whether it is of a procedure or of any service. Calls that the provider has at hand
    /// come to their end, those that wait for it go elsewhere, and there are no new ones.
    ///
    /// # Errors
    /// Those of [`Discovery::withdraw`].
    pub fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal> {
        let _ = (session, lease);
        Err(Refusal::Unavailable("this node serves no calls".to_owned()))
    }

    /// How a provider is, by its own word. Of a lease that there is not it changes nothing: it may just have ended.
    pub fn health(&self, session: u64, lease: u32, health: ProviderHealth) {
        let _ = (session, lease, health);
    }

    /// No new calls from now on: clients are refused ([`Refusal::Draining`]), other nodes try elsewhere. Open calls go on.
    pub fn drain(&self) {}

    /// Calls that are open.
    pub fn open(&self) -> usize {
        0
    }

    /// What there is at this moment, for listings. Takes time in proportion to it.
    pub fn view(&self) -> CallsView {
        CallsView::default()
    }

    /// Adds the numbers of the service to the metrics.
    pub fn export(&self, readings: &Readings) {
        let _ = readings;
    }
}
