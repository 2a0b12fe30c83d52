use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sinew_wire::PeerId;
use sinew_wire::live::{DELIVER_BOUNDS_US, DELIVER_BUCKETS, LinkState, State, Totals};

use crate::frame::{self, NodeState};

/// Most nodes that are kept count of. The states of more are counted and not shown.
pub const MAX_NODES: usize = 1000;

/// A node that has told nothing for longer is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// How long a lost node is listed.
const LISTED: Duration = Duration::from_secs(60);

/// How long one is listed that said it ends.
const LEAVES: Duration = Duration::from_secs(2);

/// Time over which deliveries are looked at, in milliseconds.
const DELIVER_MS: u64 = 10_000;

/// States that are remembered for it: at two a second, with some to spare.
const HISTORY: usize = 32;

/// The nodes of the realm by what they told last.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: HashMap<PeerId, Known>,
    refused: u64,
}

#[derive(Debug)]
struct Known {
    text: String,
    heard: Instant,
    /// When the realm held it dead, after it was heard.
    gone: Option<Instant>,
    state: State,
    /// The state before: when it was, and the counters.
    before: Option<Before>,
    /// The life before: what still comes of it is late.
    former: Option<u64>,
    /// How long deliveries took, as counted at each of the last states, oldest first.
    delivered: VecDeque<(u64, Vec<u64>)>,
}

#[derive(Debug)]
struct Before {
    uptime_ms: u64,
    totals: Totals,
    links: HashMap<PeerId, (u64, u64)>,
}

impl Nodes {
    pub(crate) fn state(&mut self, from: PeerId, state: State, now: Instant) {
        if let Some(known) = self.nodes.get_mut(&from) {
            return known.update(state, now);
        }
        if self.nodes.len() >= MAX_NODES {
            self.sweep(now);
        }
        if self.nodes.len() >= MAX_NODES && !self.evict_lost(now) {
            self.refused += 1;
            return;
        }
        self.nodes.insert(from, Known::new(from, state, now));
    }

    pub(crate) fn gone(&mut self, peer: PeerId, now: Instant) {
        if let Some(known) = self.nodes.get_mut(&peer) {
            known.gone.get_or_insert(now);
        }
    }

    /// All nodes by their id, without those that are no longer listed.
    pub(crate) fn frame(&mut self, now: Instant) -> Vec<frame::Node> {
        self.sweep(now);
        let mut nodes: Vec<_> = self.nodes.values().map(|known| known.shown(now)).collect();
        nodes.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        nodes
    }

    /// States refused because there were too many nodes.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    fn sweep(&mut self, now: Instant) {
        self.nodes.retain(|_, known| match known.stands(now) {
            (NodeState::Up, _) => true,
            (NodeState::Lost, since) => since <= LISTED,
            (NodeState::Leaving, since) => since <= LEAVES,
        });
    }

    /// Forgets the node that is lost for the longest time. False if all are there.
    fn evict_lost(&mut self, now: Instant) -> bool {
        let lost = self.nodes.iter().filter_map(|(peer, known)| match known.stands(now) {
            (NodeState::Up, _) => None,
            (_, since) => Some((since, *peer)),
        });
        lost.max().is_some_and(|(_, peer)| self.nodes.remove(&peer).is_some())
    }
}

impl Known {
    fn new(from: PeerId, state: State, now: Instant) -> Self {
        let delivered = VecDeque::from([(state.uptime_ms, state.deliver.clone())]);
        Self { text: from.to_string(), heard: now, gone: None, state, before: None, former: None, delivered }
    }

    fn update(&mut self, state: State, now: Instant) {
        let same_life = state.epoch == self.state.epoch;
        let late = if same_life { state.uptime_ms <= self.state.uptime_ms } else { self.former == Some(state.epoch) };
        if late {
            return;
        }
        let old = std::mem::replace(&mut self.state, state);
        if same_life {
            let links = old.links.iter().map(|link| (link.to, (link.sent, link.received))).collect();
            self.before = Some(Before { uptime_ms: old.uptime_ms, totals: old.totals, links });
        } else {
            self.former = Some(old.epoch);
            self.before = None;
            self.delivered.clear();
        }
        (self.heard, self.gone) = (now, None);
        self.delivered.push_back((self.state.uptime_ms, self.state.deliver.clone()));
        let from = self.state.uptime_ms.saturating_sub(DELIVER_MS);
        while self.delivered.len() > HISTORY || self.delivered.get(1).is_some_and(|(uptime_ms, _)| *uptime_ms <= from) {
            self.delivered.pop_front();
        }
    }

    /// Whether it is there, and for how long it has not been.
    fn stands(&self, now: Instant) -> (NodeState, Duration) {
        let quiet = now.saturating_duration_since(self.heard);
        let dead = self.gone.map(|at| now.saturating_duration_since(at));
        if self.state.leaving {
            (NodeState::Leaving, quiet)
        } else if let Some(since) = dead.max(quiet.checked_sub(LOST_AFTER).filter(|since| !since.is_zero())) {
            (NodeState::Lost, since)
        } else {
            (NodeState::Up, Duration::ZERO)
        }
    }

    fn shown(&self, now: Instant) -> frame::Node {
        let State { ref region, uptime_ms, ready, ref failing, clients, subscriptions, memory, totals, .. } =
            self.state;
        frame::Node {
            node: self.text.clone(),
            region: region.clone(),
            state: self.stands(now).0,
            heard_ms: u64::try_from(now.saturating_duration_since(self.heard).as_millis()).unwrap_or(u64::MAX),
            uptime_s: uptime_ms / 1000,
            ready,
            failing: failing.clone(),
            clients,
            subscriptions,
            memory,
            rates: self.rates(),
            totals,
            deliver_us: self.deliver(),
            dropped: self.state.dropped.iter().filter(|(_, n)| *n > 0).cloned().collect(),
            queues: self.state.queues.iter().map(queue).collect(),
            slow: self.state.slow.iter().map(slow).collect(),
            links: self.state.links.iter().map(|link| self.link(link)).collect(),
        }
    }

    /// Per second, between the last two states.
    fn rate(&self, now: u64, before: impl Fn(&Before) -> u64) -> f64 {
        let Some(last) = &self.before else { return 0.0 };
        let ms = self.state.uptime_ms.saturating_sub(last.uptime_ms).max(1);
        now.saturating_sub(before(last)) as f64 * 1000.0 / ms as f64
    }

    fn rates(&self) -> frame::Rates {
        let totals = &self.state.totals;
        frame::Rates {
            published: self.rate(totals.published, |before| before.totals.published),
            delivered: self.rate(totals.delivered, |before| before.totals.delivered),
            forwarded: self.rate(totals.forwarded, |before| before.totals.forwarded),
            dropped: self.rate(totals.dropped, |before| before.totals.dropped),
            calls: self.rate(totals.calls, |before| before.totals.calls),
            bytes_in: self.rate(totals.bytes_in, |before| before.totals.bytes_in),
            bytes_out: self.rate(totals.bytes_out, |before| before.totals.bytes_out),
        }
    }

    fn link(&self, link: &LinkState) -> frame::Link {
        // A link that was not there before counts from zero.
        let before = |before: &Before| before.links.get(&link.to).copied().unwrap_or_default();
        frame::Link {
            to: link.to.to_string(),
            path: link.path.clone(),
            rtt_us: link.rtt_us,
            sent: self.rate(link.sent, |last| before(last).0),
            received: self.rate(link.received, |last| before(last).1),
        }
    }

    fn deliver(&self) -> Option<frame::Deliver> {
        let ((_, first), (_, last)) = (self.delivered.front()?, self.delivered.back()?);
        if first.len() != DELIVER_BUCKETS || last.len() != DELIVER_BUCKETS {
            return None;
        }
        let counts: Vec<u64> = last.iter().zip(first).map(|(last, first)| last.saturating_sub(*first)).collect();
        let p50 = histogram_quantile(&counts, 0.5)?;
        Some(frame::Deliver { p50, p99: histogram_quantile(&counts, 0.99)? })
    }
}

/// The quantile of a histogram with the bounds of deliveries, each bucket's values spread evenly; of the open one, its lower
/// bound. None without values.
fn histogram_quantile(counts: &[u64], share: f64) -> Option<u64> {
    let total = counts.iter().copied().fold(0, u64::saturating_add);
    let rank = (share * total as f64).ceil().max(1.0);
    let mut below = 0.0;
    for (place, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let low = place.checked_sub(1).and_then(|place| DELIVER_BOUNDS_US.get(place)).copied().unwrap_or(0);
        let high = DELIVER_BOUNDS_US.get(place).copied().unwrap_or(low);
        let n = *n as f64;
        if below + n >= rank || place + 1 == counts.len() {
            return Some(low + ((rank - below).min(n) / n * (high - low) as f64) as u64);
        }
        below += n;
    }
    None
}

fn queue(queue: &sinew_wire::live::Queue) -> frame::Queue {
    frame::Queue { queue: queue.queue.clone(), depth: queue.depth, capacity: queue.capacity }
}

fn slow(slow: &sinew_wire::live::Slow) -> frame::Slow {
    frame::Slow {
        client: slow.client.to_string(),
        peer: slow.peer.to_string(),
        name: slow.name.clone(),
        pattern: slow.pattern.clone(),
        queued: slow.queued,
        capacity: slow.capacity,
        missed: slow.missed,
    }
}
