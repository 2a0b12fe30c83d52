//! What the node of callers knows of a procedure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::{Mutex, RwLock};
use sinew_balance::{
    BalanceConfig, Balancer, Candidate, Choice, InstanceId, InstanceView, Outcome, Pick, RetryBudget, RetryConfig,
};
use sinew_discovery::{Provider, Providers};
use sinew_wire::call::Status;
use sinew_wire::{CachePolicy, PeerId};

use crate::directory::Directory;
use crate::table::CallId;

/// How long a set of providers is used without asking discovery for it, if nothing has changed. Asking is what keeps it
/// fresh.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A procedure that clients of this node call.
#[derive(Debug)]
pub(crate) struct Procedure {
    pub(crate) name: Arc<str>,
    /// Milliseconds since the start of the node.
    used: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    balancer: Balancer,
    retries: RetryBudget,
    set: Option<Arc<Providers>>,
    /// What discovery had counted when the set was looked at.
    seen: u64,
    looked: Instant,
    traits: Traits,
    /// The last set there was, whose results are kept under the number in the traits.
    answering: Option<Arc<Providers>>,
    /// Calls that wait until it is known who provides it.
    waiting: HashMap<CallId, u8>,
    resolving: bool,
}

/// What all who provide it say of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    pub(crate) idempotent: bool,
    pub(crate) cache: Option<Arc<CachePolicy>>,
    /// What results are kept under: another one as soon as somebody is gone who may have given some.
    pub(crate) results: u64,
}

/// What a choice among the providers has come to.
#[derive(Debug)]
pub(crate) enum Chosen {
    /// This one: noted as started. Whether calls may be executed twice.
    One(Pick, bool),
    /// None yet: results are kept in this way, and there may be one.
    Kept(Traits),
    /// Who provides it has to be looked for.
    Unknown,
    /// None that may be called, of so many; how long until one may be tried.
    Nobody { of: usize, next: Option<Duration> },
}

impl Procedure {
    fn new(name: Arc<str>, balance: BalanceConfig, retry: RetryConfig, seed: u64, now: Instant) -> Self {
        Self {
            name,
            used: AtomicU64::new(0),
            state: Mutex::new(State {
                balancer: Balancer::new(balance, seed),
                retries: RetryBudget::new(retry, now),
                set: None,
                seen: 0,
                looked: now,
                traits: Traits::default(),
                answering: None,
                waiting: HashMap::new(),
                resolving: false,
            }),
        }
    }

    /// Chooses who gets a call.
    pub(crate) fn choose(
        &self,
        (node, directory): (PeerId, &dyn Directory),
        how: Choice<'_>,
        exclude: &[InstanceId],
        may_be_kept: bool,
        now: Instant,
    ) -> Chosen {
        let mut state = self.state.lock();
        if !state.is_known(&self.name, node, directory, now) {
            return Chosen::Unknown;
        }
        if may_be_kept && state.traits.cache.is_some() {
            return Chosen::Kept(state.traits.clone());
        }
        match state.balancer.choose(how, exclude, now) {
            Some(pick) => {
                state.balancer.started(&pick, now);
                if exclude.is_empty() {
                    state.retries.called();
                }
                Chosen::One(pick, state.traits.idempotent)
            }
            None => Chosen::Nobody { of: state.balancer.len(), next: state.balancer.next_probe(now) },
        }
    }

    /// Chooses all that may be called; each is noted as started. `None` if it has to be looked for.
    pub(crate) fn choose_all(
        &self,
        (node, directory): (PeerId, &dyn Directory),
        now: Instant,
    ) -> Option<Vec<(Pick, PeerId)>> {
        let mut state = self.state.lock();
        if !state.is_known(&self.name, node, directory, now) {
            return None;
        }
        let picks: Vec<Pick> = state.balancer.choose_all(now).collect();
        let set = state.set.clone()?;
        let of: HashMap<InstanceId, PeerId> = set.instances.iter().map(|one| (id_of(one), one.provider)).collect();
        picks.iter().for_each(|pick| state.balancer.started(pick, now));
        Some(picks.into_iter().map(|pick| (pick, of.get(&pick.id).copied().unwrap_or(pick.id.node))).collect())
    }

    /// An attempt has ended after so long.
    pub(crate) fn finished(&self, pick: &Pick, outcome: Outcome, took: Duration, now: Instant) {
        let mut state = self.state.lock();
        // A caller that waits for less than is usual says nothing of who was to answer.
        let was_hasty = outcome == Outcome::Timeout && state.balancer.p95().is_some_and(|usual| took < usual);
        let outcome = if was_hasty { Outcome::NotCounted } else { outcome };
        state.balancer.finished(pick, outcome, now);
    }

    /// A choice was of no use: the call has ended before.
    pub(crate) fn not_used(&self, pick: &Pick, now: Instant) {
        self.state.lock().balancer.finished(pick, Outcome::NotCounted, now);
    }

    /// Whether there may be another attempt after one that ended so. What was not executed has not cost its provider
    /// anything.
    pub(crate) fn may_retry(&self, status: Status, now: Instant) -> bool {
        status == Status::NotSent || self.state.lock().retries.take(now)
    }

    /// How long 95 of 100 answers take.
    pub(crate) fn p95(&self) -> Option<Duration> {
        self.state.lock().balancer.p95()
    }

    /// A call waits until it is known who provides it. Whether somebody has to look for that.
    pub(crate) fn wait(&self, id: CallId, attempt: u8) -> bool {
        let mut state = self.state.lock();
        state.waiting.insert(id, attempt);
        !std::mem::replace(&mut state.resolving, true)
    }

    /// A call does not wait any more.
    pub(crate) fn unwait(&self, id: CallId) {
        self.state.lock().waiting.remove(&id);
    }

    /// It was looked for who provides it. Gives the calls that have waited.
    pub(crate) fn resolved(&self, set: Option<&Arc<Providers>>, node: PeerId, now: Instant) -> Vec<(CallId, u8)> {
        let mut state = self.state.lock();
        match set {
            Some(set) => state.apply(set, node, now),
            None => state.set = None,
        }
        state.resolving = false;
        state.waiting.drain().collect()
    }

    pub(crate) fn view(&self, now: Instant) -> Vec<InstanceView> {
        self.state.lock().balancer.snapshot(now)
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && !state.resolving
    }
}

impl State {
    /// Whether the set is what discovery knows now.
    fn is_known(&mut self, name: &str, node: PeerId, directory: &dyn Directory, now: Instant) -> bool {
        // Read before the set is: what changes meanwhile makes another look.
        let revision = directory.revision();
        if self.set.is_some() && self.seen == revision && now.saturating_duration_since(self.looked) < LOOK_AGAIN {
            return true;
        }
        let Some(set) = directory.providers_now(name) else {
            self.set = None;
            return false;
        };
        self.apply(&set, node, now);
        (self.seen, self.looked) = (revision, now);
        true
    }

    fn apply(&mut self, set: &Arc<Providers>, node: PeerId, now: Instant) {
        if self.set.as_ref().is_some_and(|known| known.revision == set.revision) {
            return;
        }
        let candidates: Vec<Candidate> = set.instances.iter().map(|provider| candidate(provider, node)).collect();
        self.balancer.set(&candidates, now);
        let results = match self.answering.replace(Arc::clone(set)) {
            Some(before) if all_remain(&before, set) => self.traits.results,
            _ => set.revision,
        };
        self.traits = Traits { results, ..traits_of(set) };
        self.set = Some(Arc::clone(set));
    }
}

const fn id_of(provider: &Provider) -> InstanceId {
    InstanceId { node: provider.node, id: provider.id }
}

fn candidate(provider: &Provider, node: PeerId) -> Candidate {
    Candidate {
        id: id_of(provider),
        local: provider.node == node,
        health: provider.health,
        concurrency: provider.procedure.concurrency,
    }
}

/// Only what all say of it holds: a call may go to any of them.
fn traits_of(set: &Providers) -> Traits {
    let mut of = set.instances.iter().map(|provider| &provider.procedure);
    let Some(first) = of.next() else { return Traits::default() };
    let agree = of.all(|other| other.cache == first.cache);
    Traits {
        idempotent: set.instances.iter().all(|provider| provider.procedure.idempotent),
        cache: first.cache.clone().filter(|_| agree).map(Arc::new),
        results: set.revision,
    }
}

/// Whether all who could answer can do so now, in the same way: then what they have answered holds. Others may have come, their
/// health may be another one, and what the DHT has told of them may have given way to what they have themselves.
fn all_remain(before: &Providers, now: &Providers) -> bool {
    let now: HashMap<InstanceId, &Provider> = now.instances.iter().map(|one| (id_of(one), one)).collect();
    before.instances.iter().all(|one| {
        now.get(&id_of(one)).is_some_and(|same| {
            (one.provider, one.instance, &one.procedure) == (same.provider, same.instance, &same.procedure)
        })
    })
}

/// All procedures that were called lately.
#[derive(Debug)]
pub(crate) struct Procedures {
    by_name: RwLock<HashMap<Arc<str>, Arc<Procedure>>>,
    max: usize,
    balance: BalanceConfig,
    retry: RetryConfig,
    since: Instant,
    hasher: DefaultHashBuilder,
}

impl Procedures {
    pub(crate) fn new(max: usize, balance: BalanceConfig, retry: RetryConfig, now: Instant) -> Self {
        let by_name = RwLock::default();
        Self { by_name, max: max.max(1), balance, retry, since: now, hasher: DefaultHashBuilder::default() }
    }

    /// The procedure of this name, if it was called lately.
    pub(crate) fn get(&self, name: &str, now: Instant) -> Option<Arc<Procedure>> {
        let procedure = self.by_name.read().get(name).map(Arc::clone)?;
        procedure.used.store(self.millis(now), Ordering::Relaxed);
        Some(procedure)
    }

    /// The procedure of this name, which was checked to be one.
    pub(crate) fn get_or_insert(&self, name: &str, now: Instant) -> Arc<Procedure> {
        let mut by_name = self.by_name.write();
        if let Some(known) = by_name.get(name) {
            return Arc::clone(known);
        }
        if by_name.len() >= self.max {
            Self::make_room(&mut by_name, self.max);
        }
        let name: Arc<str> = name.into();
        let seed = std::hash::BuildHasher::hash_one(&self.hasher, &*name);
        let procedure = Procedure::new(Arc::clone(&name), self.balance.clone(), self.retry, seed, now);
        procedure.used.store(self.millis(now), Ordering::Relaxed);
        let procedure = Arc::new(procedure);
        by_name.insert(name, Arc::clone(&procedure));
        procedure
    }

    /// Forgets an eighth of them, those that were used longest ago first, and none that has calls.
    fn make_room(by_name: &mut HashMap<Arc<str>, Arc<Procedure>>, max: usize) {
        let idle = |procedure: &Arc<Procedure>| Arc::strong_count(procedure) == 1 && procedure.is_idle();
        let mut idle: Vec<_> = by_name
            .values()
            .filter(|procedure| idle(procedure))
            .map(|procedure| (procedure.used.load(Ordering::Relaxed), Arc::clone(&procedure.name)))
            .collect();
        idle.sort_unstable();
        for (_, name) in idle.into_iter().take(max / 8 + 1) {
            by_name.remove(&name);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Procedure>> {
        self.by_name.read().values().cloned().collect()
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_millis() as u64
    }
}
