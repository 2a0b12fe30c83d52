use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sinew_observe::{Metrics, Pulse};
use sinew_overlay::{Ask, Overlay};
use sinew_registry::{LeaseId, NoSuchLease, Offer, Owner, check_name};
use sinew_wire::{Limit, LookupOutcome, PeerId, Procedure, ProviderHealth, Refusal, ServiceSummaryRow};
use tokio::sync::{mpsc, watch};

use crate::answer::answer_all;
use crate::keeper::keep;
use crate::refusal::refusal_of;
use crate::shared::{Counts, Shared};
use crate::{DiscoveryConfig, LocalChanges, Providers, ProvidersError, Watch};

/// Most rows that [`Discovery::list`] gives at once.
const MAX_ROWS: usize = 10_000;

/// The services of a realm, as one node knows them. A handle: cloning it shares the service.
///
/// Its tasks end when the last clone is dropped, or at [`Discovery::shutdown`].
#[derive(Clone)]
pub struct Discovery(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// Dropped, it stops the tasks as well.
    stop: watch::Sender<bool>,
    pulse: Pulse,
}

/// What a client announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceSpec {
    /// The client's number for the lease.
    pub lease: u32,
    /// The service: a topic name that does not start with `$`.
    pub name: String,
    /// Time to live without a renewal; zero for the node's default.
    pub ttl: Duration,
    /// What the instance says about itself.
    pub metadata: Vec<(String, String)>,
    /// How it wants to be called, if it can be.
    pub procedure: Option<Procedure>,
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Time to live without a renewal.
    pub ttl: Duration,
    /// The node's number for the instance: [`Provider::id`](crate::Provider::id).
    pub id: u64,
}

/// Numbers of one moment, for metrics and people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Leases of this node.
    pub leases: usize,
    /// Leases that ended because nobody renewed them, since the start.
    pub expired: u64,
    /// Names in the realm.
    pub names: usize,
    /// Pairs of a name and another node in the directory.
    pub directory_entries: usize,
    /// Entries of other nodes not taken, since the start: the directory was full, or the name was none.
    pub directory_refused: u64,
    /// Names of which details of other nodes are cached.
    pub cached: u64,
    /// Names for which details are being fetched.
    pub fetching: usize,
    /// Names of this node in the DHT.
    pub dht_provided: usize,
    /// Names of this node that wait for a place in the DHT.
    pub dht_left_out: usize,
    /// Publications to the DHT that failed and were, or will be, tried again, since the start.
    pub dht_failed: u64,
    /// Questions of other nodes answered, since the start.
    pub asks_answered: u64,
    /// Questions of other nodes refused, since the start: none, or too many.
    pub asks_refused: u64,
    /// Answers of other nodes refused, since the start: none, or not to what was asked.
    pub answers_refused: u64,
    /// Watchers.
    pub watchers: usize,
}

impl Stats {
    /// What rises and falls, by name, for metrics.
    pub fn gauges(&self) -> [(&'static str, u64); 8] {
        [
            ("leases", self.leases as u64),
            ("names", self.names as u64),
            ("directory_entries", self.directory_entries as u64),
            ("cached", self.cached),
            ("fetching", self.fetching as u64),
            ("dht_provided", self.dht_provided as u64),
            ("dht_left_out", self.dht_left_out as u64),
            ("watchers", self.watchers as u64),
        ]
    }

    /// What only rises, by name, for metrics.
    pub const fn counters(&self) -> [(&'static str, u64); 6] {
        [
            ("expired", self.expired),
            ("directory_refused", self.directory_refused),
            ("dht_failed", self.dht_failed),
            ("asks_answered", self.asks_answered),
            ("asks_refused", self.asks_refused),
            ("answers_refused", self.answers_refused),
        ]
    }
}

impl Discovery {
    /// Starts the tasks of discovery. Must be called in a tokio runtime.
    ///
    /// `overlay` and `asks` are those of [`sinew_overlay::Started`]; without them the node has only its own services,
    /// and what it is told by [`Discovery::remote_changed`] without their details.
    pub fn start(
        config: DiscoveryConfig,
        node: PeerId,
        overlay: Option<Overlay>,
        asks: Option<mpsc::Receiver<Ask>>,
        metrics: Metrics,
    ) -> (Self, LocalChanges) {
        let shared = Arc::new(Shared::new(config, node, overlay, metrics));
        let (stop, stopped) = watch::channel(false);
        let pulse = Pulse::new();
        tokio::spawn(keep(Arc::clone(&shared), stopped.clone(), pulse.beats()));
        if let Some(asks) = asks {
            tokio::spawn(answer_all(Arc::clone(&shared), asks, stopped));
        }
        let changes = LocalChanges::new(Arc::clone(&shared));
        (Self(Arc::new(Handle { shared, stop, pulse })), changes)
    }

    /// Whether the task comes round that ends leases and tells the DHT.
    pub fn pulse(&self) -> Pulse {
        self.0.pulse.clone()
    }

    /// Grants a lease for a service. The client renews it well before that has passed.
    ///
    /// The number of a lease that the session holds, announced again for the same name, renews the lease and replaces
    /// the metadata. A client that has reconnected takes the lease along from its session before.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`] and [`Refusal::Reserved`]; [`Refusal::Limit`] with [`Limit::LeaseTtl`] (the bound that
    /// was passed, in milliseconds), [`Limit::MetadataBytes`], [`Limit::ServicesPerClient`] or [`Limit::Services`];
    /// [`Refusal::Lease`] if the session holds that number for another name. Whoever tells the client counts it.
    pub fn announce(&self, owner: Owner, spec: AnnounceSpec) -> Result<Grant, Refusal> {
        let AnnounceSpec { lease, name, ttl, metadata, procedure } = spec;
        let shared = self.shared();
        let mut state = shared.state.lock();
        let offer = Offer { lease, name: &name, ttl, metadata, procedure };
        let announced = match state.registry.announce(owner, offer, Instant::now()) {
            Ok(announced) => announced,
            Err(error) => {
                drop(state);
                return Err(refusal_of(error, lease));
            }
        };
        shared.note_ended(&mut state, announced.ended.iter().map(|ended| ended.number));
        let ended = announced.ended.iter().map(|ended| (&ended.name, ended.instances));
        shared.local_changed(&mut state, ended.chain([(&announced.name, announced.instances)]));
        Ok(Grant { ttl: announced.ttl, id: announced.number })
    }

    /// Begins the time to live of a lease anew, and gives it.
    ///
    /// # Errors
    /// [`Refusal::Lease`]: the session holds no such lease, or it has expired.
    pub fn renew(&self, session: u64, lease: u32) -> Result<Duration, Refusal> {
        let shared = self.shared();
        let mut state = shared.state.lock();
        let ttl = state.registry.renew(LeaseId { session, lease }, Instant::now()).map_err(no_such_lease)?;
        shared.snapshot.store(Arc::new(state.registry.snapshot()));
        Ok(ttl)
    }

    /// How an instance is, by its own word. Callers on this node see it in the next set of providers; those on others
    /// when they ask again, or by the reply to a call.
    ///
    /// # Errors
    /// [`Refusal::Lease`]: the session holds no such lease, or it has expired.
    pub fn set_health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal> {
        let shared = self.shared();
        let mut state = shared.state.lock();
        let changed = state.registry.set_health(LeaseId { session, lease }, health).map_err(no_such_lease)?;
        if let Some(name) = changed {
            shared.snapshot.store(Arc::new(state.registry.snapshot()));
            shared.sets.invalidate(&*name);
            shared.changed_something();
        }
        Ok(())
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// [`Refusal::Lease`]: the session holds no such lease, or it has expired.
    pub fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal> {
        let shared = self.shared();
        let mut state = shared.state.lock();
        let ended = state.registry.withdraw(LeaseId { session, lease }).map_err(no_such_lease)?;
        shared.ended(&mut state, &[ended]);
        Ok(())
    }

    /// Ends all leases of a session.
    pub fn session_lost(&self, session: u64) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        let ended = state.registry.session_lost(session);
        shared.ended(&mut state, &ended);
    }

    /// Looks for the instances of a service, within `deadline`; zero for [`DiscoveryConfig::lookup_timeout`]. Longer
    /// ones than [`DiscoveryConfig::fetch_timeout`] are cut.
    ///
    /// Instances of this node come first. Those of the nodes that have it by the directory are fetched from them, and
    /// cached. If neither this node nor the directory has it, the DHT is asked for nodes. What is found when the
    /// deadline passes, or when a node does not answer, is the answer; only if nothing is found it makes a difference
    /// why:
    ///
    /// | answer | means |
    /// |---|---|
    /// | [`LookupOutcome::NotFound`] | every node that could have it was asked. Also of a node that has no peer, was told of none, and never had one: it is all of its realm |
    /// | [`LookupOutcome::NoPeers`] | this node has no peer now, and there were or [should be](DiscoveryConfig::expects_peers) some |
    /// | [`LookupOutcome::TimedOut`] | who has it, or the DHT, did not answer in time |
    /// | [`LookupOutcome::Refused`] | the name is not one; too many look-ups; or who has it could not be asked |
    ///
    /// Cancel safe: dropped early, what is being fetched comes to those who ask later.
    pub async fn lookup(&self, name: &str, deadline: Duration) -> LookupOutcome {
        self.shared().lookup(name, deadline).await
    }

    /// Who can be called by a name, looked for within `deadline` if this node does not know: as [`Discovery::lookup`]
    /// does, zero for [`DiscoveryConfig::lookup_timeout`]. As long as this node has an instance itself, nobody is
    /// waited for.
    ///
    /// Only what was announced with a [`Procedure`] can be called. At most 4,096 instances of this node, and as many of
    /// others as a look-up gives.
    ///
    /// # Errors
    /// [`ProvidersError`]. Cancel safe.
    pub async fn providers(&self, name: &str, deadline: Duration) -> Result<Arc<Providers>, ProvidersError> {
        self.shared().callable(name, deadline).await
    }

    /// Who can be called by a name, if this node knows it without asking. For every call: it costs a look-up in a
    /// table, and a set that grows old is fetched anew while it is used on. Must be called in a tokio runtime.
    pub fn providers_now(&self, name: &str) -> Option<Arc<Providers>> {
        self.shared().callable_now(name)
    }

    /// Rises with everything that may change what can be called. Cheap.
    pub fn revision(&self) -> u64 {
        self.shared().revision.load(Ordering::Acquire)
    }

    /// Somebody was not there who should have been: what is known of a name at other nodes is asked anew the next time.
    pub fn forget(&self, name: &str) {
        self.shared().forget_name(name);
    }

    /// Waits until instances of this node have ended, for whatever reason, and gives their numbers: withdrawn, expired,
    /// their session lost, or taken along to another one. One task asks. Cancel safe.
    pub async fn ended(&self) -> Vec<u64> {
        let shared = self.shared();
        loop {
            let ended = std::mem::take(&mut shared.state.lock().ended);
            if !ended.is_empty() {
                return ended.into();
            }
            shared.instances_ended.notified().await;
        }
    }

    /// Up to `max` services of the realm in the order of their names, behind `after`, and whether there are more. At
    /// most
    /// 10,000 at once.
    pub fn list(&self, after: Option<&str>, max: usize) -> (Vec<ServiceSummaryRow>, bool) {
        self.shared().state.lock().directory.list(after, max.min(MAX_ROWS))
    }

    /// Watches the services whose name begins with `prefix`: all there are, and then what changes.
    ///
    /// # Errors
    /// [`Refusal::Limit`] with [`Limit::Watches`].
    pub fn watch(&self, prefix: &str) -> Result<Watch, Refusal> {
        let shared = self.shared();
        let watcher = shared.state.lock().watchers.add(prefix);
        let Some((number, watcher)) = watcher else {
            let allowed = shared.config.watchers as u64;
            return Err(Refusal::Limit { limit: Limit::Watches, allowed });
        };
        Ok(Watch::new(Arc::clone(shared), number, watcher))
    }

    /// Another node has so many instances of a service now, `None` for none any more. What was cached of that name is
    /// forgotten.
    ///
    /// A name that is none, or for which the directory has no room, is counted and left out.
    pub fn remote_changed(&self, node: PeerId, name: &str, instances: Option<u32>) {
        let shared = self.shared();
        if node == shared.node {
            return;
        }
        shared.met.store(true, Ordering::Relaxed);
        let instances = instances.unwrap_or(0);
        if instances > 0 && check_name(name).is_err() {
            return Counts::count(&shared.counts.directory_refused);
        }
        let mut state = shared.state.lock();
        state.gone.retain(|gone| *gone != node);
        match state.directory.set_remote(node, name, instances) {
            Ok(Some(name)) => shared.remote_changed(&mut state, &name),
            Ok(None) => {}
            Err(_full) => Counts::count(&shared.counts.directory_refused),
        }
    }

    /// Another node has gone, and with it all of its services.
    pub fn remote_gone(&self, node: PeerId) {
        self.shared().forget_node(node);
    }

    /// Numbers of this moment.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let counts = &shared.counts;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let state = shared.state.lock();
        Stats {
            leases: state.registry.len(),
            expired: count(&counts.expired),
            names: state.directory.names(),
            directory_entries: state.directory.entries(),
            directory_refused: count(&counts.directory_refused),
            cached: shared.entries.entry_count(),
            fetching: shared.config.fetches.saturating_sub(shared.fetches.available_permits()),
            dht_provided: state.dht.provided(),
            dht_left_out: state.dht.waiting(),
            dht_failed: count(&counts.dht_failed),
            asks_answered: count(&counts.asks_answered),
            asks_refused: count(&counts.asks_refused),
            answers_refused: count(&counts.answers_refused),
            watchers: state.watchers.len(),
        }
    }

    /// Stops the tasks: no question is answered any more, nothing is published to the DHT, and no lease expires. What
    /// is being fetched comes to its end.
    pub fn shutdown(&self) {
        self.0.stop.send_replace(true);
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

fn no_such_lease(error: NoSuchLease) -> Refusal {
    Refusal::Lease(error.0.lease, "is not held: it has ended, or never was".to_owned())
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("node", &self.shared().node)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
