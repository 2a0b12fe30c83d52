//! What a node routes, event by event, while somebody in the realm watches.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinew_wire::PeerId;
use sinew_wire::live::{Kind, Outcome};

use crate::{Outlet, Reported};

/// Where services report what they route, and the live view takes it from. Wanted while somebody watches.
pub type Events = Outlet<Recorded>;

impl Reported for Recorded {
    /// Of two looks, those in between.
    const CAPACITY: usize = 16_384;
}

/// A run that a client of this node has published, or a call of one that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingEvent {
    /// Which of the two.
    pub kind: Kind,
    /// The topic or the procedure.
    pub name: Arc<str>,
    /// The node that answered the call.
    pub provider: Option<PeerId>,
    /// Messages of the run; 1 for a call.
    pub messages: u32,
    /// Other nodes that it went to.
    pub nodes: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// From request to result, for those who wait for one.
    pub latency: Option<Duration>,
}

/// An event as it stands in the ring, which numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub event: RoutingEvent,
}

/// It happens now.
impl From<RoutingEvent> for Recorded {
    fn from(event: RoutingEvent) -> Self {
        Self { at_ms: wall_clock_ms(), event }
    }
}

/// Now, in milliseconds since 1970, by the clock of the host. To be shown and signed; no duration is computed with it.
pub fn wall_clock_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
