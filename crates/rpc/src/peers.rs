//! Links to other nodes, and the calls that wait for one.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use sinew_wire::PeerId;
use tokio::sync::Notify;

use crate::link::Link;
use crate::table::CallId;

/// Other nodes to which there is a link, or to which calls wait for one.
#[derive(Debug)]
pub(crate) struct Peers {
    nodes: RwLock<HashMap<PeerId, Node>>,
    /// Nodes to which a link is wanted and of which nobody has been told yet.
    wanted: Mutex<VecDeque<PeerId>>,
    wake: Notify,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct Node {
    link: Option<Arc<Link>>,
    waiting: HashMap<CallId, u8>,
}

/// What becomes of a call to another node.
#[derive(Debug)]
pub(crate) enum Way {
    /// This link.
    Link(Arc<Link>),
    /// It waits for one.
    Waits,
    /// As many wait as may.
    Full,
}

impl Peers {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self { nodes: RwLock::default(), wanted: Mutex::default(), wake: Notify::new(), max_waiting }
    }

    pub(crate) fn link(&self, node: &PeerId) -> Option<Arc<Link>> {
        self.nodes.read().get(node)?.link.clone()
    }

    /// The link to a node; if there is none, the call waits for one.
    pub(crate) fn link_or_wait(&self, peer: PeerId, id: CallId, attempt: u8) -> Way {
        let mut nodes = self.nodes.write();
        let node = nodes.entry(peer).or_default();
        if let Some(link) = &node.link {
            return Way::Link(Arc::clone(link));
        }
        if node.waiting.len() >= self.max_waiting {
            return Way::Full;
        }
        let is_first = node.waiting.is_empty();
        node.waiting.insert(id, attempt);
        drop(nodes);
        if is_first {
            let mut wanted = self.wanted.lock();
            if !wanted.contains(&peer) {
                wanted.push_back(peer);
            }
            drop(wanted);
            self.wake.notify_one();
        }
        Way::Waits
    }

    /// A call does not wait any more.
    pub(crate) fn unwait(&self, peer: &PeerId, id: CallId) {
        let mut nodes = self.nodes.write();
        if let Some(node) = nodes.get_mut(peer) {
            node.waiting.remove(&id);
            Self::tidy(&mut nodes, peer);
        }
    }

    /// A link is up. Gives the calls that have waited for it.
    pub(crate) fn up(&self, link: &Arc<Link>) -> Vec<(CallId, u8)> {
        let mut nodes = self.nodes.write();
        let node = nodes.entry(link.peer).or_default();
        node.link = Some(Arc::clone(link));
        std::mem::take(&mut node.waiting).into_iter().collect()
    }

    /// A link is gone.
    pub(crate) fn down(&self, link: &Link) {
        let mut nodes = self.nodes.write();
        if let Some(node) = nodes.get_mut(&link.peer) {
            node.link.take_if(|known| known.id == link.id);
            Self::tidy(&mut nodes, &link.peer);
        }
    }

    /// There will be no link for now. Gives the calls that have waited for one.
    pub(crate) fn unreachable(&self, peer: &PeerId) -> Vec<(CallId, u8)> {
        let mut nodes = self.nodes.write();
        let Some(node) = nodes.get_mut(peer) else { return Vec::new() };
        let waiting = std::mem::take(&mut node.waiting).into_iter().collect();
        Self::tidy(&mut nodes, peer);
        waiting
    }

    /// Waits for a node to which a link is wanted.
    pub(crate) async fn wanted(&self) -> PeerId {
        loop {
            while let Some(peer) = self.take_wanted() {
                // It may have come by itself, or nobody may want it any more.
                if self.nodes.read().get(&peer).is_some_and(|node| node.link.is_none() && !node.waiting.is_empty()) {
                    return peer;
                }
            }
            self.wake.notified().await;
        }
    }

    fn take_wanted(&self) -> Option<PeerId> {
        self.wanted.lock().pop_front()
    }

    pub(crate) fn is_busy(&self, peer: &PeerId) -> bool {
        let nodes = self.nodes.read();
        let Some(node) = nodes.get(peer) else { return false };
        !node.waiting.is_empty() || node.link.as_ref().is_some_and(|link| link.is_busy())
    }

    /// Calls that wait for a link to any node.
    pub(crate) fn waiting(&self) -> usize {
        self.nodes.read().values().map(|node| node.waiting.len()).sum()
    }

    fn tidy(nodes: &mut HashMap<PeerId, Node>, peer: &PeerId) {
        if nodes.get(peer).is_some_and(|node| node.link.is_none() && node.waiting.is_empty()) {
            nodes.remove(peer);
        }
    }
}
