use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_observe::{CacheCounters, Metrics};
use sinew_overlay::Overlay;
use sinew_registry::{ChangeSet, Ended, Registry, Snapshot};
use sinew_wire::{PeerId, ServiceInstance};
use tokio::sync::{Notify, Semaphore};

use crate::DiscoveryConfig;
use crate::cache::{self, Entries};
use crate::dht::DhtNames;
use crate::directory::Directory;
use crate::lookup::Flight;
use crate::providers::{self, Sets};
use crate::watch::Watchers;

/// Leases ended, and names forgotten, under one lock.
const BATCH: usize = 1_024;

/// Most nodes of which it is remembered that they have gone.
const MAX_GONE: usize = 256;

/// What the handles and tasks of a node's discovery share.
pub(crate) struct Shared {
    pub(crate) config: DiscoveryConfig,
    pub(crate) node: PeerId,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) metrics: Metrics,
    pub(crate) cached: CacheCounters,
    pub(crate) counts: Counts,
    /// Locked for moments, and never while the lock of a watcher is held.
    pub(crate) state: Mutex<State>,
    /// The leases of this node, for readers.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Written and invalidated under the lock of `state`, so that nothing old is written after it was invalidated.
    pub(crate) entries: Entries,
    /// What can be called. Written and invalidated as `entries` are.
    pub(crate) sets: Sets,
    /// Counts changes of what can be called.
    pub(crate) revision: AtomicU64,
    /// Region label of this node.
    pub(crate) region: Arc<str>,
    pub(crate) fetches: Arc<Semaphore>,
    pub(crate) dht_queries: Semaphore,
    /// For the mesh: there are local changes.
    pub(crate) changed: Notify,
    /// For the keeper: a deadline or a name of the DHT.
    pub(crate) keep: Notify,
    /// For calls: there are instances that have ended.
    pub(crate) instances_ended: Notify,
    /// Whether another node was ever known.
    pub(crate) met: AtomicBool,
    turn: AtomicUsize,
}

pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) directory: Directory,
    pub(crate) changes: ChangeSet,
    pub(crate) dht: DhtNames,
    pub(crate) watchers: Watchers,
    pub(crate) flights: HashMap<Arc<str>, Flight>,
    pub(crate) flown: u64,
    /// Nodes that have gone, the newest last: the DHT names them for a while yet.
    pub(crate) gone: VecDeque<PeerId>,
    /// Instances that have ended, until somebody asks for them.
    pub(crate) ended: VecDeque<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) expired: AtomicU64,
    pub(crate) directory_refused: AtomicU64,
    pub(crate) asks_answered: AtomicU64,
    pub(crate) asks_refused: AtomicU64,
    pub(crate) answers_refused: AtomicU64,
    pub(crate) dht_failed: AtomicU64,
}

impl Counts {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(config: DiscoveryConfig, node: PeerId, overlay: Option<Overlay>, metrics: Metrics) -> Self {
        // Requests that were on their way to a life of this node before don't meet instances of this one.
        let registry = Registry::numbering_from(config.limits.clone(), u64::from(rand::random::<u32>()) << 31);
        let snapshot = ArcSwap::from_pointee(registry.snapshot());
        let state = State {
            registry,
            directory: Directory::new(config.directory_entries),
            changes: ChangeSet::new(),
            dht: DhtNames::new(config.dht_names),
            watchers: Watchers::new(config.watchers, config.watch_backlog.max(1)),
            flights: HashMap::new(),
            flown: 0,
            gone: VecDeque::new(),
            ended: VecDeque::new(),
        };
        Self {
            entries: cache::entries(config.cache_names, config.cache_ttl.max(config.absent_ttl)),
            sets: providers::sets(config.cache_names),
            revision: AtomicU64::new(0),
            region: config.region.as_str().into(),
            fetches: Arc::new(Semaphore::new(config.fetches.min(Semaphore::MAX_PERMITS))),
            dht_queries: Semaphore::new(config.dht_queries.clamp(1, Semaphore::MAX_PERMITS)),
            cached: metrics.cache("services"),
            counts: Counts::default(),
            state: Mutex::new(state),
            snapshot,
            changed: Notify::new(),
            keep: Notify::new(),
            instances_ended: Notify::new(),
            met: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            config,
            node,
            overlay,
            metrics,
        }
    }

    /// Another number each time: where to begin among many.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Local leases have changed: names, and how many instances of this node they have now.
    pub(crate) fn local_changed<'a>(&self, state: &mut State, changes: impl IntoIterator<Item = (&'a Arc<str>, u32)>) {
        self.snapshot.store(Arc::new(state.registry.snapshot()));
        for (name, instances) in changes {
            state.directory.set_local(name, instances);
            if state.changes.set(name, instances) {
                self.changed.notify_one();
            }
            state.dht.set(name, instances > 0);
            self.sets.invalidate(name);
            state.watchers.changed(name);
        }
        self.changed_something();
        self.keep.notify_one();
    }

    pub(crate) fn ended(&self, state: &mut State, ended: &[Ended]) {
        if !ended.is_empty() {
            self.note_ended(state, ended.iter().map(|ended| ended.number));
            self.local_changed(state, ended.iter().map(|ended| (&ended.name, ended.instances)));
        }
    }

    /// Notes which instances have ended. Bounded by as many as there may be at once: if nobody asks, nobody wants to know.
    pub(crate) fn note_ended(&self, state: &mut State, numbers: impl IntoIterator<Item = u64>) {
        state.ended.extend(numbers);
        let most = self.config.limits.services;
        let excess = state.ended.len().saturating_sub(most);
        state.ended.drain(..excess);
        self.instances_ended.notify_one();
    }

    /// Other nodes have something else of this name now.
    pub(crate) fn remote_changed(&self, state: &mut State, name: &Arc<str>) {
        // Who looks from now on asks anew; who has asked before gets what there was then.
        state.flights.remove(name);
        self.entries.invalidate(name);
        self.sets.invalidate(name);
        self.changed_something();
        state.watchers.changed(name);
    }

    /// Forgets all that another node has.
    pub(crate) fn forget_node(&self, node: PeerId) {
        {
            let mut state = self.state.lock();
            state.gone.retain(|gone| *gone != node);
            if state.gone.len() >= MAX_GONE {
                state.gone.pop_front();
            }
            state.gone.push_back(node);
        }
        loop {
            let mut state = self.state.lock();
            let names = state.directory.remove_node(node, BATCH);
            names.iter().for_each(|name| self.remote_changed(&mut state, name));
            if names.len() < BATCH {
                break;
            }
        }
        for (name, kept) in &self.sets {
            if kept.is_of(node) {
                let _state = self.state.lock();
                self.sets.invalidate(&*name);
            }
        }
        self.changed_something();
        // What only the DHT had told of it.
        for (name, entry) in &self.entries {
            if entry.is_of(node) {
                let mut state = self.state.lock();
                state.flights.remove(&*name);
                self.entries.invalidate(&*name);
            }
        }
    }

    /// Ends the leases whose time has passed, and says when the next one does.
    pub(crate) fn expire(&self) -> Option<Instant> {
        loop {
            let mut state = self.state.lock();
            let ended = state.registry.expire(Instant::now(), BATCH);
            self.ended(&mut state, &ended);
            self.counts.expired.fetch_add(ended.len() as u64, Ordering::Relaxed);
            if ended.len() < BATCH {
                return state.registry.next_deadline();
            }
        }
    }

    /// Up to so many instances of this node, others of many each time.
    pub(crate) fn local_instances(&self, name: &str, now: Instant) -> Vec<ServiceInstance> {
        let snapshot = self.snapshot.load();
        let Some(service) = snapshot.get(name) else { return Vec::new() };
        let most = self.config.instances_taken;
        let start = if service.len() > most { self.turn() } else { 0 };
        let instances = service.live_from(start, now).take(most);
        instances
            .map(|instance| ServiceInstance {
                name: name.to_owned(),
                node: self.node,
                provider: instance.owner.peer,
                instance: instance.owner.instance,
                metadata: instance.metadata.to_vec(),
                ttl_ms: left_ms(instance.expires, now),
                region: self.config.region.clone(),
            })
            .collect()
    }

    /// Whether there is no other node to ask.
    pub(crate) fn is_alone(&self) -> bool {
        let connected = self.overlay.as_ref().is_some_and(|overlay| !overlay.peers().is_empty());
        if connected {
            self.met.store(true, Ordering::Relaxed);
        }
        !connected && self.state.lock().directory.nodes() == 0
    }

    /// Whether there are, or were, or should be other nodes.
    pub(crate) fn should_have_peers(&self) -> bool {
        self.config.expects_peers || self.met.load(Ordering::Relaxed)
    }
}

/// Time until `expires`, in milliseconds.
pub(crate) fn left_ms(expires: Instant, now: Instant) -> u64 {
    u64::try_from(expires.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}
