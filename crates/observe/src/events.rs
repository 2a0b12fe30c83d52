//! What a node routes, event by event, while somebody in the realm watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use sinew_live::{Ring, Taken};
use sinew_wire::PeerId;
use sinew_wire::live::{Kind, Outcome};

/// Events that may wait to be taken: of two looks, those in between.
const CAPACITY: usize = 16_384;

/// Where services report what they route, and the live view takes it from. Cloning it shares the events.
///
/// While nobody watches, a report is one relaxed load. Otherwise it goes into a ring of 16,384 events, which gives up the oldest
/// when it is full, and counts it.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: AtomicBool,
    ring: Mutex<Ring<Recorded>>,
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

impl Events {
    /// Events that the ring holds.
    pub const CAPACITY: usize = CAPACITY;

    /// Whether somebody watches. Costs a relaxed load.
    pub fn wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// Somebody watches from now on, or nobody does.
    pub fn want(&self, wanted: bool) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Reports an event, if anybody watches. Never waits for more than others that do the same.
    pub fn emit(&self, event: impl FnOnce() -> RoutingEvent) {
        if !self.wanted() {
            return;
        }
        let recorded = Recorded { at_ms: wall_clock_ms(), event: event() };
        self.0.ring.lock().push(recorded);
    }

    /// Takes what has been reported since it was last taken, less what the ring has given up.
    pub fn take(&self) -> Taken<Recorded> {
        self.0.ring.lock().take()
    }

    /// How many there have been since the node started.
    pub fn emitted(&self) -> u64 {
        self.0.ring.lock().emitted()
    }

    /// How many of them the ring has given up.
    pub fn dropped(&self) -> u64 {
        self.0.ring.lock().dropped()
    }

    /// How many wait to be taken.
    pub fn depth(&self) -> u64 {
        self.0.ring.lock().len() as u64
    }
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Inner { wanted: AtomicBool::new(false), ring: Mutex::new(Ring::new(CAPACITY)) }))
    }
}

/// Now, in milliseconds since 1970, by the clock of the host. To be shown and signed; no duration is computed with it.
pub fn wall_clock_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u32) -> RoutingEvent {
        RoutingEvent {
            kind: Kind::Publish,
            name: "a".into(),
            provider: None,
            messages: n,
            nodes: 0,
            outcome: Outcome::Ok,
            latency: None,
        }
    }

    #[test]
    fn while_nobody_watches_nothing_is_made() {
        let events = Events::default();
        events.emit(|| panic!("nobody wants it"));
        assert!(events.take().items.is_empty());
        assert_eq!((events.emitted(), events.dropped(), events.depth()), (0, 0, 0));
    }

    #[test]
    fn a_full_ring_gives_up_the_oldest_and_counts_exactly() {
        let events = Events::default();
        events.want(true);
        let more = 100;
        for n in 0..CAPACITY + more {
            events.emit(|| event(n as u32));
        }
        assert_eq!(events.depth(), CAPACITY as u64);
        events.want(false);
        events.emit(|| event(0));
        let taken = events.take();
        assert_eq!((taken.emitted, taken.dropped), ((CAPACITY + more) as u64, more as u64));
        let numbered: Vec<_> = taken.numbered().map(|(seq, recorded)| (seq, recorded.event.messages)).collect();
        let expected: Vec<_> = (more..CAPACITY + more).map(|n| (n as u64, n as u32)).collect();
        assert_eq!(numbered, expected);
        assert_eq!((events.emitted(), events.dropped()), ((CAPACITY + more) as u64, more as u64));
        assert_eq!(events.depth(), 0);
    }
}
