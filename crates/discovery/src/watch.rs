use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::shared::Shared;

/// What a [`Watch`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// A service has so many instances in the realm now, 0 when it is gone.
    Changed {
        /// The service.
        name: Arc<str>,
        /// Its instances.
        instances: u32,
    },
    /// More changed than waits for a watcher that does not look. All services follow anew; whatever of before is not among them
    /// is gone.
    Resync,
}

/// Services whose names begin alike: all there are, and then what changes.
///
/// What changes often is told once, with its newest number. A watcher that does not look costs a bounded list of names; when
/// that is full, it is emptied, and the watcher gets [`Watched::Resync`]. Dropped, it costs nothing any more.
pub struct Watch {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    number: u64,
    /// The name up to which all there are were told; `None` before the first. Nothing once all were.
    listing: Option<Option<Arc<str>>>,
}

pub(crate) struct Watcher {
    prefix: String,
    backlog: usize,
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Default)]
struct Pending {
    order: VecDeque<Arc<str>>,
    names: HashSet<Arc<str>>,
    overflow: bool,
}

impl Watcher {
    fn changed(&self, name: &Arc<str>) {
        let mut pending = self.pending.lock();
        if pending.overflow || pending.names.contains(name) {
            return;
        }
        if pending.names.len() >= self.backlog {
            *pending = Pending { overflow: true, ..Pending::default() };
        } else {
            pending.names.insert(Arc::clone(name));
            pending.order.push_back(Arc::clone(name));
        }
        drop(pending);
        self.wake.notify_one();
    }

    fn has_work(&self) -> bool {
        let pending = self.pending.lock();
        pending.overflow || !pending.order.is_empty()
    }
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, number: u64, watcher: Arc<Watcher>) -> Self {
        Self { shared, watcher, number, listing: Some(None) }
    }

    /// The prefix it watches.
    pub fn prefix(&self) -> &str {
        &self.watcher.prefix
    }

    /// Waits until there is something to tell. Cancel safe.
    pub async fn changed(&self) {
        while self.listing.is_none() && !self.watcher.has_work() {
            self.watcher.wake.notified().await;
        }
    }

    /// Up to `max` things to tell; none when there are none now.
    pub fn take(&mut self, max: usize) -> Vec<Watched> {
        let mut told = Vec::new();
        // In the order of the locks: nothing changes between what is read and what is taken off the list.
        let state = self.shared.state.lock();
        let mut pending = self.watcher.pending.lock();
        if pending.overflow && max > 0 {
            pending.overflow = false;
            self.listing = Some(None);
            told.push(Watched::Resync);
        }
        if let Some(after) = self.listing.take() {
            let wanted = max - told.len();
            let rows = state.directory.list_prefix(&self.watcher.prefix, after.as_deref(), wanted);
            if rows.len() == wanted {
                self.listing = Some(rows.last().map(|(name, _)| Arc::clone(name)).or(after));
            }
            told.extend(rows.into_iter().map(|(name, instances)| Watched::Changed { name, instances }));
        }
        while told.len() < max
            && let Some(name) = pending.order.pop_front()
        {
            pending.names.remove(&name);
            let instances = state.directory.instances(&name);
            told.push(Watched::Changed { name, instances });
        }
        told
    }

    /// Waits for the next thing to tell. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Watched {
        loop {
            if let Some(told) = self.take(1).pop() {
                return told;
            }
            self.changed().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state.lock().watchers.remove(self.number);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("prefix", &self.prefix()).finish_non_exhaustive()
    }
}

/// All watchers of the node.
pub(crate) struct Watchers {
    table: HashMap<u64, Arc<Watcher>>,
    next: u64,
    max: usize,
    backlog: usize,
}

impl Watchers {
    pub(crate) fn new(max: usize, backlog: usize) -> Self {
        Self { table: HashMap::new(), next: 0, max, backlog }
    }

    /// `None` when there are as many as may be.
    pub(crate) fn add(&mut self, prefix: &str) -> Option<(u64, Arc<Watcher>)> {
        if self.table.len() >= self.max {
            return None;
        }
        self.next += 1;
        let watcher = Arc::new(Watcher {
            prefix: prefix.to_owned(),
            backlog: self.backlog,
            pending: Mutex::default(),
            wake: Notify::new(),
        });
        self.table.insert(self.next, Arc::clone(&watcher));
        Some((self.next, watcher))
    }

    fn remove(&mut self, number: u64) {
        self.table.remove(&number);
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn changed(&self, name: &Arc<str>) {
        self.table
            .values()
            .filter(|watcher| name.starts_with(&*watcher.prefix))
            .for_each(|watcher| watcher.changed(name));
    }
}
