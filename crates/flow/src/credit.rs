/// The peer returned more credit than was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{granted} bytes of credit returned, only {outstanding} were outstanding")]
pub struct Overgranted {
    /// What it returned.
    pub granted: u64,
    /// What it could have returned.
    pub outstanding: u64,
}

/// The peer sent more than its credit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{outstanding} bytes sent without credit returned, at most {allowed} are allowed")]
pub struct Overrun {
    /// What would be outstanding.
    pub outstanding: u64,
    /// What may be.
    pub allowed: u64,
}

/// Sender's half of a credit window, in bytes.
///
/// It may send while [`SendWindow::available`] is above zero. The last message sent may overdraw the window, so that
/// one larger than the window can pass; by that one message, and no more, the window is exceeded.
#[derive(Debug, Clone, Copy)]
pub struct SendWindow {
    size: u64,
    /// Sent, and credit not yet returned.
    outstanding: u64,
}

impl SendWindow {
    /// A window of so many bytes, all of them available. One of size 0 never lets anything pass.
    pub const fn new(size: u64) -> Self {
        Self { size, outstanding: 0 }
    }

    /// Bytes that may be sent now; 0 when nothing may be.
    pub const fn available(&self) -> u64 {
        self.size.saturating_sub(self.outstanding)
    }

    /// Bytes sent for which credit has not returned.
    pub const fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Notes that so many bytes were sent.
    pub const fn spend(&mut self, bytes: usize) {
        self.outstanding = self.outstanding.saturating_add(bytes as u64);
    }

    /// Takes returned credit. Returning more than is outstanding is the peer's error and changes nothing.
    pub const fn grant(&mut self, bytes: u64) -> Result<(), Overgranted> {
        let Some(left) = self.outstanding.checked_sub(bytes) else {
            return Err(Overgranted { granted: bytes, outstanding: self.outstanding });
        };
        self.outstanding = left;
        Ok(())
    }
}

/// Receiver's half of a credit window: collects what was consumed and says when it is worth telling the sender.
#[derive(Debug, Clone, Copy)]
pub struct ReceiveWindow {
    size: u64,
    /// How far the sender may overdraw.
    max_message: u64,
    /// Received, and credit not yet returned.
    outstanding: u64,
    /// The part of `outstanding` that was consumed.
    consumed: u64,
}

impl ReceiveWindow {
    /// A window of `size` bytes, which a message of at most `max_message` bytes may overdraw.
    pub const fn new(size: u64, max_message: u64) -> Self {
        Self { size, max_message, outstanding: 0, consumed: 0 }
    }

    /// Notes that so many bytes arrived. Fails, and notes nothing, when the sender had no credit for them.
    pub const fn receive(&mut self, bytes: u64) -> Result<(), Overrun> {
        let outstanding = self.outstanding.saturating_add(bytes);
        let allowed = self.size.saturating_add(self.max_message);
        if outstanding > allowed {
            return Err(Overrun { outstanding, allowed });
        }
        self.outstanding = outstanding;
        Ok(())
    }

    /// Notes that so many of the received bytes were consumed; more than were received count as all of them. Returns
    /// the credit to send back as soon as half a window has come together.
    pub const fn consume(&mut self, bytes: u64) -> Option<u64> {
        let consumed = self.consumed.saturating_add(bytes);
        self.consumed = if consumed < self.outstanding { consumed } else { self.outstanding };
        if self.consumed >= self.size / 2 { self.flush() } else { None }
    }

    /// The credit to send back now, however little; `None` when there is none.
    pub const fn flush(&mut self) -> Option<u64> {
        let grant = self.consumed;
        if grant == 0 {
            return None;
        }
        // Never below zero: `consumed` is a part of `outstanding`.
        self.outstanding -= grant;
        self.consumed = 0;
        Some(grant)
    }

    /// Bytes received for which credit has not been returned.
    pub const fn outstanding(&self) -> u64 {
        self.outstanding
    }
}
