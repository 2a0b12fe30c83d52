use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;

use super::backoff::Backoff;
use super::{Closed, Counters, PoolConfig};

/// A link of the table. Numbers are never used again, so that news of an old link can't be taken for news of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A dial is under way.
    Dialling,
    /// There is a link, with traffic in flight.
    Busy,
    /// There is a link, with nothing in flight.
    Idle,
}

/// Answer to [`Table::dial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dial<K> {
    /// Dial. The link of this peer, if one is named, was taken out of the table to make room: close it.
    Go {
        /// Who had to go.
        evicted: Option<(K, LinkId)>,
    },
    /// A dial is under way already, or there is a link: nothing to do.
    Known(State),
    /// It failed lately: not before this time.
    Wait(Instant),
}

/// Answer to [`Table::up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<K> {
    /// The number of the new link.
    pub link: LinkId,
    /// The peer's former link: close it.
    pub replaced: Option<LinkId>,
    /// Another peer's link that had to make room: close it.
    pub evicted: Option<(K, LinkId)>,
}

/// All links are busy, so that none can make room for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is full: all of its {max} links are busy")]
pub struct PoolFull {
    /// Most links.
    pub max: usize,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    last: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Dialling,
    Up { link: LinkId, since: Instant, busy: bool },
}

/// The links there are and the dials under way, by peer, in the order of their last traffic.
///
/// Never more than [`PoolConfig::max`] entries; one dial per peer; a busy link is never chosen to make room.
pub struct Table<K: Hash + Eq> {
    config: PoolConfig,
    entries: LruCache<K, Entry>,
    backoff: Backoff<K>,
    next: u64,
    next_sweep: Option<Instant>,
    counters: Counters,
    links: usize,
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// An empty table. The seed decides about the jitter of the back-off.
    pub fn new(config: PoolConfig, seed: u64) -> Self {
        let bound = NonZeroUsize::new(config.max).unwrap_or(NonZeroUsize::MIN);
        // The bound is kept by hand, since not every entry may go.
        let entries = LruCache::unbounded();
        let backoff = Backoff::new(bound, config.backoff_min, config.backoff_max, seed);
        let config = PoolConfig { max: bound.get(), ..config };
        Self { config, entries, backoff, next: 0, next_sweep: None, counters: Counters::default(), links: 0 }
    }

    /// Someone has work for this peer: shall it be dialled? After [`Dial::Go`] either [`Table::up`],
    /// [`Table::dial_failed`] or [`Table::dial_dropped`] has to follow.
    pub fn dial(&mut self, key: &K, now: Instant) -> Result<Dial<K>, PoolFull> {
        if let Some(state) = self.state(key) {
            return Ok(Dial::Known(state));
        }
        if let Some(until) = self.backoff.until(key, now) {
            return Ok(Dial::Wait(until));
        }
        let evicted = self.make_room()?;
        self.entries.put(key.clone(), Entry { phase: Phase::Dialling, last: now });
        Ok(Dial::Go { evicted })
    }

    /// The dial came to nothing. Returns when the next one may be. Of no effect when there is a link by now.
    pub fn dial_failed(&mut self, key: &K, now: Instant) -> Option<Instant> {
        self.dial_dropped(key).then(|| {
            self.counters.failed += 1;
            self.backoff.failed(key, now)
        })
    }

    /// The dial was given up, and nobody is to blame: the next one may be at once. False if none was under way.
    pub fn dial_dropped(&mut self, key: &K) -> bool {
        let dialling = self.state(key) == Some(State::Dialling);
        if dialling {
            self.entries.pop(key);
        }
        dialling
    }

    /// A link is there, dialled or accepted. It is the most recently used one, and not busy. One that the peer had is
    /// replaced, and counted so.
    pub fn up(&mut self, key: &K, now: Instant) -> Result<Admitted<K>, PoolFull> {
        let (evicted, replaced) = match self.entries.pop(key).map(|entry| entry.phase) {
            Some(Phase::Up { link, .. }) => {
                self.closed(Closed::Replaced);
                (None, Some(link))
            }
            Some(Phase::Dialling) => (None, None),
            None => (self.make_room()?, None),
        };
        self.next += 1;
        let link = LinkId(self.next);
        self.entries.put(key.clone(), Entry { phase: Phase::Up { link, since: now, busy: false }, last: now });
        self.links += 1;
        self.counters.opened += 1;
        self.next_sweep.get_or_insert(now + self.config.sweep);
        Ok(Admitted { link, replaced, evicted })
    }

    /// A link has ended. False, and of no effect, if it is not the peer's present one.
    pub fn down(&mut self, key: &K, link: LinkId, reason: Closed, now: Instant) -> bool {
        let Some(since) = self.up_since(key, link) else { return false };
        self.entries.pop(key);
        self.closed(reason);
        if !reason.is_failure() || now.saturating_duration_since(since) >= self.config.stable {
            self.backoff.forget(key);
        } else {
            self.backoff.failed(key, now);
        }
        true
    }

    /// There was traffic: this link is the most recently used now. Calls are to be in the order of time; where several
    /// links report at once, [`Table::refresh`] sees to that.
    pub fn touch(&mut self, key: &K, at: Instant) {
        // A dial has no traffic, and looking at it must not change its place.
        if self.link(key).is_some()
            && let Some(entry) = self.entries.get_mut(key)
        {
            entry.last = entry.last.max(at);
        }
    }

    /// Takes over what links say of their last traffic and whether some is in flight.
    pub fn refresh(&mut self, mut reports: Vec<(K, Instant, bool)>) {
        reports.sort_by_key(|(_, last, _)| *last);
        for (key, last, busy) in reports {
            self.set_busy(&key, busy);
            if self.entries.peek(&key).is_some_and(|entry| entry.last < last) {
                self.touch(&key, last);
            }
        }
    }

    /// Whether a link has traffic in flight.
    pub fn set_busy(&mut self, key: &K, is_busy: bool) {
        if let Some(Entry { phase: Phase::Up { busy, .. }, .. }) = self.entries.peek_mut(key) {
            *busy = is_busy;
        }
    }

    /// When [`Table::sweep`] is due; not at all while there is no link.
    pub const fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Takes out the links that were idle for the limit: close them. So a link lives at most idle limit plus sweep interval
    /// without traffic.
    pub fn sweep(&mut self, now: Instant) -> Vec<(K, LinkId)> {
        let idle = self.config.idle;
        let is_idle = |entry: &Entry| match entry.phase {
            Phase::Up { link, busy: false, .. } if now.saturating_duration_since(entry.last) >= idle => Some(link),
            _ => None,
        };
        let gone: Vec<(K, LinkId)> =
            self.entries.iter().filter_map(|(key, entry)| Some((key.clone(), is_idle(entry)?))).collect();
        for (key, _) in &gone {
            self.entries.pop(key);
            self.closed(Closed::Idle);
        }
        self.next_sweep = (self.links > 0).then(|| now + self.config.sweep);
        gone
    }

    /// What is known of a peer.
    pub fn state(&self, key: &K) -> Option<State> {
        Some(match self.entries.peek(key)?.phase {
            Phase::Dialling => State::Dialling,
            Phase::Up { busy: true, .. } => State::Busy,
            Phase::Up { busy: false, .. } => State::Idle,
        })
    }

    /// The peer's present link, and since when it is up.
    pub fn link(&self, key: &K) -> Option<(LinkId, Instant)> {
        match self.entries.peek(key)?.phase {
            Phase::Up { link, since, .. } => Some((link, since)),
            Phase::Dialling => None,
        }
    }

    /// Makes a peer worth a dial again at once: it has new addresses, say.
    pub fn forgive(&mut self, key: &K) {
        self.backoff.forget(key);
    }

    /// Peers with a link or a dial under way, the most recently used first.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Links there are, without the dials under way.
    pub const fn links(&self) -> usize {
        self.links
    }

    /// Links and dials: what the maximum bounds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is neither a link nor a dial.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What happened since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes out the least recently used link that is not busy, if there is no room for one more.
    fn make_room(&mut self) -> Result<Option<(K, LinkId)>, PoolFull> {
        if self.entries.len() < self.config.max {
            return Ok(None);
        }
        let oldest_first = self.entries.iter().rev();
        let chosen = oldest_first.filter_map(|(key, entry)| match entry.phase {
            Phase::Up { link, busy: false, .. } => Some((key.clone(), link)),
            _ => None,
        });
        let Some((key, link)) = chosen.take(1).next() else {
            self.counters.full += 1;
            return Err(PoolFull { max: self.config.max });
        };
        self.entries.pop(&key);
        self.closed(Closed::Evicted);
        Ok(Some((key, link)))
    }

    fn up_since(&self, key: &K, link: LinkId) -> Option<Instant> {
        self.link(key).filter(|(present, _)| *present == link).map(|(_, since)| since)
    }

    fn closed(&mut self, reason: Closed) {
        self.links -= 1;
        self.counters.closed[reason as usize] += 1;
    }
}

impl<K: Hash + Eq> fmt::Debug for Table<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("entries", &self.entries.len())
            .field("links", &self.links)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
