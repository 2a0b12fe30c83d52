use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_flow::Batch;
use sinew_observe::DropReason;
use sinew_topic::{NameError, Topic};
use sinew_wire::{Control, Refusal, RefusedRun, live};
use tokio::sync::Notify;

use crate::ack::{Ack, Outcome, Reply, Wants};
use crate::audience::Audience;
use crate::block::{Block, RunLimits};
use crate::dedup::Dedup;
use crate::group::Chosen;
use crate::hub::PubSub;
use crate::lag::Lag;
use crate::lanes::Job;
use crate::outbox::Outbox;
use crate::plan::Plan;
use crate::recipients::Forwarded;
use crate::remote::Remote;
use crate::report::{Published, Report};
use crate::run::{Origin, Run, Slice};
use crate::spread::Spread;
use crate::subscription::{Subscription, count_dropped};
use crate::trace::Traced;

/// A run as a session hands it over.
#[derive(Debug)]
pub struct Submission {
    /// The messages. Its `ack` is set here, not by the caller.
    pub run: Run,
    /// What the publisher wants to hear.
    pub wants: Option<Wants>,
    /// How long to wait for confirmations.
    pub deadline: Duration,
    /// Keep the last message as the topic's retained value.
    pub retain: bool,
    /// Refuse the run when nobody listens.
    pub require_subscribers: bool,
}

/// Where runs come from, and where their results go.
#[derive(Debug)]
enum Home {
    /// A session on this node.
    Session(Arc<Outbox>),
    /// Another node, which forwards them.
    Node(Arc<Remote>),
}

/// The publishing half of one session: finds plans, delivers in order, holds back what has to wait. Also that of one
/// publisher whose runs another node forwards.
///
/// Runs are processed in the order of [`Publisher::submit`]. One that can't be delivered completely now (a full queue
/// of policy `block`, an acknowledged run for a full queue, a busy delivery worker) is *parked*: everything behind it
/// waits, bounded by the session's publish window, until [`Publisher::woken`] and [`Publisher::advance`].
#[derive(Debug)]
pub struct Publisher {
    hub: PubSub,
    origin: Arc<Origin>,
    home: Home,
    /// The plan used last: most publishers stay on a topic for a while.
    last_plan: Option<Arc<Plan>>,
    /// What the first run in line still waits for.
    parked: Vec<Parked>,
    patience: Option<Instant>,
    waiting: VecDeque<Waiting>,
    /// Number of this publisher's newest job per lane: runs that don't go by the lanes must not overtake it.
    lane_jobs: Vec<u64>,
    woken: Arc<Notify>,
    acks: BTreeMap<(Instant, u64), Arc<Ack>>,
    acks_made: u64,
    /// Entry bytes processed since the session asked last: what it returns as credit.
    processed: u64,
    /// Entry bytes of the run that is parked.
    parked_bytes: u64,
    /// Other nodes that got a copy of the last run.
    reached: usize,
}

#[derive(Debug)]
enum Waiting {
    Work(Work),
    Barrier(u64),
}

/// A run, and whom it is for.
#[derive(Debug)]
struct Work {
    submission: Submission,
    audience: Audience,
    /// The forwarding node's token for the result.
    token: u64,
}

#[derive(Debug)]
enum Parked {
    /// A full queue.
    Queue(Arc<Subscription>, Slice),
    /// A full queue towards another node, or one that holds this publisher back.
    Remote(Arc<Remote>, Forwarded),
    /// A full delivery lane.
    Lane(usize, Job),
    /// Earlier runs that are still with the delivery workers.
    Order(Arc<Plan>, Slice, Audience),
}

impl Publisher {
    pub(crate) fn new(hub: PubSub, origin: Arc<Origin>, outbox: Arc<Outbox>) -> Self {
        Self::at(hub, origin, Home::Session(outbox), Arc::default())
    }

    /// For a publisher of another node; `woken` is for all of that node.
    pub(crate) fn of_node(hub: PubSub, origin: Arc<Origin>, remote: Arc<Remote>, woken: Arc<Notify>) -> Self {
        Self::at(hub, origin, Home::Node(remote), woken)
    }

    fn at(hub: PubSub, origin: Arc<Origin>, home: Home, woken: Arc<Notify>) -> Self {
        let lane_jobs = vec![0; hub.lanes().len()];
        Self {
            hub,
            origin,
            home,
            last_plan: None,
            parked: Vec::new(),
            patience: None,
            waiting: VecDeque::new(),
            lane_jobs,
            woken,
            acks: BTreeMap::new(),
            acks_made: 0,
            processed: 0,
            parked_bytes: 0,
            reached: 0,
        }
    }

    pub(crate) const fn hub(&self) -> &PubSub {
        &self.hub
    }

    /// Who publishes.
    pub const fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The topic of this name. Costs a comparison when it is the one used last.
    pub fn topic(&self, name: &str) -> Result<Topic, NameError> {
        match &self.last_plan {
            Some(plan) if plan.topic.as_str() == name => Ok(plan.topic.clone()),
            _ => Topic::parse(name),
        }
    }

    /// Makes a run of this publisher from what a frame holds. [`Publisher::submit`] delivers it.
    ///
    /// # Errors
    ///
    /// The sender's fault: a message or frame above its limit, or not what the header says.
    pub fn read(&self, topic: Topic, block: Block<'_>, limits: &RunLimits, now: Instant) -> Result<Run, Refusal> {
        block.into_run(topic, &self.origin, limits, &self.hub.shared().budget, now)
    }

    /// Takes a run, and delivers it unless something is in front of it.
    pub fn submit(&mut self, submission: Submission, now: Instant) {
        self.take(Work { submission, audience: Audience::Realm, token: 0 }, now);
    }

    /// Takes a run that another node forwarded, for these local subscriptions.
    pub(crate) fn submit_forwarded(&mut self, submission: Submission, audience: Audience, token: u64, now: Instant) {
        self.take(Work { submission, audience, token }, now);
    }

    fn take(&mut self, work: Work, now: Instant) {
        if self.parked.is_empty() {
            self.process(work, now);
        } else {
            self.waiting.push_back(Waiting::Work(work));
        }
    }

    /// Answers a ping after everything submitted before it was processed.
    pub fn barrier(&mut self, nonce: u64) {
        if self.parked.is_empty() {
            self.pong(nonce);
        } else {
            self.waiting.push_back(Waiting::Barrier(nonce));
        }
    }

    fn pong(&self, nonce: u64) {
        if let Home::Session(outbox) = &self.home {
            outbox.control(&Control::Pong { nonce });
        }
    }

    /// Runs and barriers that wait behind a parked run.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something is parked, and [`Publisher::woken`] is worth waiting for.
    pub fn is_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Notified when what is parked may go on.
    pub fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    /// When to call [`Publisher::advance`] even if nobody woke it.
    pub fn deadline(&self) -> Option<Instant> {
        let ack = self.acks.first_key_value().map(|((at, _), _)| *at);
        [self.patience.filter(|_| self.is_parked()), ack].into_iter().flatten().min()
    }

    /// Whether nothing is left of what it was given: nothing parked, with the delivery workers, or to be confirmed.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.acks.retain(|_, ack| !ack.is_settled());
        !self.is_parked() && self.acks.is_empty() && !self.lanes_pending()
    }

    /// Entry bytes processed since the last call.
    pub fn take_processed(&mut self) -> u64 {
        std::mem::take(&mut self.processed)
    }

    /// Goes on with what was parked, gives up what has waited too long, settles acknowledgements past their deadline.
    pub fn advance(&mut self, now: Instant) {
        // In this order: what is given up now is known not to be delivered, which says more than a passed deadline.
        self.retry(now);
        self.expire_acks(now);
        while self.parked.is_empty()
            && let Some(next) = self.waiting.pop_front()
        {
            match next {
                Waiting::Work(work) => self.process(work, now),
                Waiting::Barrier(nonce) => self.pong(nonce),
            }
        }
    }

    fn process(&mut self, work: Work, now: Instant) {
        let Work { submission, audience, token } = work;
        let Submission { mut run, wants, deadline, retain, require_subscribers } = submission;
        let bytes = run.entries.len() as u64;
        let (messages, received) = (run.messages, run.received);
        let has_memory = run.memory.is_some();
        let ack = wants.and_then(|wants| self.open_ack(wants, &run, token, now, deadline));
        let refused = wants.is_some() && ack.is_none();
        if refused && matches!(self.home, Home::Session(_)) {
            // The publisher was told.
            self.processed += bytes;
            return;
        }
        run.ack.clone_from(&ack);
        let spans = &self.hub.shared().metrics.spans;
        let traced = if matches!(self.home, Home::Session(_)) { Traced::of(&run, spans) } else { None };
        let (plan, slices, duplicates) = self.admit(run, retain, now);
        let due = u64::from(messages - duplicates) * audience.matched(&plan);
        self.hub.shared().metrics.duplicates.inc_by(u64::from(duplicates));
        match &self.home {
            Home::Session(_) => self.count_published(&plan, messages),
            // Too many results are open: it is delivered, and nothing will be known of it.
            Home::Node(remote) if refused => {
                remote.answer(token, Outcome { matched: due, delivered: 0, dropped: 0, unknown: due });
            }
            Home::Node(_) => {}
        }
        if let Some(ack) = &ack {
            if require_subscribers && plan.matched() == 0 {
                ack.refuse(RefusedRun::NoSubscribers);
            } else {
                ack.begin(due, duplicates);
            }
        }
        self.reached = 0;
        for slice in slices {
            if has_memory {
                self.deliver(&plan, slice, &audience);
            } else {
                self.miss_all(&plan, &slice, &audience, DropReason::QueueMemory);
            }
        }
        self.report(&plan, messages, received, has_memory, ack.as_ref());
        if let Some(traced) = traced {
            self.trace(traced, &plan, has_memory);
        }
        self.last_plan = Some(plan);
        if self.parked.is_empty() {
            self.processed += bytes;
        } else {
            self.parked_bytes = bytes;
            let patience = match wants {
                Some(Wants::Confirmed) => deadline,
                _ => self.hub.config().block_timeout,
            };
            self.patience = now.checked_add(patience);
        }
    }

    /// What the node says of itself is nobody's message.
    fn count_published(&self, plan: &Plan, messages: u32) {
        if !plan.topic.is_reserved() {
            plan.count_published(u64::from(messages));
            self.hub.shared().metrics.published.inc_by(u64::from(messages));
        }
    }

    /// Tells the live view of a run that was published here: now, or when its result is known to whoever waits for it.
    fn report(&self, plan: &Plan, messages: u32, received: Instant, has_memory: bool, ack: Option<&Arc<Ack>>) {
        let events = &self.hub.shared().metrics.events;
        if !events.wanted() || !matches!(self.home, Home::Session(_)) || plan.topic.is_reserved() {
            return;
        }
        let published = Published { topic: plan.topic.clone(), messages, nodes: self.reached };
        match ack.filter(|ack| ack.wants() == Wants::Confirmed) {
            Some(ack) => ack.report_to(Report { events: events.clone(), published, received }),
            None if plan.matched() == 0 => published.emit(events, live::Outcome::Unheard, None),
            None if has_memory => published.emit(events, live::Outcome::Ok, None),
            None => published.emit(events, live::Outcome::Dropped, None),
        }
    }

    /// Tells traces of a run that was published here. What becomes of it in queues, its deliveries tell.
    fn trace(&self, traced: Traced, plan: &Plan, has_memory: bool) {
        let outcome = match plan.matched() {
            0 => ("unheard", false),
            _ if has_memory => ("ok", false),
            _ => ("dropped", true),
        };
        traced.published(&self.hub.shared().metrics.spans, outcome, (plan.matched(), self.reached as u64));
    }

    /// The plan of the run's topic and the parts of the run that are to be delivered.
    fn admit(&self, run: Run, retain: bool, now: Instant) -> (Arc<Plan>, Vec<Slice>, u32) {
        let any_id = run.any_id;
        let (slice, via) = match &self.home {
            Home::Session(_) => (Slice::whole(Arc::new(run)), Dedup::HERE),
            Home::Node(remote) => (Slice::foreign(Arc::new(run)), remote.number()),
        };
        if !any_id && !retain {
            return (self.find_plan(&slice.run().topic), vec![slice], 0);
        }
        let topic = slice.run().topic.clone();
        let index = self.hub.shard_index(topic.as_str());
        let shard = self.hub.shard(index);
        let mut state = shard.lock();
        let (slices, duplicates) = if any_id { state.without_duplicates(&slice, via, now) } else { (vec![slice], 0) };
        // Under the same lock as the retained value: a new subscription sees it in one of the two ways, not in both.
        let plan = state.plan(&topic, index, shard.generation(), self.hub.lanes().len()).plan;
        if retain && let Some(last) = slices.last() {
            let value = retained_copy(last, self.hub.shared());
            match value {
                Some(value) => {
                    let evicted = state.retained.keep(value);
                    self.hub.shared().metrics.retained_evicted.inc_by(evicted as u64);
                }
                None => state.retained.clear(&topic),
            }
        }
        (plan, slices, duplicates)
    }

    fn find_plan(&self, topic: &Topic) -> Arc<Plan> {
        match &self.last_plan {
            Some(plan) if plan.topic == *topic && self.hub.is_current(plan) => {
                self.hub.count_plan_hit();
                Arc::clone(plan)
            }
            _ => self.hub.plan(topic),
        }
    }

    fn deliver(&mut self, plan: &Arc<Plan>, slice: Slice, audience: &Audience) {
        let acked = matches!(&slice.run().ack, Some(ack) if ack.wants() == Wants::Confirmed);
        let order = self.lanes_pending();
        if acked && order {
            // Where it goes is not known before it is its turn; where it could go is.
            self.reached = plan.remotes.len();
            self.parked.push(Parked::Order(Arc::clone(plan), slice, audience.clone()));
            return;
        }
        if audience.has_direct() {
            if !acked && (order || plan.is_wide()) {
                for lane in 0..self.hub.lanes().len() {
                    let job = Job { slice: slice.clone(), plan: Arc::clone(plan) };
                    self.push_to_lane(lane, job);
                }
                self.offer_all(plan.blocking(), &slice);
            } else {
                self.offer_all(plan.direct(), &slice);
            }
        }
        self.deliver_beyond(plan, slice, audience);
    }

    /// Delivers to everybody but the local subscriptions outside of queue groups.
    fn deliver_beyond(&mut self, plan: &Plan, slice: Slice, audience: &Audience) {
        match audience {
            Audience::Realm if plan.remotes.is_empty() => {
                for group in &plan.groups {
                    for share in group.shares(slice.clone()) {
                        if let Some(member) = group.least_loaded() {
                            self.offer(member, share);
                        }
                    }
                }
            }
            Audience::Realm => self.spread(plan, &slice),
            Audience::Here { groups, .. } => {
                for name in groups.as_groups().iter() {
                    match plan.group(name).filter(|group| !group.members.is_empty()) {
                        Some(group) => {
                            for share in group.shares(slice.clone()) {
                                if let Some(member) = group.least_loaded() {
                                    self.offer(member, share);
                                }
                            }
                        }
                        // The last member here has left since; it was chosen, so nobody else gets it.
                        None => {
                            count_dropped(self.hub.shared(), &mut Lag::default(), &slice, DropReason::SubscriberGone)
                        }
                    }
                }
            }
        }
    }

    /// Queue groups that span nodes, and the copies for those nodes.
    fn spread(&mut self, plan: &Plan, slice: &Slice) {
        if plan.groups.is_empty() {
            for node in &plan.remotes {
                if let Some(to) = &node.direct {
                    self.reached += 1;
                    self.forward(&node.remote, Forwarded::new(slice.clone(), Arc::clone(to)));
                }
            }
            return;
        }
        let mut spread = Spread::default();
        for (index, group) in plan.groups.iter().enumerate() {
            for share in group.shares(slice.clone()) {
                match group.choose() {
                    Some(Chosen::Local(member)) => self.offer(member, share),
                    Some(Chosen::Remote(remote)) => spread.add(index, remote, share),
                    None => {}
                }
            }
        }
        let mut last: Option<&Arc<Remote>> = None;
        for (remote, item) in spread.copies(plan, slice) {
            // All copies for one node stand together.
            if last.replace(remote).is_none_or(|last| !Arc::ptr_eq(last, remote)) {
                self.reached += 1;
            }
            self.forward(remote, item);
        }
    }

    fn forward(&mut self, remote: &Arc<Remote>, item: Forwarded) {
        if let Some(rest) = remote.offer(item, &self.woken) {
            self.parked.push(Parked::Remote(Arc::clone(remote), rest));
        }
    }

    fn offer(&mut self, subscription: &Arc<Subscription>, slice: Slice) {
        if let Some(rest) = subscription.offer(slice, &self.woken) {
            self.parked.push(Parked::Queue(Arc::clone(subscription), rest));
        }
    }

    fn offer_all(&mut self, subscriptions: &[Arc<Subscription>], slice: &Slice) {
        for subscription in subscriptions {
            self.offer(subscription, slice.clone());
        }
    }

    fn push_to_lane(&mut self, lane: usize, job: Job) {
        if job.plan.lane(lane).is_empty() {
            return;
        }
        match self.hub.lanes()[lane].push(job, &self.woken) {
            Ok(number) => self.lane_jobs[lane] = number,
            Err(job) => self.parked.push(Parked::Lane(lane, job)),
        }
    }

    /// Whether the delivery workers still hold runs of this publisher; wakes it when they go on.
    fn lanes_pending(&self) -> bool {
        let lanes = self.hub.lanes().iter().zip(&self.lane_jobs);
        lanes.into_iter().any(|(lane, job)| !lane.is_done(*job, &self.woken))
    }

    fn retry(&mut self, now: Instant) {
        if self.parked.is_empty() {
            return;
        }
        let given_up = self.patience.is_some_and(|at| at <= now);
        for parked in std::mem::take(&mut self.parked) {
            match parked {
                Parked::Queue(subscription, slice) if subscription.is_closed() => {
                    self.hub.give_to_another(&subscription, slice);
                }
                Parked::Queue(subscription, slice) if given_up => subscription.give_up(slice),
                Parked::Queue(subscription, slice) => self.offer(&subscription, slice),
                Parked::Remote(remote, item) if remote.is_closed() => self.hub.give_elsewhere(&remote, &item),
                Parked::Remote(remote, item) if given_up => remote.give_up(item),
                Parked::Remote(remote, item) => self.forward(&remote, item),
                Parked::Lane(lane, job) => self.push_to_lane(lane, job),
                Parked::Order(plan, slice, audience) if self.lanes_pending() => {
                    self.parked.push(Parked::Order(plan, slice, audience));
                }
                Parked::Order(plan, slice, audience) => self.deliver(&plan, slice, &audience),
            }
        }
        if self.parked.is_empty() {
            self.patience = None;
            self.processed += std::mem::take(&mut self.parked_bytes);
        }
    }

    /// Opens the account of a run that wants a result; refuses the run when too many are open. A session is told so.
    fn open_ack(&mut self, wants: Wants, run: &Run, token: u64, now: Instant, deadline: Duration) -> Option<Arc<Ack>> {
        let reply = match &self.home {
            Home::Session(outbox) => Reply::Session(Arc::clone(outbox)),
            Home::Node(remote) => Reply::Node(remote.open_result(token)?),
        };
        let at = now.checked_add(deadline).unwrap_or(now);
        let ack = Ack::new(wants, reply, Some(at), run.first_seq, run.messages);
        if matches!(self.home, Home::Session(_)) && wants == Wants::Confirmed && run.memory.is_none() {
            ack.refuse(RefusedRun::QueueMemory);
            return None;
        }
        let allowed = self.hub.config().max_open_acks;
        if self.acks.len() >= allowed {
            self.acks.retain(|_, ack| !ack.is_settled());
        }
        if self.acks.len() >= allowed {
            self.hub.shared().metrics.limit_refused(sinew_wire::Limit::OpenAcks).inc();
            if matches!(self.home, Home::Session(_)) {
                ack.refuse(RefusedRun::OpenAcks);
            }
            return None;
        }
        // Here a report is complete at once, from other nodes it may never come.
        if wants == Wants::Confirmed || self.hub.has_remotes() {
            self.acks_made += 1;
            self.acks.insert((at, self.acks_made), Arc::clone(&ack));
        }
        Some(ack)
    }

    fn expire_acks(&mut self, now: Instant) {
        while let Some(first) = self.acks.first_entry()
            && first.key().0 <= now
        {
            first.remove().expire();
        }
    }
}

impl Publisher {
    /// Everyone who was due to get the slice learns that it did not.
    fn miss_all(&self, plan: &Plan, slice: &Slice, audience: &Audience, reason: DropReason) {
        if audience.has_direct() {
            for subscription in plan.direct() {
                subscription.miss(slice, reason);
            }
        }
        match audience {
            Audience::Realm => {
                let mut spread = Spread::default();
                for (index, group) in plan.groups.iter().enumerate() {
                    match group.choose() {
                        Some(Chosen::Local(member)) => member.miss(slice, reason),
                        Some(Chosen::Remote(remote)) => spread.add(index, remote, slice.clone()),
                        None => {}
                    }
                }
                for (remote, item) in spread.copies(plan, slice) {
                    remote.miss(&item, reason);
                }
            }
            Audience::Here { groups, .. } => {
                for name in groups.as_groups().iter() {
                    match plan.group(name).and_then(|group| group.least_loaded()) {
                        Some(member) => member.miss(slice, reason),
                        None => count_dropped(self.hub.shared(), &mut Lag::default(), slice, reason),
                    }
                }
            }
        }
    }
}

impl Drop for Publisher {
    /// A session drains its publisher before it ends; what is held back even so is dropped and counted.
    fn drop(&mut self) {
        let reason = DropReason::Draining;
        for parked in std::mem::take(&mut self.parked) {
            match parked {
                Parked::Queue(subscription, slice) => subscription.miss(&slice, reason),
                Parked::Remote(remote, item) => remote.miss(&item, reason),
                Parked::Lane(lane, job) => {
                    for subscription in job.plan.lane(lane) {
                        subscription.miss(&job.slice, reason);
                    }
                }
                Parked::Order(plan, slice, audience) => self.miss_all(&plan, &slice, &audience, reason),
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiting::Work(Work { submission: Submission { run, .. }, audience, .. }) = waiting {
                let plan = self.find_plan(&run.topic);
                self.miss_all(&plan, &Slice::whole(Arc::new(run)), &audience, reason);
            }
        }
    }
}

/// The last message of a slice in memory of its own, so that it does not pin the run; `None` when it clears the topic.
fn retained_copy(slice: &Slice, shared: &crate::hub::Shared) -> Option<Slice> {
    let last = slice.last();
    let (_, entry) = sinew_wire::entry::Entries::new(last.block()).next()?;
    if entry.payload.is_empty() {
        return None;
    }
    let run = last.run();
    let copy = Run {
        topic: run.topic.clone(),
        origin: Arc::clone(&run.origin),
        entries: bytes::Bytes::copy_from_slice(last.block()),
        packed: None,
        messages: 1,
        first_seq: last.first_seq(),
        any_headers: run.any_headers,
        any_id: run.any_id,
        received: run.received,
        expires: run.expires,
        retained: true,
        ack: None,
        memory: shared.budget.try_reserve(last.bytes() + Run::OVERHEAD),
    };
    Some(Slice::whole(Arc::new(copy)))
}
