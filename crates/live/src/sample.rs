use std::collections::VecDeque;
use std::sync::Arc;

use sinew_wire::PeerId;
use sinew_wire::live::{Batch, Event};

use crate::frame::{self, MAX_SAMPLE};

/// The last events, or of more than fifty in one frame's time as many of them, each with the same chance
/// (Vitter's algorithm R).
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Of frames before.
    last: VecDeque<Kept>,
    /// Since the last frame.
    new: Vec<Kept>,
    /// Events since the last frame.
    seen: u64,
    /// State of a generator of the xorshift family (Marsaglia): the same events make the same sample.
    chance: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    /// Events before it since the last frame.
    order: u64,
    node: Arc<str>,
    region: String,
    event: Event,
    name: String,
    provider: Option<PeerId>,
}

impl Sampler {
    pub(crate) const fn new() -> Self {
        Self { last: VecDeque::new(), new: Vec::new(), seen: 0, chance: 0x9E37_79B9_7F4A_7C15 }
    }

    pub(crate) fn offer(&mut self, node: &Arc<str>, batch: &Batch, event: &Event) {
        let order = self.seen;
        self.seen += 1;
        let place = if self.new.len() < MAX_SAMPLE { self.new.len() } else { self.draw(self.seen) as usize };
        if place >= MAX_SAMPLE {
            return;
        }
        let name = batch.names.get(usize::from(event.name)).cloned().unwrap_or_default();
        let provider = event.provider.and_then(|place| batch.peers.get(usize::from(place)).copied());
        let (node, region) = (node.clone(), batch.region.clone());
        let kept = Kept { order, node, region, event: *event, name, provider };
        match self.new.get_mut(place) {
            Some(before) => *before = kept,
            None => self.new.push(kept),
        }
    }

    /// The sample for the next frame, newest last.
    pub(crate) fn frame(&mut self) -> Vec<frame::Sample> {
        self.new.sort_unstable_by_key(|kept| kept.order);
        self.last.extend(self.new.drain(..));
        let beyond = self.last.len().saturating_sub(MAX_SAMPLE);
        self.last.drain(..beyond);
        self.seen = 0;
        self.last.iter().map(Kept::shown).collect()
    }

    /// A number below `n`, or a large one if that does not fit.
    fn draw(&mut self, n: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        ((u128::from(self.chance) * u128::from(n)) >> 64) as u64
    }
}

impl Kept {
    fn shown(&self) -> frame::Sample {
        let Event { seq, at_ms, kind, messages, nodes, outcome, latency_us, .. } = self.event;
        frame::Sample {
            id: format!("{}/{seq}", self.node),
            time_ms: at_ms,
            node: self.node.to_string(),
            region: self.region.clone(),
            kind,
            name: self.name.clone(),
            messages,
            nodes,
            provider: self.provider.map(|peer| peer.to_string()),
            outcome: outcome.as_str().to_owned(),
            latency_us,
        }
    }
}
