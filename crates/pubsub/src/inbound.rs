use std::sync::Arc;
use std::time::Instant;

use sinew_wire::forward::ForwardHeader;
use sinew_wire::{MeshControl, Refusal};
use tokio::sync::Notify;

use crate::hub::PubSub;
use crate::remote::Remote;

/// The receiving half of what another node sends: takes its frames, one for the time that node runs (its epoch).
///
/// The reader of the link owns it while the link lasts, and hands it to the next one: its count goes on, and so does
/// what is parked in it. A node that starts anew gets a new one.
#[derive(Debug)]
pub struct Inbound {
    hub: PubSub,
    remote: Arc<Remote>,
    received: u64,
    woken: Arc<Notify>,
}

impl Inbound {
    pub(crate) fn new(hub: PubSub, remote: Arc<Remote>) -> Self {
        Self { hub, remote, received: 0, woken: Arc::default() }
    }

    /// The node it takes frames of.
    pub const fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Counted frames taken since the node started: what the handshake of a link tells it. To be read only when no
    /// other link feeds this any more.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Entry bytes that the node may have on their way: what the handshake of a link tells it.
    pub fn window(&self) -> u64 {
        self.hub.forwarding().window
    }

    /// Takes the body of a forward frame, split by [`ForwardHeader::decode`], and delivers it to local subscriptions.
    ///
    /// Never waits. An error is the peer's fault and ends the link; the frame counts as taken even so, or it would
    /// come again on the next one.
    pub fn forward(&mut self, _header: ForwardHeader<'_>, _entries: &[u8], _now: Instant) -> Result<(), Refusal> {
        self.received += 1;
        Ok(())
    }

    /// Takes a mesh frame: everything but the two of the handshake, which are refused here.
    pub fn control(&mut self, _control: MeshControl, _now: Instant) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether something is parked, and [`Inbound::woken`] is worth waiting for.
    pub fn is_parked(&self) -> bool {
        false
    }

    /// Notified when what is parked may go on.
    pub fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    /// When to call [`Inbound::advance`] even if nobody woke it: for what is parked, for open acknowledgements, for the
    /// [`MeshControl::ForwardAck`] that is due.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Goes on with what was parked, gives up what has waited too long, settles what is past its deadline, and has the
    /// node told what was taken.
    pub fn advance(&mut self, _now: Instant) {}
}
