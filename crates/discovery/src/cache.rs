use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use sinew_wire::ServiceInstance;

use crate::Provider;

/// What is known of a service at other nodes, until a change or time says otherwise.
#[derive(Debug)]
pub(crate) struct Entry {
    instances: Vec<Kept>,
    /// Whether the DHT would be worth asking: nobody in the directory has it, and the DHT was not asked because this
    /// node has.
    pub(crate) here_only: bool,
    until: Instant,
}

/// An instance of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) instance: ServiceInstance,
    /// How it is called, if it can be.
    pub(crate) callable: Option<Provider>,
}

#[derive(Debug)]
struct Kept {
    remote: Remote,
    expires: Instant,
}

impl Entry {
    /// Instances fetched just now.
    pub(crate) fn fetched(instances: Vec<Remote>, now: Instant, ttl: Duration) -> Self {
        let after = |ttl| now.checked_add(ttl).unwrap_or(now);
        let with_end = |remote: Remote| {
            let expires = after(Duration::from_millis(remote.instance.ttl_ms));
            Kept { remote, expires }
        };
        let instances: Vec<_> = instances.into_iter().map(with_end).collect();
        let until = instances.iter().map(|kept| kept.expires).fold(after(ttl), Instant::min);
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
        self.instances.iter().filter(move |kept| kept.expires > now).map(move |Kept { remote, expires }| {
            let left = expires.saturating_duration_since(now).as_millis();
            ServiceInstance { ttl_ms: u64::try_from(left).unwrap_or(u64::MAX), ..remote.instance.clone() }
        })
    }

    /// When it no longer holds.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// The instances that can be called. Leases are renewed without anybody telling, so their ends are not looked at:
    /// while the entry is used, whoever withdraws is told of, or says so when it is called.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.instances.iter().filter_map(|kept| kept.remote.callable.as_ref())
    }

    pub(crate) fn any_callable(&self) -> bool {
        self.providers().next().is_some()
    }

    pub(crate) fn is_of(&self, node: sinew_wire::PeerId) -> bool {
        self.instances.iter().any(|kept| kept.remote.instance.node == node)
    }
}

/// The cache of entries, by name.
pub(crate) type Entries = Cache<Arc<str>, Arc<Entry>>;

/// Bounded by names; no entry outlives the longest of the two times, counted from when it was written.
pub(crate) fn entries(names: usize, longest: Duration) -> Entries {
    let names = u64::try_from(names).unwrap_or(u64::MAX);
    Cache::builder().max_capacity(names).time_to_live(longest.max(Duration::from_millis(1))).build()
}
