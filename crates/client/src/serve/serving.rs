use std::fmt;
use std::time::Duration;

use sinew_wire::ProviderHealth;

use crate::AnnounceError;

/// A procedure that is served. Dropping it withdraws it at once, and ends the calls that are open; it keeps the client
/// connected.
#[must_use = "dropping it withdraws the procedure"]
pub struct Serving {}

impl Serving {
    /// Name of the procedure.
    pub fn name(&self) -> &str {
        ""
    }

    /// The time to live that the node has granted, as of the last time it said so.
    pub fn ttl(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the node holds the lease, as far as is known: as
    /// [`Announcement::is_announced`](crate::Announcement::is_announced).
    pub fn is_announced(&self) -> bool {
        false
    }

    /// Calls that are executed now, or wait for it here.
    pub fn open_calls(&self) -> usize {
        0
    }

    /// Tells the nodes how it is: callers choose others while it is [`ProviderHealth::Degraded`], and don't call it while it is
    /// [`ProviderHealth::Down`].
    pub fn health(&self, health: ProviderHealth) {
        let _ = health;
    }

    /// Waits until it is announced no longer, and nobody tries: as [`Announcement::ended`](crate::Announcement::ended). Cancel
    /// safe.
    pub async fn ended(&self) -> AnnounceError {
        std::future::pending().await
    }

    /// Withdraws the procedure, and waits until the calls that are open have ended. Calls that were on their way are executed,
    /// new ones go elsewhere.
    ///
    /// Dropped early, it is withdrawn all the same, and the calls that are open end.
    ///
    /// # Errors
    /// [`AnnounceError::Closed`]: the client was closed before the node had answered.
    pub async fn stop(self) -> Result<(), AnnounceError> {
        Ok(())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("name", &self.name()).finish_non_exhaustive()
    }
}
