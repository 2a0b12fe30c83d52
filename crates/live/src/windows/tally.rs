use sinew_wire::live::{Event, Kind};

/// Seconds of the windows that are summed as they slide.
pub(crate) const TEN: usize = 10;
pub(crate) const SIXTY: usize = 60;

/// What is counted of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) messages: u64,
    pub(crate) failed: bool,
    pub(crate) kind: Kind,
    pub(crate) latency_us: Option<u32>,
}

impl From<&Event> for Hit {
    fn from(event: &Event) -> Self {
        let Event { kind, messages, outcome, latency_us, .. } = *event;
        Self { messages: messages.into(), failed: !outcome.is_ok(), kind, latency_us }
    }
}

/// Exact counts. An event adds at most 2^32 to each, so that they do not overflow before there were 2^32 events in the time
/// that one sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, hit: &Hit) {
        self.events += 1;
        self.messages += hit.messages;
        self.calls += u64::from(hit.kind == Kind::Call);
        self.failed += u64::from(hit.failed);
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.messages += other.messages;
        self.calls += other.calls;
        self.failed += other.failed;
    }

    /// Takes away what was added before.
    pub(crate) const fn subtract(&mut self, other: &Self) {
        self.events -= other.events;
        self.messages -= other.messages;
        self.calls -= other.calls;
        self.failed -= other.failed;
    }
}

/// Counts of the last ten and sixty seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) ten: Tally,
    pub(crate) sixty: Tally,
}

/// The least and the greatest of some values. Empty: the least is above the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) least: u32,
    pub(crate) most: u32,
}

impl Default for Span {
    fn default() -> Self {
        Self { least: u32::MAX, most: 0 }
    }
}

impl Span {
    pub(crate) fn cover(&mut self, value: u32) {
        self.join(&Self { least: value, most: value });
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }
}
