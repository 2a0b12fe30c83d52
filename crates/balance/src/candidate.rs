use std::time::Duration;

use sinew_wire::call::Strategy;
use sinew_wire::{PeerId, ProviderHealth};

/// Which instance: its node, and its number there, which the node never uses twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId {
    /// The node at which it provides.
    pub node: PeerId,
    /// Its number there.
    pub id: u64,
}

/// An instance that could be chosen, as discovery knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub id: InstanceId,
    /// It is on the calling node.
    pub local: bool,
    /// How it is, by its own word.
    pub health: ProviderHealth,
    /// Calls it takes at once; 0 for [`BalanceConfig::default_concurrency`](crate::BalanceConfig::default_concurrency).
    pub concurrency: u32,
}

impl Candidate {
    /// A remote one that is well and states no concurrency.
    pub const fn new(id: InstanceId) -> Self {
        Self { id, local: false, health: ProviderHealth::Good, concurrency: 0 }
    }
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice<'a> {
    /// By what. One call of [`Strategy::All`] takes [`Balancer::choose_all`](crate::Balancer::choose_all); here it
    /// counts as [`Strategy::Balanced`].
    pub strategy: Strategy,
    /// With [`Strategy::Sticky`]: equal keys go to the same instance while it is there.
    pub key: &'a [u8],
}

/// An instance that was chosen. To be handed to [`Balancer::started`](crate::Balancer::started), and to
/// [`Balancer::finished`](crate::Balancer::finished) once for each time it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Which one.
    pub id: InstanceId,
    /// It has failed before, and this call shows whether it is back: the only one that it gets meanwhile.
    pub probe: bool,
    pub(crate) slot: u32,
    /// Tells it from others that had the slot before or after it.
    pub(crate) serial: u64,
}

/// How a call ended, as far as it says something about who was to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; an error of the application is an answer too.
    Success {
        /// From the dispatch to the answer.
        latency: Duration,
        /// Calls that the instance had at hand and in its queue, this one included, by its own count.
        load: u32,
        /// How it is, by its own word.
        health: ProviderHealth,
    },
    /// It failed at the call.
    Failure,
    /// The way to it was lost, or there was none.
    NetworkFailure,
    /// It didn't answer before the deadline.
    Timeout,
    /// It has more to do than it may take. Does not count as a failure: others are preferred for the time named.
    Overloaded {
        /// When to try again, by its own word; bounded by [`MAX_REST`](crate::Balancer::MAX_REST).
        retry_after: Duration,
    },
    /// It says nothing: the caller lost interest, or another one was quicker.
    NotCounted,
}

/// What the breaker of an instance lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls.
    Closed,
    /// Nothing, for so long.
    Open {
        /// Until the first probe.
        left: Duration,
    },
    /// One probe at a time.
    HalfOpen,
}

impl BreakerState {
    /// The name used in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What is known of an instance, for listings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceView {
    /// Which one.
    pub id: InstanceId,
    /// It is on this node.
    pub local: bool,
    /// How it is, by its own word.
    pub health: ProviderHealth,
    /// What its breaker lets through.
    pub breaker: BreakerState,
    /// Smoothed latency; `None` before the first answer.
    pub latency: Option<Duration>,
    /// Calls of this node that it has at hand.
    pub in_flight: u32,
    /// Calls of others that it had at hand when it answered last.
    pub foreign: u32,
    /// Calls that were started there.
    pub started: u64,
    /// Those of them that failed, ran out of time, or were lost.
    pub failed: u64,
}
