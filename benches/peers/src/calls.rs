use hdrhistogram::Histogram;
use serde::Serialize;

use crate::now_ns;
use crate::tally::{LONGEST_NS, print_json};

/// What became of the calls of one process.
#[derive(Debug)]
pub struct CallTally {
    start_ns: u64,
    latency_ns: Histogram<u64>,
    errors: u64,
}

/// The line that `sinew bench call` prints.
#[derive(Debug, Serialize)]
struct Report {
    calls: u64,
    errors: u64,
    secs: f64,
    calls_per_s: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl CallTally {
    /// Starts the clock.
    pub fn start() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order");
        Self { start_ns: now_ns(), latency_ns, errors: 0 }
    }

    /// Counts one call: how long its answer took, `None` if there was none, or a wrong one.
    pub fn take(&mut self, latency_ns: Option<u64>) {
        match latency_ns {
            Some(ns) => self.latency_ns.saturating_record(ns),
            None => self.errors += 1,
        }
    }

    /// Prints the result as one JSON object.
    pub fn print(&self) {
        let secs = now_ns().saturating_sub(self.start_ns).max(1) as f64 / 1e9;
        let calls = self.latency_ns.len();
        let at = |quantile| self.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        print_json(&Report {
            calls,
            errors: self.errors,
            secs,
            calls_per_s: calls as f64 / secs,
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.latency_ns.max() as f64 / 1e3,
        });
    }
}
