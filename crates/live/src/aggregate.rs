use std::time::Instant;

use sinew_wire::PeerId;
use sinew_wire::live::{Batch, State};

use crate::frame::{FRAME_VERSION, Frame, Intake, MAX_SERVICES, MAX_TOPICS, Service, Topic};
use crate::nodes::Nodes;
use crate::sample::Sampler;
use crate::seen::Seen;
use crate::sources::Sources;
use crate::windows::Windows;

/// What a frame tells of the node that makes it, beside what came in.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// Viewers of the node.
    pub viewers: u32,
    /// As in [`Intake::forged`].
    pub forged: u64,
    /// As in [`Intake::depth`].
    pub depth: u64,
    /// As in [`Intake::capacity`].
    pub capacity: u64,
    /// Services of the realm; what is beyond [`crate::frame::MAX_SERVICES`] is cut.
    pub services: Vec<Service>,
    /// Topics of the node; what is beyond [`crate::frame::MAX_TOPICS`] is cut.
    pub topics: Vec<Topic>,
}

/// How near an [`Aggregate`] is to its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Ranges of event numbers that are remembered to know duplicates: at most about twice [`crate::MAX_RANGES`].
    pub ranges: usize,
    /// How often they were forgotten before two minutes had passed, because there were too many.
    pub forgotten_early: u64,
    /// Counts of latencies of rows by second.
    pub marks: usize,
    /// How often those of a second were thrown away because there were too many.
    pub marks_cut: u64,
    /// States of nodes that were not taken because there are too many nodes.
    pub states_refused: u64,
}

/// Puts the events and states of all nodes of a realm together to frames.
///
/// One lives as long as its node has viewers: what was emitted before it was made is not missing in it. Whatever it is given,
/// it keeps at most [`crate::MAX_NODES`] nodes, [`crate::MAX_KEYS`] keys of each dimension, [`crate::MAX_RANGES`] ranges of
/// event numbers twice, and one minute of counts.
#[derive(Debug)]
pub struct Aggregate {
    node: String,
    realm: String,
    events: u64,
    messages: u64,
    duplicates: u64,
    seen: Seen,
    sources: Sources,
    windows: Windows,
    sampler: Sampler,
    nodes: Nodes,
}

impl Aggregate {
    /// An empty one, of this node and realm.
    pub fn new(node: PeerId, realm: &str, now: Instant) -> Self {
        Self {
            node: node.to_string(),
            realm: realm.to_owned(),
            events: 0,
            messages: 0,
            duplicates: 0,
            seen: Seen::new(now),
            sources: Sources::default(),
            windows: Windows::new(now),
            sampler: Sampler::new(),
            nodes: Nodes::default(),
        }
    }

    /// Takes the events that a node of the realm has sent. What has come before is counted as a duplicate and nowhere else.
    pub fn take(&mut self, from: PeerId, batch: &Batch, now: Instant) {
        let Some(source) = self.sources.batch(from, batch, now) else { return };
        if batch.events.is_empty() {
            return;
        }
        self.windows.begin(from, batch, now);
        let mut marker = self.seen.of((from, batch.epoch), now);
        let mut fresh: u64 = 0;
        for event in &batch.events {
            if !marker.fresh(event.seq) {
                self.duplicates += 1;
                continue;
            }
            fresh += 1;
            self.messages = self.messages.saturating_add(event.messages.into());
            self.windows.record(batch, event);
            self.sampler.offer(&source.text, batch, event);
        }
        self.events += fresh;
        source.received(batch.epoch, fresh);
    }

    /// Takes the state that a node of the realm has sent.
    pub fn state(&mut self, from: PeerId, state: State, now: Instant) {
        self.sources.state(from, state.epoch, state.emitted, now);
        self.nodes.state(from, state, now);
    }

    /// The realm holds a node dead: it is shown as lost until it tells how it is again.
    pub fn gone(&mut self, peer: PeerId, now: Instant) {
        self.nodes.gone(peer, now);
    }

    /// The realm as it is `now`. The sample has what came since the frame before, so there is one frame for all viewers.
    pub fn frame(&mut self, local: &Local, now: Instant, wall_ms: u64) -> Frame {
        Frame {
            v: FRAME_VERSION,
            time_ms: wall_ms,
            node: self.node.clone(),
            realm: self.realm.clone(),
            viewers: local.viewers,
            intake: Intake { forged: local.forged, depth: local.depth, capacity: local.capacity, ..self.intake() },
            windows: self.windows.frame(now),
            nodes: self.nodes.frame(now),
            services: local.services.iter().take(MAX_SERVICES).cloned().collect(),
            topics: local.topics.iter().take(MAX_TOPICS).cloned().collect(),
            sample: self.sampler.frame(),
        }
    }

    /// What has come in so far, without what only [`Local`] knows.
    pub fn intake(&self) -> Intake {
        let Self { events, messages, duplicates, .. } = *self;
        Intake { events, messages, duplicates, dropped: self.sources.lost(), ..Intake::default() }
    }

    /// How near it is to its bounds.
    pub fn load(&self) -> Load {
        let (marks, marks_cut) = self.windows.marks();
        let (ranges, forgotten_early) = (self.seen.ranges(), self.seen.early());
        Load { ranges, forgotten_early, marks, marks_cut, states_refused: self.nodes.refused() }
    }
}
