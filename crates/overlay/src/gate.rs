//! Who may connect at all, and where peers are dialled.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use lru::LruCache;
use parking_lot::Mutex;

use crate::book::Book;
use crate::peer_id;
use crate::status::Meters;

/// Peers of other realms that are remembered: the last ones.
const REMEMBERED: usize = 1024;

/// Why a peer was turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnedAway {
    #[error("of another realm")]
    Realm,
    #[error("its key is not an Ed25519 key")]
    Key,
}

/// Turns away peers of other realms for a while, and peers whose keys are of another kind. Knows the address book, so that
/// whichever protocol dials a peer uses it.
pub(crate) struct Behaviour {
    book: Arc<Mutex<Book>>,
    meters: Arc<Meters>,
    foreign: LruCache<PeerId, Instant>,
}

impl Behaviour {
    pub(crate) fn new(book: Arc<Mutex<Book>>, meters: Arc<Meters>) -> Self {
        Self { book, meters, foreign: LruCache::new(const { NonZeroUsize::new(REMEMBERED).unwrap() }) }
    }

    pub(crate) fn remember(&mut self, peer: PeerId, until: Instant) {
        self.foreign.put(peer, until);
    }

    fn check(&mut self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        match self.foreign.peek(peer) {
            Some(until) if *until > Instant::now() => {
                self.meters.refused_remembered.fetch_add(1, Ordering::Relaxed);
                return Err(ConnectionDenied::new(TurnedAway::Realm));
            }
            Some(_) => {
                self.foreign.pop(peer);
            }
            None => {}
        }
        if peer_id::ours(peer).is_none() {
            self.meters.refused_key.fetch_add(1, Ordering::Relaxed);
            return Err(ConnectionDenied::new(TurnedAway::Key));
        }
        Ok(())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer).map(|()| dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(Vec::new()) };
        self.check(&peer)?;
        Ok(peer_id::ours(&peer).map_or_else(Vec::new, |peer| self.book.lock().get(&peer).to_vec()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
