use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use sinew_link::Dialer;
use sinew_link::pool::Closed;
use sinew_membership::Record;
use sinew_observe::{Counter, Metrics, Pulse};
use sinew_overlay::Overlay;
use sinew_rpc::Calls;
use sinew_wire::PeerId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::MeshConfig;
use crate::counters::MeshCounters;
use crate::nodes::Nodes;
use crate::pool::Pool;

/// What the tasks of the mesh share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: MeshConfig,
    /// This node.
    pub(crate) peer: PeerId,
    /// When it was started, as its record says.
    pub(crate) epoch: u64,
    pub(crate) nodes: Nodes,
    pub(crate) pool: Pool,
    pub(crate) overlay: Overlay,
    pub(crate) dialer: Dialer,
    pub(crate) calls: Calls,
    pub(crate) metrics: Metrics,
    /// By the number of the reason.
    pub(crate) closed: [Counter; Closed::ALL.len()],
    pub(crate) counters: MeshCounters,
    /// What the membership has counted, as of a moment ago.
    pub(crate) membership: ArcSwap<sinew_membership::Counters>,
    /// Members that failed, and since when, as of a moment ago.
    pub(crate) failed: ArcSwap<Vec<(Arc<Record>, Instant)>>,
    /// One permit per dial that has not reached its peer yet.
    pub(crate) dials: Semaphore,
    /// One permit per link that waits for the record of its node.
    pub(crate) strangers: Semaphore,
    pub(crate) tasks: TaskTracker,
    /// The mesh is over.
    pub(crate) stop: CancellationToken,
    /// Of the membership task.
    pub(crate) driver_pulse: Pulse,
    /// Of the pool task.
    pub(crate) pool_pulse: Pulse,
}

impl Context {
    /// Whether the overlay has a direct connection to a node.
    pub(crate) fn is_direct(&self, peer: &PeerId) -> bool {
        self.overlay.peers().iter().any(|known| known.peer == *peer && known.direct)
    }

    pub(crate) fn closed(metrics: &Metrics) -> [Counter; Closed::ALL.len()] {
        Closed::ALL.map(|reason| metrics.pool_closed(reason.as_str()))
    }
}

pub(crate) type Shared = Arc<Context>;
