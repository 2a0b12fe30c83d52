//! How calls spread: over equals, over unequal ones, over newcomers, by key. Providers are simulated; time passes in
//! steps.

#![expect(clippy::disallowed_methods, reason = "a test begins at some time; from there on it passes time in")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use sinew_balance::{BalanceConfig, Balancer, Candidate, Choice, InstanceId, Outcome, Pick};
use sinew_balance::{RetryBudget, RetryConfig};
use sinew_wire::call::Strategy;
use sinew_wire::{PeerId, ProviderHealth};

fn id(n: u64) -> InstanceId {
    InstanceId { node: PeerId::from_public_key([n as u8; 32]), id: n }
}

fn remotes(count: u64) -> Vec<Candidate> {
    (0..count).map(|n| Candidate::new(id(n))).collect()
}

fn by(strategy: Strategy) -> Choice<'static> {
    Choice { strategy, key: b"" }
}

const BALANCED: Choice<'static> = Choice { strategy: Strategy::Balanced, key: b"" };

/// Callers that call again as soon as they are answered, and providers that each answer after their time, more or less.
struct World {
    balancer: Balancer,
    how: Choice<'static>,
    start: Instant,
    /// Microseconds since the start.
    now: u64,
    /// Calls by the time of their answers.
    open: BinaryHeap<(Reverse<u64>, u64)>,
    picks: BTreeMap<u64, (Pick, u64)>,
    /// Microseconds of a provider's answer.
    times: Vec<u64>,
    calls: u64,
    counts: Vec<u64>,
    noise: u64,
    /// The first provider does nothing for so many microseconds out of a tenth of a second.
    stall: u64,
}

impl World {
    fn new(candidates: &[Candidate], times: &[u64]) -> Self {
        let start = Instant::now();
        let mut balancer = Balancer::new(BalanceConfig::default(), 7);
        balancer.set(candidates, start);
        Self {
            balancer,
            how: BALANCED,
            start,
            now: 0,
            open: BinaryHeap::new(),
            picks: BTreeMap::new(),
            times: times.to_vec(),
            calls: 0,
            counts: vec![0; times.len()],
            noise: 1,
            stall: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn call(&mut self) {
        let now = self.now();
        let pick = self.balancer.choose(self.how, &[], now).expect("somebody is there");
        self.balancer.started(&pick, now);
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = self.noise >> 40;
        // Between half and three halves of its time, and now and then twelve times as long.
        let time = self.times[pick.id.id as usize];
        let took = time / 2 + draw % time + if draw.is_multiple_of(331) { 10 * time } else { 0 };
        self.counts[pick.id.id as usize] += 1;
        let stall = if pick.id.id == 0 { self.stall } else { 0 };
        let late = stall.saturating_sub((self.now + took) % 100_000);
        // What has waited comes one after the other.
        let done = self.now + took + late + if late > 0 { took % 64 } else { 0 };
        self.open.push((Reverse(done), self.calls));
        self.picks.insert(self.calls, (pick, self.now));
        self.calls += 1;
    }

    fn answer(&mut self) {
        let Some((Reverse(at), call)) = self.open.pop() else { return };
        self.now = at;
        let (pick, since) = self.picks.remove(&call).expect("is open");
        let load = self.picks.values().filter(|(other, _)| other.id == pick.id).count() as u32 + 1;
        let latency = Duration::from_micros(at - since);
        let outcome = Outcome::Success { latency, load, health: ProviderHealth::Good };
        self.balancer.finished(&pick, outcome, self.now());
    }

    /// So many calls, so many at once; how many each provider got.
    fn run(&mut self, calls: u64, at_once: usize) -> Vec<u64> {
        let before = self.counts.clone();
        for _ in 0..calls {
            while self.open.len() >= at_once {
                self.answer();
            }
            self.call();
        }
        self.counts.iter().zip(before).map(|(after, before)| after - before).collect()
    }
}

fn assert_even(counts: &[u64], within: f64) {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let worst = counts.iter().map(|count| (*count as f64 / mean - 1.0).abs()).fold(0.0, f64::max);
    assert!(worst <= within, "{worst:.3} off: {counts:?}");
}

#[test]
fn equals_share_evenly() {
    for providers in [2, 4, 10] {
        for at_once in [1, 8, 64] {
            let mut world = World::new(&remotes(providers), &vec![200; providers as usize]);
            let counts = world.run(50_000, at_once);
            assert_even(&counts, 0.05);
        }
    }
}

#[test]
fn who_stops_for_a_moment_is_not_left_for_long() {
    for at_once in [8, 64] {
        let mut world = World::new(&remotes(4), &[600; 4]);
        world.stall = 6_000;
        world.run(10_000, at_once);
        let counts = world.run(50_000, at_once);
        // It does nothing in 6 % of the time.
        assert_even(&counts, 0.08);
    }
}

#[test]
fn a_slow_one_is_avoided() {
    for at_once in [1, 8, 64] {
        let mut world = World::new(&remotes(4), &[200, 200, 2_000, 200]);
        while world.now < 1_000_000 {
            world.run(100, at_once);
        }
        let counts = world.run(50_000, at_once);
        // So few that they don't show in the slowest hundredth of all calls.
        assert!(counts[2] < 50_000 / 200, "{at_once} at once: {counts:?}");
        // It recovers, and is seen to.
        world.times[2] = 200;
        let recovered = world.now + 5_000_000;
        while world.now < recovered {
            world.run(100, at_once);
        }
        let counts = world.run(50_000, at_once);
        assert_even(&counts, 0.1);
    }
}

#[test]
fn the_fastest_is_found() {
    let mut times = vec![1_000; 100];
    times[63] = 100;
    let mut world = World::new(&remotes(100), &times);
    world.how = by(Strategy::Fastest);
    world.run(2_000, 4);
    let counts = world.run(10_000, 4);
    assert!(counts[63] > 9_500, "{}", counts[63]);
}

#[test]
fn turns_are_exact() {
    let mut world = World::new(&remotes(7), &[200; 7]);
    world.how = by(Strategy::RoundRobin);
    assert_even(&world.run(7_000, 16), 0.0);
}

#[test]
fn locals_first_while_they_have_room() {
    let mut candidates = remotes(3);
    candidates[1] = Candidate { local: true, concurrency: 8, ..candidates[1] };
    let mut world = World::new(&candidates, &[200; 3]);
    assert_eq!(world.run(10_000, 8), [0, 10_000, 0]);
    let counts = world.run(10_000, 32);
    assert!(counts[0] > 2_000 && counts[2] > 2_000 && counts[1] > 2_000, "overloaded: {counts:?}");
    // The others are known by now.
    world.times[1] = 3_000;
    world.run(1_000, 4);
    let counts = world.run(10_000, 4);
    assert!(counts[1] < 500, "slow: {counts:?}");
}

#[test]
fn newcomers_begin_slowly() {
    let mut world = World::new(&remotes(3), &[200; 4]);
    world.run(1_000, 8);
    world.balancer.set(&remotes(4), world.now());
    let joined = world.now;
    let mut shares = Vec::new();
    for second in 1..=12 {
        let before = world.counts.clone();
        while world.now < joined + second * 1_000_000 {
            world.run(100, 8);
        }
        let got: Vec<_> = world.counts.iter().zip(before).map(|(after, before)| after - before).collect();
        shares.push(got[3] as f64 / got.iter().sum::<u64>() as f64);
    }
    assert!(shares[0] < 0.05, "{shares:?}");
    assert!(shares[4] > shares[0] * 2.0 && shares[4] < 0.2, "{shares:?}");
    assert!((0.23..0.27).contains(&shares[11]), "{shares:?}");
}

#[test]
fn keys_stay_where_they_are() {
    let now = Instant::now();
    let mut balancer = Balancer::new(BalanceConfig::default(), 1);
    let homes = |balancer: &mut Balancer| -> Vec<u64> {
        let keys = (0..10_000_u32).map(u32::to_le_bytes);
        let home = |key: [u8; 4]| balancer.choose(Choice { strategy: Strategy::Sticky, key: &key }, &[], now);
        keys.map(home).map(|pick| pick.expect("somebody is there").id.id).collect()
    };
    balancer.set(&remotes(10), now);
    let before = homes(&mut balancer);
    let mut counts = [0; 10];
    before.iter().for_each(|home| counts[*home as usize] += 1);
    assert!(counts.iter().all(|count| (300..1_300).contains(count)), "{counts:?}");
    // One goes: only its keys move, and not all to the same.
    balancer.set(&remotes(9), now);
    let after = homes(&mut balancer);
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == 9));
    let mut heirs: Vec<_> = before.iter().zip(&after).filter(|(home, _)| **home == 9).map(|(_, heir)| *heir).collect();
    heirs.sort_unstable();
    heirs.dedup();
    assert!(heirs.len() > 5, "{heirs:?}");
    // It comes back, and has them again; another node thinks the same.
    balancer.set(&remotes(10), now);
    assert_eq!(homes(&mut balancer), before);
    let mut other = Balancer::new(BalanceConfig::default(), 99);
    other.set(&remotes(10).into_iter().rev().collect::<Vec<_>>(), now);
    assert_eq!(homes(&mut other), before);
}

#[test]
fn who_is_overloaded_rests() {
    let mut now = Instant::now();
    let mut balancer = Balancer::new(BalanceConfig::default(), 3);
    balancer.set(&remotes(2), now);
    let call = |balancer: &mut Balancer, outcome: Outcome, now: Instant| {
        let pick = balancer.choose(BALANCED, &[], now).expect("somebody is there");
        balancer.started(&pick, now);
        balancer.finished(&pick, outcome, now);
        pick.id
    };
    let success = Outcome::Success { latency: Duration::from_micros(200), load: 1, health: ProviderHealth::Good };
    for _ in 0..10 {
        call(&mut balancer, success, now);
    }
    let rests = call(&mut balancer, Outcome::Overloaded { retry_after: Duration::MAX }, now);
    for _ in 0..100 {
        assert_ne!(call(&mut balancer, success, now), rests);
    }
    let exclude = [if rests == id(0) { id(1) } else { id(0) }];
    assert_eq!(balancer.choose(BALANCED, &exclude, now).map(|pick| pick.id), Some(rests), "better than nobody");
    now += Balancer::MAX_REST;
    assert!((0..100).any(|_| call(&mut balancer, success, now) == rests), "not for ever");
}

#[test]
fn the_load_of_others_counts() {
    let now = Instant::now();
    let mut balancer = Balancer::new(BalanceConfig::default(), 3);
    balancer.set(&remotes(2), now);
    let mut seen = [0; 2];
    for _ in 0..1_000 {
        let pick = balancer.choose(BALANCED, &[], now).expect("somebody is there");
        balancer.started(&pick, now);
        seen[pick.id.id as usize] += 1;
        let load = if pick.id == id(0) { 40 } else { 1 };
        let latency = Duration::from_micros(200);
        balancer.finished(&pick, Outcome::Success { latency, load, health: ProviderHealth::Good }, now);
    }
    assert!(seen[0] < 50, "{seen:?}");
    let foreign: Vec<_> = balancer.snapshot(now).iter().map(|view| view.foreign).collect();
    assert_eq!(foreign, [39, 0]);
    let later = balancer.snapshot(now + Duration::from_secs(60));
    assert_eq!(later[0].foreign, 0, "what was said a minute ago");
}

#[test]
fn p95_needs_enough_answers() {
    let now = Instant::now();
    let mut balancer = Balancer::new(BalanceConfig::default(), 3);
    balancer.set(&remotes(1), now);
    let mut answer = |micros: u64| {
        let pick = balancer.choose(BALANCED, &[], now).expect("somebody is there");
        balancer.started(&pick, now);
        let latency = Duration::from_micros(micros);
        balancer.finished(&pick, Outcome::Success { latency, load: 1, health: ProviderHealth::Good }, now);
        balancer.p95()
    };
    for _ in 0..19 {
        assert_eq!(answer(100), None);
    }
    let p95 = (0..1_000_u64).map(|n| answer(100 + n % 100 * 10)).last().flatten().expect("enough");
    assert!((900..=1_090).contains(&p95.as_micros()), "{p95:?}");
}

#[test]
fn retries_are_a_part_of_the_calls() {
    let mut now = Instant::now();
    let mut budget = RetryBudget::new(RetryConfig { saved: 50.0, ..RetryConfig::default() }, now);
    let drain = |budget: &mut RetryBudget, now: Instant| (0..10_000).take_while(|_| budget.take(now)).count();
    assert_eq!(drain(&mut budget, now), 10, "the floor");
    (0..205).for_each(|_| budget.called());
    assert_eq!(drain(&mut budget, now), 20, "a tenth");
    (0..100_000).for_each(|_| budget.called());
    assert_eq!(drain(&mut budget, now), 50, "what can be saved up");
    now += Duration::from_secs(3_600);
    assert_eq!(drain(&mut budget, now), 10, "the floor is for a second");
    now += Duration::from_millis(500);
    assert_eq!(drain(&mut budget, now), 5);
}
