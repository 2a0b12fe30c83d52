use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use std::sync::Arc;

/// Remembers message ids per topic for a while, at most so many: the one seen longest ago is forgotten first.
///
/// Ids count per topic and realm, not per publisher, so that a publisher that comes back under another key (a command
/// run again, say) is recognised.
///
/// Another node forwards only ids that are new to it. So an id that has come by the same node before is the same
/// message, which that node sends in several parts, for different recipients; one that has come another way is a
/// duplicate.
#[derive(Debug)]
pub(crate) struct Dedup {
    /// The ids, and by which way they came.
    seen: HashMap<Arc<[u8]>, u64>,
    order: VecDeque<(Instant, Arc<[u8]>)>,
    capacity: usize,
    window: Duration,
}

impl Dedup {
    /// The way of what is published on this node; the others are numbers of nodes, which begin at 1.
    pub(crate) const HERE: u64 = 0;

    pub(crate) fn new(capacity: usize, window: Duration) -> Self {
        Self { seen: HashMap::new(), order: VecDeque::new(), capacity: capacity.max(1), window }
    }

    /// Whether this id is new for the topic; remembers it if so.
    pub(crate) fn is_new(&mut self, topic: &str, id: &[u8], via: u64, now: Instant) -> bool {
        self.forget_expired(now);
        // A topic has no zero byte, so that no other pair gives the same key.
        let key = [topic.as_bytes(), &[0], id].concat();
        if let Some(before) = self.seen.get(key.as_slice()) {
            return via != Self::HERE && via == *before;
        }
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        let key = Arc::<[u8]>::from(key);
        self.order.push_back((now, Arc::clone(&key)));
        self.seen.insert(key, via);
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
        assert!(dedup.is_new("a", b"1", 0, start));
        assert!(!dedup.is_new("a", b"1", 0, start + Duration::from_secs(119)));
        assert!(dedup.is_new("b", b"1", 0, start));
        assert!(dedup.is_new("a", b"1", 0, start + Duration::from_secs(120)));
    }

    #[test]
    fn an_id_is_no_duplicate_of_itself() {
        let now = Instant::now();
        let mut dedup = Dedup::new(10, Duration::from_secs(120));
        assert!(dedup.is_new("a", b"1", 5, now));
        assert!(dedup.is_new("a", b"1", 5, now), "another part of the same message, by the same way");
        assert!(!dedup.is_new("a", b"1", 6, now));
        assert!(!dedup.is_new("a", b"1", Dedup::HERE, now));
        assert!(dedup.is_new("a", b"2", Dedup::HERE, now));
        assert!(!dedup.is_new("a", b"2", 5, now));
    }

    #[test]
    fn the_oldest_id_goes_when_it_is_full() {
        let now = Instant::now();
        let mut dedup = Dedup::new(2, Duration::from_secs(120));
        for id in [b"1", b"2", b"3"] {
            assert!(dedup.is_new("a", id, 0, now));
        }
        assert!(!dedup.is_new("a", b"3", 0, now));
        assert!(!dedup.is_new("a", b"2", 0, now));
        assert!(dedup.is_new("a", b"1", 0, now));
        assert_eq!((dedup.seen.len(), dedup.order.len()), (2, 2));
    }
}
