use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_flow::Batch;
use sinew_observe::DropReason;
use sinew_topic::{NameError, Topic};
use sinew_wire::{Control, RefusedRun};
use tokio::sync::Notify;

use crate::ack::{Ack, Wants};
use crate::hub::PubSub;
use crate::lanes::Job;
use crate::outbox::Outbox;
use crate::plan::Plan;
use crate::run::{Origin, Run, Slice};
use crate::subscription::Subscription;

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

/// The publishing half of one session: finds plans, delivers in order, holds back what has to wait.
///
/// Runs are processed in the order of [`Publisher::submit`]. One that can't be delivered completely now (a full queue
/// of policy `block`, an acknowledged run for a full queue, a busy delivery worker) is *parked*: everything behind it
/// waits, bounded by the session's publish window, until [`Publisher::woken`] and [`Publisher::advance`].
#[derive(Debug)]
pub struct Publisher {
    hub: PubSub,
    origin: Arc<Origin>,
    outbox: Arc<Outbox>,
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
}

#[derive(Debug)]
enum Waiting {
    Submission(Submission),
    Barrier(u64),
}

#[derive(Debug)]
enum Parked {
    /// A full queue.
    Queue(Arc<Subscription>, Slice),
    /// A full delivery lane.
    Lane(usize, Job),
    /// Earlier runs that are still with the delivery workers.
    Order(Arc<Plan>, Slice),
}

impl Publisher {
    pub(crate) fn new(hub: PubSub, origin: Arc<Origin>, outbox: Arc<Outbox>) -> Self {
        let lane_jobs = vec![0; hub.lanes().len()];
        Self {
            hub,
            origin,
            outbox,
            last_plan: None,
            parked: Vec::new(),
            patience: None,
            waiting: VecDeque::new(),
            lane_jobs,
            woken: Arc::default(),
            acks: BTreeMap::new(),
            acks_made: 0,
            processed: 0,
            parked_bytes: 0,
        }
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

    /// Takes a run, and delivers it unless something is in front of it.
    pub fn submit(&mut self, submission: Submission, now: Instant) {
        if self.parked.is_empty() {
            self.process(submission, now);
        } else {
            self.waiting.push_back(Waiting::Submission(submission));
        }
    }

    /// Answers a ping after everything submitted before it was processed.
    pub fn barrier(&mut self, nonce: u64) {
        if self.parked.is_empty() {
            self.outbox.control(&Control::Pong { nonce });
        } else {
            self.waiting.push_back(Waiting::Barrier(nonce));
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
                Waiting::Submission(submission) => self.process(submission, now),
                Waiting::Barrier(nonce) => self.outbox.control(&Control::Pong { nonce }),
            }
        }
    }

    fn process(&mut self, submission: Submission, now: Instant) {
        let Submission { mut run, wants, deadline, retain, require_subscribers } = submission;
        let bytes = run.entries.len() as u64;
        let messages = run.messages;
        let has_memory = run.memory.is_some();
        let ack = wants.and_then(|wants| self.open_ack(wants, &run, now, deadline));
        if wants.is_some() && ack.is_none() {
            // Refused, and the publisher told.
            self.processed += bytes;
            return;
        }
        run.ack.clone_from(&ack);
        let (plan, slices, duplicates) = self.admit(run, retain, now);
        plan.count_published(u64::from(messages));
        let metrics = &self.hub.shared().metrics;
        metrics.published.inc_by(u64::from(messages));
        metrics.duplicates.inc_by(u64::from(duplicates));
        if let Some(ack) = &ack {
            if require_subscribers && plan.matched() == 0 {
                ack.refuse(RefusedRun::NoSubscribers);
            } else {
                let due = u64::from(messages - duplicates);
                ack.begin(due * plan.matched() as u64, duplicates);
            }
        }
        for slice in slices {
            if has_memory {
                self.deliver(&plan, slice);
            } else {
                miss_all(&plan, &slice, DropReason::QueueMemory);
            }
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

    /// The plan of the run's topic and the parts of the run that are to be delivered.
    fn admit(&self, run: Run, retain: bool, now: Instant) -> (Arc<Plan>, Vec<Slice>, u32) {
        let any_id = run.any_id;
        let slice = Slice::whole(Arc::new(run));
        if !any_id && !retain {
            return (self.find_plan(&slice.run().topic), vec![slice], 0);
        }
        let topic = slice.run().topic.clone();
        let index = self.hub.shard_index(topic.as_str());
        let shard = self.hub.shard(index);
        let mut state = shard.lock();
        let (slices, duplicates) = if any_id { state.without_duplicates(&slice, now) } else { (vec![slice], 0) };
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

    fn deliver(&mut self, plan: &Arc<Plan>, slice: Slice) {
        let acked = matches!(&slice.run().ack, Some(ack) if ack.wants() == Wants::Confirmed);
        let order = self.lanes_pending();
        if acked && order {
            self.parked.push(Parked::Order(Arc::clone(plan), slice));
        } else if !acked && (order || plan.is_wide()) {
            for lane in 0..self.hub.lanes().len() {
                let job = Job { slice: slice.clone(), plan: Arc::clone(plan) };
                self.push_to_lane(lane, job);
            }
            self.offer_all(plan.blocking(), &slice);
            self.deliver_to_groups(plan, slice);
        } else {
            self.deliver_here(plan, slice);
        }
    }

    fn deliver_here(&mut self, plan: &Plan, slice: Slice) {
        self.offer_all(plan.direct(), &slice);
        self.deliver_to_groups(plan, slice);
    }

    fn offer_all(&mut self, subscriptions: &[Arc<Subscription>], slice: &Slice) {
        for subscription in subscriptions {
            if let Some(rest) = subscription.offer(slice.clone(), &self.woken) {
                self.parked.push(Parked::Queue(Arc::clone(subscription), rest));
            }
        }
    }

    fn deliver_to_groups(&mut self, plan: &Plan, slice: Slice) {
        for group in &plan.groups {
            for share in group.shares(slice.clone()) {
                let Some(member) = group.least_loaded() else { continue };
                if let Some(rest) = member.offer(share, &self.woken) {
                    self.parked.push(Parked::Queue(Arc::clone(member), rest));
                }
            }
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
                Parked::Queue(subscription, slice) => {
                    if let Some(rest) = subscription.offer(slice, &self.woken) {
                        self.parked.push(Parked::Queue(subscription, rest));
                    }
                }
                Parked::Lane(lane, job) => self.push_to_lane(lane, job),
                Parked::Order(plan, slice) if self.lanes_pending() => self.parked.push(Parked::Order(plan, slice)),
                Parked::Order(plan, slice) => self.deliver_here(&plan, slice),
            }
        }
        if self.parked.is_empty() {
            self.patience = None;
            self.processed += std::mem::take(&mut self.parked_bytes);
        }
    }

    /// Opens the account of a run that wants a result; refuses the run when too many are open.
    fn open_ack(&mut self, wants: Wants, run: &Run, now: Instant, deadline: Duration) -> Option<Arc<Ack>> {
        let ack = Ack::new(wants, Arc::clone(&self.outbox), run.first_seq, run.messages);
        if wants == Wants::Confirmed && run.memory.is_none() {
            ack.refuse(RefusedRun::QueueMemory);
            return None;
        }
        let allowed = self.hub.config().max_open_acks;
        if self.acks.len() >= allowed {
            self.acks.retain(|_, ack| !ack.is_settled());
        }
        if self.acks.len() >= allowed {
            self.hub.shared().metrics.limit_refused(sinew_wire::Limit::OpenAcks).inc();
            ack.refuse(RefusedRun::OpenAcks);
            return None;
        }
        if wants == Wants::Confirmed {
            let at = now.checked_add(deadline).unwrap_or(now);
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

impl Drop for Publisher {
    /// A session drains its publisher before it ends; what is held back even so is dropped and counted.
    fn drop(&mut self) {
        for parked in self.parked.drain(..) {
            match parked {
                Parked::Queue(subscription, slice) => subscription.miss(&slice, DropReason::Draining),
                Parked::Lane(lane, job) => {
                    for subscription in job.plan.lane(lane) {
                        subscription.miss(&job.slice, DropReason::Draining);
                    }
                }
                Parked::Order(plan, slice) => miss_all(&plan, &slice, DropReason::Draining),
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiting::Submission(Submission { run, .. }) = waiting {
                let plan = self.find_plan(&run.topic);
                miss_all(&plan, &Slice::whole(Arc::new(run)), DropReason::Draining);
            }
        }
    }
}

/// Everyone who was due to get the slice learns that it did not.
fn miss_all(plan: &Plan, slice: &Slice, reason: DropReason) {
    for subscription in plan.direct() {
        subscription.miss(slice, reason);
    }
    for group in &plan.groups {
        if let Some(member) = group.least_loaded() {
            member.miss(slice, reason);
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
