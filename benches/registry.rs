//! What leases and lookups cost, in a registry as full as it gets.
//!
//! `lookup` is what a reader does for an answer: find the name in a snapshot and walk its instances. `change` is what the owner
//! does while readers hold a snapshot, so that every change copies its way to the leaf.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_registry::{LeaseId, Limits, Offer, Owner, Registry};
use sinew_wire::PeerId;

fn owner(number: u32) -> Owner {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    Owner { session: u64::from(number), peer: PeerId::from_public_key(key), instance: 1 }
}

fn name(n: u32) -> String {
    format!("service.region-{}.n{n}", n % 7)
}

/// So many names with one instance each, as many to a publisher as it may have.
fn filled(names: u32, now: Instant) -> Registry {
    let mut registry = Registry::new(Limits { services: 100_001, ..Limits::default() });
    for n in 0..names {
        let metadata = vec![("version".to_owned(), "1.2.3".to_owned())];
        let offer = Offer { lease: n, name: &name(n), ttl: Duration::ZERO, metadata, procedure: None };
        registry.announce(owner(n / 64), offer, now).expect("has room");
    }
    registry
}

fn lookups(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    for names in [100, 100_000] {
        let snapshot = filled(names, now).snapshot();
        // In another order than they were made, as lookups come.
        let asked: Vec<_> = (0..names).map(|n| name(n.wrapping_mul(7_919) % names)).collect();
        let mut next = asked.iter().cycle();
        group.bench_function(BenchmarkId::new("found", names), |b| {
            b.iter(|| {
                let service = snapshot.get(next.next().expect("cycles"))?;
                service.live(now).map(|instance| black_box(instance.lease)).last()
            });
        });
        group.bench_function(BenchmarkId::new("unknown", names), |b| {
            b.iter(|| snapshot.get(black_box("not.there")).is_some())
        });
    }
    group.finish();
}

fn changes(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("change");
    group.throughput(Throughput::Elements(1));
    for names in [100, 100_000] {
        let mut registry = filled(names, now);
        let mut n = 0;
        group.bench_function(BenchmarkId::new("renew", names), |b| {
            b.iter(|| {
                let _reader = registry.snapshot();
                n = (n + 1) % names;
                registry.renew(LeaseId { session: u64::from(n / 64), lease: n }, now)
            });
        });
        group.bench_function(BenchmarkId::new("announce_withdraw", names), |b| {
            let id = LeaseId { session: 1 << 30, lease: 1 };
            b.iter(|| {
                let _reader = registry.snapshot();
                let offer =
                    Offer { lease: 1, name: "one.more", ttl: Duration::ZERO, metadata: Vec::new(), procedure: None };
                registry.announce(owner(1 << 30), offer, now).expect("has room");
                registry.withdraw(id)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, changes);
criterion_main!(benches);
