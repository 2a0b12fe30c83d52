use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;
use sinew_flow::Batch;
use sinew_topic::{Pattern, Topic};

use crate::run::Slice;

/// The last value of each topic that was published with `retain`, bounded in number and bytes.
///
/// At the bound the value that was updated longest ago is forgotten. An empty payload clears its topic.
#[derive(Debug)]
pub(crate) struct Retained {
    values: LruCache<Topic, Slice>,
    bytes: usize,
    max_bytes: usize,
}

impl Retained {
    pub(crate) fn new(max_values: usize, max_bytes: usize) -> Self {
        let values = NonZeroUsize::new(max_values).unwrap_or(NonZeroUsize::MIN);
        Self { values: LruCache::new(values), bytes: 0, max_bytes }
    }

    /// Keeps a single message as the value of its topic. Returns how many other values had to go.
    pub(crate) fn keep(&mut self, value: Slice) -> usize {
        let topic = value.run().topic.clone();
        self.clear(&topic);
        if value.bytes() > self.max_bytes {
            return 1;
        }
        let mut evicted = 0;
        self.bytes += value.bytes();
        if let Some((_, old)) = self.values.push(topic, value) {
            self.bytes -= old.bytes();
            evicted += 1;
        }
        while self.bytes > self.max_bytes {
            let Some((_, old)) = self.values.pop_lru() else { break };
            self.bytes -= old.bytes();
            evicted += 1;
        }
        evicted
    }

    pub(crate) fn clear(&mut self, topic: &Topic) {
        if let Some(old) = self.values.pop(topic) {
            self.bytes -= old.bytes();
        }
    }

    /// The values that a pattern matches, oldest first, without the expired ones.
    pub(crate) fn matching(&self, pattern: &Pattern, now: Instant) -> Vec<Slice> {
        let fresh = |slice: &&Slice| slice.run().expires.is_none_or(|at| at > now);
        self.values
            .iter()
            .rev()
            .filter(|(topic, _)| pattern.matches(topic.as_str()))
            .map(|(_, slice)| slice)
            .filter(fresh)
            .cloned()
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
