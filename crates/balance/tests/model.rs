//! Who may be chosen, against the simplest thing that does the same: every instance with the list of what happened
//! there.

#![expect(clippy::disallowed_methods, reason = "a test begins at some time; from there on it passes time in")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sinew_balance::{
    BalanceConfig, Balancer, BreakerConfig, BreakerState, Candidate, Choice, InstanceId, Outcome, Pick,
};
use sinew_wire::call::Strategy as By;
use sinew_wire::{PeerId, ProviderHealth};

const BREAKER: BreakerConfig = BreakerConfig {
    failures: 4,
    network_failures: 3,
    timeouts: 2,
    open: Duration::from_millis(100),
    max_open: Duration::from_millis(450),
    probes: 2,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open(Instant),
    HalfOpen { passed: u32, probing: bool },
}

#[derive(Debug)]
struct Instance {
    announced: ProviderHealth,
    health: ProviderHealth,
    /// What went wrong since the last success.
    wrong: Vec<Outcome>,
    state: State,
    opened: u32,
    open: Vec<Pick>,
}

impl Instance {
    fn new(health: ProviderHealth) -> Self {
        Self { announced: health, health, wrong: Vec::new(), state: State::Closed, opened: 0, open: Vec::new() }
    }

    /// `Some(true)` for a probe, `None` if nothing may be sent.
    fn lets(&self, now: Instant) -> Option<bool> {
        match self.state {
            _ if self.health == ProviderHealth::Down => None,
            State::Closed => Some(false),
            State::Open(until) => (until <= now).then_some(true),
            State::HalfOpen { probing, .. } => (!probing).then_some(true),
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.wrong.clear();
        self.opened = 0;
    }

    fn trip(&mut self, now: Instant) {
        let wait = BREAKER.max_open.min(BREAKER.open * 2_u32.pow(self.opened.min(10)));
        self.state = State::Open(now + wait);
        self.wrong.clear();
        self.opened += 1;
    }

    fn finish(&mut self, probe: bool, outcome: Outcome, now: Instant) {
        if let Outcome::Success { health, .. } = outcome {
            self.health = health;
        }
        let went_wrong = matches!(outcome, Outcome::Failure | Outcome::NetworkFailure | Outcome::Timeout);
        match (self.state, outcome) {
            (State::Closed, Outcome::Success { .. }) => self.close(),
            (State::Closed, _) if went_wrong => {
                self.wrong.push(outcome);
                let count = |kind: Outcome| self.wrong.iter().filter(|wrong| **wrong == kind).count();
                if self.wrong.len() == 4 || count(Outcome::NetworkFailure) == 3 || count(Outcome::Timeout) == 2 {
                    self.trip(now);
                }
            }
            (State::HalfOpen { .. }, _) if probe && went_wrong => self.trip(now),
            (State::HalfOpen { passed, .. }, Outcome::NotCounted) if probe => {
                self.state = State::HalfOpen { passed, probing: false };
            }
            (State::HalfOpen { passed: 1, .. }, _) if probe => self.close(),
            (State::HalfOpen { passed, .. }, _) if probe => {
                self.state = State::HalfOpen { passed: passed + 1, probing: false };
            }
            _ => {}
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Health of the instances that are there, by number.
    Set(Vec<Option<(bool, u8)>>),
    Choose {
        by: By,
        key: u8,
        exclude: Vec<u64>,
    },
    Finish {
        which: prop::sample::Index,
        outcome: Outcome,
    },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let there = prop::option::weighted(0.8, (any::<bool>(), prop_oneof![6 => Just(0_u8), 1 => 1..3_u8]));
    let by =
        prop_oneof![3 => Just(By::Balanced), 1 => Just(By::Fastest), 1 => Just(By::RoundRobin), 1 => Just(By::Sticky)];
    let exclude = prop::collection::vec(0..6_u64, 0..3);
    let success = (1..100_000_u64, 0..100_u32, prop_oneof![20 => Just(0_u8), 1 => 1..3_u8]);
    let outcome = prop_oneof![
        4 => success.prop_map(|(micros, load, health)| Outcome::Success {
            latency: Duration::from_micros(micros), load, health: health.try_into().expect("known")
        }),
        2 => Just(Outcome::Failure),
        2 => Just(Outcome::NetworkFailure),
        2 => Just(Outcome::Timeout),
        1 => (0..3_000_u64).prop_map(|ms| Outcome::Overloaded { retry_after: Duration::from_millis(ms) }),
        1 => Just(Outcome::NotCounted),
    ];
    let step = prop_oneof![
        1 => prop::collection::vec(there, 6).prop_map(Step::Set),
        8 => (by, any::<u8>(), exclude).prop_map(|(by, key, exclude)| Step::Choose { by, key, exclude }),
        8 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Step::Finish { which, outcome }),
        2 => (0..300_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

fn id(n: u64) -> InstanceId {
    InstanceId { node: PeerId::from_public_key([(n % 3) as u8; 32]), id: n }
}

#[derive(Debug, Default)]
struct Model {
    instances: BTreeMap<InstanceId, Instance>,
    /// Calls at instances that are gone.
    orphans: Vec<Pick>,
}

impl Model {
    fn set(&mut self, there: &[Option<(bool, u8)>]) -> Vec<Candidate> {
        let candidates = there.iter().enumerate().filter_map(|(n, there)| {
            let (local, health) = (*there)?;
            let health = health.try_into().expect("known");
            Some(Candidate { local, health, concurrency: n as u32, ..Candidate::new(id(n as u64)) })
        });
        let candidates: Vec<_> = candidates.collect();
        let (orphans, instances) = (&mut self.orphans, &mut self.instances);
        instances.retain(|id, gone| {
            let stays = candidates.iter().any(|candidate| candidate.id == *id);
            if !stays {
                orphans.append(&mut gone.open);
            }
            stays
        });
        for candidate in &candidates {
            let known = instances.entry(candidate.id).or_insert_with(|| Instance::new(candidate.health));
            if known.announced != candidate.health {
                (known.announced, known.health) = (candidate.health, candidate.health);
            }
        }
        candidates
    }

    fn allowed(&self, now: Instant) -> BTreeMap<InstanceId, bool> {
        self.instances.iter().filter_map(|(id, instance)| Some((*id, instance.lets(now)?))).collect()
    }

    /// What a choice must be like.
    fn check(&self, by: By, exclude: &[InstanceId], pick: Option<Pick>, now: Instant) {
        let mut allowed = self.allowed(now);
        allowed.retain(|id, _| !exclude.contains(id));
        let Some(pick) = pick else { return assert!(allowed.is_empty(), "{allowed:?}") };
        assert_eq!(allowed.get(&pick.id), Some(&pick.probe), "{pick:?} of {allowed:?}");
        if by != By::Sticky {
            assert!(pick.probe || allowed.values().all(|probe| !probe), "a probe was due");
            let health = |id: &InstanceId| self.instances[id].health;
            let good = allowed.keys().any(|id| health(id) == ProviderHealth::Good);
            assert!(pick.probe || !good || health(&pick.id) == ProviderHealth::Good, "there was a better one");
        }
    }

    fn start(&mut self, pick: Pick, now: Instant) {
        let instance = self.instances.get_mut(&pick.id).expect("is there");
        instance.open.push(pick);
        if pick.probe {
            let passed = if let State::HalfOpen { passed, .. } = instance.state { passed } else { 0 };
            assert!(instance.state != State::Closed && instance.lets(now).is_some());
            instance.state = State::HalfOpen { passed, probing: true };
        }
    }

    /// Takes one of the open calls, those of instances that are gone included.
    fn finish(&mut self, which: &prop::sample::Index, outcome: Outcome, now: Instant) -> Option<Pick> {
        let count = self.instances.values().map(|instance| instance.open.len()).sum::<usize>() + self.orphans.len();
        let mut n = which.index(count.max(1));
        for instance in self.instances.values_mut() {
            if n < instance.open.len() {
                let pick = instance.open.remove(n);
                instance.finish(pick.probe, outcome, now);
                return Some(pick);
            }
            n -= instance.open.len();
        }
        (n < self.orphans.len()).then(|| self.orphans.remove(n))
    }

    fn compare(&mut self, balancer: &Balancer, now: Instant) {
        let all: BTreeMap<_, _> = balancer.choose_all(now).map(|pick| (pick.id, pick.probe)).collect();
        assert_eq!(all, self.allowed(now));
        assert_eq!(balancer.len(), self.instances.len());
        let views = balancer.snapshot(now);
        assert_eq!(views.len(), self.instances.len());
        for (view, (id, instance)) in views.iter().zip(&self.instances) {
            assert_eq!(view.id, *id);
            assert_eq!((view.health, view.in_flight as usize), (instance.health, instance.open.len()));
            let state = match instance.state {
                State::Closed => BreakerState::Closed,
                State::Open(until) if until > now => BreakerState::Open { left: until - now },
                State::Open(_) | State::HalfOpen { .. } => BreakerState::HalfOpen,
            };
            assert_eq!(view.breaker, state);
        }
        let open = self.instances.values().filter(|instance| instance.health != ProviderHealth::Down);
        let waits = open.filter_map(|instance| match instance.state {
            State::Open(until) => Some(until.saturating_duration_since(now)),
            _ => None,
        });
        if let Some(least) = waits.min()
            && !least.is_zero()
        {
            assert_eq!(balancer.next_probe(now), Some(least));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A choice is always one that may be called; there is one whenever there could be; one probe at a time; counts are
    /// right.
    #[test]
    fn chooses_what_may_be_chosen(seed in any::<u64>(), steps in steps()) {
        let mut now = Instant::now();
        let mut balancer = Balancer::new(BalanceConfig { breaker: BREAKER, ..BalanceConfig::default() }, seed);
        let mut model = Model::default();
        balancer.set(&model.set(&[Some((true, 0)), Some((false, 0)), Some((false, 0))]), now);
        for step in steps {
            match step {
                Step::Set(there) => balancer.set(&model.set(&there), now),
                Step::Choose { by, key, exclude } => {
                    let exclude: Vec<_> = exclude.into_iter().map(id).collect();
                    let pick = balancer.choose(Choice { strategy: by, key: &[key] }, &exclude, now);
                    model.check(by, &exclude, pick, now);
                    if let Some(pick) = pick {
                        balancer.started(&pick, now);
                        model.start(pick, now);
                    }
                }
                Step::Finish { which, outcome } => {
                    if let Some(pick) = model.finish(&which, outcome, now) {
                        balancer.finished(&pick, outcome, now);
                    }
                }
                Step::Pass(ms) => now += Duration::from_millis(ms),
            }
            model.compare(&balancer, now);
        }
    }
}
