use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use sinew_link::{Identity, Link};
use sinew_wire::PeerId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::shared::{COMMANDS, Command, Key, Shared};
use crate::task::Task;
use crate::{
    Ask, Beat, DhtError, Event, MAX_MESSAGE, MAX_REQUEST, OverlayConfig, OverlayError, OverlayPeer, Purpose,
    RequestError, SendError, Status,
};

/// Events that wait for the membership.
const EVENTS: usize = 256;

/// Requests that wait for the discovery.
const ASKS: usize = 256;

/// How much longer than asked for a query of the DHT is waited for: the task answers by itself.
const GRACE: Duration = Duration::from_secs(2);

/// A started overlay, and the queues it fills. Both are to be emptied, or dropped: what nobody takes is refused.
#[derive(Debug)]
pub struct Started {
    /// The handle.
    pub overlay: Overlay,
    /// What happens, for the membership.
    pub events: mpsc::Receiver<Event>,
    /// Requests of [`Purpose::Discovery`].
    pub asks: mpsc::Receiver<Ask>,
}

/// Handle of the overlay. Cheap to clone. The overlay ends on [`Overlay::shutdown`], or when the last handle is dropped.
#[derive(Clone)]
pub struct Overlay {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}

impl Overlay {
    /// Starts listening and dialling, and returns when the listeners are bound. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Realm`], [`OverlayError::Address`], [`OverlayError::Listen`] and [`OverlayError::Setup`]. That no
    /// bootstrap address answers is no error: they are tried for ever.
    pub async fn start(identity: &Identity, config: OverlayConfig) -> Result<Started, OverlayError> {
        Self::starting(identity, config).await
    }

    /// Boxed: a future is compiled where it is awaited, and the swarm takes longer than all that awaits it.
    fn starting(identity: &Identity, config: OverlayConfig) -> BoxFuture<'_, Result<Started, OverlayError>> {
        Box::pin(async move {
            let shared = Shared::new(identity.peer_id());
            let (commands, receiver) = mpsc::channel(COMMANDS);
            let (event_sender, events) = mpsc::channel(EVENTS);
            let (ask_sender, asks) = mpsc::channel(ASKS);
            let mut task = Task::new(identity, config, Arc::clone(&shared), receiver, event_sender, ask_sender)?;
            task.listen().await?;
            tokio::spawn(task.run());
            Ok(Started { overlay: Self { shared, commands }, events, asks })
        })
    }

    /// Shows somebody that the task comes round, from now on. Only the first call counts.
    pub fn on_beat(&self, beat: Beat) {
        let _others_came_first = self.shared.beat.set(beat);
    }

    /// This node.
    pub fn peer_id(&self) -> PeerId {
        self.shared.peer
    }

    /// Multiaddresses at which others may dial this node, each with `/p2p/ID` and its real port: what it listens on, what is
    /// known of it from outside, and what relays keep for it. Loopback addresses are left out where there are others.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.shared.addresses.load().to_vec()
    }

    /// The connected peers of the realm, as of a moment ago.
    pub fn peers(&self) -> Arc<Vec<OverlayPeer>> {
        self.shared.peers.load_full()
    }

    /// How the overlay fares, as of a moment ago; the counters as of now.
    pub fn status(&self) -> Status {
        Status {
            provided: self.shared.provided.lock().due.len(),
            links: self.shared.links.load(Ordering::Relaxed),
            commands_queued: self.commands.max_capacity() - self.commands.capacity(),
            commands_capacity: self.commands.max_capacity(),
            messages_queued_bytes: self.shared.budget.used(),
            messages_capacity_bytes: self.shared.budget.limit(),
            counters: self.shared.meters.read(),
            ..Status::clone(&self.shared.status.load())
        }
    }

    /// Sends a message to a peer, which is dialled if it must be. Never waits. It arrives at most once, and in order with the
    /// others to that peer while one connection lasts; when it does not arrive, that is counted, or answered here.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        if message.len() > MAX_MESSAGE {
            return Err(SendError::TooLarge { size: message.len(), limit: MAX_MESSAGE });
        }
        if to == self.shared.peer {
            return Err(SendError::Ourselves);
        }
        let message = self.shared.budget.admit(message).ok_or(SendError::Busy)?;
        self.command(Command::Send { to, message })
            .map_err(|full| if full { SendError::Busy } else { SendError::Closed })
    }

    /// Asks a peer, which is dialled if it must be. `timeout` is for everything together. Dropping the future gives the
    /// request up; the peer may get it all the same. At most 64 requests are under way to one peer; 960 more wait their turn.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn request(
        &self,
        to: PeerId,
        purpose: Purpose,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + use<> {
        let asked = self.ask(to, purpose, body);
        async move {
            let reply = asked?;
            let answered = tokio::time::timeout(timeout, reply).await.map_err(|_| RequestError::TimedOut)?;
            answered.unwrap_or(Err(RequestError::Closed))
        }
    }

    fn ask(
        &self,
        to: PeerId,
        purpose: Purpose,
        body: Bytes,
    ) -> Result<oneshot::Receiver<Result<Bytes, RequestError>>, RequestError> {
        if body.len() > MAX_REQUEST {
            return Err(RequestError::TooLarge { size: body.len(), limit: MAX_REQUEST });
        }
        if to == self.shared.peer {
            return Err(RequestError::Ourselves);
        }
        let (reply, answer) = oneshot::channel();
        self.command(Command::Request { to, purpose, body, reply })
            .map_err(|full| if full { RequestError::Busy } else { RequestError::Closed })?;
        Ok(answer)
    }

    /// Tells where a peer may be dialled, from its signed record. It takes the place of what was told before. At most 16
    /// addresses are kept, of at most 4096 peers (those used last); what is no address is counted and left out.
    pub fn add_addresses(&self, peer: PeerId, addresses: &[String]) {
        if peer != self.shared.peer {
            let refused = self.shared.book.lock().set(peer, addresses);
            self.shared.meters.refused_addresses.fetch_add(refused, Ordering::Relaxed);
        }
    }

    /// Says in the DHT that this node provides a key of 32 bytes, and keeps saying so. Returns when the first publication is
    /// done, or at once if there is nobody to tell yet: then it is done when there is.
    ///
    /// # Errors
    ///
    /// [`DhtError::Key`], [`DhtError::TooMany`], [`DhtError::Busy`], [`DhtError::Closed`]. Dropping the future does not take
    /// the key back.
    pub async fn provide(&self, key: &[u8]) -> Result<(), DhtError> {
        let key = Key::try_from(key).map_err(|_| DhtError::Key(key.len()))?;
        let (reply, answer) = oneshot::channel();
        self.command(Command::Provide { key, reply }).map_err(dht_error)?;
        answer.await.unwrap_or(Err(DhtError::Closed))
    }

    /// Stops saying so. What others keep is gone when its life ends ([`OverlayConfig::provider_ttl`]): the DHT knows no
    /// withdrawal, so ask the provider.
    pub fn stop_providing(&self, key: &[u8]) {
        if let Ok(key) = Key::try_from(key) {
            self.shared.provided.lock().remove(key);
        }
    }

    /// Who provides a key, this node included. What was found within `timeout`, even if not all were asked. Nodes that do not
    /// answer are not waited for longer than 2 s, once as many others have answered.
    ///
    /// # Errors
    ///
    /// [`DhtError::NoPeers`] if no other node is known and this one does not provide it; [`DhtError::TimedOut`] if nothing was
    /// found and the query did not end in time; those of [`Overlay::provide`]. An empty list means that the nodes nearest to
    /// the key know of nobody.
    pub async fn providers(&self, key: &[u8], timeout: Duration) -> Result<Vec<PeerId>, DhtError> {
        let key = Key::try_from(key).map_err(|_| DhtError::Key(key.len()))?;
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timeout.min(Duration::from_secs(3600));
        self.command(Command::Providers { key, deadline, reply }).map_err(dht_error)?;
        match tokio::time::timeout(timeout.saturating_add(GRACE), answer).await {
            Ok(answered) => answered.unwrap_or(Err(DhtError::Closed)),
            Err(_) => Err(DhtError::TimedOut),
        }
    }

    /// Opens a link to a peer: a stream of the overlay connection, direct if there is a direct one, else relayed. The peer is
    /// dialled if it must be.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Unreachable`], [`OverlayError::Unsupported`], [`OverlayError::Broken`], [`OverlayError::TimedOut`],
    /// [`OverlayError::Busy`], [`OverlayError::Closed`].
    pub async fn open_link(&self, peer: PeerId, timeout_after: Duration) -> Result<Link, OverlayError> {
        if peer == self.shared.peer {
            return Err(OverlayError::Unreachable(peer));
        }
        let (reply, answer) = oneshot::channel();
        self.command(Command::OpenLink { peer, reply })
            .map_err(|full| if full { OverlayError::Busy } else { OverlayError::Closed })?;
        let answered = timeout(timeout_after, answer).await;
        let answered = answered.map_err(|_| OverlayError::TimedOut { peer, timeout: timeout_after })?;
        answered.unwrap_or(Err(OverlayError::Closed))
    }

    /// Closes all connections and listeners, and returns when the task has ended. Messages that wait for connected peers
    /// still go out, for half a second at most; everything else that is under way fails.
    pub async fn shutdown(self) {
        let (reply, answer) = oneshot::channel();
        // Waits for room in the queue: the task is ending, or it is emptying it.
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ended = answer.await;
        }
    }

    /// Whether the queue was full, else the task has ended.
    fn command(&self, command: Command) -> Result<(), bool> {
        self.commands.try_send(command).map_err(|error| matches!(error, mpsc::error::TrySendError::Full(_)))
    }
}

fn dht_error(full: bool) -> DhtError {
    if full { DhtError::Busy } else { DhtError::Closed }
}
