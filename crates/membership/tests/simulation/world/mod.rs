//! A realm in one thread: virtual time, one seed, a network that does its worst.

#![allow(dead_code, reason = "the example and the test take what they need")]

pub(crate) mod chance;
pub(crate) mod keys;
pub(crate) mod net;
pub(crate) mod node;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_membership::{DownReason, Event, Key, Membership, MembershipConfig, NodeInfo, Output, Value};
use sinew_wire::PeerId;

use self::chance::Chance;
use self::net::{GIVE_UP, Net};
use self::node::{Node, Waiting, said};

/// Something that happens at a moment.
#[derive(Debug)]
enum Happening {
    Wake {
        node: usize,
        wake: u64,
    },
    Message {
        from: usize,
        to: usize,
        bytes: Bytes,
    },
    /// With the epoch of who asks, so that nobody gets the answers to who was there before.
    Request {
        from: usize,
        epoch: u64,
        to: usize,
        id: u64,
        body: Bytes,
    },
    Answer {
        from: usize,
        to: usize,
        epoch: u64,
        id: u64,
        outcome: Option<Bytes>,
    },
}

#[derive(Debug)]
struct Scheduled {
    at: Instant,
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// An event that a node has told its owner.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) node: usize,
    pub(crate) event: Event,
    /// What was wrong with it at that moment.
    pub(crate) wrong: Option<String>,
}

/// What is wrong with "all know", said to a node in answer to a token.
pub(crate) type Judge = fn(&World, usize, u64) -> Option<String>;

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) chance: Chance,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) config: MembershipConfig,
    /// When a fault of any kind began or ended last.
    pub(crate) disturbed: Instant,
    /// When a cut was there last.
    pub(crate) cut_at: Option<Instant>,
    /// Events since the last look.
    pub(crate) told: Vec<Told>,
    /// Judges the answer to a settle at the moment it is given.
    pub(crate) judge: Option<Judge>,
    changed_at: Instant,
    pub(crate) problems: Vec<String>,
    pub(crate) happened: u64,
    /// Prints faults and events: `SINEW_TRACE`.
    pub(crate) tracing: bool,
    by_peer: BTreeMap<PeerId, usize>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
    token: u64,
}

/// Virtual time has to begin somewhere; where makes no difference.
#[expect(clippy::disallowed_methods, reason = "there is no other way to get an Instant")]
fn beginning() -> Instant {
    Instant::now()
}

impl World {
    /// `count` nodes, none of which was started.
    pub(crate) fn new(seed: u64, count: usize, net: Net, config: MembershipConfig) -> Self {
        let start = beginning();
        let config = MembershipConfig { verifier: keys::verifier(), ..config };
        let nodes: Vec<Node> = (0..count)
            .map(|index| Node {
                peer: keys::peer(index),
                membership: None,
                epoch: 0,
                started: start,
                ended: None,
                starved_until: start,
                starved_for: Duration::ZERO,
                view: BTreeMap::new(),
                lost: BTreeMap::new(),
                truth: BTreeMap::new(),
                version: 0,
                ever: BTreeSet::new(),
                waiting: BTreeMap::new(),
                wake: 0,
                wake_at: None,
                settled: 0,
            })
            .collect();
        Self {
            start,
            now: start,
            chance: Chance::new(seed),
            net,
            by_peer: nodes.iter().enumerate().map(|(index, node)| (node.peer, index)).collect(),
            nodes,
            config,
            disturbed: start,
            cut_at: None,
            told: Vec::new(),
            judge: None,
            changed_at: start,
            problems: Vec::new(),
            happened: 0,
            tracing: std::env::var_os("SINEW_TRACE").is_some(),
            queue: BinaryHeap::new(),
            number: 0,
            token: 0,
        }
    }

    pub(crate) fn index(&self, peer: &PeerId) -> Option<usize> {
        self.by_peer.get(peer).copied()
    }

    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].is_alive()).collect()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// How long nothing but loss has gone wrong.
    pub(crate) fn calm(&self) -> Duration {
        if self.net.cuts.is_empty() { self.now.saturating_duration_since(self.disturbed) } else { Duration::ZERO }
    }

    /// Starts a node, with connections to these.
    pub(crate) fn start(&mut self, index: usize, seeds: &[usize]) {
        self.trace(|| format!("node {index} starts, connected to {seeds:?}"));
        let seed = self.chance.word();
        let now = self.now;
        let epoch = 1_000_000 + u64::try_from(self.elapsed().as_millis()).unwrap_or(0);
        let node = &mut self.nodes[index];
        let info = NodeInfo {
            peer: node.peer,
            epoch: epoch.max(node.epoch + 1),
            data: vec![
                format!("quic://10.0.{}.{}:4400", index / 256, index % 256),
                format!("tls://10.0.{}.{}:4400", index / 256, index % 256),
            ],
            mesh: vec![format!("/ip4/10.0.{}.{}/udp/4500/quic-v1", index / 256, index % 256)],
            region: "here".to_owned(),
            features: 1,
        };
        node.epoch = info.epoch;
        node.started = now;
        node.ended = None;
        node.wake_at = None;
        node.version = 0;
        node.view.clear();
        node.lost.clear();
        node.truth.clear();
        node.waiting.clear();
        let signer = Box::new(keys::Cheap(node.peer));
        node.membership = Some(Membership::new(self.config.clone(), info, signer, seed, now));
        self.disturbed = now;
        for other in seeds {
            self.connect(index, *other);
        }
        self.after(index);
    }

    /// A connection between two nodes: both overlays tell it.
    pub(crate) fn connect(&mut self, one: usize, other: usize) {
        for (a, b) in [(one, other), (other, one)] {
            let (now, peer) = (self.now, self.nodes[b].peer);
            if let Some(membership) = &mut self.nodes[a].membership {
                membership.introduce(peer, now);
                self.after(a);
            }
        }
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.tracing {
            eprintln!("{:9.3} {}", self.elapsed().as_secs_f64(), what());
        }
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.trace(|| format!("node {index} crashes"));
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.membership.take().is_some() {
            node.ended = Some((now, DownReason::Failed));
            self.disturbed = now;
        }
    }

    pub(crate) fn leave(&mut self, index: usize) {
        self.trace(|| format!("node {index} leaves"));
        let now = self.now;
        if let Some(membership) = &mut self.nodes[index].membership {
            membership.leave(now);
            self.after(index);
            self.nodes[index].membership = None;
            self.nodes[index].ended = Some((now, DownReason::Left));
            self.disturbed = now;
        }
    }

    /// No CPU for so long.
    pub(crate) fn starve(&mut self, index: usize, time: Duration) {
        self.trace(|| format!("node {index} gets no CPU for {time:?}"));
        self.nodes[index].starved_until = self.now + time;
        self.nodes[index].starved_for = time;
        self.disturbed = self.now + time;
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.trace(|| format!("cut from {from} to {to}"));
        self.net.cuts.insert((from, to));
        self.disturbed = self.now;
        self.cut_at = Some(self.now);
    }

    pub(crate) fn heal(&mut self) {
        self.trace(|| "healed".to_owned());
        if !self.net.cuts.is_empty() {
            self.net.cuts.clear();
            self.disturbed = self.now;
            self.cut_at = Some(self.now);
        }
    }

    pub(crate) fn set(&mut self, index: usize, key: Key, value: Option<Value>) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(membership) = &mut node.membership else { return };
        let version = membership.set(key.clone(), value.clone(), now).expect("a valid key, and few of them");
        match value {
            Some(value) => {
                node.ever.insert(said(&key, &value));
                node.truth.insert(key, value);
            }
            None => {
                node.truth.remove(&key);
            }
        }
        node.version = node.version.max(version);
        self.changed_at = now;
        self.after(index);
    }

    pub(crate) fn settle(&mut self, index: usize) {
        let now = self.now;
        self.token += 1;
        let token = self.token;
        let node = &mut self.nodes[index];
        let Some(membership) = &mut node.membership else { return };
        node.waiting.insert(token, Waiting { version: node.version, since: now });
        membership.settle(token, now);
        self.after(index);
    }

    /// Whether anybody changed what it publishes in this time.
    pub(crate) fn changed_within(&self, time: Duration) -> bool {
        self.now.saturating_duration_since(self.changed_at) < time
    }

    fn describe(&self, node: usize, event: &Event) -> String {
        let name = |peer| self.index(peer).map_or_else(|| peer.short(), |index| index.to_string());
        match event {
            Event::Up(record) => format!("{node}: up {} {:?}", name(&record.peer()), record.info.epoch),
            Event::Updated(record) => format!("{node}: updated {}", name(&record.peer())),
            Event::Down { peer, reason } => format!("{node}: down {} {reason:?}", name(peer)),
            Event::Changed { peer, key, value } => {
                format!("{node}: {} {} {}", name(peer), if value.is_some() { "+" } else { "-" }, key.name())
            }
            Event::Settled { token, nodes, missing } => {
                format!("{node}: settled {token}, {missing} of {nodes} missing")
            }
        }
    }

    fn judge(&self, index: usize, event: &Event) -> Option<String> {
        match event {
            Event::Settled { token, missing: 0, .. } => self.judge.and_then(|judge| judge(self, index, *token)),
            _ => None,
        }
    }

    fn schedule(&mut self, at: Instant, what: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Scheduled { at, number: self.number, what }));
    }

    /// Carries out what a node wants, and sets its alarm clock.
    fn after(&mut self, index: usize) {
        loop {
            let Some(membership) = &mut self.nodes[index].membership else { return };
            let Some(output) = membership.poll_output() else { break };
            match output {
                Output::Send { to, message } => {
                    let Some(to) = self.index(&to) else { continue };
                    for delay in self.net.carry(index, to, &mut self.chance) {
                        self.schedule(self.now + delay, Happening::Message { from: index, to, bytes: message.clone() });
                    }
                }
                Output::Request { id, to, body } => self.request(index, id, &to, body),
                Output::Event(event) => {
                    if let Err(problem) = self.nodes[index].told(&event, self.now) {
                        self.problems.push(format!("node {index}: {problem}"));
                    }
                    self.trace(|| self.describe(index, &event));
                    let wrong = self.judge(index, &event);
                    self.told.push(Told { node: index, event, wrong });
                }
            }
        }
        let node = &mut self.nodes[index];
        let Some(at) = node.membership.as_ref().and_then(Membership::next_deadline) else { return };
        let at = at.max(self.now);
        if node.wake_at != Some(at) {
            node.wake += 1;
            node.wake_at = Some(at);
            let wake = node.wake;
            self.schedule(at, Happening::Wake { node: index, wake });
        }
    }

    fn request(&mut self, from: usize, id: u64, to: &PeerId, body: Bytes) {
        let epoch = self.nodes[from].epoch;
        let to = self.index(to);
        let arrives = to.and_then(|to| Some((to, self.net.stream(from, to, &mut self.chance)?)));
        match arrives {
            Some((to, delay)) => self.schedule(self.now + delay, Happening::Request { from, epoch, to, id, body }),
            None => {
                let to = to.unwrap_or(from);
                let failed = Happening::Answer { from: to, to: from, epoch, id, outcome: None };
                self.schedule(self.now + GIVE_UP, failed);
            }
        }
    }

    /// Lets time pass, and everything happen that falls into it.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            self.happen(next);
        }
        self.now = end;
    }

    fn happen(&mut self, next: Scheduled) {
        let node = match next.what {
            Happening::Wake { node, .. } => node,
            Happening::Message { to, .. } | Happening::Request { to, .. } | Happening::Answer { to, .. } => to,
        };
        if self.nodes[node].starved_until > self.now {
            let at = self.nodes[node].starved_until;
            // Who wakes up does not first read what came: the alarm clock rings as loudly.
            self.schedule(at, next.what);
            return;
        }
        self.happened += 1;
        let now = self.now;
        match next.what {
            Happening::Wake { node, wake } => {
                let sleeper = &mut self.nodes[node];
                let Some(membership) = sleeper.membership.as_mut().filter(|_| sleeper.wake == wake) else { return };
                membership.handle_timeout(now);
                sleeper.wake_at = None;
                self.after(node);
            }
            Happening::Message { from, to, bytes } => {
                let peer = self.nodes[from].peer;
                let Some(membership) = &mut self.nodes[to].membership else { return };
                if let Err(refused) = membership.handle_message(peer, &bytes, now)
                    && refused.is_hostile()
                {
                    self.problems.push(format!("node {to} refused a message of node {from}: {refused}"));
                }
                self.after(to);
            }
            Happening::Request { from, epoch, to, id, body } => {
                let peer = self.nodes[from].peer;
                let Some(membership) = &mut self.nodes[to].membership else {
                    let outcome = Happening::Answer { from: to, to: from, epoch, id, outcome: None };
                    return self.schedule(now + GIVE_UP / 2, outcome);
                };
                let answer = match membership.handle_request(peer, &body, now) {
                    Ok(answer) => Some(Bytes::from(answer)),
                    Err(refused) => {
                        if refused.is_hostile() {
                            self.problems.push(format!("node {to} refused a request of node {from}: {refused}"));
                        }
                        None
                    }
                };
                self.after(to);
                let (delay, outcome) = match self.net.stream(to, from, &mut self.chance) {
                    Some(delay) => (delay, answer),
                    None => (GIVE_UP, None),
                };
                self.schedule(now + delay, Happening::Answer { from: to, to: from, epoch, id, outcome });
            }
            Happening::Answer { from, to, epoch, id, outcome } => {
                let peer = self.nodes[from].peer;
                if self.nodes[to].epoch != epoch {
                    return;
                }
                let Some(membership) = &mut self.nodes[to].membership else { return };
                if let Err(refused) = membership.handle_response(peer, id, outcome.as_deref().ok_or(()), now)
                    && refused.is_hostile()
                {
                    self.problems.push(format!("node {to} refused an answer of node {from}: {refused}"));
                }
                self.after(to);
            }
        }
    }

    /// Whether everybody alive knows everybody alive and exactly what they publish; what is wrong, if not.
    pub(crate) fn unconverged(&self) -> Option<String> {
        let alive = self.alive();
        // In the order of the views, so that they can be walked through side by side: a thousand nodes are a million pairs.
        let epoch = |index: usize| self.nodes[index].membership.as_ref().map_or(0, |m| m.record().info.epoch);
        let mut there: Vec<_> = alive.iter().map(|index| (self.nodes[*index].peer, *index, epoch(*index))).collect();
        there.sort_unstable();
        for index in &alive {
            let node = &self.nodes[*index];
            if node.view.len() != alive.len() - 1 {
                let missing: Vec<_> = alive
                    .iter()
                    .filter(|other| *other != index && !node.view.contains_key(&self.nodes[**other].peer))
                    .collect();
                let extra: Vec<_> = node
                    .view
                    .keys()
                    .filter_map(|peer| self.index(peer))
                    .filter(|other| !alive.contains(other))
                    .collect();
                return Some(format!("node {index} misses {missing:?}, and has {extra:?} too many"));
            }
            let others = there.iter().filter(|(_, other, _)| other != index);
            for ((peer, other, epoch), (known, seen)) in others.zip(&node.view) {
                let other_node = &self.nodes[*other];
                if known != peer {
                    return Some(format!("node {index} misses {other}"));
                }
                if seen.epoch != *epoch {
                    return Some(format!("node {index} knows a former run of {other}"));
                }
                if seen.keys != other_node.truth {
                    let held = node
                        .membership
                        .as_ref()
                        .and_then(|m| m.members().find(|m| m.record().peer() == other_node.peer));
                    let (held_keys, keys): (BTreeSet<_>, BTreeSet<_>) =
                        (seen.keys.keys().collect(), other_node.truth.keys().collect());
                    return Some(format!(
                        "node {index} misses {:?} of {other}, and has {:?} too many; held version {:?} of {}",
                        keys.difference(&held_keys).take(4).collect::<Vec<_>>(),
                        held_keys.difference(&keys).take(4).collect::<Vec<_>>(),
                        held.map(|m| (m.version(), m.record().version)),
                        other_node.version
                    ));
                }
            }
        }
        None
    }
}
