use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use sinew_link::pool::{Closed, Counters, Dial, LinkId, PoolFull, State, Table};
use sinew_wire::{Limit, PeerId, Refusal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ask::{Admission, Ask, Asks, Close, Failure};
use super::dial::{self, Goal};
use super::rules::{self, Present};
use crate::context::Context;
use crate::info::{LinkInfo, Path, PoolInfo};
use crate::node::Node;
use crate::time::sleep_until;

/// How long a dial that yielded to one of the peer waits for that.
const YIELD: Duration = Duration::from_millis(500);

/// How long work waits for a link while all are busy.
const FULL: Duration = Duration::from_millis(100);

/// How often it is looked whether a link could run over a better path.
const TICK: Duration = Duration::from_secs(1);

/// Better paths that are looked for at once: dials that somebody waits for come first.
const MAX_UPGRADES: usize = 8;

/// How often the interval between two tries doubles where UDP is what fails: a firewall seldom changes its mind.
const MAX_DOUBLINGS: u32 = 4;

/// What the pool knows of one node.
struct Slot {
    node: Arc<Node>,
    dial: Option<Dialling>,
    link: Option<Up>,
    /// Number of the wait for work that counts; others are of the past.
    round: u64,
    /// It is under way.
    waiting: bool,
    /// When a better path is looked for, and how often that was in vain.
    upgrade: Instant,
    in_vain: u32,
}

impl Slot {
    fn new(node: Arc<Node>) -> Self {
        Self { node, dial: None, link: None, round: 0, waiting: false, upgrade: Instant::now(), in_vain: 0 }
    }

    /// The path of its link, if it is time to look for a better one.
    fn wants_better(&self, now: Instant) -> Option<Path> {
        let up = self.link.as_ref()?;
        let may_be = match up.info.path {
            Path::Quic => false,
            Path::Tls => dial::has_quic(&self.node) && !self.node.has_calls(),
            Path::Overlay | Path::Relayed => true,
        };
        let due = self.dial.is_none()
            && self.upgrade <= now
            && now.saturating_duration_since(up.info.since) >= rules::SIMULTANEOUS;
        (may_be && due).then_some(up.info.path)
    }
}

struct Dialling {
    number: u64,
    goal: Goal,
    said_hello: bool,
    given_up: CancellationToken,
}

struct Up {
    id: LinkId,
    close: Close,
    info: LinkInfo,
}

/// A node has work, or is gone: which one, and its round.
type Work = BoxFuture<'static, (PeerId, u64)>;

struct Task {
    context: Arc<Context>,
    table: Table<PeerId>,
    slots: HashMap<PeerId, Slot>,
    work: FuturesUnordered<Work>,
    next: u64,
    draining: bool,
    published: Counters,
}

/// Runs the pool until the mesh stops.
pub(crate) async fn run(context: Arc<Context>, Asks(mut asks): Asks) {
    let table = Table::new(context.config.pool.clone(), context.config.seed);
    let mut task = Task {
        table,
        slots: HashMap::new(),
        work: FuturesUnordered::new(),
        next: 0,
        draining: false,
        published: Counters::default(),
        context,
    };
    let context = Arc::clone(&task.context);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let beats = context.pool_pulse.beats();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            () = context.nodes.has_news() => task.reconcile(),
            ask = asks.recv() => match ask {
                Some(ask) => task.answer(ask),
                None => break,
            },
            peer = context.calls.wanted() => task.wanted(peer),
            Some((peer, round)) = task.work.next(), if !task.work.is_empty() => task.has_work(peer, round),
            () = sleep_until(task.table.next_sweep()) => task.sweep(),
            _ = tick.tick() => {
                task.upgrade();
                beats.beat().await;
            }
        }
        task.publish();
    }
    task.drain();
    task.publish();
}

impl Task {
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Hello { peer, epoch, link, answer } => {
                // The link may be faster than the news.
                self.reconcile();
                let admitted = self.hello(peer, epoch, link);
                self.give(peer, answer, admitted);
            }
            Ask::Reached { peer, dial, answer } => {
                self.reached(peer, dial, answer);
            }
            Ask::Accepted { peer, dial, link, answer } => {
                let admitted = if self.dialling(peer, dial).is_some() {
                    self.slots.get_mut(&peer).expect("it has the dial").dial = None;
                    self.admit(peer, link)
                } else {
                    Err(Refusal::Replaced)
                };
                self.give(peer, answer, admitted);
            }
            Ask::Failed { peer, dial, failure } => self.failed(peer, dial, failure),
            Ask::Ended { peer, link, reason } => self.ended(peer, link, reason),
            Ask::Info { answer } => {
                let _gone = answer.send(self.info());
            }
            Ask::Drain => self.drain(),
        }
    }

    /// Answers; a link that nobody is there to take is one that has ended.
    fn give(
        &mut self,
        peer: PeerId,
        answer: oneshot::Sender<Result<Admission, Refusal>>,
        admitted: Result<Admission, Refusal>,
    ) {
        if let Err(Ok(Admission { link, .. })) = answer.send(admitted) {
            self.ended(peer, link, Closed::Lost);
        }
    }

    /// A dial asks whether it may say hello. With the hello the link that there is ends.
    fn reached(&mut self, peer: PeerId, dial: u64, answer: oneshot::Sender<()>) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let has_calls = slot.node.has_calls();
        let Some(dialling) = slot.dial.as_mut().filter(|dialling| dialling.number == dial) else { return };
        if dialling.goal == Goal::BetterThan(Path::Tls) && has_calls {
            // They would end with it, and the way they go is not so bad.
            dialling.given_up.cancel();
            slot.dial = None;
            slot.upgrade = Instant::now() + self.context.config.upgrade_interval;
            return;
        }
        dialling.said_hello = true;
        let _given_up = answer.send(());
    }

    fn hello(&mut self, peer: PeerId, epoch: u64, link: LinkInfo) -> Result<Admission, Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let Some(slot) = self.slots.get(&peer).filter(|slot| slot.node.epoch == epoch) else {
            return Err(Refusal::Denied("not a member of the realm".to_owned()));
        };
        let present = match (&slot.dial, &slot.link) {
            (Some(Dialling { said_hello: true, .. }), _) => Present::SaidHello,
            (_, Some(up)) => Present::Up { dialled: up.info.dialled, age: up.info.since.elapsed() },
            _ => Present::Nothing,
        };
        if !rules::takes(&self.context.peer, &peer, present) {
            return Err(Refusal::Replaced);
        }
        let admitted = self.admit(peer, link)?;
        if let Some(dialling) = self.slots.get_mut(&peer).and_then(|slot| slot.dial.take()) {
            dialling.given_up.cancel();
        }
        Ok(admitted)
    }

    /// Takes in a link, in place of the one there is, or of that of another peer if there is no room.
    fn admit(&mut self, peer: PeerId, info: LinkInfo) -> Result<Admission, Refusal> {
        if self.draining {
            self.table.dial_dropped(&peer);
            return Err(Refusal::Draining);
        }
        self.refresh_if_full();
        let admitted = self.table.up(&peer, Instant::now()).map_err(|full| {
            self.context.metrics.limit_refused(Limit::Peers).inc();
            Refusal::Limit { limit: Limit::Peers, allowed: full.max as u64 }
        })?;
        self.make_way(admitted.evicted);
        let interval = self.context.config.upgrade_interval;
        let slot = self.slots.get_mut(&peer).expect("callers have looked");
        if let Some(replaced) = slot.link.take() {
            replaced.close.now(Closed::Replaced);
        }
        let close = Close::default();
        debug!(peer = %peer.short(), path = %info.path, dialled = info.dialled, "link to a node");
        *slot.node.link.lock() = Some(info.clone());
        // Not both sides at once.
        let patience = if info.dialled { rules::SIMULTANEOUS * 2 } else { rules::SIMULTANEOUS * 4 };
        slot.upgrade = Instant::now() + patience.min(interval);
        slot.in_vain = 0;
        slot.link = Some(Up { id: admitted.link, close: close.clone(), info });
        Ok(Admission { link: admitted.link, close })
    }

    fn make_way(&mut self, evicted: Option<(PeerId, LinkId)>) {
        if let Some((peer, _)) = evicted {
            self.close(peer, Closed::Evicted);
        }
    }

    /// Closes a link that is out of the table already.
    fn close(&mut self, peer: PeerId, reason: Closed) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if let Some(up) = slot.link.take() {
            up.close.now(reason);
            *slot.node.link.lock() = None;
        }
        self.arm(peer, None);
    }

    fn ended(&mut self, peer: PeerId, link: LinkId, reason: Closed) {
        let now = Instant::now();
        if !self.table.down(&peer, link, reason, now) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.link = None;
            *slot.node.link.lock() = None;
            // The link has not come so far as to be theirs.
            self.uncall(peer);
            self.arm(peer, None);
        }
    }

    fn failed(&mut self, peer: PeerId, dial: u64, failure: Failure) {
        if self.dialling(peer, dial).is_none() {
            return;
        }
        let now = Instant::now();
        let slot = self.slots.get_mut(&peer).expect("it has the dial");
        let goal = slot.dial.take().map(|dialling| dialling.goal);
        if goal != Some(Goal::Any) {
            let doubled = if goal == Some(Goal::BetterThan(Path::Tls)) { slot.in_vain.min(MAX_DOUBLINGS) } else { 0 };
            slot.upgrade = now + self.context.config.upgrade_interval * 2u32.pow(doubled);
            slot.in_vain += 1;
            return;
        }
        let next = match failure {
            Failure::Failed => {
                self.uncall(peer);
                self.table.dial_failed(&peer, now)
            }
            Failure::Yielded => self.table.dial_dropped(&peer).then(|| now + YIELD),
        };
        self.arm(peer, next);
    }

    /// Waits for work for a node, not before some time.
    fn arm(&mut self, peer: PeerId, not_before: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if slot.waiting || self.draining {
            return;
        }
        slot.waiting = true;
        slot.round += 1;
        let (node, round) = (Arc::clone(&slot.node), slot.round);
        self.work.push(Box::pin(async move {
            let work = async {
                if not_before.is_some() {
                    sleep_until(not_before).await;
                }
                node.has_work().await;
            };
            tokio::select! {
                () = node.gone.cancelled() => {}
                () = work => {}
            }
            (peer, round)
        }));
    }

    fn has_work(&mut self, peer: PeerId, round: u64) {
        let Some(slot) = self.slots.get_mut(&peer).filter(|slot| slot.round == round) else { return };
        slot.waiting = false;
        // While there is a link, it does the work; the wait begins again when it ends.
        if slot.node.gone.is_cancelled() || slot.link.is_some() || slot.dial.is_some() || self.draining {
            return;
        }
        match self.try_dial(peer) {
            Ok(Dial::Wait(until)) => self.arm(peer, Some(until)),
            Ok(Dial::Go { .. } | Dial::Known(_)) => {}
            Err(_) => self.arm(peer, Some(Instant::now() + FULL)),
        }
    }

    /// Calls wait for a link to a node. They are told when there will be none soon, and go elsewhere.
    fn wanted(&mut self, peer: PeerId) {
        self.reconcile();
        let Some(slot) = self.slots.get(&peer).filter(|_| !self.draining) else {
            return self.context.calls.unreachable(peer);
        };
        slot.node.call();
        if slot.link.is_some() || slot.dial.is_some() {
            return;
        }
        // Not in line behind what can wait for longer.
        match self.try_dial(peer) {
            Ok(Dial::Go { .. } | Dial::Known(_)) => {}
            Ok(Dial::Wait(_)) | Err(_) => self.uncall(peer),
        }
    }

    /// Dials, if there is room for another link and it is not too early.
    fn try_dial(&mut self, peer: PeerId) -> Result<Dial<PeerId>, PoolFull> {
        self.refresh_if_full();
        let outcome = self.table.dial(&peer, Instant::now());
        match &outcome {
            Ok(Dial::Go { evicted }) => {
                self.make_way(*evicted);
                self.dial(peer, Goal::Any);
            }
            Ok(Dial::Wait(_) | Dial::Known(_)) => {}
            Err(_) => {
                self.context.metrics.limit_refused(Limit::Peers).inc();
            }
        }
        outcome
    }

    /// Calls that wait for a link to a node are told that there will be none soon.
    fn uncall(&self, peer: PeerId) {
        if self.slots.get(&peer).is_some_and(|slot| slot.node.called()) {
            self.context.calls.unreachable(peer);
        }
    }

    fn dial(&mut self, peer: PeerId, goal: Goal) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        self.next += 1;
        let (number, given_up) = (self.next, CancellationToken::new());
        let dialling = dial::run(Arc::clone(&self.context), Arc::clone(&slot.node), number, goal, given_up.clone());
        slot.dial = Some(Dialling { number, goal, said_hello: false, given_up });
        self.context.tasks.spawn(dialling);
    }

    fn dialling(&mut self, peer: PeerId, dial: u64) -> Option<&mut Dialling> {
        self.slots.get_mut(&peer)?.dial.as_mut().filter(|dialling| dialling.number == dial)
    }

    /// Makes the slots those of the nodes that are up.
    fn reconcile(&mut self) {
        let news = self.context.nodes.take_news();
        for peer in news.changed {
            let node = self.context.nodes.get(&peer);
            let same = match (&node, self.slots.get(&peer)) {
                (Some(node), Some(slot)) => Arc::ptr_eq(node, &slot.node),
                _ => false,
            };
            if same {
                // It may have new addresses: worth a try at once, if there is work.
                self.table.forgive(&peer);
                if let Some(slot) = self.slots.get_mut(&peer) {
                    slot.waiting = false;
                    if slot.link.is_none() && slot.dial.is_none() {
                        self.arm(peer, None);
                    }
                }
                continue;
            }
            self.forget(peer);
            if let Some(node) = node {
                self.table.forgive(&peer);
                self.slots.insert(peer, Slot::new(node));
                self.arm(peer, None);
            }
        }
        for peer in news.direct {
            if let Some(slot) = self.slots.get_mut(&peer)
                && slot.link.as_ref().is_some_and(|up| up.info.path == Path::Relayed)
            {
                slot.upgrade = Instant::now();
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.uncall(peer);
        let Some(slot) = self.slots.remove(&peer) else { return };
        if let Some(dialling) = slot.dial {
            dialling.given_up.cancel();
        }
        self.table.dial_dropped(&peer);
        if let Some(up) = slot.link {
            self.table.down(&peer, up.id, Closed::Gone, Instant::now());
            up.close.now(Closed::Gone);
            *slot.node.link.lock() = None;
        }
    }

    /// Looks for better paths in place of those over the overlay or over TCP.
    fn upgrade(&mut self) {
        let now = Instant::now();
        let is_upgrade = |slot: &&Slot| slot.dial.as_ref().is_some_and(|dialling| dialling.goal != Goal::Any);
        let room = MAX_UPGRADES.saturating_sub(self.slots.values().filter(is_upgrade).count());
        let due = self.slots.iter().filter_map(|(peer, slot)| Some((*peer, slot.wants_better(now)?)));
        for (peer, path) in due.take(room).collect::<Vec<_>>() {
            if !self.draining {
                self.dial(peer, Goal::BetterThan(path));
            }
        }
    }

    fn sweep(&mut self) {
        self.refresh();
        for (peer, _) in self.table.sweep(Instant::now()) {
            self.close(peer, Closed::Idle);
        }
    }

    fn refresh_if_full(&mut self) {
        if self.table.len() >= self.context.config.pool.max {
            self.refresh();
        }
    }

    /// Takes over what the links know of their traffic.
    fn refresh(&mut self) {
        let linked = self.slots.iter().filter(|(_, slot)| slot.link.is_some());
        let reports = linked.map(|(peer, slot)| (*peer, slot.node.activity.last(), slot.node.is_busy())).collect();
        self.table.refresh(reports);
    }

    fn drain(&mut self) {
        self.draining = true;
        let now = Instant::now();
        for (peer, slot) in &mut self.slots {
            if let Some(dialling) = slot.dial.take() {
                dialling.given_up.cancel();
            }
            self.table.dial_dropped(peer);
            if let Some(up) = slot.link.take() {
                self.table.down(peer, up.id, Closed::Draining, now);
                up.close.now(Closed::Draining);
                *slot.node.link.lock() = None;
            }
        }
    }

    fn info(&self) -> PoolInfo {
        let dialling = self.table.keys().filter(|peer| self.table.state(peer) == Some(State::Dialling)).count();
        let max = self.context.config.pool.max;
        PoolInfo { links: self.table.links(), dialling, max, counters: self.table.counters() }
    }

    fn publish(&mut self) {
        let (before, now) = (self.published, self.table.counters());
        if before == now {
            return;
        }
        let metrics = &self.context.metrics;
        metrics.pool_links.set(self.table.links() as i64);
        metrics.pool_opened.inc_by(now.opened - before.opened);
        metrics.pool_dials_failed.inc_by(now.failed - before.failed);
        for reason in Closed::ALL {
            self.context.closed[reason as usize].inc_by(now.closed(reason) - before.closed(reason));
        }
        self.published = now;
    }
}
