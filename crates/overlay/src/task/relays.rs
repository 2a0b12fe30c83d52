//! Relays of the realm that keep an address for this node.

use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use sinew_wire::PeerId;

use crate::backoff::jittered;

/// Relays that are asked without being configured.
const AUTOMATIC: usize = 2;

/// Wait after the first failure; it doubles.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait.
const LONGEST: Duration = Duration::from_secs(30);

struct Relay {
    peer: PeerId,
    /// `<relay>/p2p/ID/p2p-circuit`, if it is configured.
    configured: Option<Multiaddr>,
    listener: Option<ListenerId>,
    granted: bool,
    failures: u32,
    next: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct Relays {
    relays: Vec<Relay>,
}

impl Relays {
    pub(super) fn configure(&mut self, peer: PeerId, circuit: Multiaddr, now: Instant) {
        let configured = Some(circuit);
        self.relays.push(Relay { peer, configured, listener: None, granted: false, failures: 0, next: now });
    }

    /// A peer that relays is connected directly, and an address is wanted.
    pub(super) fn offer(&mut self, peer: PeerId, now: Instant) {
        let automatic = self.relays.iter().filter(|relay| relay.configured.is_none()).count();
        if automatic < AUTOMATIC && !self.relays.iter().any(|relay| relay.peer == peer) {
            self.relays.push(Relay { peer, configured: None, listener: None, granted: false, failures: 0, next: now });
        }
    }

    /// Reservations that are to be asked for now: with whom, and at which address if that is configured.
    pub(super) fn due(&self, now: Instant) -> Vec<(PeerId, Option<Multiaddr>)> {
        let due = self.relays.iter().filter(|relay| relay.listener.is_none() && relay.next <= now);
        due.map(|relay| (relay.peer, relay.configured.clone())).collect()
    }

    pub(super) fn asked(&mut self, peer: PeerId, listener: ListenerId) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.peer == peer && relay.listener.is_none()) {
            relay.listener = Some(listener);
        }
    }

    pub(super) fn refused(&mut self, peer: PeerId, now: Instant) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.peer == peer && relay.listener.is_none()) {
            relay.failures = relay.failures.saturating_add(1);
            relay.next = now + jittered(FIRST, relay.failures, LONGEST);
        }
    }

    pub(super) fn granted(&mut self, peer: PeerId) {
        for relay in self.relays.iter_mut().filter(|relay| relay.peer == peer && relay.listener.is_some()) {
            relay.granted = true;
            relay.failures = 0;
        }
    }

    /// Whether the listener was one of ours. A relay that was not configured is forgotten; another, or the same, is offered
    /// again.
    pub(super) fn closed(&mut self, listener: ListenerId, now: Instant) -> bool {
        let Some(index) = self.relays.iter().position(|relay| relay.listener == Some(listener)) else { return false };
        let relay = &mut self.relays[index];
        relay.listener = None;
        relay.granted = false;
        relay.failures = relay.failures.saturating_add(1);
        relay.next = now + jittered(FIRST, relay.failures, LONGEST);
        true
    }

    /// Forgets relays that are not configured and not connected any more, and, if none is `wanted`, all that are not
    /// configured. Returns the listeners to close.
    pub(super) fn prune(&mut self, wanted: bool, is_connected: impl Fn(PeerId) -> bool) -> Vec<ListenerId> {
        let mut close = Vec::new();
        self.relays.retain(|relay| {
            let stays =
                relay.configured.is_some() || (wanted && (relay.listener.is_some() || is_connected(relay.peer)));
            if !stays {
                close.extend(relay.listener);
            }
            stays
        });
        close
    }

    /// Whether our reservation hangs on the connection to this peer.
    pub(super) fn uses(&self, peer: PeerId) -> bool {
        self.relays.iter().any(|relay| relay.peer == peer && relay.listener.is_some())
    }

    pub(super) fn all_granted(&self) -> Vec<PeerId> {
        self.relays.iter().filter(|relay| relay.granted).map(|relay| relay.peer).collect()
    }
}
