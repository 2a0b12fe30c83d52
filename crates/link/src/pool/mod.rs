//! Books of links that are made on demand: how many there may be, which one goes first, who may be dialled when.
//!
//! [`Table`] is pure: it opens and closes nothing, time comes in as an argument, and its chance is seeded. Its owner
//! does what the answers say.

mod backoff;
mod table;

use std::fmt;
use std::time::Duration;

pub use self::table::{Admitted, Dial, LinkId, PoolFull, State, Table};

/// Bounds of a [`Table`]. The defaults are those of the contract.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Most links, those that are being dialled included. Default 1,000.
    pub max: usize,
    /// A link without traffic for so long is closed. Default 300 s.
    pub idle: Duration,
    /// How often [`Table::sweep`] looks for such links. Default 60 s.
    pub sweep: Duration,
    /// Pause after the first failed dial; it doubles with each further one. Default 250 ms.
    pub backoff_min: Duration,
    /// Longest pause between dials. Default 30 s.
    pub backoff_max: Duration,
    /// A link that broke, or that the peer closed, before it was so old counts as a dial that failed, so that a flapping path is not dialled
    /// without end. Default 5 s.
    pub stable: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max: 1_000,
            idle: Duration::from_secs(300),
            sweep: Duration::from_secs(60),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            stable: Duration::from_secs(5),
        }
    }
}

/// Why a link of the pool was closed: the `reason` of `sinew_pool_closed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// No traffic for the idle limit.
    Idle,
    /// The least recently used, to make room for another.
    Evicted,
    /// Another link to the same peer took its place: a better path, or the peer came back.
    Replaced,
    /// The peer said goodbye.
    Peer,
    /// The peer is no longer a member.
    Gone,
    /// The link broke, or its peer fell silent.
    Lost,
    /// The peer broke the protocol or a limit.
    Refused,
    /// This side is shutting down.
    Draining,
}

impl Closed {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 8] =
        [Self::Idle, Self::Evicted, Self::Replaced, Self::Peer, Self::Gone, Self::Lost, Self::Refused, Self::Draining];

    /// The label in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Peer => "peer",
            Self::Gone => "gone",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Draining => "draining",
        }
    }

    /// Whether the path or the peer is to blame, so that dialling again at once would be of little use. A peer that hangs up
    /// at once would otherwise be dialled at once, for ever.
    const fn is_failure(self) -> bool {
        matches!(self, Self::Lost | Self::Refused | Self::Peer)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Links that came up, dialled or accepted.
    pub opened: u64,
    /// Dials that failed.
    pub failed: u64,
    /// Links refused because all others were busy.
    pub full: u64,
    closed: [u64; Closed::ALL.len()],
}

impl Counters {
    /// Links closed for this reason.
    pub const fn closed(&self, reason: Closed) -> u64 {
        self.closed[reason as usize]
    }

    /// Links closed for any reason.
    pub fn closed_sum(&self) -> u64 {
        self.closed.iter().sum()
    }
}
