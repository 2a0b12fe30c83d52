//! Every policy against a model that knows one message at a time.

mod model;

use model::{Dropped, Message, Model, Run};
use proptest::prelude::*;
use sinew_flow::{Batch, DropReason, Limits, Policy, Queue};

#[derive(Debug, Clone)]
enum Op {
    /// Sizes of the messages of a batch.
    Push(Vec<usize>),
    PushOrReturn(Vec<usize>),
    PushLatest(u8, Vec<usize>),
    Pop(usize),
    ByteLimit(usize),
    Drain,
}

fn ops(policy: Policy) -> impl Strategy<Value = Vec<Op>> {
    let sizes = || prop::collection::vec(1..=12_usize, 1..=10);
    let keyed = if policy == Policy::Latest { 8 } else { 0 };
    let op = prop_oneof![
        6 => sizes().prop_map(Op::Push),
        2 => sizes().prop_map(Op::PushOrReturn),
        keyed => (0..6_u8, sizes()).prop_map(|(key, sizes)| Op::PushLatest(key, sizes)),
        5 => (0..40_usize).prop_map(Op::Pop),
        1 => (0..80_usize).prop_map(Op::ByteLimit),
        1 => Just(Op::Drain),
    ];
    prop::collection::vec(op, 1..80)
}

fn limits() -> impl Strategy<Value = Limits> {
    (0..24_usize, 0..80_usize).prop_map(|(messages, bytes)| Limits { messages, bytes })
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::DropOldest), Just(Policy::DropNewest), Just(Policy::Latest), Just(Policy::Block)]
}

/// A queue, its model, and where every message went.
struct Pair {
    queue: Queue<Run, u8>,
    model: Model,
    next: u32,
    gone: Vec<u32>,
    /// Highest byte limit there was.
    most_bytes: usize,
}

impl Pair {
    fn new(limits: Limits, policy: Policy) -> Self {
        let (queue, model) = (Queue::new(limits, policy), Model::new(limits, policy));
        Self { queue, model, next: 0, gone: Vec::new(), most_bytes: limits.bytes }
    }

    fn run(&mut self, sizes: &[usize]) -> Vec<Message> {
        let first = self.next;
        self.next += sizes.len() as u32;
        (first..).zip(sizes).map(|(id, bytes)| Message { id, bytes: *bytes }).collect()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Push(sizes) => {
                let run = self.run(&sizes);
                let mut expected = Dropped::new();
                let rest = self.model.push(&run, &mut expected);
                let mut dropped = Dropped::new();
                let result = self.queue.push(Run(run), |given_up, reason| note(&mut dropped, given_up, reason));
                assert_eq!(dropped, expected);
                self.gone(dropped);
                self.returned(result, &rest);
            }
            Op::PushOrReturn(sizes) => {
                let run = self.run(&sizes);
                let rest = self.model.push_or_return(&run);
                let result = self.queue.push_or_return(Run(run));
                self.returned(result, &rest);
            }
            Op::PushLatest(key, sizes) => {
                let run = self.run(&sizes);
                let mut expected = Dropped::new();
                self.model.push_latest(key, &run, &mut expected);
                let mut dropped = Dropped::new();
                self.queue.push_latest(key, Run(run), |given_up, reason| note(&mut dropped, given_up, reason));
                // The replaced one may be given up before or after those that make room.
                dropped.sort_by_key(|(message, _)| message.id);
                expected.sort_by_key(|(message, _)| message.id);
                assert_eq!(dropped, expected);
                self.gone(dropped);
            }
            Op::Pop(credit) => self.pop(credit),
            Op::ByteLimit(bytes) => {
                self.queue.set_byte_limit(bytes);
                self.model.limits.bytes = bytes;
                self.most_bytes = self.most_bytes.max(bytes);
            }
            Op::Drain => self.drain(),
        }
        self.check();
    }

    fn pop(&mut self, credit: usize) {
        let batches = self.queue.batches();
        let Some(Run(popped)) = self.queue.pop(credit) else {
            assert!(self.model.queued.is_empty());
            return;
        };
        for message in &popped {
            assert_eq!(self.model.pop().as_ref(), Some(message));
            self.gone.push(message.id);
        }
        let bytes = model::total(&popped);
        assert!(bytes <= credit || popped.len() == 1, "{bytes} bytes for a credit of {credit}");
        if self.queue.batches() == batches {
            let next = self.model.queued.front().expect("the batch was split").1;
            assert!(bytes + next.bytes > credit, "split, though the next one fits too");
        }
    }

    fn drain(&mut self) {
        let drained: Vec<Message> = self.queue.drain().flat_map(|run| run.0).collect();
        let expected: Vec<Message> = self.model.queued.drain(..).map(|(_, message)| message).collect();
        assert_eq!(drained, expected);
        self.gone.extend(drained.iter().map(|message| message.id));
    }

    fn gone(&mut self, dropped: Dropped) {
        self.gone.extend(dropped.iter().map(|(message, _)| message.id));
    }

    fn returned(&mut self, result: Result<(), Run>, expected: &[Message]) {
        let rest = result.err().map(|run| run.0).unwrap_or_default();
        assert_eq!(rest, expected);
        self.gone.extend(rest.iter().map(|message| message.id));
    }

    fn check(&self) {
        let (queue, model) = (&self.queue, &self.model);
        assert_eq!((queue.messages(), queue.bytes()), (model.queued.len(), model.bytes()));
        assert!(queue.messages() <= queue.limits().messages && queue.bytes() <= self.most_bytes);
        assert!(queue.batches() <= queue.messages());
        assert_eq!(queue.is_empty(), model.queued.is_empty());
        let room = queue.messages() < model.limits.messages && queue.bytes() < model.limits.bytes;
        assert_eq!((queue.has_room(), queue.limits()), (room, model.limits));
    }

    /// Every message pushed went to exactly one place.
    fn finish(mut self) {
        self.drain();
        self.check();
        self.gone.sort_unstable();
        assert!(self.gone.iter().copied().eq(0..self.next), "{} pushed, gone are {:?}", self.next, self.gone);
    }
}

fn note(dropped: &mut Dropped, run: Run, reason: DropReason) {
    assert!(run.messages() > 0);
    dropped.extend(run.0.into_iter().map(|message| (message, reason)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_as_the_model((limits, policy, ops) in (limits(), policy())
        .prop_flat_map(|(limits, policy)| (Just(limits), Just(policy), ops(policy))))
    {
        let mut pair = Pair::new(limits, policy);
        for op in ops {
            pair.apply(op);
        }
        pair.finish();
    }
}

/// A batch of messages of ten bytes, numbered from `first`.
fn tens(first: u32, n: u32) -> Run {
    Run((first..first + n).map(|id| Message { id, bytes: 10 }).collect())
}

fn ids(run: Run) -> Vec<u32> {
    run.0.into_iter().map(|message| message.id).collect()
}

fn never(run: Run, reason: DropReason) {
    panic!("gave up {run:?}: {}", reason.as_str());
}

#[test]
fn the_oldest_batch_is_split_once_and_exactly() {
    let mut queue = Queue::<Run>::new(Limits { messages: 100, bytes: 100 }, Policy::DropOldest);
    queue.push(tens(0, 8), never).expect("fits");
    let mut pieces = Vec::new();
    queue.push(tens(8, 5), |run, _| pieces.push(ids(run))).expect("evicts");
    assert_eq!(pieces, [[0, 1, 2]]);
    assert_eq!((queue.messages(), queue.batches()), (10, 2));
}

#[test]
fn a_hot_key_keeps_its_place_though_it_grows() {
    let mut queue = Queue::<Run, &str>::new(Limits { messages: 3, bytes: 30 }, Policy::Latest);
    queue.push_latest("hot", tens(0, 1), never);
    queue.push_latest("warm", tens(1, 1), never);
    queue.push_latest("cold", tens(2, 1), never);
    let mut given_up = Vec::new();
    let heavy = Run(vec![Message { id: 3, bytes: 15 }]);
    queue.push_latest("hot", heavy, |run, reason| given_up.push((ids(run), reason)));
    assert_eq!(given_up, [(vec![0], DropReason::Conflated), (vec![1], DropReason::QueueFull)]);
    assert_eq!(queue.drain().flat_map(ids).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn what_never_fits_is_dropped_and_what_may_fit_later_comes_back() {
    let mut queue = Queue::<Run>::new(Limits { messages: 4, bytes: 40 }, Policy::Block);
    let mut batch = tens(0, 6);
    batch.0[1].bytes = 41;
    let mut given_up = Vec::new();
    let rest = queue.push(batch, |run, _| given_up.extend(ids(run))).expect_err("one too many");
    assert_eq!((given_up, ids(rest), queue.messages()), (vec![1], vec![5], 4));
}

#[test]
fn limits_without_end_are_fine() {
    let limits = Limits { messages: usize::MAX, bytes: usize::MAX };
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Latest, Policy::Block] {
        let mut queue = Queue::<Run>::new(limits, policy);
        queue.push(tens(0, 5), never).expect("fits");
        assert_eq!(queue.pop(usize::MAX).map(ids), Some(vec![0, 1, 2, 3, 4]));
    }
}

#[test]
fn memory_is_given_back_when_it_runs_empty_and_kept_below_that() {
    let mut queue = Queue::<Run, u32>::new(Limits { messages: 10_000, bytes: 1 << 20 }, Policy::Latest);
    assert_eq!(queue.memory(), 0);
    let mut fill_and_empty = |n: u32| {
        (0..n).for_each(|key| queue.push_latest(key, tens(key, 1), never));
        let full = queue.memory();
        while queue.pop(usize::MAX).is_some() {}
        (full, queue.memory())
    };
    let (_, small) = fill_and_empty(100);
    assert_eq!(fill_and_empty(100), (small, small));
    let (full, emptied) = fill_and_empty(10_000);
    assert!(full > 10_000 * size_of::<Run>() && emptied <= 2 * small, "{full} full, {emptied} empty, {small} before");
    assert_eq!(fill_and_empty(100).1, emptied);
}
