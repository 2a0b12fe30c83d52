//! What a run costs inside the node, without a link: plan, queue, outbox. And what it would cost more if a shard were
//! a task with a mailbox instead of a lock (decision 2).

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_flow::Budget;
use sinew_observe::{Metrics, Registry};
use sinew_pubsub::{
    Next, Origin, Outbox, PubSub, PubSubConfig, Publisher, Run, Submission, Subscription, SubscriptionSpec, WriteBatch,
};
use sinew_topic::{Pattern, Topic};
use sinew_wire::entry::Entry;
use sinew_wire::{Features, PeerId, Policy};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// A publisher and one subscriber of the topic `a`, and a block of entries to publish.
struct Pair {
    budget: Arc<Budget>,
    publisher: Publisher,
    outbox: Arc<Outbox>,
    subscription: Arc<Subscription>,
    topic: Topic,
    block: Bytes,
    messages: u32,
}

impl Pair {
    fn new(messages: u32) -> Self {
        let metrics = Metrics::new(&mut Registry::default());
        let budget = Arc::new(Budget::new(256 << 20));
        let hub = PubSub::start(PubSubConfig::default(), Arc::clone(&budget), metrics);
        let outbox = Outbox::new(Features::default());
        let origin = Arc::new(Origin { peer: PeerId::from_public_key([1; 32]), instance: 1 });
        let publisher = hub.publisher(origin, Outbox::new(Features::default()));
        let spec = SubscriptionSpec {
            number: 1,
            pattern: Pattern::parse("a").expect("a valid pattern"),
            group: None,
            policy: Policy::DropOldest,
            buffer: 0,
            last: false,
            window: 8 << 20,
        };
        let subscription = hub.subscribe(spec, &outbox, Instant::now(), || {}).expect("is admitted");
        let mut block = BytesMut::new();
        for _ in 0..messages {
            Entry { id: &[], headers: &[], payload: &[7; 128] }.encode(&mut block);
        }
        let topic = Topic::parse("a").expect("a valid topic");
        Self { budget, publisher, outbox, subscription, topic, block: block.freeze(), messages }
    }

    /// One run from the reader's hands into the writer's.
    fn pass(&mut self, batch: &mut WriteBatch, now: Instant) {
        let entries = Bytes::copy_from_slice(&self.block);
        let run = Run {
            topic: self.topic.clone(),
            origin: Arc::clone(self.publisher.origin()),
            packed: None,
            messages: self.messages,
            first_seq: 1,
            any_headers: false,
            any_id: false,
            received: now,
            expires: None,
            retained: false,
            ack: None,
            memory: self.budget.try_reserve(entries.len() + Run::OVERHEAD),
            entries,
        };
        let submission =
            Submission { run, wants: None, deadline: Duration::ZERO, retain: false, require_subscribers: false };
        self.publisher.submit(submission, now);
        while self.outbox.collect(now, batch, 256 << 10) == Next::Write {
            black_box(&batch.chunks);
        }
        self.subscription.grant(self.block.len() as u64).expect("credit for what was sent");
    }
}

fn pass(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let _guard = runtime.enter();
    let mut group = c.benchmark_group("pubsub/pass");
    for messages in [1, 16, 480] {
        let mut pair = Pair::new(messages);
        let mut batch = WriteBatch::default();
        let now = Instant::now();
        group.throughput(Throughput::Elements(messages.into()));
        group.bench_function(BenchmarkId::from_parameter(messages), |b| b.iter(|| pair.pass(&mut batch, now)));
    }
}

/// A call into a locked table against a message to the task that owns it, with and without waiting for the answer.
fn shard(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("pubsub/shard");
    let locked = parking_lot::Mutex::new(0_u64);
    group.bench_function("lock", |b| {
        b.iter(|| {
            *locked.lock() += 1;
        });
    });
    let (sender, mut mailbox) = mpsc::channel::<oneshot::Sender<u64>>(1024);
    runtime.spawn(async move {
        let mut count = 0;
        while let Some(answer) = mailbox.recv().await {
            count += 1;
            // A caller that went away wants no answer.
            let _gone = answer.send(count);
        }
    });
    group.bench_function("task", |b| {
        b.iter_custom(|iterations| {
            let sender = sender.clone();
            runtime.block_on(async move {
                let start = Instant::now();
                let calls = async move {
                    for _ in 0..iterations {
                        let (answer, answered) = oneshot::channel();
                        sender.send(answer).await.expect("the task runs");
                        black_box(answered.await.expect("the task answers"));
                    }
                };
                tokio::spawn(calls).await.expect("does not panic");
                start.elapsed()
            })
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = pass, shard
}
criterion_main!(benches);
