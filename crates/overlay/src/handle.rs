use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sinew_link::{Identity, Link};
use sinew_wire::PeerId;
use tokio::sync::mpsc;

use crate::{Ask, DhtError, Event, OverlayConfig, OverlayError, OverlayPeer, Purpose, RequestError, SendError, Status};

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
#[derive(Debug, Clone)]
pub struct Overlay {
    peer: PeerId,
}

impl Overlay {
    /// Starts listening and dialling, and returns when the listeners are bound. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Realm`], [`OverlayError::Address`], [`OverlayError::Listen`] and [`OverlayError::Setup`]. That no
    /// bootstrap address answers is no error: they are tried for ever.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn start(identity: &Identity, config: OverlayConfig) -> Result<Started, OverlayError> {
        let _ = (identity, config);
        Err(OverlayError::Closed)
    }

    /// This node.
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Multiaddresses at which others may dial this node, each with `/p2p/ID` and its real port: what it listens on, what is
    /// known of it from outside, and what relays keep for it. Loopback addresses are left out where there are others.
    pub fn listen_addresses(&self) -> Vec<String> {
        Vec::new()
    }

    /// The connected peers of the realm, as of a moment ago.
    pub fn peers(&self) -> Arc<Vec<OverlayPeer>> {
        Arc::default()
    }

    /// How the overlay fares, as of a moment ago; the counters as of now.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Sends a message to a peer, which is dialled if it must be. Never waits. It arrives at most once, and in order with the
    /// others to that peer while one connection lasts; when it does not arrive, that is counted, or answered here.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        let _ = (to, message);
        Err(SendError::Closed)
    }

    /// Asks a peer, which is dialled if it must be. `timeout` is for everything together. Dropping the future gives the
    /// request up; the peer may get it all the same.
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
        let _ = (to, purpose, body, timeout);
        std::future::ready(Err(RequestError::Closed))
    }

    /// Tells where a peer may be dialled, from its signed record. It takes the place of what was told before. At most 16
    /// addresses are kept, of at most 4096 peers (those used last); what is no address is counted and left out.
    pub fn add_addresses(&self, peer: PeerId, addresses: &[String]) {
        let _ = (peer, addresses);
    }

    /// Says in the DHT that this node provides a key of 32 bytes, and keeps saying so. Returns when the first publication is
    /// done, or at once if there is nobody to tell yet: then it is done when there is.
    ///
    /// # Errors
    ///
    /// [`DhtError::Key`], [`DhtError::TooMany`], [`DhtError::Busy`], [`DhtError::Closed`]. Dropping the future does not take
    /// the key back.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn provide(&self, key: &[u8]) -> Result<(), DhtError> {
        Err(DhtError::Key(key.len()))
    }

    /// Stops saying so. What others keep is gone when its life ends ([`OverlayConfig::provider_ttl`]): the DHT knows no
    /// withdrawal, so ask the provider.
    pub fn stop_providing(&self, key: &[u8]) {
        let _ = key;
    }

    /// Who provides a key, this node included. What was found within `timeout`, even if not all were asked.
    ///
    /// # Errors
    ///
    /// [`DhtError::NoPeers`] if no other node is known and this one does not provide it; [`DhtError::TimedOut`] if nothing was
    /// found and the query did not end in time. An empty list means that the nodes nearest to the key know of nobody.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn providers(&self, key: &[u8], timeout: Duration) -> Result<Vec<PeerId>, DhtError> {
        let _ = timeout;
        Err(DhtError::Key(key.len()))
    }

    /// Opens a link to a peer: a stream of the overlay connection, direct if there is a direct one, else relayed. The peer is
    /// dialled if it must be.
    ///
    /// # Errors
    ///
    /// [`OverlayError::Unreachable`], [`OverlayError::Unsupported`], [`OverlayError::Broken`], [`OverlayError::TimedOut`],
    /// [`OverlayError::Busy`], [`OverlayError::Closed`].
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn open_link(&self, peer: PeerId, timeout: Duration) -> Result<Link, OverlayError> {
        Err(OverlayError::TimedOut { peer, timeout })
    }

    /// Closes all connections and listeners, and returns when the task has ended. What is under way fails.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn shutdown(self) {}
}
