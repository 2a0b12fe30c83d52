//! Dials: those of the bootstrap, those that something waits for, and what becomes of them.

use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId as Theirs, connection_limits};
use sinew_wire::PeerId;

use super::peer::Peer;
use super::{Task, meter};
use crate::backoff::jittered;
use crate::{address, peer_id};

/// When the better addresses of a peer behind a relay, or connected over TCP, are tried at first; the time doubles.
const STRAIGHTEN: Duration = Duration::from_secs(10);

/// How seldom it gets.
const STRAIGHTEN_SELDOM: Duration = Duration::from_secs(300);

impl Task {
    /// Dials an address of the bootstrap.
    pub(super) fn dial_address(&mut self, index: usize, at: Multiaddr, expected: Option<Theirs>, now: Instant) {
        let options = match expected {
            Some(peer) => {
                DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).addresses(vec![at.clone()]).build()
            }
            None => DialOpts::unknown_peer_id().address(at.clone()).build(),
        };
        let connection = options.connection_id();
        let known = expected.and_then(|peer| peer_id::ours(&peer));
        match self.swarm.dial(options) {
            Ok(()) => {
                meter!(self, dials);
                self.bootstrap.dialling(index, at, connection);
            }
            Err(DialError::DialPeerConditionFalse(_)) => {
                // Connected already, or on the way: the end of that is told to the bootstrap too.
                if let Some(peer) = known {
                    self.bootstrap.found(index, peer, self.peers.get(&peer).is_some_and(Peer::is_member));
                }
            }
            Err(DialError::NoAddresses) => {
                // The swarm leaves out addresses that it listens on itself.
                self.bootstrap.dialling(index, at, connection);
                self.bootstrap.failed(connection, true, String::new, now);
            }
            Err(error) => self.bootstrap.not_dialled(index, problem(&error), now),
        }
    }

    /// Makes a connection to a peer that something waits for.
    pub(super) fn reach(&mut self, peer: PeerId, now: Instant) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if !entry.connections.is_empty() || entry.dialling {
            return;
        }
        if !self.backoff.may_dial(&peer, now) {
            meter!(self, dials_held_back);
            self.give_up(peer);
            return;
        }
        // The addresses are those of the gate's book, of identify, and of the routing table.
        match self.swarm.dial(DialOpts::peer_id(entry.theirs).build()) {
            Ok(()) => {
                meter!(self, dials);
                entry.dialling = true;
                entry.since = now;
            }
            Err(DialError::DialPeerConditionFalse(_)) => {
                entry.dialling = true;
                entry.since = now;
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "no dial");
                if !matches!(error, DialError::NoAddresses) {
                    self.backoff.failed(peer, now);
                }
                self.give_up(peer);
            }
        }
    }

    pub(super) fn dial_nearby(&mut self, theirs: Theirs, now: Instant) {
        let Some(peer) = peer_id::ours(&theirs) else { return };
        if theirs != self.theirs
            && !self.swarm.is_connected(&theirs)
            && self.backoff.may_dial(&peer, now)
            && self.swarm.dial(DialOpts::peer_id(theirs).build()).is_ok()
        {
            meter!(self, dials);
        }
    }

    pub(super) fn on_dial_failed(&mut self, id: ConnectionId, theirs: Option<Theirs>, error: &DialError, now: Instant) {
        meter!(self, dials_failed);
        self.dirty = true;
        let to_ourselves = matches!(error, DialError::LocalPeerId { .. })
            || matches!(error, DialError::WrongPeerId { obtained, .. } if *obtained == self.theirs);
        self.bootstrap.failed(id, to_ourselves, || problem(error), now);
        let refused = matches!(error, DialError::Denied { cause }
            if cause.downcast_ref::<connection_limits::Exceeded>().is_some());
        if refused {
            meter!(self, refused_connections);
        }
        let Some(theirs) = theirs else { return };
        let Some(peer) = peer_id::ours(&theirs) else { return };
        if self.swarm.is_connected(&theirs) {
            return;
        }
        tracing::debug!(%peer, %error, "dial failed");
        if !refused {
            self.backoff.failed(peer, now);
            self.forget_route(&theirs);
        }
        self.bootstrap.lost(peer, Some("cannot be dialled"), now);
        self.give_up(peer);
    }

    /// Tries direct addresses of peers that are connected through a relay only (holes are punched when such a connection is
    /// made; this is for what changed since), and those over QUIC of peers that are connected over TCP only.
    pub(super) fn straighten(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if !peer.is_member() || peer.is_straight() || peer.straighten.1 > now {
                continue;
            }
            let ((times, _), direct) = (peer.straighten, peer.is_direct());
            let is_better = |one: &Multiaddr| !address::is_relayed(one) && (!direct || address::is_quic(one));
            peer.straighten = (times.saturating_add(1), now + jittered(STRAIGHTEN, times, STRAIGHTEN_SELDOM));
            let known = self.shared.book.lock().get(&peer.id).to_vec();
            let better: Vec<Multiaddr> = known.into_iter().filter(is_better).collect();
            if times > 0 && !better.is_empty() {
                let options = DialOpts::peer_id(peer.theirs).condition(PeerCondition::NotDialing).addresses(better);
                if self.swarm.dial(options.build()).is_ok() {
                    meter!(self, dials);
                }
            }
        }
    }
}

/// In one line, and bounded.
fn problem(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => match errors.first() {
            Some((_, error)) => short(&error.to_string()),
            None => "no transport".into(),
        },
        other => short(&other.to_string()),
    }
}

fn short(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}
