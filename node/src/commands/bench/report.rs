//! What a measurement says.

use std::fmt;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart from longer ones: 10 min.
const MAX_LATENCY_NS: u64 = 600_000_000_000;

/// Latencies in nanoseconds, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3).map(Self).context("can't make a histogram")
    }

    pub(crate) fn note(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn summary(&self) -> Percentiles {
        let us = |ns: u64| round(ns as f64 / 1e3, 10.0);
        let at = |quantile| us(self.0.value_at_quantile(quantile));
        Percentiles {
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max()),
        }
    }
}

/// Latencies by rank, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p95_us, p99_us, p999_us, max_us } = self;
        write!(f, "p50 {p50_us} us, p95 {p95_us} us, p99 {p99_us} us, p99.9 {p999_us} us, max {max_us} us")
    }
}

/// Two digits behind the point are more than any of these measurements is worth.
pub(crate) fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Messages and bytes per second, where there was any time at all.
pub(crate) fn rates(messages: u64, bytes: u64, secs: f64) -> (f64, f64) {
    let per_second = |n: f64| if secs > 0.0 { n / secs } else { 0.0 };
    (round(per_second(messages as f64), 1.0), round(per_second(bytes as f64 / 1e6), 100.0))
}

/// A number with its thousands kept apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_kept_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut latencies = Latencies::new().expect("bounds are fine");
        (1..=1000).for_each(|us| latencies.note(us * 1000));
        let summary = latencies.summary();
        assert!((495.0..=505.0).contains(&summary.p50_us), "{summary}");
        assert!((985.0..=995.0).contains(&summary.p99_us), "{summary}");
        assert!((1000.0..=1001.0).contains(&summary.max_us), "{summary}");
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(rates(5, 5, 0.0), (0.0, 0.0));
        assert_eq!(rates(10, 20_000_000, 2.0), (5.0, 10.0));
    }
}
