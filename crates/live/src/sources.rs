use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sinew_wire::PeerId;
use sinew_wire::live::Batch;

use crate::nodes::MAX_NODES;

/// How long a node that sends nothing is kept count of: longer than it is listed.
const KEPT: Duration = Duration::from_secs(300);

/// What each node has emitted, and what of it has come.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    sources: HashMap<PeerId, Source>,
    /// Lost of lives that are no longer kept count of, and events of nodes beyond the bound.
    settled: u64,
}

#[derive(Debug)]
pub(crate) struct Source {
    /// The node's id as text, which takes longer to make than all else that is done for an event.
    pub(crate) text: Arc<str>,
    /// The life that it is in, and the one before: batches of it may still be on their way.
    lives: [Option<Life>; 2],
    heard: Instant,
}

/// A node from its start to its end.
#[derive(Debug)]
struct Life {
    epoch: u64,
    /// The first event that is to come.
    base: u64,
    /// The one after the last that was emitted.
    top: u64,
    /// Those that have come.
    received: u64,
}

impl Sources {
    /// Notes a batch of a node. None if there are too many nodes.
    pub(crate) fn batch(&mut self, from: PeerId, batch: &Batch, now: Instant) -> Option<&mut Source> {
        if !self.admit(from, now) {
            self.settled = self.settled.saturating_add(batch.events.len() as u64);
            return None;
        }
        let least = batch.events.iter().map(|event| event.seq).min().unwrap_or(batch.emitted);
        // The first batch of a node tells what its ring dropped before it: somebody was to get that.
        let first_ever = batch.emitted.checked_sub(batch.dropped) == Some(batch.events.len() as u64);
        let base = if first_ever { 0 } else { least };
        let source = self.sources.get_mut(&from)?;
        source.heard = now;
        let (life, settled) = source.life(batch.epoch, base);
        life.top = life.top.max(batch.emitted);
        life.base = life.base.min(least);
        self.settled = self.settled.saturating_add(settled);
        Some(source)
    }

    /// Notes how many events a node says to have emitted: none of them is still to be sent.
    pub(crate) fn state(&mut self, from: PeerId, epoch: u64, emitted: u64, now: Instant) {
        if self.admit(from, now)
            && let Some(source) = self.sources.get_mut(&from)
        {
            source.heard = now;
            let (life, settled) = source.life(epoch, emitted);
            life.top = life.top.max(emitted);
            self.settled = self.settled.saturating_add(settled);
        }
    }

    /// Events that were to come and have not, so far.
    pub(crate) fn lost(&self) -> u64 {
        let open = self.sources.values().flat_map(|source| source.lives.iter().flatten()).map(Life::lost);
        open.fold(self.settled, u64::saturating_add)
    }

    fn admit(&mut self, from: PeerId, now: Instant) -> bool {
        if self.sources.contains_key(&from) {
            return true;
        }
        if self.sources.len() >= MAX_NODES {
            let settled = &mut self.settled;
            self.sources.retain(|_, source| {
                let kept = now.saturating_duration_since(source.heard) < KEPT;
                if !kept {
                    *settled = source.lives.iter().flatten().map(Life::lost).fold(*settled, u64::saturating_add);
                }
                kept
            });
        }
        let room = self.sources.len() < MAX_NODES;
        if room {
            let text = Arc::from(from.to_string());
            self.sources.insert(from, Source { text, lives: [None, None], heard: now });
        }
        room
    }
}

impl Source {
    /// Counts events of the life that came as new ones.
    pub(crate) fn received(&mut self, epoch: u64, events: u64) {
        if let Some(life) = self.lives.iter_mut().flatten().find(|life| life.epoch == epoch) {
            life.received = life.received.saturating_add(events);
        }
    }

    /// The life of this epoch, which begins with the event `base` if it is new. Then the last but one ends, and what was
    /// lost of it is the second value.
    fn life(&mut self, epoch: u64, base: u64) -> (&mut Life, u64) {
        let [now, before] = &mut self.lives;
        if before.as_ref().is_some_and(|life| life.epoch == epoch)
            && let Some(life) = before
        {
            return (life, 0);
        }
        let mut settled = 0;
        if now.as_ref().is_some_and(|life| life.epoch != epoch) {
            settled = before.as_ref().map_or(0, Life::lost);
            *before = now.take();
        }
        (now.get_or_insert(Life { epoch, base, top: base, received: 0 }), settled)
    }
}

impl Life {
    const fn lost(&self) -> u64 {
        self.top.saturating_sub(self.base).saturating_sub(self.received)
    }
}
