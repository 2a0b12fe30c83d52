use std::collections::VecDeque;

use sinew_flow::{Batch, Overgranted};
use sinew_wire::MeshControl;

use crate::recipients::Forwarded;

/// Bytes that a run in flight charges to the window beside its entries, so that many small ones are bounded too.
const RUN_OVERHEAD: u64 = 128;

/// A counted frame that was written, and may have to be written again.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A run, with the token by which its result comes back, 0 for none.
    Run(Forwarded, u64),
    Control(MeshControl),
}

impl Sent {
    fn charge(&self) -> u64 {
        match self {
            Self::Run(item, _) => item.bytes() as u64 + RUN_OVERHEAD,
            Self::Control(_) => 0,
        }
    }
}

/// Counted frames from the first one that the other node has not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    frames: VecDeque<Sent>,
    /// Frames acknowledged before them.
    acknowledged: u64,
    /// Index of the first one that was not written on the link that is up.
    next: usize,
    bytes: u64,
    controls: usize,
}

impl InFlight {
    /// A frame that is to be written now.
    pub(crate) fn push(&mut self, sent: Sent) {
        self.bytes += sent.charge();
        self.controls += usize::from(matches!(sent, Sent::Control(_)));
        self.frames.push_back(sent);
    }

    /// The next frame to write, which counts as written.
    pub(crate) fn write_next(&mut self) -> Option<&Sent> {
        let sent = self.frames.get(self.next)?;
        self.next += 1;
        Some(sent)
    }

    /// Whether all of them were written on the link that is up.
    pub(crate) fn all_written(&self) -> bool {
        self.next == self.frames.len()
    }

    /// On a new link, what is left has to be written again.
    pub(crate) const fn rewind(&mut self) {
        self.next = 0;
    }

    /// The other node has taken so many frames in all. Fewer than it had said before is old news, more than there were
    /// is an error and changes nothing.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(), Overgranted> {
        let Some(granted) = received.checked_sub(self.acknowledged) else { return Ok(()) };
        let outstanding = self.frames.len() as u64;
        if granted > outstanding {
            return Err(Overgranted { granted, outstanding });
        }
        for sent in self.frames.drain(..granted as usize) {
            self.bytes -= sent.charge();
            self.controls -= usize::from(matches!(sent, Sent::Control(_)));
        }
        self.acknowledged = received;
        self.next = self.next.saturating_sub(granted as usize);
        if self.frames.is_empty() {
            self.frames.shrink_to(128);
        }
        Ok(())
    }

    /// Whether a node that is still the same can have taken so many frames.
    pub(crate) fn can_have_received(&self, received: u64) -> bool {
        received.checked_sub(self.acknowledged).is_some_and(|granted| granted <= self.frames.len() as u64)
    }

    /// Begins anew at this count; gives back what was in flight.
    pub(crate) fn reset(&mut self, received: u64) -> VecDeque<Sent> {
        std::mem::replace(self, Self { acknowledged: received, ..Self::default() }).frames
    }

    /// Frames in flight.
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Those of them that are not runs.
    pub(crate) const fn controls(&self) -> usize {
        self.controls
    }

    /// What they charge to the window.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes allocated for its own table.
    pub(crate) fn memory(&self) -> usize {
        self.frames.capacity() * size_of::<Sent>()
    }
}
