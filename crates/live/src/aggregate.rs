use std::time::Instant;

use hashbrown::HashMap;
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, State};

use crate::frame::{FRAME_VERSION, Frame, Intake, Node, Service, Topic};

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

/// Puts the events and states of all nodes of a realm together to frames.
///
/// One lives as long as its node has viewers: what was emitted before is not missing in it.
#[derive(Debug)]
pub struct Aggregate {
    node: PeerId,
    realm: String,
    intake: Intake,
    states: HashMap<PeerId, State>,
}

impl Aggregate {
    /// An empty one, of this node and realm.
    pub fn new(node: PeerId, realm: &str, _now: Instant) -> Self {
        Self { node, realm: realm.to_owned(), intake: Intake::default(), states: HashMap::new() }
    }

    /// Takes the events that a node of the realm has sent.
    pub fn take(&mut self, _from: PeerId, batch: &Batch, _now: Instant) {
        self.intake.events += batch.events.len() as u64;
    }

    /// Takes the state that a node of the realm has sent.
    pub fn state(&mut self, from: PeerId, state: State, _now: Instant) {
        self.states.insert(from, state);
    }

    /// The realm holds a node dead.
    pub fn gone(&mut self, peer: PeerId, _now: Instant) {
        self.states.remove(&peer);
    }

    /// The realm as it is `now`.
    pub fn frame(&mut self, local: &Local, _now: Instant, wall_ms: u64) -> Frame {
        let node = |(peer, state): (&PeerId, &State)| Node {
            node: peer.to_string(),
            region: state.region.clone(),
            uptime_s: state.uptime_ms / 1000,
            ready: state.ready,
            clients: state.clients,
            totals: state.totals,
            ..Node::default()
        };
        Frame {
            v: FRAME_VERSION,
            time_ms: wall_ms,
            node: self.node.to_string(),
            realm: self.realm.clone(),
            viewers: local.viewers,
            intake: Intake { forged: local.forged, depth: local.depth, capacity: local.capacity, ..self.intake },
            nodes: self.states.iter().map(node).collect(),
            services: local.services.clone(),
            topics: local.topics.clone(),
            ..Frame::default()
        }
    }

    /// What has come in so far, without what only [`Local`] knows.
    pub const fn intake(&self) -> Intake {
        self.intake
    }
}
