use std::fmt;
use std::sync::Arc;

use crate::shared::Shared;

/// What the other nodes have to be told of the services of this one: the mesh takes it, and publishes it.
///
/// Bounded by the names there are and those that were told. One task takes.
pub struct LocalChanges {
    shared: Arc<Shared>,
}

impl LocalChanges {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits until there is something to take. Cancel safe.
    pub async fn changed(&self) {
        while self.shared.state.lock().changes.is_empty() {
            self.shared.changed.notified().await;
        }
    }

    /// Takes up to `max` names with their number of instances on this node, `None` for those that are gone. A name that changes
    /// often comes once, with its newest number.
    pub fn take(&self, max: usize) -> Vec<(String, Option<u32>)> {
        let changes = self.shared.state.lock().changes.take(max);
        changes.into_iter().map(|(name, instances)| (name.as_ref().to_owned(), instances)).collect()
    }
}

impl fmt::Debug for LocalChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalChanges").finish_non_exhaustive()
    }
}
