use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use sinew_wire::PeerId;
use tokio::sync::Notify;

use crate::node::Node;

/// The nodes of the realm that are up: written by the membership task, read by all.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    up: RwLock<HashMap<PeerId, Arc<Node>>>,
    /// For those that wait for a certain node.
    changed: Notify,
    news: Mutex<News>,
    has_news: Notify,
}

/// What the pool has not looked at yet: bounded by the members there are.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Came, went, or has other addresses.
    pub(crate) changed: HashSet<PeerId>,
    /// The overlay has found a direct way to it.
    pub(crate) direct: HashSet<PeerId>,
}

impl Nodes {
    pub(crate) fn get(&self, peer: &PeerId) -> Option<Arc<Node>> {
        self.up.read().get(peer).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.up.read().len()
    }

    pub(crate) fn list(&self) -> Vec<Arc<Node>> {
        self.up.read().values().cloned().collect()
    }

    /// Adds a node, in place of one of the same name.
    pub(crate) fn insert(&self, node: Arc<Node>) {
        let peer = node.peer;
        self.up.write().insert(peer, node);
        self.tell(peer);
        self.changed.notify_waiters();
    }

    pub(crate) fn remove(&self, peer: &PeerId) -> Option<Arc<Node>> {
        let node = self.up.write().remove(peer)?;
        self.tell(*peer);
        Some(node)
    }

    /// Something about this node has changed that the pool may want to know.
    pub(crate) fn tell(&self, peer: PeerId) {
        self.news.lock().changed.insert(peer);
        self.has_news.notify_one();
    }

    /// There is a direct way to this node now.
    pub(crate) fn tell_direct(&self, peer: PeerId) {
        if self.up.read().contains_key(&peer) {
            self.news.lock().direct.insert(peer);
            self.has_news.notify_one();
        }
    }

    /// Waits for news. Cancel safe.
    pub(crate) async fn has_news(&self) {
        self.has_news.notified().await;
    }

    pub(crate) fn take_news(&self) -> News {
        std::mem::take(&mut self.news.lock())
    }

    /// Waits, at most for `patience`, until this node is known in this epoch. A later epoch that is known answers at once:
    /// the node was started anew.
    pub(crate) async fn known(&self, peer: &PeerId, epoch: u64, patience: Duration) -> Option<Arc<Node>> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Before looking, so that nothing is missed in between.
                changed.as_mut().enable();
                match self.get(peer) {
                    Some(node) if node.epoch == epoch => return Some(node),
                    Some(node) if node.epoch > epoch => return None,
                    _ => changed.await,
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.ok().flatten()
    }
}
