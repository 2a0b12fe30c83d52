use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sinew_wire::ProviderHealth;

use crate::AnnounceError;
use crate::client::Handle;
use crate::serve::Procedure;
use crate::shared::Lease;

/// A procedure that is served. Dropping it withdraws it at once, and ends the calls that are open; it keeps the client
/// connected.
#[must_use = "dropping it withdraws the procedure"]
pub struct Serving {
    pub(crate) lease: Arc<Lease>,
    pub(crate) procedure: Arc<Procedure>,
    pub(crate) handle: Arc<Handle>,
}

impl Serving {
    /// Name of the procedure.
    pub fn name(&self) -> &str {
        self.lease.name()
    }

    /// The time to live that the node has granted, as of the last time it said so.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl()
    }

    /// Whether the node holds the lease, as far as is known: as
    /// [`Announcement::is_announced`](crate::Announcement::is_announced).
    pub fn is_announced(&self) -> bool {
        self.lease.is_active()
    }

    /// Calls that are executed now, or wait for it here.
    pub fn open_calls(&self) -> usize {
        self.procedure.open_calls()
    }

    /// Tells the nodes how it is: callers choose others while it is [`ProviderHealth::Degraded`], and don't call it while it is
    /// [`ProviderHealth::Down`].
    pub fn health(&self, health: ProviderHealth) {
        if self.procedure.set_health(health) {
            self.handle.shared().tell_health(self.lease.number(), health);
        }
    }

    /// Waits until it is announced no longer, and nobody tries: as [`Announcement::ended`](crate::Announcement::ended). Cancel
    /// safe.
    pub async fn ended(&self) -> AnnounceError {
        self.lease.wait_ended().await
    }

    /// Withdraws the procedure, and waits until the calls that are open have ended. Calls that were on their way are executed,
    /// new ones go elsewhere.
    ///
    /// Dropped early, it is withdrawn all the same, and the calls that are open end.
    ///
    /// # Errors
    /// [`AnnounceError::Closed`]: the client was closed before the node had answered.
    pub async fn stop(self) -> Result<(), AnnounceError> {
        let withdrawn = self.handle.shared().withdraw_and_wait(&self.lease).await;
        self.procedure.idle().await;
        withdrawn
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.shared().withdraw(&self.lease);
        self.handle.shared().unserve(self.lease.number());
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("name", &self.name()).finish_non_exhaustive()
    }
}
