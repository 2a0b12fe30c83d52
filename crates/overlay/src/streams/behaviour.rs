use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use hashbrown::HashMap;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream,
    StreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::handler::{Handler, In, Out};
use super::{Kind, Problem};

/// Streams being opened on one connection, at most.
const OPENING: usize = 32;

/// What happened to a stream.
#[derive(Debug)]
pub(crate) enum Event {
    /// The peer opened one.
    Inbound { peer: PeerId, connection: ConnectionId, kind: Kind, stream: Stream },
    /// One of ours is open.
    Opened { token: u64, connection: ConnectionId, stream: Stream },
    /// One of ours will not be.
    Failed { token: u64, problem: Problem },
}

/// See the module.
pub(crate) struct Behaviour {
    message: StreamProtocol,
    link: StreamProtocol,
    events: VecDeque<ToSwarm<Event, In>>,
    /// Streams that are being opened.
    opening: HashMap<ConnectionId, Vec<u64>>,
}

impl Behaviour {
    pub(crate) fn new(message: StreamProtocol, link: StreamProtocol) -> Self {
        Self { message, link, events: VecDeque::new(), opening: HashMap::new() }
    }

    /// Opens a stream on a connection that is open. Answered by an event with this token, in every case.
    pub(crate) fn open(&mut self, peer: PeerId, connection: ConnectionId, kind: Kind, token: u64) {
        let opening = self.opening.entry(connection).or_default();
        if opening.len() >= OPENING {
            self.events.push_back(ToSwarm::GenerateEvent(Event::Failed { token, problem: Problem::Busy }));
            return;
        }
        opening.push(token);
        let handler = NotifyHandler::One(connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: In { kind, token } });
    }

    fn opened(&mut self, connection: ConnectionId, token: u64) {
        if let Some(opening) = self.opening.get_mut(&connection) {
            opening.retain(|other| *other != token);
            if opening.is_empty() {
                self.opening.remove(&connection);
            }
        }
    }

    fn handler(&self) -> Handler {
        Handler::new(self.message.clone(), self.link.clone())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) = event {
            for token in self.opening.remove(&connection_id).into_iter().flatten() {
                let problem = Problem::Io(io::ErrorKind::ConnectionReset.into());
                self.events.push_back(ToSwarm::GenerateEvent(Event::Failed { token, problem }));
            }
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            Out::Inbound { kind, stream } => Event::Inbound { peer, connection, kind, stream },
            Out::Opened { token, stream } => {
                self.opened(connection, token);
                Event::Opened { token, connection, stream }
            }
            Out::Failed { token, problem } => {
                self.opened(connection, token);
                Event::Failed { token, problem }
            }
        };
        self.events.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
