//! Messages and links, and what waits for a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId as Theirs;
use libp2p::swarm::{ConnectionId, Stream};
use sinew_link::{Link, Transport};
use sinew_wire::PeerId;
use tokio::sync::oneshot;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

use super::lane::{self, Counted, State, Written};
use super::peer::{EARLY, Early, Peer, QUEUED, WAITING, Want};
use super::{Asked, Note, Opening, Task, meter};
use crate::behaviour::REQUESTS_PER_PEER;
use crate::mailbox::Outgoing;
use crate::streams::{Event as StreamEvent, Kind, Problem};
use crate::{OverlayError, peer_id};

/// Links being opened by us.
const OPENING: usize = 1024;

/// Links on one connection.
const LINKS_PER_CONNECTION: usize = 64;

/// Streams of messages that are read from one connection. One is usual, two for a moment.
const READERS_PER_CONNECTION: usize = 4;

/// Wait before a stream of messages that broke is opened again.
const REOPEN: Duration = Duration::from_millis(200);

/// Wait after one that could not be opened.
const REFUSED: Duration = Duration::from_secs(1);

impl Task {
    fn peer_mut(&mut self, peer: PeerId, now: Instant) -> &mut Peer {
        self.peers.entry(peer).or_insert_with(|| Peer::new(peer, now))
    }

    pub(super) fn send(&mut self, to: PeerId, message: Outgoing, now: Instant) {
        let peer = self.peer_mut(to, now);
        peer.used = now;
        let dropped = peer.lane.mailbox.push(message);
        let member = peer.is_member();
        meter!(self, dropped_queue_full, dropped);
        if member {
            self.open_lane(to, now);
        } else {
            self.reach(to, now);
        }
    }

    pub(super) fn open_link(&mut self, to: PeerId, reply: oneshot::Sender<Result<Link, OverlayError>>, now: Instant) {
        if self.opening.len() >= OPENING {
            let _gone = reply.send(Err(OverlayError::Busy));
            return;
        }
        self.want(to, Want::Link { reply }, now);
    }

    /// Serves it at once if the peer is connected, else when it is.
    pub(super) fn want(&mut self, to: PeerId, want: Want, now: Instant) {
        let peer = self.peer_mut(to, now);
        peer.used = now;
        if peer.is_member() {
            self.serve(to, want);
            return;
        }
        peer.waiting.retain(|want| !want.is_given_up());
        if peer.waiting.len() < WAITING {
            peer.waiting.push_back(want);
        } else {
            want.refuse();
        }
        self.reach(to, now);
    }

    /// To a connected peer.
    fn serve(&mut self, to: PeerId, want: Want) {
        let Some(peer) = self.peers.get_mut(&to) else { return want.unreachable(to) };
        let (theirs, best) = (peer.theirs, peer.best(self.own).map(|connection| connection.id));
        match want {
            Want::Request { purpose, body, reply } => {
                if reply.is_closed() {
                    return;
                }
                if peer.asked >= REQUESTS_PER_PEER {
                    let want = Want::Request { purpose, body, reply };
                    return if peer.waiting.len() < QUEUED { peer.waiting.push_back(want) } else { want.refuse() };
                }
                peer.asked += 1;
                meter!(self, requests_sent);
                let id = self.swarm.behaviour_mut().requests(purpose).send_request(&theirs, body.into());
                self.requests.insert((purpose, id), Asked { peer: to, reply });
            }
            Want::Link { reply } => {
                let Some(connection) = best else { return Want::Link { reply }.unreachable(to) };
                let token = self.number();
                self.opening.insert(token, Opening::Link(to, reply));
                self.swarm.behaviour_mut().streams.open(theirs, connection, Kind::Link, token);
            }
        }
    }

    /// A peer has answered a request, or will not: the next one goes out.
    pub(super) fn serve_next(&mut self, id: PeerId) {
        while let Some(peer) = self.peers.get_mut(&id)
            && peer.is_member()
            && peer.asked < REQUESTS_PER_PEER
            && let Some(want) = peer.waiting.pop_front()
        {
            self.serve(id, want);
        }
    }

    /// A peer of the realm is connected: what waited for it goes on.
    pub(super) fn now_connected(&mut self, peer: PeerId, now: Instant) {
        let waiting = self.peers.get_mut(&peer).map(|peer| std::mem::take(&mut peer.waiting)).unwrap_or_default();
        for want in waiting {
            self.serve(peer, want);
        }
        self.open_lane(peer, now);
    }

    /// A peer cannot be reached: what waited for it fails.
    pub(super) fn give_up(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.dialling = false;
        for want in peer.waiting.drain(..) {
            want.unreachable(id);
        }
        let dropped = peer.lane.mailbox.clear();
        if peer.connections.is_empty() {
            self.peers.remove(&id);
        }
        meter!(self, dropped_unreachable, dropped);
    }

    /// Opens the stream for messages to a peer, if there is something to send and none is open.
    pub(super) fn open_lane(&mut self, id: PeerId, now: Instant) {
        let token = self.number();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.is_member() || peer.lane.is_empty() || !matches!(peer.lane.state, State::Closed(from) if from <= now) {
            return;
        }
        let Some(connection) = peer.best(self.own).map(|connection| connection.id) else { return };
        peer.lane.state = State::Opening(token);
        let theirs = peer.theirs;
        self.opening.insert(token, Opening::Lane(id));
        self.swarm.behaviour_mut().streams.open(theirs, connection, Kind::Message, token);
    }

    /// A writer ended.
    pub(super) fn on_written(&mut self, written: Written, now: Instant) {
        let Written { peer, token, problem } = written;
        if let Some(problem) = &problem {
            tracing::debug!(%peer, %problem, "the stream of messages broke");
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if matches!(entry.lane.state, State::Open { token: current, .. } if current == token) {
            entry.lane.state = State::Closed(if problem.is_some() { now + REOPEN } else { now });
            self.open_lane(peer, now);
        }
    }

    /// Ends all writers after the message that each is at.
    pub(super) fn stop_lanes(&mut self) {
        for peer in self.peers.values() {
            if let State::Open { stop, .. } = &peer.lane.state {
                stop.cancel();
            }
        }
    }

    pub(super) fn on_stream(&mut self, event: StreamEvent, now: Instant) {
        match event {
            StreamEvent::Inbound { peer, connection, kind, stream } => {
                self.on_inbound_stream(peer, connection, kind, stream);
            }
            StreamEvent::Opened { token, connection, stream } => match self.opening.remove(&token) {
                Some(Opening::Lane(peer)) => self.on_lane_open(peer, token, connection, stream),
                Some(Opening::Link(peer, reply)) => {
                    let link = self.link(peer, connection, stream);
                    let result = link.ok_or(OverlayError::Unreachable(peer));
                    if result.is_ok() {
                        meter!(self, links_opened);
                    }
                    let _gone = reply.send(result);
                }
                None => {}
            },
            StreamEvent::Failed { token, problem } => match self.opening.remove(&token) {
                Some(Opening::Lane(peer)) => self.on_lane_refused(peer, token, &problem, now),
                Some(Opening::Link(peer, reply)) => {
                    let error = match problem {
                        Problem::Unsupported => OverlayError::Unsupported(peer),
                        Problem::Io(source) => OverlayError::Broken { peer, source },
                        Problem::Busy => OverlayError::Busy,
                    };
                    let _gone = reply.send(Err(error));
                }
                None => {}
            },
        }
    }

    fn on_lane_open(&mut self, id: PeerId, token: u64, connection: ConnectionId, stream: Stream) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !matches!(peer.lane.state, State::Opening(current) if current == token) {
            return;
        }
        let stop = CancellationToken::new();
        peer.lane.state = State::Open { token, connection, stop: stop.clone() };
        let (mailbox, meters) = (Arc::clone(&peer.lane.mailbox), Arc::clone(&self.shared.meters));
        self.tasks.spawn(async move { Note::Written(lane::write(id, token, stream, mailbox, stop, meters).await) });
    }

    fn on_lane_refused(&mut self, id: PeerId, token: u64, problem: &Problem, now: Instant) {
        tracing::debug!(peer = %id, ?problem, "no stream for messages");
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !matches!(peer.lane.state, State::Opening(current) if current == token) {
            return;
        }
        peer.lane.state = State::Closed(now + REFUSED);
        if matches!(problem, Problem::Unsupported) {
            let dropped = peer.lane.mailbox.clear();
            meter!(self, dropped_unreachable, dropped);
        }
    }

    fn on_inbound_stream(&mut self, theirs: Theirs, connection: ConnectionId, kind: Kind, stream: Stream) {
        let Some(id) = peer_id::ours(&theirs) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.is_member() {
            if peer.early.len() < EARLY {
                peer.early.push(Early::Stream { connection, kind, stream });
            } else {
                meter!(self, refused_streams);
            }
            return;
        }
        match kind {
            Kind::Message => {
                let readers = peer.connection(connection).map(|connection| Arc::clone(&connection.readers));
                let Some(place) = readers.and_then(|readers| Counted::take(&readers, READERS_PER_CONNECTION)) else {
                    meter!(self, refused_streams);
                    return;
                };
                let (inbox, meters) = (self.inbox.0.clone(), Arc::clone(&self.shared.meters));
                self.tasks.spawn(async move {
                    lane::read(id, stream, inbox, place, meters).await;
                    Note::Read
                });
            }
            Kind::Link => {
                peer.used = Instant::now();
                let link = if self.out.has_room() { self.link(id, connection, stream) } else { None };
                match link {
                    Some(link) => {
                        meter!(self, links_accepted);
                        self.out.link(link);
                    }
                    None => meter!(self, refused_links_busy),
                }
            }
        }
    }

    /// A link over a stream. Nothing if the connection is gone, or has as many as may be.
    fn link(&mut self, id: PeerId, connection: ConnectionId, stream: Stream) -> Option<Link> {
        let connection = self.peers.get_mut(&id)?.connection(connection)?;
        let here = Counted::take(&connection.links, LINKS_PER_CONNECTION)?;
        let all = Counted::take(&self.shared.links, usize::MAX)?;
        let remote = connection.remote.to_string();
        let stream = LinkStream { stream, _here: here, _all: all };
        let (read, write) = tokio::io::split(stream.compat());
        Some(Link::over(id, Transport::Overlay, remote, read, write, &self.config.link))
    }

    /// A message was read.
    pub(super) fn on_message(&mut self, from: PeerId, body: Bytes) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.used = Instant::now();
        }
        self.out.message(from, body);
    }

    /// What a peer sent before it was identified.
    pub(super) fn on_early(&mut self, peer: PeerId, early: Early, now: Instant) {
        let Some(theirs) = self.peers.get(&peer).map(|peer| peer.theirs) else { return };
        match early {
            Early::Stream { connection, kind, stream } => self.on_inbound_stream(theirs, connection, kind, stream),
            Early::Request { purpose, body, channel } => self.on_request(theirs, purpose, body, channel, now),
        }
    }
}

impl Peer {
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.lane.state, State::Open { .. })
    }
}

/// A stream that counts as a link as long as it is there.
struct LinkStream {
    stream: Stream,
    _here: Counted,
    _all: Counted,
}

impl AsyncRead for LinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, room)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
