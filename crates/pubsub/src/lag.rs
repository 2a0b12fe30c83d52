use std::time::Instant;

/// What one subscriber did not get.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// Of this it was not told yet.
    untold: u64,
    total: u64,
    last: Option<Instant>,
}

impl Lag {
    pub(crate) fn add(&mut self, messages: u64) {
        if messages > 0 {
            self.untold = self.untold.saturating_add(messages);
            self.total = self.total.saturating_add(messages);
            self.last = Some(Instant::now());
        }
    }

    /// Whether there is something to tell.
    pub(crate) const fn is_untold(&self) -> bool {
        self.untold > 0
    }

    /// What is to be told now, and is told with this.
    pub(crate) fn tell(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// All of it, since the subscription began.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// When it missed something last.
    pub(crate) const fn last(&self) -> Option<Instant> {
        self.last
    }
}
