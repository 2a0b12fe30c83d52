use std::sync::Arc;

use sinew_flow::Batch;
use sinew_wire::forward::GroupList;

use crate::run::Slice;

/// Whom a run is for on another node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recipients {
    /// Subscriptions outside of queue groups, as far as they are known here.
    pub(crate) direct: u32,
    /// Queue groups of which one member is to get it.
    pub(crate) groups: GroupList,
    /// Whether a publisher waits for room: somebody there pushes back on publishers, or it is a share of a queue group,
    /// which nobody else gets.
    pub(crate) waits: bool,
}

impl Recipients {
    /// Deliveries due for one message.
    pub(crate) const fn expected(&self) -> u64 {
        self.direct as u64 + self.groups.as_groups().len() as u64
    }
}

/// A run, or a part of it, on its way to another node.
#[derive(Debug, Clone)]
pub(crate) struct Forwarded {
    pub(crate) slice: Slice,
    pub(crate) to: Arc<Recipients>,
    /// Its place among everything ever queued for that node. Set by the queue.
    pub(crate) place: u64,
}

impl Forwarded {
    pub(crate) const fn new(slice: Slice, to: Arc<Recipients>) -> Self {
        Self { slice, to, place: 0 }
    }

    /// Deliveries due for it.
    pub(crate) fn expected(&self) -> u64 {
        self.slice.messages() as u64 * self.to.expected()
    }
}

impl Batch for Forwarded {
    fn messages(&self) -> usize {
        self.slice.messages()
    }

    fn bytes(&self) -> usize {
        self.slice.bytes()
    }

    fn split_front(&mut self, n: usize) -> Self {
        Self { slice: self.slice.split_front(n), to: Arc::clone(&self.to), place: self.place }
    }

    fn messages_within(&self, bytes: usize) -> usize {
        self.slice.messages_within(bytes)
    }
}
