//! Nodes without links: what the writer of one would have written goes into the reader of the other, when the test
//! says so. A link that breaks loses what is on its way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_pubsub::{ForwardConfig, Inbound, Next, Outbox, PubSubConfig, Remote, WriteBatch};
use sinew_wire::forward::ForwardHeader;
use sinew_wire::{Features, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, MeshControl, PeerId, Refusal};

use super::Service;

pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
}

pub(crate) struct Node {
    pub(crate) service: Service,
    /// What it has of each other node; nothing of itself, and of those it does not know.
    peers: Vec<Option<Peer>>,
}

struct Peer {
    remote: Arc<Remote>,
    inbound: Inbound,
    /// While a link is up.
    outbox: Option<Arc<Outbox>>,
    /// Frames written by that node that were not read yet.
    transit: VecDeque<(FrameKind, Vec<u8>)>,
}

pub(crate) fn node_id(index: usize) -> PeerId {
    PeerId::from_public_key([100 + index as u8; 32])
}

impl Mesh {
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, &PubSubConfig::default(), &ForwardConfig::default(), 256 << 20)
    }

    /// All know each other, and no links are up.
    pub(crate) fn with(nodes: usize, config: &PubSubConfig, forwarding: &ForwardConfig, memory: usize) -> Self {
        let node = |_| Node { service: Service::with(config.clone(), forwarding.clone(), memory), peers: Vec::new() };
        let mut mesh = Self { nodes: (0..nodes).map(node).collect(), now: Instant::now() };
        for a in 0..nodes {
            mesh.nodes[a].peers.resize_with(nodes, || None);
            for b in (0..nodes).filter(|b| *b != a) {
                mesh.meet(a, b);
            }
        }
        mesh
    }

    /// Node `a` hears of node `b`, or of its new life.
    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        let hub = &self.nodes[a].service.hub;
        let remote = hub.add_remote(node_id(b));
        let inbound = hub.inbound(&remote);
        self.nodes[a].peers[b] = Some(Peer { remote, inbound, outbox: None, transit: VecDeque::new() });
    }

    pub(crate) fn remote(&self, a: usize, b: usize) -> &Arc<Remote> {
        &self.peer(a, b).remote
    }

    pub(crate) fn inbound(&mut self, a: usize, b: usize) -> &mut Inbound {
        &mut self.peer_mut(a, b).inbound
    }

    fn peer(&self, a: usize, b: usize) -> &Peer {
        self.nodes[a].peers[b].as_ref().expect("they know each other")
    }

    fn peer_mut(&mut self, a: usize, b: usize) -> &mut Peer {
        self.nodes[a].peers[b].as_mut().expect("they know each other")
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let nodes = self.nodes.len();
        let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
        let knows = |a: usize, b: usize| self.nodes[a].peers[b].is_some();
        pairs.filter(|(a, b)| knows(*a, *b) && knows(*b, *a)).collect()
    }

    /// Everybody learns what the others are interested in.
    pub(crate) fn share_interest(&self) {
        for (a, node) in self.nodes.iter().enumerate() {
            for (pattern, interest) in node.service.hub.interest().take(usize::MAX) {
                for other in self.nodes.iter().filter_map(|other| Some((other, other.peers.get(a)?.as_ref()?))) {
                    assert!(other.0.service.hub.set_remote_interest(&other.1.remote, &pattern, interest.clone()));
                }
            }
        }
    }

    /// A new link between two nodes takes the place of the one there may be.
    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.disconnect(a, b);
        for (near, far) in [(a, b), (b, a)] {
            let (received, window) = (self.inbound(far, near).received(), self.inbound(far, near).window());
            let peer = self.peer_mut(near, far);
            peer.outbox = Some(peer.remote.link_up(received, window, Features::LZ4));
        }
    }

    /// What was written and not read is lost.
    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        for (near, far) in [(a, b), (b, a)] {
            let Some(peer) = self.nodes[near].peers[far].as_mut() else { continue };
            peer.transit.clear();
            if let Some(outbox) = peer.outbox.take() {
                peer.remote.link_down(&outbox);
            }
        }
    }

    /// Writes once what `a` has for `b`. Returns whether there was anything.
    pub(crate) fn write(&mut self, a: usize, b: usize, max_bytes: usize) -> bool {
        let now = self.now;
        let Some(outbox) = self.peer(a, b).outbox.clone() else { return false };
        let mut batch = WriteBatch::default();
        let next = outbox.collect(now, &mut batch, max_bytes);
        assert!(!matches!(next, Next::Finish(_)), "{next:?}");
        let bytes: Vec<u8> = batch.chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        let mut rest = &bytes[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("a frame");
            let (body, after) = after.split_at(header.len);
            self.peer_mut(b, a).transit.push_back((header.kind, body.to_vec()));
            rest = after;
        }
        next == Next::Write
    }

    /// Frames that `a` has written and `b` has not read.
    pub(crate) fn on_the_way(&self, a: usize, b: usize) -> usize {
        self.peer(b, a).transit.len()
    }

    pub(crate) fn bytes_on_the_way(&self, a: usize, b: usize) -> usize {
        self.peer(b, a).transit.iter().map(|(_, body)| body.len()).sum()
    }

    /// The token of the last run that `a` has written.
    pub(crate) fn token_on_the_way(&self, a: usize, b: usize) -> u64 {
        let (_, body) = self.peer(b, a).transit.back().expect("a frame is on its way");
        ForwardHeader::decode(body).expect("valid").0.ack
    }

    /// Node `b` reads up to so many of the frames that `a` has written.
    pub(crate) fn read(&mut self, a: usize, b: usize, frames: usize) {
        self.try_read(a, b, frames).expect("nodes speak well to each other");
    }

    fn try_read(&mut self, a: usize, b: usize, frames: usize) -> Result<(), Refusal> {
        let now = self.now;
        let Peer { inbound, transit, .. } = self.peer_mut(b, a);
        for _ in 0..frames.min(transit.len()) {
            match transit.pop_front() {
                Some((FrameKind::Forward, body)) => {
                    let (header, entries) = ForwardHeader::decode(&body).expect("valid");
                    inbound.forward(header, entries, now)?;
                }
                Some((FrameKind::Mesh, body)) => inbound.control(MeshControl::decode(&body).expect("valid"), now)?,
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }

    /// All links that are up carry everything that is to be carried, while time stands still but for what acknowledging
    /// takes.
    pub(crate) fn flow(&mut self) {
        loop {
            let mut moved = false;
            for (a, b) in self.pairs() {
                while self.write(a, b, 64 << 10) {
                    moved = true;
                }
                moved |= self.on_the_way(a, b) > 0;
                self.read(a, b, usize::MAX);
                let now = self.now;
                let inbound = self.inbound(b, a);
                if inbound.is_parked() || inbound.deadline().is_some_and(|at| at <= now) {
                    inbound.advance(now);
                }
            }
            if !moved {
                break;
            }
        }
    }

    /// As [`Mesh::flow`], with enough time for every acknowledgement.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3 {
            self.flow();
            self.now += Duration::from_millis(25);
        }
        self.flow();
    }

    /// Interest is known, and all links are up.
    pub(crate) fn join(&mut self) {
        self.share_interest();
        for (a, b) in self.pairs() {
            if a < b && self.peer(a, b).outbox.is_none() {
                self.connect(a, b);
            }
        }
        self.settle();
    }

    /// Node `b` is dead for all the others.
    pub(crate) fn remove(&mut self, b: usize) {
        for a in 0..self.nodes.len() {
            self.disconnect(a, b);
            if let Some(peer) = self.nodes[a].peers[b].take() {
                self.nodes[a].service.hub.remove_remote(&peer.remote);
            }
        }
    }
}
