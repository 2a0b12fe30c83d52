//! What choosing a provider costs.
//!
//! `assign` is a whole call as the caller's node sees it: chosen, started, finished. `fan` is a list of providers that changes
//! by one, as when one of many comes or goes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_balance::{BalanceConfig, Balancer, Candidate, Choice, InstanceId, Outcome};
use sinew_wire::call::Strategy;
use sinew_wire::{PeerId, ProviderHealth};

fn candidates(count: u64) -> Vec<Candidate> {
    let id = |n: u64| InstanceId { node: PeerId::from_public_key([(n % 251) as u8; 32]), id: n };
    (0..count).map(|n| Candidate::new(id(n))).collect()
}

fn success(micros: u64) -> Outcome {
    Outcome::Success { latency: Duration::from_micros(micros), load: 1, health: ProviderHealth::Good }
}

/// One that has been in use: latencies are known and differ, calls are under way.
fn used(count: u64, now: Instant) -> Balancer {
    let mut balancer = Balancer::new(BalanceConfig::default(), 7);
    balancer.set(&candidates(count), now);
    for n in 0..20 * count {
        let pick = balancer.choose(Choice::default(), &[], now).expect("somebody is there");
        balancer.started(&pick, now);
        if n % 5 > 0 {
            balancer.finished(&pick, success(80 + n * 7 % 200), now);
        }
    }
    balancer
}

fn choices(c: &mut Criterion) {
    // Later than the last answers, so that latencies have begun to be forgotten: the dearest case.
    let start = Instant::now();
    let now = start + Duration::from_millis(500);
    let mut group = c.benchmark_group("choose");
    group.throughput(Throughput::Elements(1));
    for count in [1, 4, 1_000] {
        for strategy in [Strategy::Balanced, Strategy::Fastest, Strategy::RoundRobin, Strategy::Sticky] {
            let mut balancer = used(count, start);
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::new(format!("{strategy:?}"), count), |b| {
                b.iter(|| {
                    key += 1;
                    balancer.choose(Choice { strategy, key: &key.to_le_bytes() }, black_box(&[]), now)
                });
            });
        }
    }
    group.finish();
}

fn assignments(c: &mut Criterion) {
    let mut now = Instant::now();
    let mut group = c.benchmark_group("assign");
    group.throughput(Throughput::Elements(1));
    for count in [4, 1_000] {
        let mut balancer = used(count, now);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                now += Duration::from_micros(2);
                let pick = balancer.choose(Choice::default(), &[], now)?;
                balancer.started(&pick, now);
                balancer.finished(&pick, success(100), now);
                Some(pick)
            });
        });
    }
    group.finish();
}

fn changes(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("fan");
    for count in [4, 1_000] {
        let (all, less) = (candidates(count), candidates(count - 1));
        let mut balancer = used(count, now);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                balancer.set(&less, now);
                balancer.set(&all, now);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, choices, assignments, changes);
criterion_main!(benches);
