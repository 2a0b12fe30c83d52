use std::sync::Arc;
use std::time::Instant;

use sinew_flow::Overgranted;
use sinew_wire::{Features, PeerId};

use crate::outbox::Outbox;

/// Another node of the realm: what is queued for it and on its way to it.
///
/// It outlives the links to that node. What goes over them beside the handshake, keep-alives and goodbyes is *counted*:
/// runs, their results, holds and releases, and what was missed ([`crate::Inbound::received`] has the other end). What
/// was written and not acknowledged is kept, in memory bounded by the peer's window, and written again on the next
/// link, so that a change of link neither loses nor repeats anything.
#[derive(Debug)]
pub struct Remote {
    node: PeerId,
}

/// How things stand with one other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteStats {
    /// Whether there is a link.
    pub up: bool,
    /// Patterns it is interested in.
    pub patterns: usize,
    /// Messages queued.
    pub queued_messages: usize,
    /// Entry bytes queued.
    pub queued_bytes: usize,
    /// Messages that may be queued.
    pub max_messages: usize,
    /// Entry bytes that may be queued, unless memory is short.
    pub max_bytes: usize,
    /// Frames written and not acknowledged.
    pub in_flight_frames: usize,
    /// Entry bytes written and not acknowledged.
    pub in_flight_bytes: u64,
    /// Messages written to it since it is known.
    pub forwarded: u64,
    /// Messages for it that were dropped before they were written, or lost with it.
    pub dropped: u64,
    /// Publishers it holds back.
    pub held: usize,
    /// Messages that it dropped for us without being able to say of which topic.
    pub unattributed: u64,
}

impl Remote {
    /// Which node it is.
    pub const fn node(&self) -> PeerId {
        self.node
    }

    /// A link to the node is open, and both sides have told each other what they received: from here on the counted frames
    /// go over this link and no other. `received` and `window` are what the node said of itself.
    ///
    /// Returns the outbox of this link, which its writer empties as that of a client; the mesh puts keep-alives and the
    /// goodbye into it. The outbox of an earlier link gives nothing more.
    ///
    /// A `received` that can't be (less than was acknowledged, or more than was ever written) means that the node has
    /// started anew: what was in flight is then lost, counted as [`sinew_observe::DropReason::NodeGone`], and unknown to
    /// those who wait for a confirmation.
    pub fn link_up(self: &Arc<Self>, _received: u64, _window: u64, features: Features) -> Arc<Outbox> {
        Outbox::new(features)
    }

    /// The link with this outbox is gone. Runs go on queueing, within their bounds. Does nothing if another link has
    /// taken its place.
    pub fn link_down(&self, _outbox: &Arc<Outbox>) {}

    /// The outbox of the link that is up.
    pub fn outbox(&self) -> Option<Arc<Outbox>> {
        None
    }

    /// Waits until something is to be sent and no link is up: time to dial. Cancel safe; for one waiter.
    pub async fn has_work(&self) {
        std::future::pending().await
    }

    /// Whether anything is queued, or in flight without a link that could say what became of it.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// The node took so many counted frames, as its `ForwardAck` says. An error means that there were not as many.
    ///
    /// [`crate::Inbound::control`] does it by itself.
    pub fn acknowledged(&self, _received: u64, _now: Instant) -> Result<(), Overgranted> {
        Ok(())
    }

    /// How things stand.
    pub fn stats(&self) -> RemoteStats {
        RemoteStats::default()
    }

    pub(crate) const fn new(node: PeerId) -> Self {
        Self { node }
    }
}
