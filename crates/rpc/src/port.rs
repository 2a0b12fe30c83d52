use std::time::Instant;

use sinew_wire::Refusal;

/// One link's part in the calls of the node: takes the frames that come over it. Owned by the task that reads the link.
///
/// Dropped, the link is gone: calls that came over it are cancelled, and those that it was to answer are tried elsewhere or end.
#[derive(Debug)]
pub struct Port(());

impl Port {
    /// Takes the body of one frame of [`sinew_wire::FrameKind::Call`]. Never waits.
    ///
    /// # Errors
    /// The peer has broken the protocol or sent beyond its credit: the link is to be closed with this.
    pub fn frame(&mut self, body: &[u8], now: Instant) -> Result<(), Refusal> {
        let _ = (body, now);
        Err(Refusal::Unavailable("this node serves no calls".to_owned()))
    }

    /// Calls that were sent over this link and that it has to answer yet.
    pub fn open(&self) -> usize {
        0
    }

    pub(crate) const fn new() -> Self {
        Self(())
    }
}
