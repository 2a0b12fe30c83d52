use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The bounded queues of one node: a row each in `sinew_queue_depth` and `sinew_queue_capacity`.
///
/// Their owners keep count anyway, so each is asked when somebody looks, which costs the hot path nothing. Not a part of
/// [`Metrics`](super::Metrics), which the owners hold: they would hold themselves.
#[derive(Debug, Clone)]
pub struct Queues(Arc<Mutex<Vec<Queue>>>);

struct Queue {
    name: &'static str,
    capacity: u64,
    watched: bool,
    depth: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Queues {
    /// Registers the two families. Call it once per registry.
    pub fn new(registry: &mut Registry) -> Self {
        let queues = Self(Arc::default());
        registry.sub_registry_with_prefix(super::PREFIX).register_collector(Box::new(queues.clone()));
        queues
    }

    /// Adds a queue. Depth and capacity share a unit (messages, bytes); `depth` has to answer at once.
    pub fn add(&self, name: &'static str, capacity: u64, depth: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.lock().push(Queue { name, capacity, watched: true, depth: Box::new(depth) });
    }

    /// Adds a queue that is shown, and whose fill says nothing about whether the node serves its clients.
    pub fn add_aside(&self, name: &'static str, capacity: u64, depth: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.lock().push(Queue { name, capacity, watched: false, depth: Box::new(depth) });
    }
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Its name.
    pub queue: &'static str,
    /// What is in it, in the unit of its capacity.
    pub depth: u64,
    /// Its bound.
    pub capacity: u64,
    /// Whether a node is in a bad way while it is full.
    pub watched: bool,
}

impl Queues {
    /// How full each queue is now, in the order in which they were added.
    pub fn fills(&self) -> Vec<Fill> {
        let fill = |queue: &Queue| Fill {
            queue: queue.name,
            depth: (queue.depth)(),
            capacity: queue.capacity,
            watched: queue.watched,
        };
        self.0.lock().iter().map(fill).collect()
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let queues = self.0.lock();
        let mut rows = |name, help, value: fn(&Queue) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for queue in queues.iter() {
                let label = [("queue", queue.name)];
                ConstGauge::new(value(queue)).encode(family.encode_family(&label)?)?;
            }
            Ok(())
        };
        rows("queue_depth", "Fill of a bounded queue, in the unit of its capacity", |queue| (queue.depth)())?;
        rows("queue_capacity", "Bound of a queue", |queue| queue.capacity)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
