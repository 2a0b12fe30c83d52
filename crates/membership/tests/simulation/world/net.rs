//! What the network does to messages.

use std::collections::BTreeSet;
use std::time::Duration;

use super::chance::Chance;

/// The network: the same for all pairs, but for those that are cut.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    pub(crate) loss: f64,
    pub(crate) duplicates: f64,
    /// In microseconds. The wider the range, the more is reordered.
    pub(crate) delay: (u64, u64),
    /// From, to.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
}

/// After how long a connection that carries nothing is given up.
pub(crate) const GIVE_UP: Duration = Duration::from_millis(2_000);

/// A lost packet of a request is sent again after so long: requests travel on reliable streams.
const AGAIN: u64 = 100_000;

impl Net {
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn delay(&self, chance: &mut Chance) -> u64 {
        chance.between(self.delay.0, self.delay.1)
    }

    /// When copies of a message arrive, if any.
    pub(crate) fn carry(&self, from: usize, to: usize, chance: &mut Chance) -> Vec<Duration> {
        if self.is_cut(from, to) || chance.happens(self.loss) {
            return Vec::new();
        }
        let copies = if chance.happens(self.duplicates) { 2 } else { 1 };
        (0..copies).map(|_| Duration::from_micros(self.delay(chance))).collect()
    }

    /// When a request or its answer arrives; not at all when either way is cut, since nothing is acknowledged then.
    pub(crate) fn stream(&self, from: usize, to: usize, chance: &mut Chance) -> Option<Duration> {
        if self.is_cut(from, to) || self.is_cut(to, from) {
            return None;
        }
        let mut delay = self.delay(chance);
        while chance.happens(self.loss) {
            delay += AGAIN;
        }
        Some(Duration::from_micros(delay))
    }
}
