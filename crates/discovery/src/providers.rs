use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use sinew_registry::{Instance, check_name};
use sinew_wire::{PeerId, Procedure, ProviderHealth, Refusal};

use crate::cache::Entry;
use crate::lookup::Outcome;
use crate::refusal::refusal_of;
use crate::shared::{Shared, State};

/// Most instances of this node in one set.
const MAX_LOCAL: usize = 4_096;

/// All that can be called by one name, as of one moment: never changed, but replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Providers {
    /// Another number for every other set, of any name.
    pub revision: u64,
    /// At least one; those of this node first.
    pub instances: Vec<Provider>,
}

/// One instance of a procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The node that the provider is connected to.
    pub node: PeerId,
    /// That node's number for the instance: what a request to it is aimed at.
    pub id: u64,
    /// Who provides it.
    pub provider: PeerId,
    /// The provider's instance, by its own number.
    pub instance: u64,
    /// Region label of the node; may be empty.
    pub region: Arc<str>,
    /// How it wants to be called.
    pub procedure: Arc<Procedure>,
    /// How it was, by its own word, when this was fetched.
    pub health: ProviderHealth,
}

/// Why there are no providers to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvidersError {
    /// The other nodes were asked, and nobody provides it.
    #[error("nobody provides it")]
    NotFound,
    /// This node does not provide it, and knows no other node that it could ask.
    #[error("no other node to ask")]
    NoPeers,
    /// The deadline passed first.
    #[error("who provides it was not found in time")]
    TimedOut,
    /// The node refuses to look.
    #[error("{0}")]
    Refused(Refusal),
}

/// A set that is kept.
pub(crate) struct Kept {
    providers: Arc<Providers>,
    /// From then on it is used for a while yet, but other nodes are asked again.
    fresh_until: Instant,
    /// From then on it is not used.
    until: Instant,
    /// They are being asked.
    renewing: AtomicBool,
}

/// The sets of this node, by name.
pub(crate) type Sets = Cache<Arc<str>, Arc<Kept>>;

pub(crate) fn sets(names: usize) -> Sets {
    Cache::new(u64::try_from(names).unwrap_or(u64::MAX))
}

impl Kept {
    pub(crate) fn is_of(&self, node: PeerId) -> bool {
        self.providers.instances.iter().any(|provider| provider.node == node)
    }
}

impl Shared {
    /// See [`crate::Discovery::providers`].
    pub(crate) async fn callable(
        self: &Arc<Self>,
        name: &str,
        deadline: Duration,
    ) -> Result<Arc<Providers>, ProvidersError> {
        if let Some(providers) = self.callable_now(name) {
            return Ok(providers);
        }
        if let Err(error) = check_name(name) {
            return Err(ProvidersError::Refused(refusal_of(error, 0)));
        }
        let limit = if deadline.is_zero() { self.config.lookup_timeout } else { deadline };
        match self.elsewhere(name, false, limit.min(self.config.fetch_timeout)).await {
            Outcome::Known(entry) => self.gather(name, &entry).ok_or(ProvidersError::NotFound),
            Outcome::NoPeers => Err(ProvidersError::NoPeers),
            Outcome::TimedOut => Err(ProvidersError::TimedOut),
            Outcome::Refused(refusal) => Err(ProvidersError::Refused(refusal)),
        }
    }

    /// See [`crate::Discovery::providers_now`].
    pub(crate) fn callable_now(self: &Arc<Self>, name: &str) -> Option<Arc<Providers>> {
        let now = Instant::now();
        let kept = match self.sets.get(name).filter(|kept| now < kept.until) {
            Some(kept) => kept,
            None => self.keep_what_is_known(name, now)?,
        };
        if now >= kept.fresh_until && !kept.renewing.swap(true, Ordering::AcqRel) {
            self.renew_set(name.into(), &kept);
        }
        Some(Arc::clone(&kept.providers))
    }

    /// A set of what needs no question: of this node, and of others if they were asked.
    fn keep_what_is_known(&self, name: &str, now: Instant) -> Option<Arc<Kept>> {
        // Most often there is nothing, and then a lock is not worth it.
        let entry = || self.entries.get(name).filter(|entry| entry.holds(now));
        if entry().is_none_or(|entry| !entry.any_callable()) && !self.is_callable_here(name, now) {
            return None;
        }
        let state = self.state.lock();
        let entry = entry();
        let alone = state.directory.nodes_of(name, 0, 1).is_empty();
        let fresh_until = match &entry {
            Some(entry) => entry.until(),
            // Who else has it is asked meanwhile.
            None if alone => now + self.config.cache_ttl,
            None => now,
        };
        self.keep_set(&state, name, entry.as_deref(), fresh_until, now)
    }

    /// A set of what other nodes have said just now, together with what this one has.
    fn gather(&self, name: &str, entry: &Arc<Entry>) -> Option<Arc<Providers>> {
        let now = Instant::now();
        let state = self.state.lock();
        // What has changed since it was fetched is fetched again the next time.
        let current = self.entries.get(name).is_some_and(|current| Arc::ptr_eq(&current, entry));
        if !current {
            let providers = self.assemble(name, Some(entry), now);
            return (!providers.is_empty()).then(|| self.number(providers));
        }
        self.keep_set(&state, name, Some(entry), entry.until(), now).map(|kept| Arc::clone(&kept.providers))
    }

    /// Keeps a set. Under the lock of the state, so that nothing old is kept after it was forgotten.
    fn keep_set(
        &self,
        _state: &State,
        name: &str,
        entry: Option<&Entry>,
        fresh_until: Instant,
        now: Instant,
    ) -> Option<Arc<Kept>> {
        let instances = self.assemble(name, entry, now);
        if instances.is_empty() {
            self.sets.invalidate(name);
            return None;
        }
        let before = self.sets.get(name).map(|kept| Arc::clone(&kept.providers));
        let providers = match before.filter(|before| before.instances == instances) {
            Some(before) => before,
            None => self.number(instances),
        };
        let until = fresh_until.max(now) + self.config.cache_ttl;
        let kept = Arc::new(Kept { providers, fresh_until, until, renewing: AtomicBool::new(false) });
        self.sets.insert(name.into(), Arc::clone(&kept));
        Some(kept)
    }

    fn number(&self, instances: Vec<Provider>) -> Arc<Providers> {
        Arc::new(Providers { revision: self.changed_something(), instances })
    }

    /// What can be called, of this node and of an entry.
    fn assemble(&self, name: &str, entry: Option<&Entry>, now: Instant) -> Vec<Provider> {
        let snapshot = self.snapshot.load();
        let here = snapshot.get(name).into_iter().flat_map(|service| service.live(now));
        let here = here.filter_map(|instance| self.local_provider(instance)).take(MAX_LOCAL);
        here.chain(entry.into_iter().flat_map(Entry::providers).cloned()).collect()
    }

    fn local_provider(&self, instance: &Instance) -> Option<Provider> {
        let procedure = Arc::clone(instance.procedure.as_ref()?);
        Some(Provider {
            node: self.node,
            id: instance.number,
            provider: instance.owner.peer,
            instance: instance.owner.instance,
            region: Arc::clone(&self.region),
            procedure,
            health: instance.health,
        })
    }

    fn is_callable_here(&self, name: &str, now: Instant) -> bool {
        let snapshot = self.snapshot.load();
        snapshot.get(name).is_some_and(|service| service.live(now).any(|instance| instance.procedure.is_some()))
    }

    /// Asks the other nodes again, while the set is used on.
    fn renew_set(self: &Arc<Self>, name: Arc<str>, kept: &Arc<Kept>) {
        let (shared, kept) = (Arc::clone(self), Arc::clone(kept));
        tokio::spawn(async move {
            let is_here = kept.providers.instances.iter().any(|provider| provider.node == shared.node);
            let outcome = shared.elsewhere(&name, is_here, shared.config.fetch_timeout).await;
            if let Outcome::Known(entry) = outcome {
                shared.gather(&name, &entry);
                return;
            }
            // Who has it does not answer: it may be called all the same, and is asked again soon.
            let state = shared.state.lock();
            if shared.sets.get(&name).is_some_and(|current| Arc::ptr_eq(&current, &kept)) {
                let fresh_until = Instant::now() + shared.config.absent_ttl;
                // A set without other nodes does not grow old.
                let until = if is_here { fresh_until + shared.config.cache_ttl } else { kept.until };
                let providers = Arc::clone(&kept.providers);
                let again = Kept { providers, fresh_until, until, renewing: AtomicBool::new(false) };
                shared.sets.insert(name, Arc::new(again));
            }
            drop(state);
        });
    }

    /// Forgets what is known of a name at other nodes. See [`crate::Discovery::forget`].
    pub(crate) fn forget_name(&self, name: &str) {
        let mut state = self.state.lock();
        state.flights.remove(name);
        self.entries.invalidate(name);
        self.sets.invalidate(name);
        drop(state);
        self.changed_something();
    }

    /// Counts a change, and gives its number.
    pub(crate) fn changed_something(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::AcqRel) + 1
    }
}
