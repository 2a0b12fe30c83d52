use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Who failed lately, and when each may be dialled again. Bounded: the one that failed longest ago is forgotten first.
#[derive(Debug)]
pub(super) struct Backoff<K: Hash + Eq> {
    failed: LruCache<K, Failed>,
    min: Duration,
    max: Duration,
    chance: StdRng,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    until: Instant,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    pub(super) fn new(bound: NonZeroUsize, min: Duration, max: Duration, seed: u64) -> Self {
        Self { failed: LruCache::new(bound), min, max, chance: StdRng::seed_from_u64(seed) }
    }

    /// When this peer may be dialled again, if not now.
    pub(super) fn until(&self, key: &K, now: Instant) -> Option<Instant> {
        self.failed.peek(key).map(|failed| failed.until).filter(|until| *until > now)
    }

    /// One more failure: the pause doubles, up to the longest, and is then cut by up to half by chance, so that peers that
    /// failed together don't return together.
    pub(super) fn failed(&mut self, key: &K, now: Instant) -> Instant {
        let times = self.failed.peek(key).map_or(0, |failed| failed.times);
        let full = self.min.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(self.max);
        let until = now + full.mul_f64(self.chance.random_range(0.5..=1.0));
        self.failed.put(key.clone(), Failed { times: times.saturating_add(1).min(31), until });
        until
    }

    /// It works again, or is worth another try.
    pub(super) fn forget(&mut self, key: &K) {
        self.failed.pop(key);
    }
}
