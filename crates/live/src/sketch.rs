/// Counts of values in log-linear buckets, from which quantiles are read.
///
/// Values below `2^(BITS + 1)` have a bucket each; above, each power of two is cut into `2^BITS` buckets of the same width,
/// as HdrHistogram does it (Tene): a bucket is 0.05 % of its values wide at 11 bits, 0.4 % at 8 bits. Inside a bucket, and
/// between the least and the greatest value, values are taken to be spread evenly. The rank of a quantile is off by what
/// that is wrong about in one bucket, and of the greatest not at all: far less than 1 % for latencies spread over ten buckets or more, that is for any above
/// a few microseconds' spread below 4 ms at 11 bits, and for 1 % of themselves above.
///
/// Sketches are added to each other and taken from each other exactly.
///
/// ```
/// use sinew_live::Sketch;
///
/// let mut sketch = Sketch::<11>::default();
/// (1..=1000).for_each(|latency| sketch.record(latency));
/// assert_eq!(sketch.quantiles([0.5, 0.99], 1, 1000), Some([500, 990]));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sketch<const BITS: u32> {
    /// As long as the highest bucket that was ever used.
    counts: Vec<u32>,
    total: u64,
    /// No bucket below this one counts anything.
    lowest: usize,
    /// Nor this one, nor those above.
    end: usize,
}

/// What a [`Sketch`] counted, without what it didn't: buckets ascending, with how often each was hit.
#[derive(Debug, Clone, Default)]
pub struct Packed(Box<[(u16, u32)]>);

/// The bucket of a value.
pub(crate) const fn bucket<const BITS: u32>(value: u32) -> u16 {
    const { assert!(BITS >= 1 && BITS <= 11, "its buckets are numbered by 16 bits") };
    let shift = (u32::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((shift << BITS) + (value >> shift)) as u16
}

/// The least value of a bucket and how many there are.
const fn values<const BITS: u32>(bucket: usize) -> (u64, u64) {
    let shift = (bucket >> BITS).saturating_sub(1);
    (((bucket - (shift << BITS)) as u64) << shift, 1 << shift)
}

impl<const BITS: u32> Sketch<BITS> {
    /// Buckets there are.
    const BUCKETS: usize = (33 - BITS as usize) << BITS;

    /// Counts a value.
    pub fn record(&mut self, value: u32) {
        self.add_bucket(bucket::<BITS>(value), 1);
    }

    /// Values counted.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Counts `n` values of one bucket. A bucket that there is not is ignored, and one that overflows stays full.
    pub(crate) fn add_bucket(&mut self, bucket: u16, n: u32) {
        let place = usize::from(bucket);
        if place >= self.counts.len() {
            if place >= Self::BUCKETS || n == 0 {
                return;
            }
            self.counts.resize((place + 1).next_power_of_two().min(Self::BUCKETS), 0);
        }
        if self.total == 0 {
            (self.lowest, self.end) = (place, place + 1);
        }
        self.lowest = self.lowest.min(place);
        self.end = self.end.max(place + 1);
        let n = n.min(u32::MAX - self.counts[place]);
        self.counts[place] += n;
        self.total += u64::from(n);
    }

    /// Uncounts `n` values of one bucket, or as many as it has.
    pub(crate) fn subtract_bucket(&mut self, bucket: u16, n: u32) {
        if let Some(count) = self.counts.get_mut(usize::from(bucket)) {
            let n = n.min(*count);
            *count -= n;
            self.total -= u64::from(n);
        }
    }

    /// Counts what the other one counted.
    pub fn add(&mut self, other: &Packed) {
        other.0.iter().for_each(|(bucket, n)| self.add_bucket(*bucket, *n));
    }

    /// Uncounts what the other one counted, which was added before.
    pub fn subtract(&mut self, other: &Packed) {
        other.0.iter().for_each(|(bucket, n)| self.subtract_bucket(*bucket, *n));
    }

    /// The counts, packed.
    pub fn pack(&self) -> Packed {
        Packed(self.used().map(|(place, n)| (place as u16, n)).collect())
    }

    /// Uncounts everything and keeps the memory.
    pub fn clear(&mut self) {
        if let Some(used) = self.counts.get_mut(self.lowest..self.end) {
            used.fill(0);
        }
        (self.total, self.lowest, self.end) = (0, 0, 0);
    }

    /// For each of the shares `at`, which ascend from 0 to 1, the least value that this share of the values does not pass.
    /// None when nothing is counted.
    ///
    /// `least` and `most` are the least and the greatest value counted, or bounds of them.
    pub fn quantiles<const N: usize>(&self, at: [f64; N], least: u32, most: u32) -> Option<[u32; N]> {
        let rank = |share: f64| ((share * self.total as f64).ceil() as u64).clamp(1, self.total);
        if self.total == 0 {
            return None;
        }
        let mut found = [most; N];
        let mut wanted = at.into_iter().map(rank).zip(found.iter_mut()).peekable();
        let mut below = 0;
        for (place, n) in self.used() {
            while let Some((rank, value)) = wanted.next_if(|(rank, _)| *rank <= below + u64::from(n)) {
                *value = if rank == self.total {
                    last::<BITS>(place).min(most)
                } else {
                    within::<BITS>(place, (rank - below) as f64 - 0.5, n.into(), (least, most))
                };
            }
            below += u64::from(n);
        }
        Some(found)
    }

    fn used(&self) -> impl Iterator<Item = (usize, u32)> {
        let counts = self.counts.get(self.lowest..self.end).unwrap_or_default();
        counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(place, n)| (self.lowest + place, *n))
    }
}

/// The greatest value of a bucket.
fn last<const BITS: u32>(bucket: usize) -> u32 {
    let (first, width) = values::<BITS>(bucket);
    u32::try_from(first + width - 1).unwrap_or(u32::MAX)
}

/// The value at this place among the `n` of a bucket, which are spread evenly over the values that it and the bounds have.
fn within<const BITS: u32>(bucket: usize, place: f64, n: f64, (least, most): (u32, u32)) -> u32 {
    let (first, width) = values::<BITS>(bucket);
    let low = first.max(least.into());
    let high = (first + width).min(u64::from(most) + 1);
    let offset = (place / n * high.saturating_sub(low) as f64) as u64;
    u32::try_from(low + offset).unwrap_or(u32::MAX).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_gapless_and_end_at_the_greatest_value() {
        fn check<const BITS: u32>() {
            let mut next = 0;
            for place in 0..Sketch::<BITS>::BUCKETS {
                let (first, width) = values::<BITS>(place);
                assert_eq!(first, next);
                assert_eq!(usize::from(bucket::<BITS>(first as u32)), place);
                assert_eq!(usize::from(bucket::<BITS>((first + width - 1) as u32)), place);
                next = first + width;
            }
            assert_eq!(next, 1 << 32);
        }
        check::<11>();
        check::<8>();
        check::<1>();
    }

    /// How far the share of the values up to `value` is from the one asked for.
    fn rank_error(sorted: &[u32], value: u32, share: f64) -> f64 {
        let n = sorted.len() as f64;
        let below = sorted.partition_point(|v| *v < value) as f64 / n;
        let up_to = sorted.partition_point(|v| *v <= value) as f64 / n;
        (below - share).max(share - up_to).max(0.0)
    }

    /// Uniform numbers (Marsaglia's xorshift), normal ones from two of them (Box and Muller), and latencies from those.
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }

        fn draw(&mut self, latencies: &Latencies) -> u32 {
            let value = match *latencies {
                Latencies::Lognormal(mean, sigma) => (mean + sigma * self.normal()).exp(),
                Latencies::Bimodal(low, high, share) => {
                    let centre = if self.uniform() < share { low } else { high };
                    centre * (1.0 + 0.02 * self.normal())
                }
                Latencies::Narrow(from, width) => from + width * self.uniform(),
            };
            // Cut off, not pressed together: as many of one value as there would be at the end are not spread in their bucket.
            if value > 6e7 { self.draw(latencies) } else { value.max(1.0) as u32 }
        }
    }

    /// Latencies as they come, in microseconds.
    #[derive(Debug, Clone)]
    enum Latencies {
        /// Mean and deviation of the logarithm.
        Lognormal(f64, f64),
        /// Two centres, and the share of the first.
        Bimodal(f64, f64, f64),
        /// From here on, so wide.
        Narrow(f64, f64),
    }

    fn latencies() -> impl Strategy<Value = Latencies> {
        prop_oneof![
            (1.0..15.0, 0.01..2.0).prop_map(|(mean, sigma)| Latencies::Lognormal(mean, sigma)),
            (5.0..500.0, 500.0..5e6, 0.01..0.99).prop_map(|(low, high, share)| Latencies::Bimodal(low, high, share)),
            // A few microseconds below 4 ms, where each microsecond has its bucket; ten buckets and more above.
            (1.0..4000.0, 3.0..90.0).prop_map(|(from, width)| Latencies::Narrow(from, width)),
            (4000.0..5e7, 0.01..0.1).prop_map(|(from, part)| Latencies::Narrow(from, from * part)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn quantiles_have_the_rank_asked_for(latencies in latencies(), seed in 1_u64..) {
            let (mut chance, mut sketch) = (Chance(seed), Sketch::<11>::default());
            let mut values: Vec<_> = (0..20_000).map(|_| chance.draw(&latencies)).collect();
            values.iter().for_each(|value| sketch.record(*value));
            values.sort_unstable();
            let at = [0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0];
            let (least, most) = (values[0], *values.last().expect("some"));
            for (share, value) in at.into_iter().zip(sketch.quantiles(at, least, most).expect("some")) {
                let error = rank_error(&values, value, share);
                prop_assert!(error < 0.01, "{share}: {value}, off by {error}");
            }
        }

        #[test]
        fn what_is_added_can_be_taken_away(parts in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..50), 1..8)) {
            let packed: Vec<_> = parts.iter().map(|part| {
                let mut sketch = Sketch::<8>::default();
                part.iter().for_each(|value| sketch.record(*value));
                sketch.pack()
            }).collect();
            let mut sum = Sketch::<8>::default();
            packed.iter().for_each(|part| sum.add(part));
            prop_assert_eq!(sum.count(), parts.iter().map(Vec::len).sum::<usize>() as u64);
            packed[1..].iter().for_each(|part| sum.subtract(part));
            prop_assert_eq!(&sum.pack().0, &packed[0].0);
        }
    }

    #[test]
    fn all_values_are_up_to_the_greatest_however_many_it_has() {
        let mut sketch = Sketch::<11>::default();
        (0..20_000).for_each(|n| sketch.record(if n < 200 { 60_000_000 } else { 50_000_000 + n }));
        assert_eq!(sketch.quantiles([1.0], 50_000_200, 60_000_000), Some([60_000_000]));
    }

    #[test]
    fn the_ends_of_the_scale_and_nothing_at_all() {
        let mut sketch = Sketch::<11>::default();
        assert_eq!(sketch.quantiles([0.5], 0, u32::MAX), None);
        [0, u32::MAX].into_iter().for_each(|value| sketch.record(value));
        assert_eq!(sketch.quantiles([0.0, 0.5, 1.0], 0, u32::MAX).expect("two"), [0, 0, u32::MAX]);
        sketch.clear();
        assert_eq!((sketch.count(), sketch.pack().0.len()), (0, 0));
        sketch.add_bucket(u16::MAX, 1);
        sketch.subtract_bucket(u16::MAX, 1);
        assert_eq!(sketch.count(), 0);
    }
}
