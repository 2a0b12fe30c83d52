//! What arrived from one publisher: each number once, and in order?

use std::collections::BTreeMap;

/// Most gaps remembered at once. A gap beyond it can't be told from a duplicate when it fills late, and stays lost.
const MAX_GAPS: usize = 65_536;

/// Follows the sequence numbers of one publisher at one subscriber. In order it costs one comparison a message.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    next: u64,
    /// Numbers that were passed over, as `first -> end`.
    gaps: BTreeMap<u64, u64>,
    /// Numbers that came again.
    pub(crate) duplicated: u64,
    /// Numbers that came after a later one.
    pub(crate) reordered: u64,
}

impl Arrivals {
    /// Notes the next arrival.
    pub(crate) fn note(&mut self, number: u64) {
        if number == self.next {
            self.next += 1;
        } else if number > self.next {
            if self.gaps.len() < MAX_GAPS {
                self.gaps.insert(self.next, number);
            }
            self.next = number.saturating_add(1);
        } else if self.fill(number) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// Takes a number out of the gap it is missing from, if there is one.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&first, &end)) = self.gaps.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        self.gaps.remove(&first);
        for (first, end) in [(first, number), (number + 1, end)] {
            if first < end {
                self.gaps.insert(first, end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u64]) -> (u64, u64) {
        let mut arrivals = Arrivals::default();
        numbers.iter().for_each(|n| arrivals.note(*n));
        (arrivals.duplicated, arrivals.reordered)
    }

    #[test]
    fn order_and_gaps_are_neither_duplicates_nor_reordered() {
        assert_eq!(after(&[0, 1, 2, 3]), (0, 0));
        assert_eq!(after(&[5, 6, 9]), (0, 0));
    }

    #[test]
    fn what_comes_again_is_a_duplicate() {
        assert_eq!(after(&[0, 1, 1, 0, 2]), (2, 0));
        assert_eq!(after(&[0, 5, 3, 3]), (1, 1));
    }

    #[test]
    fn what_comes_late_is_reordered_once() {
        assert_eq!(after(&[0, 3, 1, 2, 4]), (0, 2));
        assert_eq!(after(&[2, 0, 1, 3]), (0, 2));
        assert_eq!(after(&[0, 10, 5, 4, 6, 9, 1, 20, 15]), (0, 6));
    }

    #[test]
    fn the_last_number_does_not_overflow() {
        assert_eq!(after(&[u64::MAX, 0, 0]), (1, 1));
    }
}
