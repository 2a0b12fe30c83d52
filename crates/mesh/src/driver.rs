//! The membership task: owns the state machine, carries what it says to the overlay, and what it learns to pub/sub,
//! discovery and the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use sinew_discovery::{Discovery, LocalChanges};
use sinew_membership::{Counters, DownReason, Event, Interest, Key, Membership, Output, Record, ServiceSummary, Value};
use sinew_overlay::{self as overlay, Purpose, RequestError};
use sinew_pubsub::{NodeInterest, PubSub};
use sinew_topic::Pattern;
use sinew_wire::PeerId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::accept;
use crate::context::Shared;
use crate::info::Settled;
use crate::node::Node;
use crate::time::sleep_until;

/// Changes of our own state taken at once, so that a flood of them leaves room for the others' messages.
const CHANGES: usize = 4_096;

/// Events of the overlay handled before what the membership wants is looked at.
const EVENTS: usize = 64;

/// How often the counters are shown, and who does not answer.
const SHOW: Duration = Duration::from_millis(500);

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Wait until all members know what we published.
    Settle { answer: oneshot::Sender<Settled> },
    /// Leave the realm; answered when the others have been told.
    Leave { done: oneshot::Sender<()> },
}

/// An answer to a request, or that there is none.
type Response = (PeerId, u64, Result<Bytes, RequestError>);

pub(crate) struct Driver {
    context: Shared,
    membership: Membership,
    pubsub: PubSub,
    discovery: Discovery,
    changes: LocalChanges,
    /// Our client listeners, as they were at the start.
    data: Vec<String>,
    /// Where the overlay can be reached, as far as it knows by now.
    mesh: Vec<String>,
    requests: JoinSet<Response>,
    settles: HashMap<u64, oneshot::Sender<Settled>>,
    next_settle: u64,
    shown: Instant,
}

impl Driver {
    pub(crate) fn new(
        context: Shared,
        membership: Membership,
        (pubsub, discovery, changes): (PubSub, Discovery, LocalChanges),
        data: Vec<String>,
    ) -> Self {
        Self {
            mesh: context.overlay.listen_addresses(),
            context,
            membership,
            pubsub,
            discovery,
            changes,
            data,
            requests: JoinSet::new(),
            settles: HashMap::new(),
            next_settle: 0,
            shown: Instant::now(),
        }
    }

    /// Runs until the mesh stops.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<overlay::Event>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let pubsub = self.pubsub.clone();
        let stop = self.context.stop.clone();
        self.set_addresses();
        let mut overlay_ended = false;
        let mut beats = self.context.driver_pulse.beats();
        loop {
            self.perform();
            self.show();
            tokio::select! {
                () = stop.cancelled() => break,
                event = events.recv(), if !overlay_ended => match event {
                    Some(event) => {
                        self.take_event(event);
                        for _ in 1..EVENTS {
                            let Ok(event) = events.try_recv() else { break };
                            self.take_event(event);
                        }
                    }
                    None => {
                        warn!("the overlay has ended: the other nodes can't be heard any more");
                        overlay_ended = true;
                    }
                },
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = pubsub.interest().changed() => self.take_interest(CHANGES),
                () = self.changes.changed() => self.take_services(CHANGES),
                Some(response) = self.requests.join_next(), if !self.requests.is_empty() => {
                    if let Ok(response) = response {
                        self.take_response(response);
                    }
                }
                () = sleep_until(self.membership.next_deadline()) => self.membership.handle_timeout(Instant::now()),
                () = beats.due() => beats.beat().await,
            }
            tokio::task::consume_budget().await;
        }
        for node in self.context.nodes.list() {
            self.down(node.peer, DownReason::Left);
        }
    }

    fn take_event(&mut self, event: overlay::Event) {
        let now = Instant::now();
        match event {
            overlay::Event::Connected { peer, direct } => {
                self.membership.introduce(peer, now);
                if direct {
                    self.context.nodes.tell_direct(peer);
                }
            }
            overlay::Event::Path { peer, direct } => {
                debug!(peer = %peer.short(), direct, "the overlay's path has changed");
                if direct {
                    self.context.nodes.tell_direct(peer);
                }
            }
            // Whether it is gone is for the members to find out.
            overlay::Event::Disconnected { .. } => {}
            overlay::Event::Message { from, body } => {
                if let Err(refused) = self.membership.handle_message(from, &body, now) {
                    self.context.counters.messages_refused.inc();
                    debug!(peer = %from.short(), %refused, "refused a message");
                }
            }
            overlay::Event::Request(ask) => {
                let answer = self.membership.handle_request(ask.from, &ask.body, now);
                // What the answer says may rest on what the same call has changed.
                self.perform();
                match answer {
                    Ok(answer) => ask.reply(answer.into()),
                    Err(refused) => {
                        self.context.counters.requests_refused.inc();
                        debug!(peer = %ask.from.short(), %refused, "refused a request");
                    }
                }
            }
            overlay::Event::Link(link) => {
                let context = Arc::clone(&self.context);
                self.context.tasks.spawn(accept::greet(context, link));
            }
            overlay::Event::ListenAddresses(addresses) => {
                self.mesh = addresses;
                self.set_addresses();
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Settle { answer } => {
                // What was subscribed before has to be published before.
                self.take_interest(usize::MAX);
                self.next_settle += 1;
                // Who asked may have lost patience meanwhile.
                self.settles.retain(|_, waiting| !waiting.is_closed());
                self.settles.insert(self.next_settle, answer);
                self.membership.settle(self.next_settle, now);
            }
            Command::Leave { done } => {
                self.membership.leave(now);
                self.perform();
                let _gave_up = done.send(());
            }
        }
    }

    fn set_addresses(&mut self) {
        self.membership.set_addresses(self.data.clone(), self.mesh.clone(), Instant::now());
    }

    fn take_interest(&mut self, max: usize) {
        for (pattern, interest) in self.pubsub.interest().take(max) {
            self.publish(Key::Interest(pattern.as_str().to_owned()), interest.map(published));
        }
    }

    fn take_services(&mut self, max: usize) {
        for (name, instances) in self.changes.take(max) {
            let value = instances.map(|instances| Value::Service(ServiceSummary { instances }));
            self.publish(Key::Service(name), value);
        }
    }

    fn publish(&mut self, key: Key, value: Option<Value>) {
        if let Err(error) = self.membership.set(key, value, Instant::now()) {
            self.context.counters.unpublished.inc();
            warn!(%error, "other nodes can't be told what is subscribed or announced here");
        }
    }

    fn take_response(&mut self, (from, id, answer): Response) {
        let outcome = match &answer {
            Ok(bytes) => Ok(bytes.as_ref()),
            Err(error) => {
                debug!(peer = %from.short(), %error, "no answer to a request");
                Err(())
            }
        };
        if let Err(refused) = self.membership.handle_response(from, id, outcome, Instant::now()) {
            debug!(peer = %from.short(), %refused, "refused an answer");
        }
    }

    /// Does what the membership wants. Nothing here waits.
    fn perform(&mut self) {
        while let Some(output) = self.membership.poll_output() {
            match output {
                Output::Send { to, message } => {
                    if let Err(error) = self.context.overlay.send(to, message) {
                        self.context.counters.messages_not_sent.inc();
                        debug!(peer = %to.short(), %error, "a message was not sent");
                    }
                }
                Output::Request { id, to, body } => {
                    let timeout = self.context.config.membership.request_timeout;
                    let asking = self.context.overlay.request(to, Purpose::Membership, body, timeout);
                    // Bounded: the membership has only so many under way.
                    self.requests.spawn(async move { (to, id, asking.await) });
                }
                Output::Event(event) => self.apply(event),
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Up(record) => self.up(record),
            Event::Updated(record) => self.updated(record),
            Event::Down { peer, reason } => self.down(peer, reason),
            Event::Changed { peer, key, value } => self.changed(peer, key, value),
            Event::Settled { token, nodes, missing } => {
                if let Some(answer) = self.settles.remove(&token) {
                    let _lost_patience = answer.send(Settled { nodes, missing });
                }
            }
        }
    }

    fn up(&mut self, record: Arc<Record>) {
        let peer = record.info.peer;
        info!(peer = %peer.short(), epoch = record.info.epoch, region = %record.info.region, "a node is up");
        self.context.overlay.add_addresses(peer, &record.info.mesh);
        let remote = self.pubsub.add_remote(peer);
        let inbound = self.pubsub.inbound(&remote);
        self.context.nodes.insert(Node::new(record, remote, inbound, self.context.calls.clone()));
        self.context.metrics.peers.set(self.context.nodes.len() as i64);
    }

    fn updated(&self, record: Arc<Record>) {
        let peer = record.info.peer;
        let Some(node) = self.context.nodes.get(&peer) else { return };
        let before = node.record.swap(Arc::clone(&record));
        if before.info.mesh != record.info.mesh {
            self.context.overlay.add_addresses(peer, &record.info.mesh);
        }
        if before.info.data != record.info.data {
            self.context.nodes.tell(peer);
        }
    }

    fn down(&self, peer: PeerId, reason: DownReason) {
        let Some(node) = self.context.nodes.remove(&peer) else { return };
        info!(peer = %peer.short(), ?reason, "a node is gone");
        node.gone.cancel();
        self.pubsub.remove_remote(&node.remote);
        self.discovery.remote_gone(peer);
        self.context.metrics.peers.set(self.context.nodes.len() as i64);
        self.context.tasks.spawn(async move { node.retire().await });
    }

    fn changed(&self, peer: PeerId, key: Key, value: Option<Value>) {
        let Some(node) = self.context.nodes.get(&peer) else { return };
        match (key, value) {
            (Key::Interest(text), value) => {
                // The membership has checked it.
                let Ok(pattern) = Pattern::parse(&text) else { return };
                let interest = match value {
                    Some(Value::Interest(interest)) => Some(understood(interest)),
                    _ => None,
                };
                if !self.pubsub.set_remote_interest(&node.remote, &pattern, interest) {
                    self.context.counters.interest_refused.inc();
                }
            }
            (Key::Service(name), value) => {
                let instances = match value {
                    Some(Value::Service(ServiceSummary { instances })) => Some(instances),
                    _ => None,
                };
                self.discovery.remote_changed(peer, &name, instances);
            }
        }
    }

    fn show(&mut self) {
        if self.shown.elapsed() >= SHOW {
            self.shown = Instant::now();
            let counters: Counters = self.membership.counters();
            self.context.membership.store(Arc::new(counters));
            let suspects: HashSet<PeerId> = self.membership.suspects().collect();
            for node in self.context.nodes.list() {
                node.suspect.store(suspects.contains(&node.peer), Ordering::Relaxed);
            }
            let failed = self.membership.failed().map(|member| (Arc::clone(member.record()), member.since()));
            self.context.failed.store(Arc::new(failed.collect()));
        }
    }
}

fn published(interest: NodeInterest) -> Value {
    let NodeInterest { direct, blocking, groups } = interest;
    let groups = groups.into_iter().map(|(name, members)| (name.as_ref().to_owned(), members)).collect();
    Value::Interest(Interest { direct, blocking, groups })
}

fn understood(interest: Interest) -> NodeInterest {
    let Interest { direct, blocking, groups } = interest;
    let groups = groups.into_iter().map(|(name, members)| (Arc::from(name), members)).collect();
    NodeInterest { direct, blocking, groups }
}
