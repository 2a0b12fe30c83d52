use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use sinew_topic::{Pattern, PatternTrie, Topic};

use crate::config::PubSubConfig;
use crate::dedup::Dedup;
use crate::interest::NodeInterest;
use crate::plan::{Matched, Plan};
use crate::remote::Remote;
use crate::retained::Retained;
use crate::run::Slice;
use crate::subscription::Subscription;

/// One stripe of the service's state: the topics whose first token hashes here, and every pattern that could match
/// one of them.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Rises with every change of subscriptions; a plan of another generation is stale.
    generation: AtomicU64,
    state: Mutex<ShardState>,
}

/// What the lock of a shard guards. Held for microseconds, never across an await.
#[derive(Debug)]
pub(crate) struct ShardState {
    trie: PatternTrie<u64>,
    subscriptions: HashMap<u64, Arc<Subscription>>,
    /// What other nodes are interested in, under keys from the same counter.
    interests: HashMap<u64, (Arc<Remote>, Arc<NodeInterest>)>,
    plans: LruCache<Topic, Arc<Plan>>,
    pub(crate) retained: Retained,
    pub(crate) dedup: Dedup,
}

impl Shard {
    pub(crate) fn new(config: &PubSubConfig) -> Self {
        let share = |total: usize| total.div_ceil(config.shards);
        let plans = NonZeroUsize::new(share(config.plan_cache)).unwrap_or(NonZeroUsize::MIN);
        let state = ShardState {
            trie: PatternTrie::new(),
            subscriptions: HashMap::new(),
            interests: HashMap::new(),
            plans: LruCache::new(plans),
            retained: Retained::new(share(config.retained_values), share(config.retained_bytes)),
            dedup: Dedup::new(share(config.dedup_ids), config.dedup_window),
        };
        Self { generation: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ShardState> {
        self.state.lock()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts a subscription in place, after queueing the retained values it asked for. Whatever is published from
    /// here on finds it.
    pub(crate) fn insert(&self, subscription: &Arc<Subscription>, now: Instant) {
        let mut state = self.state.lock();
        if subscription.wants_last() {
            subscription.push(state.retained.matching(subscription.pattern(), now));
        }
        state.trie.insert(subscription.pattern(), subscription.key());
        state.subscriptions.insert(subscription.key(), Arc::clone(subscription));
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn remove(&self, subscription: &Subscription) {
        let mut state = self.state.lock();
        state.trie.remove(subscription.pattern(), &subscription.key());
        state.subscriptions.remove(&subscription.key());
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// What another node is interested in under this key, from here on.
    pub(crate) fn set_interest(&self, key: u64, pattern: &Pattern, remote: &Arc<Remote>, interest: &Arc<NodeInterest>) {
        let mut state = self.state.lock();
        state.trie.insert(pattern, key);
        state.interests.insert(key, (Arc::clone(remote), Arc::clone(interest)));
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn remove_interest(&self, key: u64, pattern: &Pattern) {
        let mut state = self.state.lock();
        state.trie.remove(pattern, &key);
        state.interests.remove(&key);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// Where a plan came from, for the cache's counters.
pub(crate) struct Found {
    pub(crate) plan: Arc<Plan>,
    pub(crate) cached: bool,
}

impl ShardState {
    /// The plan of a topic: remembered if it is of this generation, else matched anew.
    pub(crate) fn plan(&mut self, topic: &Topic, shard: usize, generation: u64, lanes: usize) -> Found {
        let known = self.plans.get(topic);
        if let Some(plan) = known
            && plan.generation == generation
        {
            return Found { plan: Arc::clone(plan), cached: true };
        }
        let counts = known.map(|stale| Arc::clone(&stale.counts)).unwrap_or_default();
        let mut matched = Matched::default();
        self.trie.for_each_match(topic.as_str(), |key| match self.subscriptions.get(&key) {
            Some(subscription) => matched.local.push(Arc::clone(subscription)),
            None => matched.remote.extend(self.interests.get(&key).cloned()),
        });
        let plan = Arc::new(Plan::new(topic.clone(), shard, generation, matched, lanes, counts));
        self.plans.put(topic.clone(), Arc::clone(&plan));
        Found { plan, cached: false }
    }

    /// The parts of a run that consist of messages with ids not seen before, and how many were seen. `via` is the number
    /// of the node that forwarded it, [`Dedup::HERE`] if none did.
    pub(crate) fn without_duplicates(&mut self, whole: &Slice, via: u64, now: Instant) -> (Vec<Slice>, u32) {
        let mut fresh: Vec<Slice> = Vec::new();
        let mut duplicates = 0;
        for (single, entry) in whole.singles() {
            if !entry.id.is_empty() && !self.dedup.is_new(whole.run().topic.as_str(), entry.id, via, now) {
                duplicates += 1;
                continue;
            }
            match fresh.last_mut().map_or(Err(single.clone()), |last| last.join(single)) {
                Ok(()) => {}
                Err(single) => fresh.push(single),
            }
        }
        (fresh, duplicates)
    }

    /// Topics whose plans are remembered, the most recently used first.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.iter().map(|(_, plan)| plan)
    }
}
