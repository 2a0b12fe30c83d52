//! How long to leave a peer alone whose dials failed.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use rand::RngExt;
use sinew_wire::PeerId;

/// Peers remembered: those that failed last.
const PEERS: usize = 4096;

/// First wait; it doubles.
const FIRST: Duration = Duration::from_millis(250);

/// Longest wait while the failure is young. A partition that heals is to be noticed within a few seconds, and the
/// membership asks for its lost members every second.
const YOUNG: Duration = Duration::from_secs(2);

/// How long it is young.
const YOUTH: Duration = Duration::from_secs(120);

/// Longest wait at all.
const LONGEST: Duration = Duration::from_secs(15);

struct Failed {
    since: Instant,
    times: u32,
    until: Instant,
}

/// Which peers are not to be dialled yet.
pub(crate) struct Backoff {
    failed: LruCache<PeerId, Failed>,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { failed: LruCache::new(const { NonZeroUsize::new(PEERS).unwrap() }) }
    }

    pub(crate) fn may_dial(&mut self, peer: &PeerId, now: Instant) -> bool {
        self.failed.peek(peer).is_none_or(|failed| failed.until <= now)
    }

    pub(crate) fn failed(&mut self, peer: PeerId, now: Instant) {
        let failed = self.failed.get_or_insert_mut(peer, || Failed { since: now, times: 0, until: now });
        failed.times = failed.times.saturating_add(1);
        let most = if now.saturating_duration_since(failed.since) < YOUTH { YOUNG } else { LONGEST };
        failed.until = now + jittered(FIRST, failed.times, most);
    }

    pub(crate) fn succeeded(&mut self, peer: &PeerId) {
        self.failed.pop(peer);
    }
}

/// `first`, doubled with each failure after the first one up to `most`, less up to a quarter of it.
pub(crate) fn jittered(first: Duration, times: u32, most: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(most);
    doubled.mul_f64(rand::rng().random_range(0.75..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_is_forgotten() {
        let (mut backoff, start) = (Backoff::new(), Instant::now());
        let peer = PeerId::from_public_key([7; 32]);
        let mut now = start;
        let mut dials = 0;
        while now < start + Duration::from_secs(60) {
            if backoff.may_dial(&peer, now) {
                dials += 1;
                backoff.failed(peer, now);
                assert!(
                    !backoff.may_dial(&peer, now + Duration::from_millis(150)),
                    "at least three quarters of 250 ms"
                );
                assert!(backoff.may_dial(&peer, now + YOUNG));
            }
            now += Duration::from_millis(50);
        }
        assert!((30..=45).contains(&dials), "{dials} dials in a minute");
        now = start + Duration::from_secs(600);
        backoff.failed(peer, now);
        assert!(!backoff.may_dial(&peer, now + Duration::from_secs(11)));
        backoff.succeeded(&peer);
        assert!(backoff.may_dial(&peer, now));
    }

    #[test]
    fn remembers_a_bounded_number() {
        let (mut backoff, now) = (Backoff::new(), Instant::now());
        for index in 0..2 * PEERS {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&index.to_le_bytes());
            backoff.failed(PeerId::from_public_key(key), now);
        }
        assert_eq!(backoff.failed.len(), PEERS);
    }
}
