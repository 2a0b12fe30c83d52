use std::cmp::Ordering;
use std::time::{Duration, Instant};

use sinew_wire::ProviderHealth;

use crate::breaker::{Breaker, Verdict};
use crate::latency::Latency;
use crate::pool::Place;
use crate::{BalanceConfig, Candidate, InstanceView, Outcome, Pick};

/// A newcomer's share never is less than this part of a full one.
const LEAST_SHARE: f32 = 0.02;

/// An instance that says it is overloaded costs so many times as much, until it has rested.
const RESTING: f32 = 16.0;

/// How often a report of the load of others loses half its weight.
const REPORT_HALVES: Duration = Duration::from_secs(1);

/// One instance, as this node knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) candidate: Candidate,
    /// How it is by its last word; `candidate` has what discovery says.
    pub(crate) health: ProviderHealth,
    pub(crate) serial: u64,
    /// When it came, if it came later than others.
    since: Option<Instant>,
    pub(crate) breaker: Breaker,
    pub(crate) latency: Latency,
    pub(crate) in_flight: u32,
    /// Calls of others that it had when it answered last, and when that was.
    foreign: u32,
    reported: Instant,
    rests_until: Option<Instant>,
    /// Number of the last call that was started here, among those of the procedure.
    turn: u64,
    started: u64,
    failed: u64,
    pub(crate) place: Place,
}

/// What an instance costs now. Latencies that are alike count as equal, so that this is more than a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// On the logarithmic scale.
    pub(crate) latency: f32,
    /// By what the calls at hand multiply it, on the same scale.
    load: f32,
    /// A call would be executed at once.
    pub(crate) room: bool,
    turn: u64,
}

impl Cost {
    /// Which of two is to be preferred: `Less` for `self`. Of equals, the one that had no call for longer.
    pub(crate) fn compare(&self, other: &Self, alike: f32) -> Ordering {
        let apart = self.latency - other.latency;
        if apart.abs() < alike {
            return self.load.total_cmp(&other.load).then(self.turn.cmp(&other.turn));
        }
        // While the quicker one has room, nothing is gained by the slower one, however little it has to do.
        let quicker_has_room = if apart < 0.0 { self.room } else { other.room };
        if quicker_has_room { apart.total_cmp(&0.0) } else { (apart + self.load).total_cmp(&other.load) }
    }
}

impl Member {
    pub(crate) const fn new(candidate: Candidate, serial: u64, since: Option<Instant>, now: Instant) -> Self {
        Self {
            candidate,
            health: candidate.health,
            serial,
            since,
            breaker: Breaker::new(),
            latency: Latency::new(now),
            in_flight: 0,
            foreign: 0,
            reported: now,
            rests_until: None,
            turn: 0,
            started: 0,
            failed: 0,
            place: Place::Nowhere,
        }
    }

    /// Takes over what discovery says now. Its own word counts until discovery says something new.
    pub(crate) fn update(&mut self, candidate: Candidate) {
        if candidate.health != self.candidate.health {
            self.health = candidate.health;
        }
        self.candidate = candidate;
    }

    pub(crate) const fn start(&mut self, turn: u64, probe: bool) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.started = self.started.saturating_add(1);
        self.turn = turn;
        if probe {
            self.breaker.probe();
        }
    }

    /// Takes an ended call in.
    pub(crate) fn finish(&mut self, outcome: Outcome, probe: bool, typical: f32, config: &BalanceConfig, now: Instant) {
        let verdict = match outcome {
            Outcome::Success { latency, load, health } => {
                self.latency.observe(latency, typical, config, now);
                self.foreign = load.saturating_sub(self.in_flight);
                self.reported = now;
                self.rests_until = None;
                self.health = health;
                Verdict::Success
            }
            Outcome::Overloaded { retry_after } => {
                self.rests_until = now.checked_add(retry_after.min(crate::Balancer::MAX_REST));
                Verdict::Declined
            }
            Outcome::Failure => Verdict::Failure,
            Outcome::NetworkFailure => Verdict::NetworkFailure,
            Outcome::Timeout => Verdict::Timeout,
            Outcome::NotCounted => Verdict::Nothing,
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        if matches!(verdict, Verdict::Failure | Verdict::NetworkFailure | Verdict::Timeout) {
            self.failed = self.failed.saturating_add(1);
        }
        self.breaker.ended(verdict, probe, &config.breaker, now);
    }

    /// Calls it is thought to have at hand.
    fn load(&self, now: Instant) -> u32 {
        if self.foreign == 0 {
            return self.in_flight;
        }
        let halves = now.saturating_duration_since(self.reported).as_millis() / REPORT_HALVES.as_millis();
        let foreign = self.foreign.checked_shr(halves.min(32) as u32).unwrap_or(0);
        self.in_flight.saturating_add(foreign)
    }

    const fn concurrency(&self, config: &BalanceConfig) -> u32 {
        let stated = self.candidate.concurrency;
        let concurrency = if stated == 0 { config.default_concurrency } else { stated };
        if concurrency == 0 { 1 } else { concurrency }
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// By what waiting multiplies the time of a call, 1 if it would be executed at once: beyond the instance's concurrency
    /// it waits for whole turns of the others.
    fn waiting(&self, config: &BalanceConfig, now: Instant) -> f32 {
        let waves = self.load(now) / self.concurrency(config);
        let rest = if self.rests(now) { RESTING } else { 1.0 };
        waves.saturating_add(1) as f32 * rest
    }

    pub(crate) fn cost(&self, typical: f32, config: &BalanceConfig, now: Instant) -> Cost {
        let waiting = self.waiting(config, now);
        Cost {
            latency: self.latency.now(typical, config, now),
            load: (self.load(now).saturating_add(1) as f32 * waiting).ln(),
            room: waiting <= 1.0,
            turn: self.turn,
        }
    }

    /// How long a call would take, whatever else is under way as long as it doesn't have to wait; on the logarithmic scale.
    pub(crate) fn quickness(&self, typical: f32, config: &BalanceConfig, now: Instant) -> f32 {
        self.latency.now(typical, config, now) + self.waiting(config, now).ln()
    }

    /// The part of a full share that it gets now.
    pub(crate) fn share(&self, config: &BalanceConfig, now: Instant) -> f32 {
        let Some(since) = self.since else { return 1.0 };
        let passed = now.saturating_duration_since(since);
        if passed >= config.slow_start {
            return 1.0;
        }
        (passed.as_secs_f32() / config.slow_start.as_secs_f32()).max(LEAST_SHARE)
    }

    pub(crate) const fn pick(&self, slot: u32, probe: bool) -> Pick {
        Pick { id: self.candidate.id, probe, slot, serial: self.serial }
    }

    pub(crate) fn view(&self, now: Instant) -> InstanceView {
        InstanceView {
            id: self.candidate.id,
            local: self.candidate.local,
            health: self.health,
            breaker: self.breaker.view(now),
            latency: self.latency.measured(),
            in_flight: self.in_flight,
            foreign: self.load(now).saturating_sub(self.in_flight),
            started: self.started,
            failed: self.failed,
        }
    }
}
