//! The live view of the realm: what this node tells of itself, and what its viewers see of all nodes.
//!
//! | file | duty |
//! |---|---|
//! | `tell` | while somebody in the realm watches: events of this node, ten times a second, and its state, twice |
//! | `state` | how this node is |
//! | `show` | while this node has viewers: what all nodes tell, put together, shown twice a second |
//!
//! Both travel as messages of the node itself on reserved names, by the ways of all messages: to the nodes with viewers, in one
//! hop. That a node has viewers the others know by its subscription. `docs/paths/observe.md` follows an event.

mod show;
mod state;
mod tell;

use std::time::Duration;

use sinew_observe::{Events, Health, Pulse, Queues, Readings, Viewers};
use sinew_pubsub::PubSub;
use sinew_topic::{Pattern, Topic};
use sinew_wire::live::{EVENTS_TOPIC, STATE_TOPIC};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::show::Show;
pub(crate) use self::state::{Facts, Intake};
use self::tell::Teller;
use crate::health::Tasks;

/// What the nodes that watch subscribe to.
const EVERYTHING: &str = "$live.>";

/// For measurements of the live view only: makes routing events as services of the node do.
#[doc(hidden)]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LiveProbe {
    /// When the node started, as its batches say.
    pub epoch: u64,
    /// Where its services report what they route.
    pub events: Events,
    /// What it sends its batches by.
    pub pubsub: PubSub,
}

/// How long a node that ends waits until those who watch are told.
const FAREWELL: Duration = Duration::from_millis(500);

/// The two tasks of the live view. Dropped, they end.
#[derive(Debug)]
pub(crate) struct Live {
    probe: LiveProbe,
    leaving: watch::Sender<bool>,
    /// Turns true when those who watch were told of the end.
    told: watch::Receiver<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Live {
    /// Begins to look whether anybody watches.
    pub(crate) fn start(facts: Facts, viewers: &Viewers, health: &Health, tasks: &mut Tasks) -> Self {
        let (leaving, left) = watch::channel(false);
        let (telling, showing) = (Pulse::new(), Pulse::new());
        tasks.add(health, "live events", vec![telling.clone()]);
        tasks.add(health, "live view", vec![showing.clone()]);
        let show = Show::new(facts.clone(), viewers.clone());
        let probe =
            LiveProbe { epoch: facts.epoch, events: facts.metrics.events.clone(), pubsub: facts.pubsub.clone() };
        let (telling_done, told) = watch::channel(false);
        let teller = Teller::new(facts, telling_done);
        let tasks = [tokio::spawn(teller.run(left, telling.beats())), tokio::spawn(show.run(showing.beats()))];
        Self { probe, leaving, told, tasks }
    }

    pub(crate) fn probe(&self) -> LiveProbe {
        self.probe.clone()
    }

    /// Tells those who watch that the node is about to end. Returns when that is on its way, after half a second at most.
    pub(crate) async fn leave(&self) {
        self.leaving.send_replace(true);
        let mut told = self.told.clone();
        let _stuck_or_ended = timeout(FAREWELL, told.wait_for(|told| *told)).await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The metrics of the live view.
pub(crate) fn export(facts: &Facts, viewers: &Viewers, queues: &Queues, readings: &Readings) {
    let events = &facts.metrics.events;
    let (emitted, dropped, depth, wanted) = (events.clone(), events.clone(), events.clone(), events.clone());
    readings.gauge("live_wanted", "1 while somebody in the realm watches", move || u64::from(wanted.wanted()));
    readings.counter("live_emitted", "Routing events made while somebody watched", move || emitted.emitted());
    readings.counter("live_dropped", "Routing events given up because the ring was full", move || dropped.dropped());
    queues.add_aside("live_events", Events::CAPACITY as u64, move || depth.depth());
    let intake = facts.intake.clone();
    queues.add_aside("live_intake", show::INTAKE as u64, move || intake.depth());
    let of = |viewers: &Viewers| viewers.clone();
    let (now, sent, skipped, refused) = (of(viewers), of(viewers), of(viewers), of(viewers));
    readings.gauge("live_viewers", "Viewers of the live view of this node", move || now.stats().viewers as u64);
    readings.counter("live_sent", "Frames taken by viewers", move || sent.stats().sent);
    readings.counter("live_skipped", "Frames that a viewer was too slow for", move || skipped.stats().skipped);
    readings.counter("live_refused", "Viewers refused at their limit", move || refused.stats().refused);
}

fn topic(name: &str) -> Topic {
    Topic::parse(name).expect("a constant that is a name")
}

fn events_topic() -> Topic {
    topic(EVENTS_TOPIC)
}

fn state_topic() -> Topic {
    topic(STATE_TOPIC)
}

fn everything() -> Pattern {
    Pattern::parse(EVERYTHING).expect("a constant that is a pattern")
}
