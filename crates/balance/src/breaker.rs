use std::time::{Duration, Instant};

use crate::{BreakerConfig, BreakerState};

/// What a breaker takes an ended call for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
    NetworkFailure,
    Timeout,
    /// The instance is there, and has not done it.
    Declined,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { passed: u32, probing: bool },
}

/// Keeps calls from an instance that fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Breaker {
    pub(crate) state: State,
    failures: u32,
    network: u32,
    timeouts: u32,
    /// How often it has opened since it was closed.
    opened: u32,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self { state: State::Closed, failures: 0, network: 0, timeouts: 0, opened: 0 }
    }

    /// Its time is over: probes may pass.
    pub(crate) const fn half_open(&mut self) {
        self.state = State::HalfOpen { passed: 0, probing: false };
    }

    /// A probe is under way.
    pub(crate) const fn probe(&mut self) {
        if let State::HalfOpen { probing, .. } = &mut self.state {
            *probing = true;
        }
    }

    /// Takes an ended call in.
    pub(crate) fn ended(&mut self, verdict: Verdict, was_probe: bool, config: &BreakerConfig, now: Instant) {
        match self.state {
            State::Closed => self.ended_closed(verdict, config, now),
            State::HalfOpen { passed, .. } if was_probe => self.ended_probe(verdict, passed, config, now),
            // It was sent before the breaker opened, and says what is known already.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn ended_closed(&mut self, verdict: Verdict, config: &BreakerConfig, now: Instant) {
        match verdict {
            Verdict::Nothing | Verdict::Declined => return,
            Verdict::Success => {
                *self = Self::new();
                return;
            }
            Verdict::Failure => {}
            Verdict::NetworkFailure => self.network = self.network.saturating_add(1),
            Verdict::Timeout => self.timeouts = self.timeouts.saturating_add(1),
        }
        self.failures = self.failures.saturating_add(1);
        let reached = |count: u32, allowed: u32| count >= allowed.max(1);
        if reached(self.failures, config.failures)
            || reached(self.network, config.network_failures)
            || reached(self.timeouts, config.timeouts)
        {
            self.open(config, now);
        }
    }

    fn ended_probe(&mut self, verdict: Verdict, passed: u32, config: &BreakerConfig, now: Instant) {
        match verdict {
            Verdict::Nothing => self.state = State::HalfOpen { passed, probing: false },
            Verdict::Success | Verdict::Declined if passed + 1 >= config.probes.max(1) => *self = Self::new(),
            Verdict::Success | Verdict::Declined => {
                self.state = State::HalfOpen { passed: passed + 1, probing: false };
            }
            Verdict::Failure | Verdict::NetworkFailure | Verdict::Timeout => self.open(config, now),
        }
    }

    fn open(&mut self, config: &BreakerConfig, now: Instant) {
        let factor = 1_u32.checked_shl(self.opened).unwrap_or(u32::MAX);
        let wait = config.open.saturating_mul(factor).min(config.max_open);
        // A time that can't be told is as good as never.
        let until = now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(3_600));
        let opened = self.opened.saturating_add(1);
        *self = Self { state: State::Open { until }, opened, ..Self::new() };
    }

    pub(crate) fn view(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open { left: until.saturating_duration_since(now) },
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may be sent now, as a probe or not.
    pub(crate) fn lets(&self, now: Instant) -> Option<Lets> {
        match self.state {
            State::Closed => Some(Lets::Call),
            State::Open { until } => (until <= now).then_some(Lets::Probe),
            State::HalfOpen { probing, .. } => (!probing).then_some(Lets::Probe),
        }
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lets {
    Call,
    Probe,
}
