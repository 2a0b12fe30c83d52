//! What the live view costs the node that has viewers: per event taken, and per frame.
//!
//! Seven nodes, 1,000 topics and procedures, latencies far apart (lognormal), 50,000 events/s by the clock that is passed
//! in; so the end of each second, when its counts are put away, is in the figure per event.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sinew_live::{Aggregate, Batcher, Local, Ring, Routed};
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, Kind, MAX_EVENTS, Outcome, State};

const NODES: u64 = 7;
const NAMES: u64 = 1_000;
const PER_SECOND: u64 = 50_000;

fn peer(n: u64) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    PeerId::from_public_key(key)
}

/// A number from a number (splitmix64: Steele, Lea, Flood).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// About 1 ms, nine of ten between 0.2 and 5 ms.
fn latency(n: u64) -> u32 {
    let sum: f64 = (0..4).map(|k| (mix(n ^ k << 60) >> 11) as f64 / (1_u64 << 53) as f64).sum();
    (7.0 + 1.7 * (sum - 2.0)).exp() as u32
}

/// The next batches of a node, as full as they get.
struct Node {
    number: u64,
    names: Vec<String>,
    seq: u64,
}

impl Node {
    fn new(number: u64) -> Self {
        Self { number, names: (0..NAMES).map(|n| format!("plant.{}.line.{n}", n % 7)).collect(), seq: 0 }
    }

    fn batch(&mut self) -> Batch {
        let mut ring = Ring::new(MAX_EVENTS);
        (0..MAX_EVENTS as u64).for_each(|n| ring.push(self.seq + n));
        let taken = ring.take();
        let mut batcher = Batcher::new(1, ["eu", "us", "ap"][(self.number % 3) as usize], taken.dropped);
        for n in taken.items {
            let chance = mix(n ^ self.number << 48);
            let event = Routed {
                at_ms: n,
                kind: if chance.is_multiple_of(3) { Kind::Call } else { Kind::Publish },
                name: &self.names[(chance >> 8) as usize % self.names.len()],
                provider: chance.is_multiple_of(3).then(|| peer(chance >> 20 & 15)),
                messages: 1,
                nodes: 1,
                outcome: if chance % 1000 == 1 { Outcome::Dropped } else { Outcome::Ok },
                latency_us: Some(latency(chance)),
            };
            assert!(batcher.push(n, &event).is_none(), "short names");
        }
        self.seq += MAX_EVENTS as u64;
        batcher.finish().expect("events")
    }
}

/// Takes batches at the rate, with the time that they stand for.
struct Live {
    nodes: Vec<Node>,
    aggregate: Aggregate,
    now: Instant,
}

impl Live {
    fn new() -> Self {
        let now = Instant::now();
        Self { nodes: (0..NODES).map(Node::new).collect(), aggregate: Aggregate::new(peer(0), "default", now), now }
    }

    fn batches(&mut self, n: u64) -> Vec<(PeerId, Batch)> {
        (0..n).map(|n| (peer(n % NODES), self.nodes[(n % NODES) as usize].batch())).collect()
    }

    fn take(&mut self, batches: &[(PeerId, Batch)]) {
        for (from, batch) in batches {
            self.now += Duration::from_secs(1) * MAX_EVENTS as u32 / PER_SECOND as u32;
            self.aggregate.take(*from, black_box(batch), self.now);
        }
    }
}

fn take(c: &mut Criterion) {
    let mut live = Live::new();
    // A full minute first: from then on seconds expire.
    for _ in 0..8 {
        let batches = live.batches(100);
        live.take(&batches);
    }
    let mut group = c.benchmark_group("live");
    group.throughput(Throughput::Elements(MAX_EVENTS as u64)).sample_size(30);
    group.bench_function("take", |b| {
        b.iter_custom(|n| {
            let batches = live.batches(n);
            let begin = Instant::now();
            live.take(&batches);
            begin.elapsed()
        });
    });
    let bytes = live.batches(1).remove(0).1.encode();
    group.bench_function("decode", |b| b.iter(|| Batch::decode(black_box(&bytes)).expect("valid")));
    assert_eq!(live.aggregate.intake().dropped, 0);
    assert_eq!(live.aggregate.load().marks_cut, 0, "{:?}", live.aggregate.load());
    group.finish();
}

fn frame(c: &mut Criterion) {
    let mut live = Live::new();
    let batches = live.batches(13 * 60);
    live.take(&batches);
    for n in 0..NODES {
        live.aggregate.state(peer(n), State { epoch: 1, ..State::default() }, live.now);
    }
    println!("{:?}", live.aggregate.load());
    let local = Local::default();
    let mut group = c.benchmark_group("live");
    // Each in a second of its own: of the two frames in a second the second one costs next to nothing.
    let one = Node::new(0).batch();
    let mut epoch = 1_000;
    group.bench_function("frame", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for _ in 0..n {
                epoch += 1;
                live.now += Duration::from_secs(1);
                for node in 0..13 {
                    live.aggregate.take(peer(node % NODES), &Batch { epoch, ..one.clone() }, live.now);
                }
                let ended = live.now + Duration::from_secs(1);
                live.aggregate.take(peer(0), &Batch { epoch, events: one.events[..1].to_vec(), ..one.clone() }, ended);
                let begin = Instant::now();
                black_box(live.aggregate.frame(&local, ended, 0));
                spent += begin.elapsed();
            }
            spent
        });
    });
    let frame = live.aggregate.frame(&local, live.now, 0);
    println!("a frame is {} bytes of JSON", serde_json::to_vec(&frame).expect("JSON").len());
    group.bench_function("json", |b| b.iter(|| serde_json::to_vec(black_box(&frame)).expect("JSON")));
    group.finish();
}

criterion_group!(benches, take, frame);
criterion_main!(benches);
