use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sinew_wire::PeerId;

/// How long an event is remembered at least, unless there are more ranges than [`MAX_RANGES`]: two minutes.
pub const REMEMBERED: Duration = Duration::from_secs(120);

/// Most ranges of event numbers in a generation before it ends early.
///
/// What comes in order is one range for each node. With a gap behind each event, which no ring makes, this is twelve
/// seconds of 21,000 events/s.
pub const MAX_RANGES: usize = 1 << 18;

/// One life of a node: events are numbered in it.
pub(crate) type Source = (PeerId, u64);

/// Which events have come, in two generations: when the younger one is two minutes old it becomes the elder one, and what
/// that was is forgotten. An event is remembered for two to four minutes.
#[derive(Debug)]
pub(crate) struct Seen {
    young: HashMap<Source, Ranges>,
    old: HashMap<Source, Ranges>,
    /// Ranges in the younger one, and one more for each source.
    ranges: usize,
    since: Instant,
    early: u64,
}

impl Seen {
    pub(crate) fn new(now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), ranges: 0, since: now, early: 0 }
    }

    /// To mark events of one source, at most as many as a batch has: by so many the bound may be passed.
    pub(crate) fn of(&mut self, source: Source, now: Instant) -> Marker<'_> {
        let aged = now.saturating_duration_since(self.since) >= REMEMBERED;
        let full = self.ranges >= MAX_RANGES;
        if aged || full {
            self.early += u64::from(!aged);
            self.old = std::mem::take(&mut self.young);
            (self.ranges, self.since) = (0, now);
        }
        let Self { young, old, ranges, .. } = self;
        let young = young.entry(source).or_insert_with(|| {
            *ranges += 1;
            Ranges::default()
        });
        Marker { young, old: old.get(&source), ranges }
    }

    /// Ranges in both generations, and one more for each source.
    pub(crate) fn ranges(&self) -> usize {
        self.ranges + self.old.values().map(|ranges| ranges.len() + 1).sum::<usize>()
    }

    /// How often a generation ended early because it had too many ranges.
    pub(crate) const fn early(&self) -> u64 {
        self.early
    }
}

/// Marks events of one source.
#[derive(Debug)]
pub(crate) struct Marker<'a> {
    young: &'a mut Ranges,
    old: Option<&'a Ranges>,
    ranges: &'a mut usize,
}

impl Marker<'_> {
    /// Whether the event has not come before, as far as it is remembered. It has now.
    pub(crate) fn fresh(&mut self, seq: u64) -> bool {
        if self.old.is_some_and(|old| old.contains(seq)) || self.young.contains(seq) {
            return false;
        }
        *self.ranges += usize::from(self.young.insert(seq));
        true
    }
}

/// A set of numbers as ranges.
#[derive(Debug, Default)]
struct Ranges {
    /// The one that was added to last: first and last number.
    hot: Option<(u64, u64)>,
    /// The others: first number to last number.
    cold: BTreeMap<u64, u64>,
    /// The greatest number in it.
    greatest: u64,
}

impl Ranges {
    fn contains(&self, seq: u64) -> bool {
        let Some((first, last)) = self.hot else { return false };
        if seq > self.greatest {
            return false;
        }
        (first..=last).contains(&seq) || self.cold.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }

    /// Adds a number that is not in it. Returns whether that makes one more range.
    fn insert(&mut self, seq: u64) -> bool {
        self.greatest = self.greatest.max(seq);
        if let Some((_, last)) = &mut self.hot
            && last.checked_add(1) == Some(seq)
        {
            *last = seq;
            return false;
        }
        if let Some((first, last)) = self.hot {
            self.cold.insert(first, last);
        }
        // The range that ends right before it goes on, so that a gap that fills up late leaves two ranges and no more.
        let before = self.cold.range(..seq).next_back().map(|(first, last)| (*first, *last));
        match before {
            Some((first, last)) if last.checked_add(1) == Some(seq) => {
                self.cold.remove(&first);
                self.hot = Some((first, seq));
                false
            }
            _ => {
                self.hot = Some((seq, seq));
                true
            }
        }
    }

    fn len(&self) -> usize {
        self.cold.len() + usize::from(self.hot.is_some())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
mod tests {
    use std::collections::{HashMap as Map, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn source(n: u8) -> Source {
        (PeerId::from_public_key([n; 32]), 1)
    }

    #[test]
    fn a_duplicate_is_caught_for_two_minutes_at_full_rate() {
        let start = Instant::now();
        let mut seen = Seen::new(start);
        let per_second = 3000;
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            for node in 0..7 {
                let mut marker = seen.of(source(node), now);
                let first = second * per_second;
                assert!((first..first + per_second).all(|seq| marker.fresh(seq)));
                let oldest = second.saturating_sub(120) * per_second;
                assert!((oldest..first + per_second).step_by(997).all(|seq| !marker.fresh(seq)), "second {second}");
            }
            assert!(seen.ranges() <= 7 * 2 * 2, "in order there is one range for each node and generation");
        }
        assert_eq!(seen.early(), 0);
    }

    #[test]
    fn at_its_bound_a_generation_ends_early_and_that_is_counted() {
        let start = Instant::now();
        let mut seen = Seen::new(start);
        let mut seq = 0;
        while seen.early() < 3 {
            let mut marker = seen.of(source(1), start);
            for _ in 0..4096 {
                assert!(marker.fresh(seq));
                seq += 2;
            }
            assert!(seen.ranges() <= 2 * (MAX_RANGES + 4097));
        }
        assert!(!seen.of(source(1), start).fresh(seq - 2), "what came last is still known");
    }

    #[test]
    fn the_ends_of_the_numbers() {
        let now = Instant::now();
        let mut seen = Seen::new(now);
        let mut marker = seen.of(source(1), now);
        for seq in [u64::MAX, u64::MAX - 1, 0, 1] {
            assert!(marker.fresh(seq));
            assert!(!marker.fresh(seq));
        }
    }

    proptest! {
        #[test]
        fn as_a_set_of_all_that_is_remembered(
            events in prop::collection::vec((0_u8..3, 0_u64..60, 0_u64..50), 1..400),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut seen = Seen::new(start);
            let mut model: Map<Source, Map<u64, Instant>> = Map::new();
            for (node, seq, wait) in events {
                now += Duration::from_secs(if wait < 3 { 30 } else { 0 });
                let fresh = seen.of(source(node), now).fresh(seq);
                let marks = model.entry(source(node)).or_default();
                match marks.get(&seq).map(|at| now - *at) {
                    None => prop_assert!(fresh),
                    Some(ago) if ago <= REMEMBERED => prop_assert!(!fresh, "{} after {:?}", seq, ago),
                    Some(_) => {}
                }
                if fresh {
                    marks.insert(seq, now);
                }
            }
        }

        #[test]
        fn ranges_are_a_set(numbers in prop::collection::vec(0_u64..200, 0..300)) {
            let (mut ranges, mut set) = (Ranges::default(), HashSet::new());
            for seq in numbers {
                prop_assert_eq!(ranges.contains(seq), set.contains(&seq));
                if set.insert(seq) {
                    let before = ranges.len();
                    let more = ranges.insert(seq);
                    prop_assert_eq!(ranges.len(), before + usize::from(more));
                }
            }
            let inside: HashSet<_> = (0..300).filter(|seq| ranges.contains(*seq)).collect();
            prop_assert_eq!(inside, set);
        }
    }
}
