use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use std::sync::Arc;

/// Remembers message ids per topic for a while, at most so many: the one seen longest ago is forgotten first.
///
/// Ids count per topic and realm, not per publisher, so that a publisher that comes back under another key (a command
/// run again, say) is recognised.
#[derive(Debug)]
pub(crate) struct Dedup {
    seen: HashSet<Arc<[u8]>>,
    order: VecDeque<(Instant, Arc<[u8]>)>,
    capacity: usize,
    window: Duration,
}

impl Dedup {
    pub(crate) fn new(capacity: usize, window: Duration) -> Self {
        Self { seen: HashSet::new(), order: VecDeque::new(), capacity: capacity.max(1), window }
    }

    /// Whether this id is new for the topic; remembers it if so.
    pub(crate) fn is_new(&mut self, topic: &str, id: &[u8], now: Instant) -> bool {
        self.forget_expired(now);
        // A topic has no zero byte, so that no other pair gives the same key.
        let key = [topic.as_bytes(), &[0], id].concat();
        if self.seen.contains(key.as_slice()) {
            return false;
        }
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        let key = Arc::<[u8]>::from(key);
        self.order.push_back((now, Arc::clone(&key)));
        self.seen.insert(key);
        true
    }

    fn forget_expired(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.seen.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_once_per_topic_within_the_window() {
        let start = Instant::now();
        let mut dedup = Dedup::new(10, Duration::from_secs(120));
        assert!(dedup.is_new("a", b"1", start));
        assert!(!dedup.is_new("a", b"1", start + Duration::from_secs(119)));
        assert!(dedup.is_new("b", b"1", start));
        assert!(dedup.is_new("a", b"1", start + Duration::from_secs(120)));
    }

    #[test]
    fn the_oldest_id_goes_when_it_is_full() {
        let now = Instant::now();
        let mut dedup = Dedup::new(2, Duration::from_secs(120));
        for id in [b"1", b"2", b"3"] {
            assert!(dedup.is_new("a", id, now));
        }
        assert!(!dedup.is_new("a", b"3", now));
        assert!(!dedup.is_new("a", b"2", now));
        assert!(dedup.is_new("a", b"1", now));
        assert_eq!((dedup.seen.len(), dedup.order.len()), (2, 2));
    }
}
