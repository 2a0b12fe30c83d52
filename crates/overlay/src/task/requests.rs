//! Requests, ours and those of others.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use libp2p::PeerId as Theirs;
use libp2p::request_response::{self, InboundFailure, Message, OutboundFailure, OutboundRequestId, ResponseChannel};
use sinew_wire::PeerId;
use tokio::sync::oneshot;

use super::peer::{EARLY, Early, Want};
use super::{Asked, Task, meter};
use crate::codec::Body;
use crate::event::{Answer, Reply};
use crate::{Ask, Purpose, RequestError, peer_id};

/// Requests of ours under way.
const REQUESTS: usize = 1024;

impl Task {
    pub(super) fn request(
        &mut self,
        to: PeerId,
        purpose: Purpose,
        body: Bytes,
        reply: oneshot::Sender<Result<Bytes, RequestError>>,
        now: Instant,
    ) {
        if self.requests.len() >= REQUESTS {
            let _gone = reply.send(Err(RequestError::Busy));
            return;
        }
        self.want(to, Want::Request { purpose, body, reply }, now);
    }

    pub(super) fn on_requests(&mut self, purpose: Purpose, event: request_response::Event<Body, Body>, now: Instant) {
        match event {
            request_response::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_request(peer, purpose, request, channel, now);
            }
            request_response::Event::Message { message: Message::Response { request_id, response }, .. } => {
                self.answered(purpose, request_id, Ok(response.bytes));
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                meter!(self, requests_failed);
                let error = match error {
                    OutboundFailure::DialFailure => RequestError::Unreachable,
                    OutboundFailure::Timeout => RequestError::TimedOut,
                    OutboundFailure::ConnectionClosed => RequestError::Lost,
                    OutboundFailure::UnsupportedProtocols => RequestError::Refused,
                    // The peer ended the stream without a reply, or the reply is too large.
                    OutboundFailure::Io(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::UnexpectedEof
                                | io::ErrorKind::InvalidData
                                | io::ErrorKind::ConnectionReset
                                | io::ErrorKind::OutOfMemory
                        ) =>
                    {
                        RequestError::Refused
                    }
                    OutboundFailure::Io(_) => RequestError::Lost,
                };
                self.answered(purpose, request_id, Err(error));
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                if !matches!(error, InboundFailure::ResponseOmission) {
                    tracing::debug!(%peer, %error, "a request was not answered");
                }
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn answered(&mut self, purpose: Purpose, id: OutboundRequestId, answer: Result<Bytes, RequestError>) {
        if let Some(Asked { peer, reply }) = self.requests.remove(&(purpose, id)) {
            self.no_longer_asked(peer);
            let _gone = reply.send(answer);
        }
    }

    fn no_longer_asked(&mut self, peer: PeerId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.asked = entry.asked.saturating_sub(1);
        }
        self.serve_next(peer);
    }

    /// Forgets requests whose askers wait no longer. Where the protocol drops one without a word, it ends here.
    pub(super) fn sweep_requests(&mut self) {
        let gone: Vec<PeerId> =
            self.requests.extract_if(|_, asked| asked.reply.is_closed()).map(|(_, asked)| asked.peer).collect();
        for peer in gone {
            self.no_longer_asked(peer);
        }
    }

    pub(super) fn on_request(
        &mut self,
        theirs: Theirs,
        purpose: Purpose,
        body: Body,
        channel: ResponseChannel<Body>,
        now: Instant,
    ) {
        let Some(from) = peer_id::ours(&theirs) else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.is_member() {
            if peer.early.len() < EARLY {
                peer.early.push(Early::Request { purpose, body, channel });
            } else {
                meter!(self, refused_requests_busy);
            }
            return;
        }
        peer.used = now;
        let Ok(place) = self.replies.0.clone().try_reserve_owned() else {
            meter!(self, refused_requests_busy);
            return;
        };
        let ask = Ask { from, body: body.bytes, answer: Answer { place, channel, purpose }, _held: body.held };
        let taken = match purpose {
            Purpose::Membership if self.out.has_room() => {
                self.out.request(ask);
                true
            }
            Purpose::Membership => false,
            Purpose::Discovery => self.asks.try_send(ask).is_ok(),
        };
        if taken {
            meter!(self, requests_received);
        } else {
            meter!(self, refused_requests_busy);
        }
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        let Reply { channel, purpose, body } = reply;
        // The asker may be gone.
        let _gone = self.swarm.behaviour_mut().requests(purpose).send_response(channel, body.into());
    }
}
