//! What queues, keys and the budget cost.
//!
//! A batch here is a counter, as cheap as one can be, so that what is measured is the queue. Groups named `queue` give
//! the time per batch; `full` ones push into a full queue, so that every push gives something up.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sinew_flow::{Batch, Budget, DropReason, Limits, Policy, Queue, ReceiveWindow, SendWindow};

/// What one message charges.
const MESSAGE: usize = 128;
/// Batches a queue holds.
const DEPTH: usize = 256;

/// Messages of the same size; as large as a reference to a part of a run.
#[derive(Debug)]
struct Run {
    messages: usize,
    _rest: [u64; 4],
}

impl Run {
    const fn new(messages: usize) -> Self {
        Self { messages, _rest: [0; 4] }
    }
}

impl Batch for Run {
    fn messages(&self) -> usize {
        self.messages
    }

    fn bytes(&self) -> usize {
        self.messages * MESSAGE
    }

    fn split_front(&mut self, n: usize) -> Self {
        self.messages -= n;
        Self::new(n)
    }

    fn messages_within(&self, bytes: usize) -> usize {
        (bytes / MESSAGE).min(self.messages)
    }
}

fn given_up(run: Run, reason: DropReason) {
    black_box((run, reason));
}

const POLICIES: [(&str, Policy); 3] =
    [("drop_oldest", Policy::DropOldest), ("drop_newest", Policy::DropNewest), ("block", Policy::Block)];

/// Room for [`DEPTH`] batches and a half, so that a full queue has to split.
const fn limits(messages: usize) -> Limits {
    let most = DEPTH * messages + messages / 2;
    Limits { messages: most, bytes: most * MESSAGE }
}

fn queues(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(DEPTH as u64));
    for messages in [1, 256] {
        for (name, policy) in POLICIES {
            let mut queue = Queue::<Run>::new(limits(messages), policy);
            group.bench_function(format!("push_pop/{name}/{messages}"), |b| {
                b.iter(|| {
                    for _ in 0..DEPTH {
                        _ = black_box(queue.push(black_box(Run::new(messages)), given_up));
                    }
                    while let Some(run) = queue.pop(usize::MAX) {
                        black_box(run);
                    }
                });
            });
            while queue.push_or_return(Run::new(messages)).is_ok() {}
            group.bench_function(format!("push_full/{name}/{messages}"), |b| {
                b.iter(|| {
                    for _ in 0..DEPTH {
                        _ = black_box(queue.push(black_box(Run::new(messages)), given_up));
                    }
                });
            });
        }
    }
    group.finish();
}

/// 1,000 keys of 16 bytes, as many as the queue holds or twice as many.
fn latest(c: &mut Criterion) {
    const KEYS: usize = 1_000;
    let keys: Vec<Arc<str>> = (0..KEYS).map(|n| format!("sensor.kitchen-{n:04}").into()).collect();
    let mut group = c.benchmark_group("latest");
    group.throughput(Throughput::Elements(KEYS as u64));
    for (name, room) in [("replace", KEYS), ("evict", KEYS / 2)] {
        let mut queue = Queue::<Run, Arc<str>>::new(Limits { messages: room, bytes: room * MESSAGE }, Policy::Latest);
        group.bench_function(name, |b| {
            b.iter(|| {
                for key in &keys {
                    queue.push_latest(Arc::clone(key), black_box(Run::new(1)), given_up);
                }
            });
        });
    }
    group.bench_function("fill_and_drain", |b| {
        let limits = Limits { messages: KEYS, bytes: KEYS * MESSAGE };
        b.iter_batched_ref(
            || Queue::<Run, Arc<str>>::new(limits, Policy::Latest),
            |queue| {
                for key in &keys {
                    queue.push_latest(Arc::clone(key), black_box(Run::new(1)), given_up);
                }
                while let Some(run) = queue.pop(usize::MAX) {
                    black_box(run);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn credit(c: &mut Criterion) {
    let mut group = c.benchmark_group("credit");
    group.throughput(Throughput::Elements(1));
    let (mut sender, mut receiver) = (SendWindow::new(1 << 20), ReceiveWindow::new(1 << 20, 1 << 20));
    group.bench_function("message", |b| {
        b.iter(|| {
            sender.spend(black_box(MESSAGE));
            receiver.receive(MESSAGE as u64).expect("within the window");
            if let Some(grant) = receiver.consume(MESSAGE as u64) {
                sender.grant(grant).expect("what was sent");
            }
            sender.available()
        });
    });
    group.finish();
}

fn budget(c: &mut Criterion) {
    let mut group = c.benchmark_group("budget");
    group.throughput(Throughput::Elements(1));
    let budget = Arc::new(Budget::new(256 << 20));
    group.bench_function("reserve_release", |b| b.iter(|| drop(black_box(budget.try_reserve(black_box(64 << 10))))));
    let mut reservation = budget.try_reserve(1 << 10).expect("free");
    let mut grow = false;
    group.bench_function("resize", |b| {
        b.iter(|| {
            grow = !grow;
            reservation.resize(black_box(if grow { 2 << 10 } else { 1 << 10 }))
        });
    });
    group.finish();
}

criterion_group!(benches, queues, latest, credit, budget);
criterion_main!(benches);
