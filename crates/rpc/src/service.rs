//! What all parts of the calls share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::RwLock;
use sinew_flow::Budget;
use sinew_observe::Metrics;
use sinew_wire::PeerId;

use crate::CallsConfig;
use crate::alarm::Alarm;
use crate::cache::Results;
use crate::directory::Directory;
use crate::instance::Instance;
use crate::link::{Kind, Link};
use crate::peers::Peers;
use crate::procedure::Procedures;
use crate::table::Table;

/// The calls of one node.
pub(crate) struct Service {
    pub(crate) config: CallsConfig,
    pub(crate) node: PeerId,
    pub(crate) directory: Box<dyn Directory>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
    pub(crate) table: Table,
    pub(crate) procedures: Procedures,
    pub(crate) peers: Peers,
    pub(crate) instances: RwLock<Instances>,
    pub(crate) sessions: RwLock<HashMap<u64, Arc<Link>>>,
    pub(crate) counts: Counts,
    pub(crate) results: Results,
    links: AtomicU64,
    draining: AtomicBool,
}

/// The providers of this node.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    pub(crate) by_id: HashMap<u64, Arc<Instance>>,
    /// By session and lease.
    pub(crate) by_lease: BTreeMap<(u64, u32), u64>,
}

/// What only rises.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) dispatched: AtomicU64,
    pub(crate) served: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) retries_refused: AtomicU64,
    pub(crate) hedged: AtomicU64,
    pub(crate) hedges_won: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) queued: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) late: AtomicU64,
}

impl Counts {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("dispatched", read(&self.dispatched)),
            ("served", read(&self.served)),
            ("retried", read(&self.retried)),
            ("retries_refused", read(&self.retries_refused)),
            ("hedged", read(&self.hedged)),
            ("hedges_won", read(&self.hedges_won)),
            ("coalesced", read(&self.coalesced)),
            ("queued", read(&self.queued)),
            ("overloaded", read(&self.overloaded)),
            ("late", read(&self.late)),
        ]
    }
}

impl Service {
    pub(crate) fn new(
        config: CallsConfig,
        node: PeerId,
        directory: Box<dyn Directory>,
        budget: Arc<Budget>,
        metrics: Metrics,
        alarm: Arc<Alarm>,
    ) -> Self {
        let now = Instant::now();
        Self {
            table: Table::new(config.stripes, config.max_calls, alarm),
            procedures: Procedures::new(config.procedures, config.balance.clone(), config.retry, now),
            peers: Peers::new(config.waiting_per_node),
            instances: RwLock::default(),
            sessions: RwLock::default(),
            counts: Counts::default(),
            results: Results::new(&config.cache, metrics.cache("calls")),
            links: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            config,
            node,
            directory,
            budget,
            metrics,
        }
    }

    pub(crate) fn link(&self, peer: PeerId, kind: Kind, lane: Arc<sinew_link::Lane>) -> Arc<Link> {
        Link::new(self.links.fetch_add(1, Ordering::Relaxed), peer, kind, lane, Arc::clone(&self.budget))
    }

    pub(crate) fn instance(&self, id: u64) -> Option<Arc<Instance>> {
        self.instances.read().by_id.get(&id).map(Arc::clone)
    }

    /// For choices: who chooses, and who knows what there is.
    pub(crate) fn view_of_realm(&self) -> (PeerId, &dyn Directory) {
        (self.node, &*self.directory)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("node", &self.node).field("open", &self.table.open()).finish_non_exhaustive()
    }
}
