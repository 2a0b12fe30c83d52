//! Calls that wait for a provider.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

/// So many in order, and beyond that some more, of which the lowest priority is given up first, then the oldest.
///
/// When there is room in front, the highest priority of those beyond comes next, then the oldest.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// In the order in which they are taken, with their tickets.
    front: BTreeMap<u64, (u64, T)>,
    /// Where a ticket stands in front.
    places: HashMap<u64, u64>,
    /// By ticket.
    beyond: BTreeMap<u64, (u8, T)>,
    /// Those beyond: the first one is given up first. The order among equals is that of their tickets.
    ranks: BTreeSet<(u8, u64)>,
    in_order: usize,
    more: usize,
    tickets: u64,
    /// Counts those that came to the front.
    taken_up: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new(in_order: usize, more: usize) -> Self {
        Self {
            front: BTreeMap::new(),
            places: HashMap::new(),
            beyond: BTreeMap::new(),
            ranks: BTreeSet::new(),
            in_order: in_order.max(1),
            more,
            tickets: 0,
            taken_up: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.beyond.len()
    }

    /// Adds one, and gives its ticket; and who was given up for it, which may be itself.
    pub(crate) fn push(&mut self, priority: u8, item: T) -> (u64, Option<T>) {
        self.tickets += 1;
        let ticket = self.tickets;
        if self.front.len() < self.in_order {
            self.take_up(ticket, item);
            return (ticket, None);
        }
        self.beyond.insert(ticket, (priority, item));
        self.ranks.insert((priority, ticket));
        let given_up = if self.beyond.len() > self.more { self.ranks.pop_first() } else { None };
        let given_up = given_up.and_then(|(_, ticket)| self.beyond.remove(&ticket));
        (ticket, given_up.map(|(_, item)| item))
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, (ticket, item)) = self.front.pop_first()?;
        self.places.remove(&ticket);
        self.refill();
        Some(item)
    }

    /// Removes the one with this ticket, if it is there.
    pub(crate) fn remove(&mut self, ticket: u64) {
        if let Some(place) = self.places.remove(&ticket) {
            self.front.remove(&place);
            self.refill();
        } else if let Some((priority, _)) = self.beyond.remove(&ticket) {
            self.ranks.remove(&(priority, ticket));
        }
    }

    /// Takes all.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.ranks.clear();
        self.places.clear();
        let front = std::mem::take(&mut self.front).into_values().map(|(_, item)| item);
        front.chain(std::mem::take(&mut self.beyond).into_values().map(|(_, item)| item)).collect()
    }

    /// While there is somebody beyond, there is no room in front.
    fn refill(&mut self) {
        let Some(&(best, _)) = self.ranks.last() else { return };
        let Some(&(priority, ticket)) = self.ranks.range((best, 0)..).next() else { return };
        self.ranks.remove(&(priority, ticket));
        if let Some((_, item)) = self.beyond.remove(&ticket) {
            self.take_up(ticket, item);
        }
    }

    fn take_up(&mut self, ticket: u64, item: T) {
        self.taken_up += 1;
        self.front.insert(self.taken_up, (ticket, item));
        self.places.insert(ticket, self.taken_up);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by lists: (ticket, priority), in front in order, beyond in the order in which they came.
    #[derive(Default)]
    struct Model {
        front: Vec<(u64, u8)>,
        beyond: Vec<(u64, u8)>,
    }

    impl Model {
        fn refill(&mut self, in_order: usize) {
            let Some(best) = self.beyond.iter().map(|(_, priority)| *priority).max() else { return };
            if self.front.len() < in_order {
                let at = self.beyond.iter().position(|(_, priority)| *priority == best).expect("is there");
                self.front.push(self.beyond.remove(at));
            }
        }

        fn give_up(&mut self) -> u64 {
            let worst = self.beyond.iter().map(|(_, priority)| *priority).min().expect("is not empty");
            let at = self.beyond.iter().position(|(_, priority)| *priority == worst).expect("is there");
            self.beyond.remove(at).0
        }
    }

    proptest! {
        #[test]
        fn does_as_the_model(
            in_order in 1..5_usize, more in 0..5_usize,
            steps in prop::collection::vec((0..4_u8, 0..4_u8, any::<prop::sample::Index>()), 0..200),
        ) {
            let (mut queue, mut model) = (Queue::new(in_order, more), Model::default());
            for (step, priority, which) in steps {
                let all: Vec<u64> = model.front.iter().chain(&model.beyond).map(|(ticket, _)| *ticket).collect();
                match step {
                    0 | 1 => {
                        let next = queue.tickets + 1;
                        let (ticket, given_up) = queue.push(priority, next);
                        prop_assert_eq!(ticket, next);
                        let full = model.front.len() >= in_order;
                        if full { &mut model.beyond } else { &mut model.front }.push((ticket, priority));
                        let expected = (model.beyond.len() > more).then(|| model.give_up());
                        prop_assert_eq!(given_up, expected);
                    }
                    2 => {
                        let expected = (!model.front.is_empty()).then(|| model.front.remove(0).0);
                        prop_assert_eq!(queue.pop(), expected);
                        model.refill(in_order);
                    }
                    _ => if !all.is_empty() {
                        let ticket = *which.get(&all);
                        queue.remove(ticket);
                        model.front.retain(|(other, _)| *other != ticket);
                        model.beyond.retain(|(other, _)| *other != ticket);
                        model.refill(in_order);
                    },
                }
                prop_assert_eq!(queue.len(), model.front.len() + model.beyond.len());
                prop_assert_eq!(queue.places.len(), queue.front.len());
                prop_assert_eq!(queue.ranks.len(), queue.beyond.len());
            }
            let mut rest = queue.drain();
            let mut expected: Vec<u64> = model.front.iter().chain(&model.beyond).map(|(ticket, _)| *ticket).collect();
            rest.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(rest, expected);
        }
    }
}
