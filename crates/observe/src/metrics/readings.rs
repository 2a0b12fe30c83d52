use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Numbers that a service keeps anyway: one family for each service, one row for each number.
///
/// Like [`Queues`](super::Queues), they are asked when somebody looks, and no part of [`Metrics`](super::Metrics), which
/// the services hold.
#[derive(Debug, Clone)]
pub struct Readings(Arc<Mutex<Vec<Family>>>);

/// A name known at compile time, and its number now.
pub type Reading = (&'static str, u64);

/// Name of a number that is the only one of its family.
const UNLABELLED: &str = "";

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: Box<dyn Fn() -> Vec<Reading> + Send + Sync>,
}

impl Readings {
    /// Registers the collector. Call it once per registry.
    pub fn new(registry: &mut Registry) -> Self {
        let readings = Self(Arc::default());
        registry.sub_registry_with_prefix(super::PREFIX).register_collector(Box::new(readings.clone()));
        readings
    }

    /// Adds numbers that only rise: `sinew_<name>_total{count="..."}`. `read` has to answer at once.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Reading> + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Counter, Box::new(read));
    }

    /// Adds numbers that rise and fall: `sinew_<name>{count="..."}`. `read` has to answer at once.
    pub fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Reading> + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Gauge, Box::new(read));
    }

    /// Adds one number that only rises: `sinew_<name>_total`. `read` has to answer at once.
    pub fn counter(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.add(name, help, MetricType::Counter, Box::new(move || vec![(UNLABELLED, read())]));
    }

    /// Adds one number that rises and falls: `sinew_<name>`. `read` has to answer at once.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.add(name, help, MetricType::Gauge, Box::new(move || vec![(UNLABELLED, read())]));
    }

    fn add(
        &self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        read: Box<dyn Fn() -> Vec<Reading> + Send + Sync>,
    ) {
        self.0.lock().push(Family { name, help, kind, read });
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.lock().iter() {
            let mut rows = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            let encode = |row: MetricEncoder<'_>, value: u64| match family.kind {
                MetricType::Counter => ConstCounter::new(value).encode(row),
                _ => ConstGauge::new(value).encode(row),
            };
            match (family.read)()[..] {
                // Without the braces of an empty list of labels, like every other number that is alone.
                [(UNLABELLED, value)] => encode(rows, value)?,
                ref named => {
                    for (name, value) in named {
                        encode(rows.encode_family(&[("count", *name)])?, *value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.name).finish_non_exhaustive()
    }
}
