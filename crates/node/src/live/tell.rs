use std::time::{Duration, Instant};

use sinew_live::{Batcher, Routed};
use sinew_observe::{Beats, Recorded};
use sinew_pubsub::Announcer;
use sinew_topic::Topic;
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, State};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::state::Facts;

/// How often it is looked whether anybody watches, and events are sent.
const LOOK: Duration = Duration::from_millis(100);

/// How often the state is sent, in looks.
const LOOKS_PER_STATE: u32 = 5;

/// What this node tells those who watch.
pub(super) struct Teller {
    facts: Facts,
    announcer: Announcer,
    events: Topic,
    states: Topic,
    /// Most events in a batch, where messages may be too small for a full one.
    most: usize,
    looks: u32,
    leaving: bool,
    /// That the node leaves was said to those who watch.
    told: watch::Sender<bool>,
}

impl Teller {
    pub(super) fn new(facts: Facts, told: watch::Sender<bool>) -> Self {
        let announcer = facts.pubsub.announcer(facts.node);
        let largest = Batch::EVENT_BYTES + Batch::name_bytes("") + sinew_wire::MAX_TOPIC + PeerId::LEN;
        let room = announcer.max_payload().saturating_sub(Batch::empty_bytes(&facts.region));
        let most = (room / largest).max(1);
        let (events, states) = (super::events_topic(), super::state_topic());
        Self { facts, announcer, events, states, most, looks: 0, leaving: false, told }
    }

    pub(super) async fn run(mut self, mut left: watch::Receiver<bool>, mut beats: Beats) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look().await,
                leaves = until(&mut left), if !self.leaving => {
                    if !leaves {
                        return;
                    }
                    self.leaving = true;
                    self.looks = 0;
                    self.look().await;
                    self.told.send_replace(true);
                }
                () = beats.due() => beats.beat().await,
            }
        }
    }

    /// Asks whether anybody watches, and tells what there is to be told.
    async fn look(&mut self) {
        let events = &self.facts.metrics.events;
        let (wanted, before) = (self.facts.pubsub.is_wanted(&self.events), events.wanted());
        if wanted != before {
            debug!(wanted, "the live view");
            events.want(wanted);
            self.looks = 0;
        }
        if !wanted && !before {
            return;
        }
        self.send_events();
        if wanted && self.looks == 0 {
            self.send_state().await;
        }
        self.looks = (self.looks + 1) % LOOKS_PER_STATE;
    }

    fn send_events(&mut self) {
        let taken = self.facts.metrics.events.take();
        let mut batcher = Batcher::new(self.facts.epoch, &self.facts.region, taken.dropped);
        let mut open = 0;
        for (seq, recorded) in taken.numbered() {
            let full = if open >= self.most { batcher.finish() } else { None };
            let before = batcher.push(seq, &routed(&recorded));
            open = if full.is_some() || before.is_some() { 1 } else { open + 1 };
            full.into_iter().chain(before).for_each(|batch| self.send(true, &batch.encode()));
        }
        if let Some(batch) = batcher.finish() {
            self.send(true, &batch.encode());
        }
    }

    async fn send_state(&mut self) {
        let (facts, leaving) = (self.facts.clone(), self.leaving);
        // Every subscription of the node is looked at.
        match tokio::task::spawn_blocking(move || State { leaving, ..facts.state() }.encode()).await {
            Ok(state) => self.send(false, &state),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_the_runtime_ends) => {}
        }
    }

    fn send(&mut self, events: bool, payload: &[u8]) {
        let topic = if events { &self.events } else { &self.states };
        if let Err(refusal) = self.announcer.publish(topic, payload, Instant::now()) {
            self.facts.metrics.live_lost.inc();
            debug!(%topic, %refusal, "the live view loses a message");
        }
    }
}

/// Waits until the node leaves. `false` when nobody can say so any more. Cancel safe.
async fn until(left: &mut watch::Receiver<bool>) -> bool {
    left.wait_for(|left| *left).await.is_ok()
}

fn routed(recorded: &Recorded) -> Routed<'_> {
    let event = &recorded.event;
    Routed {
        at_ms: recorded.at_ms,
        kind: event.kind,
        name: &event.name,
        provider: event.provider,
        messages: event.messages,
        nodes: u16::try_from(event.nodes).unwrap_or(u16::MAX),
        outcome: event.outcome,
        latency_us: event.latency.map(|latency| u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)),
    }
}
