use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use sinew_wire::ServiceInstance;

/// What is known of a service at other nodes, until a change or time says otherwise.
#[derive(Debug)]
pub(crate) struct Entry {
    instances: Vec<Remote>,
    /// Whether the DHT would be worth asking: nobody in the directory has it, and the DHT was not asked because this node has.
    pub(crate) here_only: bool,
    until: Instant,
}

#[derive(Debug)]
struct Remote {
    instance: ServiceInstance,
    expires: Instant,
}

impl Entry {
    /// Instances fetched just now.
    pub(crate) fn fetched(instances: Vec<ServiceInstance>, now: Instant, ttl: Duration) -> Self {
        let after = |ttl| now.checked_add(ttl).unwrap_or(now);
        let with_end = |instance: ServiceInstance| {
            let expires = after(Duration::from_millis(instance.ttl_ms));
            Remote { instance, expires }
        };
        let instances: Vec<_> = instances.into_iter().map(with_end).collect();
        let until = instances.iter().map(|remote| remote.expires).fold(after(ttl), Instant::min);
        Self { instances, here_only: false, until }
    }

    /// No other node has it, as far as the directory says.
    pub(crate) fn here_only(now: Instant, ttl: Duration) -> Self {
        Self { here_only: true, ..Self::fetched(Vec::new(), now, ttl) }
    }

    pub(crate) fn holds(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The instances, with the time that is left to them now.
    pub(crate) fn instances(&self, now: Instant) -> impl Iterator<Item = ServiceInstance> {
        self.instances.iter().filter(move |remote| remote.expires > now).map(move |Remote { instance, expires }| {
            let left = expires.saturating_duration_since(now).as_millis();
            ServiceInstance { ttl_ms: u64::try_from(left).unwrap_or(u64::MAX), ..instance.clone() }
        })
    }

    pub(crate) fn is_of(&self, node: sinew_wire::PeerId) -> bool {
        self.instances.iter().any(|remote| remote.instance.node == node)
    }
}

/// The cache of entries, by name.
pub(crate) type Entries = Cache<Arc<str>, Arc<Entry>>;

/// Bounded by names; no entry outlives the longest of the two times, counted from when it was written.
pub(crate) fn entries(names: usize, longest: Duration) -> Entries {
    let names = u64::try_from(names).unwrap_or(u64::MAX);
    Cache::builder().max_capacity(names).time_to_live(longest.max(Duration::from_millis(1))).build()
}
