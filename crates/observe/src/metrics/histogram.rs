use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds of the buckets in nanoseconds, but for the last one, which is open: 50 us to 10 s.
const BOUNDS: [u64; 16] = [
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A latency histogram for hot paths: no lock, and one call for all messages of a run.
///
/// That of prometheus-client takes a mutex for every single observation.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Records that `n` events took `elapsed` each.
    pub fn observe(&self, elapsed: Duration, n: u64) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < ns);
        self.0.buckets[bucket].fetch_add(n, Ordering::Relaxed);
        // Wraps after 584 years of latency added up.
        self.0.sum_ns.fetch_add(ns.saturating_mul(n), Ordering::Relaxed);
    }

    /// Events recorded so far in each bucket, the slowest in the last one. The bounds are
    /// [`DELIVER_BOUNDS_US`](sinew_wire::live::DELIVER_BOUNDS_US).
    pub fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.0.buckets[bucket].load(Ordering::Relaxed))
    }

    /// Events recorded so far.
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // The count is taken from the same reading as the buckets, so that the two agree in every scrape.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_view_knows_the_buckets() {
        assert_eq!(BOUNDS, sinew_wire::live::DELIVER_BOUNDS_US.map(|us| us * 1_000));
    }
}
