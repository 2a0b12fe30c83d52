use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sinew_topic::validate_topic;
use sinew_wire::Announce;

use crate::AnnounceError;
use crate::client::{Client, Handle};
use crate::shared::{Lease, Offer};

/// A service to announce: [`Client::announce`].
///
/// ```
/// use std::time::Duration;
///
/// use sinew_client::Service;
///
/// let service = Service::new("images.resize").ttl(Duration::from_secs(20)).metadata("version", "2").metadata("gpu", "yes");
/// # let _ = service;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "does nothing until announced"]
pub struct Service {
    name: String,
    ttl: Duration,
    metadata: Vec<(String, String)>,
}

impl Service {
    /// A service of this name: a topic that does not start with `$`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ttl: Duration::ZERO, metadata: Vec::new() }
    }

    /// How long the node keeps it without hearing of this client. Default: what the node says, which is a minute unless
    /// configured. Nodes allow 10 s to 1 h unless configured. Whole milliseconds.
    ///
    /// It is what others wait for when this process is lost in a way that the node does not see; when the connection ends, the
    /// service is withdrawn at once.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Adds a pair of what callers may want to know. At most 16 pairs, and 4 KiB of keys and values together; no control
    /// characters.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    pub(crate) fn check(self) -> Result<Announce, AnnounceError> {
        validate_topic(&self.name)?;
        if sinew_topic::is_reserved(&self.name) {
            return Err(AnnounceError::Reserved);
        }
        let ttl_ms = match u64::try_from(self.ttl.as_millis()) {
            // A fraction of a millisecond is no wish for the default.
            Ok(0) if !self.ttl.is_zero() => 1,
            Ok(ms) => ms,
            Err(_) => u64::MAX,
        };
        let announce = Announce { lease: 0, name: self.name, ttl_ms, metadata: self.metadata };
        announce.validate().map_err(AnnounceError::Metadata)?;
        Ok(announce)
    }
}

impl From<&str> for Service {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Service {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl Client {
    /// Announces a service, and keeps it announced until the returned guard is dropped.
    ///
    /// Waits for the node to take it, and while the client is not connected. The lease is renewed at a third of its time to
    /// live. After a reconnect it is announced anew, to whatever node that is.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::AnnounceError> {
    /// use sinew_client::Service;
    ///
    /// let announcement = client.announce(Service::new("images.resize").metadata("version", "2")).await?;
    /// // ... serve ...
    /// announcement.withdraw().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe: dropped early, nothing stays announced.
    ///
    /// # Errors
    /// Name or metadata are not valid, the node refuses (one of its limits, by name), or the client is closed.
    pub async fn announce(&self, service: impl Into<Service> + Send) -> Result<Announcement, AnnounceError> {
        let announce = service.into().check()?;
        let (lease, answer) = self.shared().offer(Offer::Service(announce)).await?;
        // From here on dropping it withdraws.
        let announcement = Announcement { lease, handle: Arc::clone(self.handle()) };
        answer.await.unwrap_or(Err(AnnounceError::Closed))?;
        Ok(announcement)
    }
}

/// A service that is announced. Dropping it withdraws; it keeps the client connected.
#[must_use = "dropping it withdraws the service"]
pub struct Announcement {
    lease: Arc<Lease>,
    handle: Arc<Handle>,
}

impl Announcement {
    /// Name of the service.
    pub fn name(&self) -> &str {
        self.lease.name()
    }

    /// The time to live that the node has granted, as of the last time it said so.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl()
    }

    /// Whether the node holds the lease, as far as is known. Not while the client is not connected, nor while a node that it has
    /// reconnected to has not taken it yet.
    pub fn is_announced(&self) -> bool {
        self.lease.is_active()
    }

    /// Why it is announced no longer; `None` while it is, or while the client still tries.
    pub fn end_reason(&self) -> Option<AnnounceError> {
        self.lease.ended()
    }

    /// Waits until it is announced no longer, and nobody tries: a node that the client has reconnected to has refused it for
    /// good, or the client is closed. A limit that is reached there is no such reason: the client tries again from time to time.
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> AnnounceError {
        self.lease.wait_ended().await
    }

    /// Withdraws the service, and waits until the node has done so. What is lost with the connection is withdrawn too.
    ///
    /// Dropped early, it is withdrawn all the same.
    ///
    /// # Errors
    /// [`AnnounceError::Closed`]: the client was closed before the node had answered.
    pub async fn withdraw(self) -> Result<(), AnnounceError> {
        self.handle.shared().withdraw_and_wait(&self.lease).await
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.handle.shared().withdraw(&self.lease);
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement")
            .field("name", &self.name())
            .field("announced", &self.is_announced())
            .finish_non_exhaustive()
    }
}
