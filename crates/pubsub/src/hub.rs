use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use sinew_flow::Budget;
use sinew_observe::{CacheCounters, DropReason, Metrics, Pulse};
use sinew_topic::{Pattern, Topic};
use sinew_wire::{Features, Limit, PeerId, Policy};
use tokio::task::JoinHandle;

use crate::config::{ForwardConfig, PubSubConfig};
use crate::group::Chosen;
use crate::inbound::Inbound;
use crate::interest::{InterestFeed, NodeInterest};
use crate::lag::Lag;
use crate::lanes::Lane;
use crate::outbox::Outbox;
use crate::plan::Plan;
use crate::publisher::Publisher;
use crate::recipients::Forwarded;
use crate::remote::Remote;
use crate::run::{Origin, Slice};
use crate::shard::{Found, Shard};
use crate::subscription::{SubscribeError, Subscription, SubscriptionSpec, count_dropped};
use crate::tap::{Announcer, Tap};

/// What every part of the service needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: PubSubConfig,
    pub(crate) forwarding: ForwardConfig,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
}

impl Shared {
    /// Counts deliveries that did not happen. What the node tells itself is counted apart: it is nobody's message.
    pub(crate) fn count_dropped(&self, topic: &Topic, reason: DropReason, deliveries: u64) {
        match topic.is_reserved() {
            true => self.metrics.live_lost.inc_by(deliveries),
            false => self.metrics.dropped(reason).inc_by(deliveries),
        };
    }
}

/// The pub/sub service of a node. Cheap to clone; all clones are the same service.
#[derive(Debug, Clone)]
pub struct PubSub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    shards: Vec<Shard>,
    lanes: Vec<Arc<Lane>>,
    workers: Vec<JoinHandle<()>>,
    /// Of the workers.
    pulses: Vec<Pulse>,
    hasher: RandomState,
    next_key: AtomicU64,
    next_node: AtomicU64,
    remotes: AtomicUsize,
    subscriptions: AtomicUsize,
    plan_cache: CacheCounters,
    interest: InterestFeed,
}

/// One line of the topic listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic.
    pub topic: Topic,
    /// Who would get a message published now, all over the realm: subscriptions, each queue group counted once.
    pub matched: usize,
    /// Those of them that are on this node, each queue group with a member here counted once.
    pub local: usize,
    /// Messages published on this node while the topic was remembered.
    pub published: u64,
    /// Those of them that nobody was to get.
    pub unheard: u64,
}

impl PubSub {
    /// Starts the service and its delivery workers, which run until the last clone is dropped. Needs a tokio runtime.
    pub fn start(config: PubSubConfig, budget: Arc<Budget>, metrics: Metrics) -> Self {
        Self::start_with(config, ForwardConfig::default(), budget, metrics)
    }

    /// As [`PubSub::start`], with other bounds of what passes between nodes than the default ones.
    pub fn start_with(config: PubSubConfig, forwarding: ForwardConfig, budget: Arc<Budget>, metrics: Metrics) -> Self {
        let config = PubSubConfig { shards: config.shards.max(1), workers: config.workers.max(1), ..config };
        let shards = (0..config.shards).map(|_| Shard::new(&config)).collect();
        let lanes: Vec<Arc<Lane>> = (0..config.workers).map(|_| Arc::default()).collect();
        let pulses: Vec<Pulse> = lanes.iter().map(|_| Pulse::new()).collect();
        let workers = lanes
            .iter()
            .enumerate()
            .map(|(number, lane)| {
                let (lane, beats) = (Arc::clone(lane), pulses[number].beats());
                tokio::spawn(async move { lane.work(number, beats).await })
            })
            .collect();
        let plan_cache = metrics.cache("plan");
        Self(Arc::new(Inner {
            shared: Arc::new(Shared { config, forwarding, budget, metrics }),
            shards,
            lanes,
            workers,
            pulses,
            hasher: RandomState::new(),
            next_key: AtomicU64::new(0),
            // 0 is this node.
            next_node: AtomicU64::new(1),
            remotes: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            plan_cache,
            interest: InterestFeed::default(),
        }))
    }

    /// What other nodes must know of the subscriptions here.
    pub fn interest(&self) -> &InterestFeed {
        &self.0.interest
    }

    /// Another node of the realm is there. It gets nothing until it has interest.
    pub fn add_remote(&self, node: PeerId) -> Arc<Remote> {
        let number = self.0.next_node.fetch_add(1, Ordering::Relaxed);
        self.0.remotes.fetch_add(1, Ordering::Relaxed);
        Arc::new(Remote::new(node, number, self.first_count(), Arc::clone(&self.0.shared)))
    }

    /// What the subscriptions of another node to a pattern come to; `None` when there are none any more. From the return
    /// on, whatever is published here and matches goes there too.
    ///
    /// `false` when it is refused: the node has more patterns than it may, or was removed.
    pub fn set_remote_interest(&self, remote: &Arc<Remote>, pattern: &Pattern, interest: Option<NodeInterest>) -> bool {
        // Held to the end, so that two changes of one pattern reach the shards in their order.
        let mut interests = remote.interests().lock();
        let Some(known) = interests.as_mut() else { return false };
        let shards = self.shards_of(pattern);
        let Some(interest) = interest.filter(|interest| !interest.is_empty()) else {
            if let Some(key) = known.remove(pattern) {
                shards.iter().for_each(|shard| shard.remove_interest(key, pattern));
            }
            return true;
        };
        let key = match known.get(pattern) {
            Some(key) => *key,
            None if known.len() >= self.forwarding().max_patterns => return false,
            None => {
                let key = self.0.next_key.fetch_add(1, Ordering::Relaxed);
                known.insert(pattern.clone(), key);
                key
            }
        };
        let interest = Arc::new(interest);
        shards.iter().for_each(|shard| shard.set_interest(key, pattern, remote, &interest));
        true
    }

    /// Another node is gone, or has started anew. What was queued for it is dropped and counted, what is in flight to it
    /// is lost or unknown; shares of queue groups that were not sent go to members elsewhere.
    pub fn remove_remote(&self, remote: &Arc<Remote>) {
        let Some(interests) = mem::take(&mut *remote.interests().lock()) else { return };
        self.0.remotes.fetch_sub(1, Ordering::Relaxed);
        for (pattern, key) in interests {
            self.shards_of(&pattern).iter().for_each(|shard| shard.remove_interest(key, &pattern));
        }
        for item in remote.close() {
            self.give_elsewhere(remote, &item);
        }
    }

    /// What could not be sent to a node that is gone.
    pub(crate) fn give_elsewhere(&self, gone: &Remote, item: &Forwarded) {
        if item.to.direct > 0 {
            gone.lost_with_node(item);
        }
        for group in item.to.groups.as_groups().iter() {
            self.give_to_group(group, item.slice.clone(), DropReason::NodeGone);
        }
    }

    /// The receiving half for the time that another node runs.
    pub fn inbound(&self, remote: &Arc<Remote>) -> Inbound {
        Inbound::new(self.clone(), Arc::clone(remote), self.first_count())
    }

    /// Where something begins to count that another node must not take for its predecessor: anywhere, with more than enough
    /// room above.
    fn first_count(&self) -> u64 {
        self.0.hasher.hash_one(self.0.next_key.fetch_add(1, Ordering::Relaxed)) >> 1
    }

    /// A publisher for one session. Results and answers to barriers go to its outbox.
    pub fn publisher(&self, origin: Arc<Origin>, outbox: Arc<Outbox>) -> Publisher {
        Publisher::new(self.clone(), origin, outbox)
    }

    /// Starts a subscription whose runs go to `outbox`. From the return on, whatever is published is seen by it.
    ///
    /// `confirm` is called once the subscription is admitted and before anything can be delivered to it.
    pub fn subscribe(
        &self,
        spec: SubscriptionSpec,
        outbox: &Arc<Outbox>,
        now: Instant,
        confirm: impl FnOnce(),
    ) -> Result<Arc<Subscription>, SubscribeError> {
        let inner = &self.0;
        let allowed = inner.shared.config.max_subscriptions;
        let admitted =
            inner.subscriptions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1));
        if admitted.is_err() {
            inner.shared.metrics.limit_refused(Limit::Subscriptions).inc();
            return Err(SubscribeError::Limit { limit: Limit::Subscriptions, allowed });
        }
        let subscription = self.put_in_place(spec, outbox, now, confirm);
        inner.shared.metrics.subscriptions.inc();
        Ok(subscription)
    }

    fn put_in_place(
        &self,
        spec: SubscriptionSpec,
        outbox: &Arc<Outbox>,
        now: Instant,
        confirm: impl FnOnce(),
    ) -> Arc<Subscription> {
        let inner = &self.0;
        let key = inner.next_key.fetch_add(1, Ordering::Relaxed);
        let subscription = Subscription::new(key, spec, Arc::clone(&inner.shared), Arc::clone(outbox));
        let subscription = Arc::new(subscription);
        confirm();
        for shard in self.shards_of(subscription.pattern()) {
            shard.insert(&subscription, now);
        }
        // Not before: who has heard of it may rely on it.
        inner.interest.add(&subscription);
        subscription
    }

    /// A subscription of the node itself to reserved names, beside those of clients and not counted as one of theirs. At most
    /// `buffer` messages are queued, the oldest are given up.
    pub fn tap(&self, pattern: Pattern, buffer: usize, now: Instant) -> Tap {
        let outbox = Outbox::new(Features::default());
        let spec = SubscriptionSpec {
            number: 0,
            pattern,
            group: None,
            policy: Policy::DropOldest,
            buffer,
            last: false,
            window: u64::MAX,
        };
        let subscription = self.put_in_place(spec, &outbox, now, || {});
        Tap::new(self.clone(), subscription, outbox)
    }

    /// What the node itself publishes on reserved names.
    pub fn announcer(&self, node: PeerId) -> Announcer {
        Announcer::new(self.clone(), node, self.first_count())
    }

    /// Whether anybody in the realm would get what is published on a topic now.
    pub fn is_wanted(&self, topic: &Topic) -> bool {
        let index = self.shard_index(topic.as_str());
        let shard = &self.0.shards[index];
        let mut state = shard.lock();
        // Not a look-up of a message: it does not count for the cache.
        state.plan(topic, index, shard.generation(), self.0.lanes.len()).plan.matched() > 0
    }

    /// Ends a subscription. What a member of a queue group had not been sent yet goes to the others of the group; what
    /// another subscription had not been sent is dropped and counted.
    pub fn unsubscribe(&self, subscription: &Arc<Subscription>) {
        for slice in self.take_away(subscription) {
            self.give_to_another(subscription, slice);
        }
        self.0.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.0.shared.metrics.subscriptions.dec();
    }

    /// Ends a subscription. Gives back what was queued.
    pub(crate) fn take_away(&self, subscription: &Subscription) -> Vec<Slice> {
        self.0.interest.remove(subscription);
        for shard in self.shards_of(subscription.pattern()) {
            shard.remove(subscription);
        }
        subscription.close()
    }

    /// Hands a slice of a closed subscription to another member of its queue group, if there is one.
    pub(crate) fn give_to_another(&self, closed: &Subscription, slice: Slice) {
        match closed.group() {
            Some(name) => self.give_to_group(name, slice, DropReason::SubscriberGone),
            None => count_dropped(&self.0.shared, &mut Lag::default(), &slice, DropReason::SubscriberGone),
        }
    }

    /// Hands a slice to a member of a queue group, here or elsewhere; what another node has sent stays here. Drops it for
    /// this reason when there is none.
    fn give_to_group(&self, name: &str, slice: Slice, reason: DropReason) {
        let plan = self.plan(&slice.run().topic.clone());
        let group = plan.group(name);
        let chosen = match slice.is_foreign() {
            true => group.and_then(|group| group.least_loaded()).map(Chosen::Local),
            false => group.and_then(|group| group.choose()),
        };
        match chosen {
            Some(Chosen::Local(heir)) => heir.push([slice]),
            Some(Chosen::Remote(heir)) => heir.remote.push(Forwarded::new(slice, Arc::clone(&heir.to))),
            None => count_dropped(&self.0.shared, &mut Lag::default(), &slice, reason),
        }
    }

    /// Topics published lately by clients, with the number of subscriptions each one reaches.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let mut topics = Vec::new();
        for shard in &self.0.shards {
            let state = shard.lock();
            let of_clients = state.plans().filter(|plan| !plan.topic.is_reserved());
            topics.extend(of_clients.map(|plan| TopicInfo {
                topic: plan.topic.clone(),
                matched: plan.matched() as usize,
                local: plan.matched_here() as usize,
                published: plan.counts.published.load(Ordering::Relaxed),
                unheard: plan.counts.unheard.load(Ordering::Relaxed),
            }));
        }
        topics
    }

    /// Messages kept as retained values now.
    pub fn retained_values(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().retained.len()).sum()
    }

    /// Jobs waiting for the delivery workers, and how many may wait.
    pub fn delivery_backlog(&self) -> (usize, usize) {
        let waiting = self.0.lanes.iter().map(|lane| lane.depth()).sum();
        (waiting, self.0.lanes.len() * crate::lanes::capacity())
    }

    /// Whether the delivery workers come round, each for itself.
    pub fn pulses(&self) -> &[Pulse] {
        &self.0.pulses
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn lanes(&self) -> &[Arc<Lane>] {
        &self.0.lanes
    }

    pub(crate) fn shard(&self, index: usize) -> &Shard {
        &self.0.shards[index]
    }

    /// The shard of a topic.
    pub(crate) fn shard_index(&self, topic: &str) -> usize {
        let first = topic.split('.').next().unwrap_or(topic);
        (self.0.hasher.hash_one(first) % self.0.shards.len() as u64) as usize
    }

    /// The shards in which a pattern could match: one, or all when it begins with a wildcard.
    fn shards_of(&self, pattern: &Pattern) -> &[Shard] {
        match pattern.first_token() {
            Some(first) => std::slice::from_ref(&self.0.shards[self.shard_index(first)]),
            None => &self.0.shards,
        }
    }

    /// The current plan of a topic.
    pub(crate) fn plan(&self, topic: &Topic) -> Arc<Plan> {
        let index = self.shard_index(topic.as_str());
        let shard = &self.0.shards[index];
        let mut state = shard.lock();
        // Read under the lock, where it can't change.
        let Found { plan, cached } = state.plan(topic, index, shard.generation(), self.0.lanes.len());
        drop(state);
        let counters = &self.0.plan_cache;
        if cached { &counters.hits } else { &counters.misses }.inc();
        plan
    }

    /// Whether a plan still says who is to get its topic.
    pub(crate) fn is_current(&self, plan: &Plan) -> bool {
        self.0.shards[plan.shard].generation() == plan.generation
    }

    pub(crate) fn count_plan_hit(&self) {
        self.0.plan_cache.hits.inc();
    }

    pub(crate) fn config(&self) -> &PubSubConfig {
        &self.0.shared.config
    }

    /// Whether there are other nodes.
    pub(crate) fn has_remotes(&self) -> bool {
        self.0.remotes.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn forwarding(&self) -> &ForwardConfig {
        &self.0.shared.forwarding
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.abort();
        }
    }
}
