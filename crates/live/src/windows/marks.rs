use crate::sketch::{self, Sketch};

/// Bits of the sketch of the latencies of one row.
pub(crate) const BITS: u32 = 8;

/// Marks of the second under way that are put in order at once.
const UNORDERED: usize = 1 << 16;

/// How often a bucket of a row was hit in a second. Six bytes: there are millions of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    row: u16,
    bucket: u16,
    /// At most [`u16::MAX`]; what is beyond has marks of its own.
    n: u16,
}

/// Latencies of the second under way, by row. A latency is four bytes until there are enough to put them in order.
#[derive(Debug, Default)]
pub(crate) struct OpenMarks {
    unordered: Vec<u32>,
    ordered: Vec<Mark>,
}

impl OpenMarks {
    /// Adds a latency of a row. False, if it brings the marks beyond `bound`: then they have to be thrown away.
    pub(crate) fn push(&mut self, row: u16, latency_us: u32, bound: usize) -> bool {
        self.unordered.push(u32::from(row) << 16 | u32::from(sketch::bucket::<BITS>(latency_us)));
        if self.unordered.len() >= UNORDERED {
            self.order();
        }
        self.ordered.len() <= bound
    }

    pub(crate) fn clear(&mut self) {
        self.unordered.clear();
        self.ordered = Vec::new();
    }

    /// The marks in order of rows and buckets.
    pub(crate) fn take(&mut self) -> Box<[Mark]> {
        self.order();
        std::mem::take(&mut self.ordered).into_boxed_slice()
    }

    fn order(&mut self) {
        self.unordered.sort_unstable();
        let before = std::mem::take(&mut self.ordered);
        let mut merged = Merged(Vec::with_capacity(before.len() + self.unordered.len() / 4));
        let mut before = before.into_iter().peekable();
        for run in self.unordered.chunk_by(|a, b| a == b) {
            let key = run.first().copied().unwrap_or_default();
            while let Some(mark) = before.next_if(|mark| mark.key() <= key) {
                merged.push(mark.row, mark.bucket, mark.n.into());
            }
            merged.push((key >> 16) as u16, key as u16, run.len());
        }
        before.for_each(|mark| merged.push(mark.row, mark.bucket, mark.n.into()));
        self.ordered = merged.0;
        self.unordered.clear();
    }
}

impl Mark {
    fn key(&self) -> u32 {
        u32::from(self.row) << 16 | u32::from(self.bucket)
    }
}

struct Merged(Vec<Mark>);

impl Merged {
    fn push(&mut self, row: u16, bucket: u16, mut n: usize) {
        if let Some(last) = self.0.last_mut()
            && (last.row, last.bucket) == (row, bucket)
        {
            let room = usize::from(u16::MAX - last.n).min(n);
            last.n += room as u16;
            n -= room;
        }
        while n > 0 {
            let part = n.min(u16::MAX.into());
            self.0.push(Mark { row, bucket, n: part as u16 });
            n -= part;
        }
    }
}

/// Adds the marks of one row, of those of a second in order, to a sketch.
pub(crate) fn add_row(marks: &[Mark], row: u16, sketch: &mut Sketch<BITS>) {
    of_row(marks, row).iter().for_each(|mark| sketch.add_bucket(mark.bucket, mark.n.into()));
}

/// Takes them away from a sketch that has them.
pub(crate) fn subtract_row(marks: &[Mark], row: u16, sketch: &mut Sketch<BITS>) {
    of_row(marks, row).iter().for_each(|mark| sketch.subtract_bucket(mark.bucket, mark.n.into()));
}

fn of_row(marks: &[Mark], row: u16) -> &[Mark] {
    let from = marks.partition_point(|mark| mark.row < row);
    let rest = marks.get(from..).unwrap_or_default();
    let n = rest.partition_point(|mark| mark.row == row);
    rest.get(..n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_is_six_bytes() {
        assert_eq!(size_of::<Mark>(), 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn each_latency_is_counted_once_in_its_row(
            hits in prop::collection::vec((0_u16..4, 0_u32..3, 1_usize..50_000), 0..30),
        ) {
            let mut open = OpenMarks::default();
            let mut model: Vec<_> = (0..4).map(|_| Sketch::<BITS>::default()).collect();
            for (row, latency, n) in hits {
                for _ in 0..n {
                    prop_assert!(open.push(row, latency, usize::MAX));
                }
                model[usize::from(row)].add_bucket(latency as u16, n as u32);
            }
            let marks = open.take();
            prop_assert!(marks.is_sorted_by_key(Mark::key));
            for (row, expected) in model.iter().enumerate() {
                let mut sketch = Sketch::default();
                add_row(&marks, row as u16, &mut sketch);
                prop_assert_eq!(sketch.count(), expected.count());
                let at = [0.1, 0.5, 0.9];
                prop_assert_eq!(sketch.quantiles(at, 0, 9), expected.quantiles(at, 0, 9));
                subtract_row(&marks, row as u16, &mut sketch);
                prop_assert_eq!(sketch.count(), 0);
            }
        }
    }
}
