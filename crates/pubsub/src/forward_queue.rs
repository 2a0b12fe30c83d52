use std::collections::VecDeque;

use sinew_flow::{Batch, Limits, Policy, Queue};

use crate::recipients::Forwarded;

/// What is queued for one other node, in one order, with two ways to be full.
///
/// Runs that may be dropped make room by giving up the oldest of their kind, those that hold their publishers back wait
/// for room of theirs: neither takes from the other, so that a flood of the one never costs a message of the other. What
/// leaves is nevertheless in the order in which it came, whatever its kind.
#[derive(Debug)]
pub(crate) struct ForwardQueue {
    dropping: Queue<Forwarded>,
    waiting: Queue<Forwarded>,
    /// For each batch in `waiting`: how many messages had entered `dropping` before it. When as many have left, its turn
    /// has come.
    turns: VecDeque<u64>,
    /// Messages that ever entered `dropping`, and that ever left it.
    entered: u64,
    left: u64,
    last_place: u64,
}

impl ForwardQueue {
    /// Each kind within these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            dropping: Queue::new(limits, Policy::DropOldest),
            waiting: Queue::new(limits, Policy::Block),
            turns: VecDeque::new(),
            entered: 0,
            left: 0,
            last_place: 0,
        }
    }

    /// Queues a run that may be dropped; what has to go for it, or of it, goes to `dropped`.
    pub(crate) fn push(&mut self, mut item: Forwarded, mut dropped: impl FnMut(Forwarded)) {
        self.last_place += 1;
        let place = self.last_place;
        item.place = place;
        let mut entered = item.messages() as u64;
        let left = &mut self.left;
        let rest = self.dropping.push(item, |gone, _reason| {
            // What is dropped of the new run itself was never in anybody's way.
            let messages = gone.messages() as u64;
            if gone.place == place {
                entered -= messages
            } else {
                *left += messages
            }
            dropped(gone);
        });
        debug_assert!(rest.is_ok(), "only flow's own block policy returns a rest");
        self.entered += entered;
    }

    /// Queues what there is room for of a run that holds its publisher back, and fails with the rest.
    pub(crate) fn push_waiting(&mut self, mut item: Forwarded) -> Result<(), Forwarded> {
        self.last_place += 1;
        item.place = self.last_place;
        let before = self.waiting.batches();
        let rest = self.waiting.push_or_return(item);
        if self.waiting.batches() > before {
            self.turns.push_back(self.entered);
        }
        rest
    }

    /// Takes the front run, or as much of it as is worth at most `bytes`, but at least one message.
    pub(crate) fn pop(&mut self, bytes: usize) -> Option<Forwarded> {
        if self.turns.front().is_some_and(|turn| *turn <= self.left) {
            let before = self.waiting.batches();
            let item = self.waiting.pop(bytes)?;
            if self.waiting.batches() < before {
                self.turns.pop_front();
            }
            return Some(item);
        }
        let item = self.dropping.pop(bytes)?;
        self.left += item.messages() as u64;
        Some(item)
    }

    /// Empties it, in order.
    pub(crate) fn drain(&mut self) -> Vec<Forwarded> {
        std::iter::from_fn(|| self.pop(usize::MAX)).collect()
    }

    pub(crate) const fn set_byte_limit(&mut self, bytes: usize) {
        self.dropping.set_byte_limit(bytes);
        self.waiting.set_byte_limit(bytes);
    }

    pub(crate) const fn messages(&self) -> usize {
        self.dropping.messages() + self.waiting.messages()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.dropping.bytes() + self.waiting.bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dropping.is_empty() && self.waiting.is_empty()
    }

    /// Whether a run that holds its publisher back would find room.
    pub(crate) const fn has_room(&self) -> bool {
        self.waiting.has_room()
    }

    /// Bytes allocated for its own tables.
    pub(crate) fn memory(&self) -> usize {
        self.dropping.memory() + self.waiting.memory() + self.turns.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::recipients::Recipients;
    use crate::run::testing::slice;

    #[derive(Debug, Clone)]
    enum Step {
        Push { waits: bool, messages: u32 },
        Pop { messages: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<bool>(), 1..6_u32).prop_map(|(waits, messages)| Step::Push { waits, messages }),
            (1..8_usize).prop_map(|messages| Step::Pop { messages }),
        ]
    }

    /// Single messages: number, and whether it waits.
    #[derive(Default)]
    struct Model {
        queue: VecDeque<(u64, bool)>,
        dropped: Vec<u64>,
    }

    const LIMIT: usize = 10;

    impl Model {
        fn held(&self, waits: bool) -> usize {
            self.queue.iter().filter(|(_, kind)| *kind == waits).count()
        }

        fn push(&mut self, number: u64, waits: bool) -> bool {
            if self.held(waits) == LIMIT {
                if waits {
                    return false;
                }
                let oldest = self.queue.iter().position(|(_, kind)| !kind).expect("there are some");
                self.dropped.extend(self.queue.remove(oldest).map(|(number, _)| number));
            }
            self.queue.push_back((number, waits));
            true
        }
    }

    proptest! {
        /// One order for both kinds; each kind keeps its own bound.
        #[test]
        fn as_a_list_of_single_messages(steps in prop::collection::vec(step(), 0..60)) {
            let mut queue = ForwardQueue::new(Limits { messages: LIMIT, bytes: usize::MAX });
            let mut model = Model::default();
            let mut next = 1;
            let (mut got, mut expected, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push { waits, messages } => {
                        let slice = slice(next, messages);
                        let numbers = next..next + u64::from(messages);
                        next = numbers.end;
                        let item = Forwarded::new(slice, Arc::new(Recipients::default()));
                        if waits {
                            let rest = queue.push_waiting(item).err().map_or(0, |rest| rest.messages());
                            let refused = numbers.filter(|number| !model.push(*number, true)).count();
                            prop_assert_eq!(rest, refused);
                        } else {
                            queue.push(item, |gone| {
                                let first = gone.slice.first_seq();
                                dropped.extend(first..first + gone.messages() as u64);
                            });
                            numbers.for_each(|number| _ = model.push(number, false));
                        }
                    }
                    Step::Pop { messages } => {
                        // Every message takes 9 bytes.
                        let Some(item) = queue.pop(9 * messages) else {
                            prop_assert!(model.queue.is_empty());
                            continue;
                        };
                        let first = item.slice.first_seq();
                        got.extend(first..first + item.messages() as u64);
                        for _ in 0..item.messages() {
                            expected.extend(model.queue.pop_front().map(|(number, _)| number));
                        }
                    }
                }
                prop_assert_eq!(queue.messages(), model.queue.len());
                prop_assert_eq!(queue.has_room(), model.held(true) < LIMIT);
            }
            for item in queue.drain() {
                let first = item.slice.first_seq();
                got.extend(first..first + item.messages() as u64);
            }
            expected.extend(model.queue.iter().map(|(number, _)| *number));
            prop_assert_eq!(got, expected);
            prop_assert_eq!(dropped, model.dropped);
            prop_assert!(queue.is_empty() && queue.turns.is_empty());
        }
    }
}
