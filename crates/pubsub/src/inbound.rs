use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use lru::LruCache;
use sinew_topic::Topic;
use sinew_wire::forward::{Flags, ForwardHeader, GroupList};
use sinew_wire::{MeshControl, Refusal};
use tokio::sync::Notify;
use tracing::warn;

use crate::ack::{Outcome, Wants};
use crate::audience::Audience;
use crate::block::Block;
use crate::hub::PubSub;
use crate::publisher::{Publisher, Submission};
use crate::remote::Remote;
use crate::run::Origin;

/// Frames and time after which the node is told what was taken; and half of its window, whichever comes first.
const ACK_FRAMES: u64 = 256;
const ACK_DELAY: Duration = Duration::from_millis(20);

/// Longest wait for confirmations on behalf of another node.
const MAX_DEADLINE: Duration = Duration::from_secs(600);

/// What waits for slow subscribers may take this part of the queue memory, for each node that sends.
const PARKED_SHARE: u64 = 4;

/// Publishers looked at for an idle one when another has to go.
const IDLE_SEARCH: usize = 64;

/// The receiving half of what another node sends: takes its frames, for as long as that node runs (its epoch).
///
/// The reader of the link owns it while the link lasts, and hands it to the next one: its count goes on, and so does
/// what is parked in it, which wants to be advanced between two links as well. A node that starts anew gets a new one.
///
/// Each publisher of that node has its own place in line: one whose runs wait for a slow subscriber delays nobody
/// else's, and once [`crate::ForwardConfig::hold_bytes`] of it wait, its node is asked to hold it back.
#[derive(Debug)]
pub struct Inbound {
    hub: PubSub,
    remote: Arc<Remote>,
    received: u64,
    /// Frames and entry bytes taken of which the node was not told.
    unacknowledged: (u64, u64),
    acknowledge_at: Option<Instant>,
    origins: LruCache<Origin, Source>,
    /// Those that are parked or wait for confirmations.
    busy: HashSet<Origin>,
    /// When one of them wants to be advanced; may be too early.
    due: Option<Instant>,
    parked: usize,
    /// Entry bytes that wait, of all publishers.
    pending: u64,
    woken: Arc<Notify>,
    /// The groups of the last frame: they are often the same.
    groups: Arc<GroupList>,
}

/// A publisher on the other node.
#[derive(Debug)]
struct Source {
    publisher: Publisher,
    /// Entry bytes that wait.
    pending: u64,
    parked: bool,
    held: bool,
}

impl Inbound {
    pub(crate) fn new(hub: PubSub, remote: Arc<Remote>, received: u64) -> Self {
        Self {
            hub,
            remote,
            received,
            unacknowledged: (0, 0),
            acknowledge_at: None,
            // The bound is kept by `make_room`, which prefers to forget one that is idle.
            origins: LruCache::unbounded(),
            busy: HashSet::new(),
            due: None,
            parked: 0,
            pending: 0,
            woken: Arc::default(),
            groups: Arc::default(),
        }
    }

    /// The node it takes frames of.
    pub const fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Counted frames taken so far: what the handshake of a link tells the node. To be read only when no other link feeds
    /// this any more.
    ///
    /// It begins anywhere, so that the node notices when this was made anew.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the node may have on their way: what the handshake of a link tells it.
    pub fn window(&self) -> u64 {
        self.hub.forwarding().window
    }

    /// Takes the body of a forward frame, split by [`ForwardHeader::decode`], and delivers it to local subscriptions.
    ///
    /// Never waits. An error is the peer's fault and ends the link; the frame counts as taken even so, or it would
    /// come again on the next one.
    pub fn forward(&mut self, header: ForwardHeader<'_>, entries: &[u8], now: Instant) -> Result<(), Refusal> {
        self.count(header.entries_len.into(), now);
        if header.ack != 0 {
            self.remote.check_controls()?;
        }
        if sinew_topic::is_reserved(header.topic) && header.publisher != self.remote.node() {
            // Reserved names are for nodes, and each speaks for itself.
            self.hub.shared().metrics.live_forged.inc_by(header.messages.into());
            return Ok(());
        }
        let origin = Origin { peer: header.publisher, instance: header.instance };
        if !self.origins.contains(&origin) {
            self.make_room();
        }
        let (hub, remote, woken) = (&self.hub, &self.remote, &self.woken);
        let source = self.origins.get_or_insert_mut_ref(&origin, || {
            let publisher =
                Publisher::of_node(hub.clone(), Arc::new(origin.clone()), Arc::clone(remote), Arc::clone(woken));
            Source { publisher, pending: 0, parked: false, held: false }
        });
        let block = Block {
            bytes: entries,
            packed: header.flags.contains(Flags::PACKED),
            entries_len: header.entries_len,
            messages: header.messages,
            first_seq: header.first_seq,
            ttl_ms: header.ttl_ms,
        };
        let topic = source.publisher.topic(header.topic).map_err(|error| Refusal::InvalidName(error.to_string()))?;
        let mut run = source.publisher.read(topic, block, &hub.forwarding().limits, now)?;
        let bytes = run.entries.len() as u64;
        if source.parked && self.pending.saturating_add(bytes) > self.hub.shared().budget.limit() as u64 / PARKED_SHARE
        {
            // The node goes on sending what it was asked to hold back.
            run.memory = None;
        }
        if header.groups != self.groups.as_groups() {
            self.groups = Arc::new(GroupList::new(header.groups.iter())?);
        }
        let audience =
            Audience::Here { direct: header.flags.contains(Flags::DIRECT), groups: Arc::clone(&self.groups) };
        let submission = Submission {
            run,
            wants: wants(header.flags),
            deadline: deadline(header.deadline_ms),
            retain: false,
            require_subscribers: false,
        };
        source.publisher.submit_forwarded(submission, audience, header.ack, now);
        source.pending += bytes;
        self.pending += bytes;
        self.follow_up(&origin);
        Ok(())
    }

    /// Takes a mesh frame: everything but the two of the handshake, which are refused here. An error is the peer's fault
    /// and ends the link.
    pub fn control(&mut self, control: MeshControl, now: Instant) -> Result<(), Refusal> {
        if let MeshControl::ForwardAck { received } = control {
            return self.remote.acknowledged(received).map_err(|error| Refusal::Protocol(error.to_string()));
        }
        let counted = |this: &mut Self| this.count(0, now);
        match control {
            MeshControl::ForwardResult { token, matched, delivered, dropped, unknown } => {
                counted(self);
                self.remote.result(token, Outcome { matched, delivered, dropped, unknown });
                Ok(())
            }
            MeshControl::Hold { publisher, instance } => {
                counted(self);
                self.remote.hold(Origin { peer: publisher, instance }, true)
            }
            MeshControl::Release { publisher, instance } => {
                counted(self);
                self.remote.hold(Origin { peer: publisher, instance }, false)
            }
            MeshControl::Missed { topic, messages, direct, groups } => {
                counted(self);
                self.missed(&topic, messages, direct, &groups)
            }
            _ => Err(Refusal::Protocol("a mesh frame that does not belong here".to_owned())),
        }
    }

    /// The node dropped messages that were for subscriptions here: they learn of it.
    fn missed(&self, topic: &str, messages: u64, direct: bool, groups: &[String]) -> Result<(), Refusal> {
        if topic.is_empty() {
            warn!(node = %self.remote.node().short(), messages, "messages were dropped on too many topics to say which");
            self.remote.count_unattributed(messages);
            return Ok(());
        }
        let topic = Topic::parse(topic).map_err(|error| Refusal::InvalidName(error.to_string()))?;
        let plan = self.hub.plan(&topic);
        if direct {
            for subscription in plan.direct() {
                subscription.missed_elsewhere(messages);
            }
        }
        for name in groups {
            if let Some(member) = plan.group(name).and_then(|group| group.least_loaded()) {
                member.missed_elsewhere(messages);
            }
        }
        Ok(())
    }

    /// Whether something is parked, and [`Inbound::woken`] is worth waiting for.
    pub const fn is_parked(&self) -> bool {
        self.parked > 0
    }

    /// Notified when what is parked may go on.
    pub fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    /// When to call [`Inbound::advance`] even if nobody woke it: for what is parked, for open acknowledgements, for the
    /// [`MeshControl::ForwardAck`] that is due.
    pub fn deadline(&self) -> Option<Instant> {
        [self.due, self.acknowledge_at].into_iter().flatten().min()
    }

    /// Goes on with what was parked, gives up what has waited too long, settles what is past its deadline, and has the
    /// node told what was taken.
    pub fn advance(&mut self, now: Instant) {
        if self.acknowledge_at.is_some_and(|at| at <= now) {
            self.acknowledge();
        }
        self.due = None;
        for origin in std::mem::take(&mut self.busy) {
            if let Some(source) = self.origins.peek_mut(&origin) {
                source.publisher.advance(now);
                self.follow_up(&origin);
            }
        }
    }

    fn count(&mut self, bytes: u64, now: Instant) {
        self.received += 1;
        let (frames, sum) = &mut self.unacknowledged;
        *frames += 1;
        *sum += bytes;
        if *frames >= ACK_FRAMES || *sum >= self.hub.forwarding().window / 4 {
            self.acknowledge();
        } else if self.acknowledge_at.is_none() {
            self.acknowledge_at = Some(now + ACK_DELAY);
        }
    }

    fn acknowledge(&mut self) {
        self.unacknowledged = (0, 0);
        self.acknowledge_at = None;
        self.remote.owe_ack(self.received);
    }

    /// Brings the books of a publisher up to date, and has its node hold it back or release it.
    fn follow_up(&mut self, origin: &Origin) {
        let Some(source) = self.origins.peek_mut(origin) else { return };
        let processed = source.publisher.take_processed();
        source.pending = source.pending.saturating_sub(processed);
        self.pending = self.pending.saturating_sub(processed);
        let parked = source.publisher.is_parked();
        if parked != source.parked {
            source.parked = parked;
            if parked { self.parked += 1 } else { self.parked -= 1 }
        }
        let deadline = source.publisher.deadline();
        if let Some(at) = deadline {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
        if (parked || deadline.is_some()) && !self.busy.contains(origin) {
            self.busy.insert(origin.clone());
        }
        let hold_bytes = self.hub.forwarding().hold_bytes as u64;
        if !source.held && parked && source.pending >= hold_bytes {
            source.held = true;
            self.remote.control(MeshControl::Hold { publisher: origin.peer, instance: origin.instance });
        } else if source.held && (!parked || source.pending < hold_bytes / 2) {
            source.held = false;
            self.remote.control(MeshControl::Release { publisher: origin.peer, instance: origin.instance });
        }
    }

    /// Forgets a publisher when there are as many as may be: one that is idle, of those not heard of for longest.
    fn make_room(&mut self) {
        if self.origins.len() < self.hub.forwarding().max_origins.max(1) {
            return;
        }
        let idle = self
            .origins
            .iter_mut()
            .rev()
            .take(IDLE_SEARCH)
            .find_map(|(origin, source)| source.publisher.is_idle().then(|| origin.clone()));
        let gone = match idle {
            Some(origin) => self.origins.pop_entry(&origin),
            None => self.origins.pop_lru(),
        };
        // What was parked in it is dropped with it, and counted.
        let Some((origin, source)) = gone else { return };
        self.busy.remove(&origin);
        self.parked -= usize::from(source.parked);
        self.pending = self.pending.saturating_sub(source.pending);
        if source.held {
            self.remote.control(MeshControl::Release { publisher: origin.peer, instance: origin.instance });
        }
    }
}

const fn wants(flags: Flags) -> Option<Wants> {
    if flags.contains(Flags::ACKED) {
        Some(Wants::Confirmed)
    } else if flags.contains(Flags::REPORT) {
        Some(Wants::Queued)
    } else {
        None
    }
}

fn deadline(asked_ms: u32) -> Duration {
    Duration::from_millis(asked_ms.into()).min(MAX_DEADLINE)
}
