//! The overflow queue against two lists that are searched from one end to the other.

use proptest::prelude::*;
use sinew_flow::Overflow;

#[derive(Debug, Clone)]
enum Op {
    Push(u8),
    Pop,
    Remove(prop::sample::Index),
    Drain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    priority: u8,
    ticket: u64,
}

#[derive(Debug, Default)]
struct Model {
    front: Vec<Item>,
    beyond: Vec<Item>,
}

impl Model {
    fn push(&mut self, item: Item, (front, beyond): (usize, usize)) -> Option<Item> {
        if self.front.len() < front {
            self.front.push(item);
            return None;
        }
        self.beyond.push(item);
        let lowest = *self.beyond.iter().min_by_key(|item| (item.priority, item.ticket))?;
        (self.beyond.len() > beyond).then(|| self.beyond.retain(|item| *item != lowest)).map(|()| lowest)
    }

    fn refill(&mut self, front: usize) {
        if self.front.len() == front {
            return;
        }
        let next = self.beyond.iter().copied().min_by_key(|item| (u8::MAX - item.priority, item.ticket));
        if let Some(next) = next {
            self.beyond.retain(|item| *item != next);
            self.front.push(next);
        }
    }

    fn remove(&mut self, ticket: u64, front: usize) -> Option<Item> {
        let found = self.front.iter().chain(&self.beyond).copied().find(|item| item.ticket == ticket)?;
        self.front.retain(|item| *item != found);
        self.beyond.retain(|item| *item != found);
        self.refill(front);
        Some(found)
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..5_u8).prop_map(Op::Push),
        4 => Just(Op::Pop),
        4 => any::<prop::sample::Index>().prop_map(Op::Remove),
        1 => Just(Op::Drain),
    ];
    prop::collection::vec(op, 1..400)
}

proptest! {
    #[test]
    fn does_what_two_lists_do(limits in (1..8_usize, 0..8_usize), ops in ops()) {
        let mut queue = Overflow::new(limits.0, limits.1);
        let mut model = Model::default();
        let mut tickets = 0;
        for op in ops {
            match op {
                Op::Push(priority) => {
                    tickets += 1;
                    let item = Item { priority, ticket: tickets };
                    prop_assert_eq!(queue.push(priority, item), (tickets, model.push(item, limits)));
                }
                Op::Pop => {
                    let first = model.front.first().map(|item| item.ticket);
                    let expected = first.and_then(|ticket| model.remove(ticket, limits.0));
                    prop_assert_eq!(queue.pop(), expected);
                }
                Op::Remove(which) => {
                    let ticket = which.index(tickets as usize + 1) as u64;
                    prop_assert_eq!(queue.remove(ticket), model.remove(ticket, limits.0));
                }
                Op::Drain => {
                    let drained: Vec<_> = queue.drain().collect();
                    let mut expected = Vec::new();
                    while let Some(first) = model.front.first().copied() {
                        expected.extend(model.remove(first.ticket, limits.0));
                    }
                    prop_assert_eq!(drained, expected);
                }
            }
            prop_assert_eq!(queue.len(), model.front.len() + model.beyond.len());
            prop_assert_eq!(queue.overflowing(), model.beyond.len());
            prop_assert!(queue.len() <= queue.capacity());
            prop_assert_eq!(queue.is_empty(), model.front.is_empty() && model.beyond.is_empty());
        }
    }
}

/// Whoever joins and leaves again and again leaves nothing behind.
#[test]
fn removed_ones_cost_nothing_in_the_long_run() {
    let mut queue = Overflow::new(1_000, 10_000);
    for n in 0..100_000 {
        let (ticket, given_up) = queue.push(0, n);
        assert_eq!((queue.remove(ticket), given_up), (Some(n), None));
    }
    assert!(queue.is_empty() && queue.pop().is_none());
}

/// Full of work that nobody gives up, it keeps what matters most and says of each other one that it went.
#[test]
fn the_least_is_given_up_first() {
    let mut queue = Overflow::new(2, 3);
    let given_up: Vec<_> = (0..9_u8).filter_map(|n| queue.push(n % 3, n).1).collect();
    assert_eq!(given_up, [3, 6, 4, 7]);
    assert_eq!(queue.drain().collect::<Vec<_>>(), [0, 1, 2, 5, 8]);
}
