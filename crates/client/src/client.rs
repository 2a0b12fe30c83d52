use std::fmt;
use std::sync::Arc;

use sinew_link::{Address, Dialer};
use sinew_wire::PeerId;
use sinew_wire::entry::Entry;

use crate::builder::Builder;
use crate::draft::Draft;
use crate::events::Events;
use crate::publisher::Publisher;
use crate::shared::{Parcel, RunOptions, Shared};
use crate::subscription::{Subscription, SubscriptionBuilder};
use crate::{FlushError, PublishError, SubscribeError};

/// A connection to a node of the mesh, kept up over its failures. Cheap to clone; all clones are the same connection.
///
/// It lives until [`Client::close`], or until the last of its clones, publishers and subscriptions is dropped: then it ends
/// at once, and what was published and not yet sent is lost. [`Client::flush`] or close first.
///
/// Close before the process ends, too: over QUIC a node does not see that a process has gone, and keeps its subscriptions, which
/// publishers at level acked wait for, until it has heard nothing for a minute.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

/// Ends the connection when nobody holds it any more.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    dialer: Dialer,
}

impl Handle {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
    }
}

/// To whom a client is connected, and what may be sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The server that was dialled.
    pub server: Address,
    /// The node behind it, proven.
    pub node: PeerId,
    /// The node's number for this connection.
    pub session: u64,
    /// Largest payload of one message, in bytes.
    pub max_message_bytes: usize,
    /// Largest encoded headers of one message, in bytes.
    pub max_header_bytes: usize,
    /// Publishes that may wait for their result at once: what the node allows and
    /// [`Builder::max_in_flight`](crate::Builder::max_in_flight) does.
    pub max_in_flight: usize,
}

impl Client {
    /// Options for a client other than those of [`connect`](crate::connect).
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Arc<Shared>, dialer: Dialer) -> Self {
        Self(Arc::new(Handle { shared, dialer }))
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle> {
        &self.0
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The identity of this client: [`Message::publisher`](crate::Message::publisher) of what it publishes.
    pub fn peer_id(&self) -> PeerId {
        self.dialer().peer_id()
    }

    /// The connection of the moment; `None` while there is none.
    pub fn connection(&self) -> Option<Connection> {
        self.shared().connection()
    }

    /// Watches the connection from here on. The observer sees 64 events back; how many it has missed it is told.
    pub fn events(&self) -> Events {
        Events::new(self.shared().events())
    }

    /// Publishes a message at level fire: delivered at most once to each subscriber of the moment, and every drop counted
    /// and shown to its subscriber.
    ///
    /// Resolves when the message has its place in the next write, which follows at once. Waits while the node has not
    /// processed what was published before (publish credit), and while the client is not connected, in the order of the
    /// callers. That it has arrived is known after [`Client::flush`].
    ///
    /// Cancel safe: dropped before it resolved, nothing is published. Whoever wants to wait for so long only wraps it
    /// in a timeout. For many messages to one topic, [`Client::publisher`] is a little faster.
    ///
    /// # Errors
    /// The topic is not valid, the message is larger than the node allows, or the client is closed.
    pub async fn publish(
        &self,
        topic: impl AsRef<str> + Send,
        payload: impl AsRef<[u8]> + Send,
    ) -> Result<(), PublishError> {
        let entry = Entry { id: &[], headers: &[], payload: payload.as_ref() };
        let parcel = Parcel {
            topic: topic.as_ref(),
            checked: false,
            options: RunOptions::default(),
            entries: std::slice::from_ref(&entry),
        };
        self.shared().publish(&parcel).await.map(|_seq| ())
    }

    /// Begins a message with headers, an id, a time to live, retention, or a result.
    pub fn message(&self, topic: impl Into<String>) -> Draft {
        Draft::new(self.clone(), topic.into())
    }

    /// For many messages to one topic.
    ///
    /// # Errors
    /// The topic is not valid.
    pub fn publisher(&self, topic: impl AsRef<str>) -> Result<Publisher, PublishError> {
        Publisher::new(self.clone(), topic.as_ref())
    }

    /// Subscribes with the defaults: see [`Client::subscription`] for options, and [`SubscriptionBuilder::subscribe`] for
    /// errors and cancellation.
    pub async fn subscribe(&self, pattern: impl AsRef<str> + Send) -> Result<Subscription, SubscribeError> {
        self.subscription(pattern).subscribe().await
    }

    /// Begins a subscription with a queue group, a policy, a buffer, last values, or a window of its own.
    pub fn subscription(&self, pattern: impl AsRef<str>) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self.clone(), pattern.as_ref())
    }

    /// Waits until the node has processed everything that was published before.
    ///
    /// Waits while the client is not connected. Cancel safe: dropped early, nothing is undone and nothing known.
    ///
    /// # Errors
    /// [`FlushError::Disconnected`] when a connection was lost since the last flush, and with it messages that the node may
    /// not have processed.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.shared().flush().await
    }

    /// Flushes, says goodbye and ends the connection, for all clones. Everything begun later fails; streams end when what
    /// has arrived is taken. Calls that are open end, those that are executed here too: [`Serving::stop`](crate::Serving::stop)
    /// lets them come to their end. Takes no longer than [`Builder::close_timeout`].
    ///
    /// Not cancel safe: dropped early, the connection may be closed or not, and will take nothing new.
    ///
    /// # Errors
    /// The same as for [`Client::flush`], and [`FlushError::Timeout`]. The connection has ended in any case.
    pub async fn close(&self) -> Result<(), FlushError> {
        let shared = self.shared();
        let limit = shared.config.close_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let flushed = tokio::time::timeout_at(deadline, shared.close()).await;
        shared.closing.cancel();
        shared.finish(Some(sinew_wire::Refusal::Closed));
        if tokio::time::timeout_at(deadline, shared.done.cancelled()).await.is_err() {
            shared.stopped.cancel();
            shared.done.cancelled().await;
        }
        flushed.unwrap_or(Err(FlushError::Timeout(limit)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer_id()).field("connection", &self.connection()).finish()
    }
}
