use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use sinew_overlay::Ask;
use sinew_registry::Instance;
use sinew_wire::PeerId;
use tokio::sync::{mpsc, watch};

use crate::protocol::{Answer, Callable, Detail, MAX_ANSWER, MAX_INSTANCES, Question};
use crate::shared::{Counts, Shared, left_ms};

/// Nodes whose questions are counted; more than that do not ask within a second.
const MAX_ASKERS: usize = 4_096;

/// Answers the questions of other nodes, from the snapshot of the leases.
pub(crate) async fn answer_all(shared: Arc<Shared>, mut asks: mpsc::Receiver<Ask>, mut stop: watch::Receiver<bool>) {
    let mut rates = Rates::new(f64::from(shared.config.asks_per_second));
    loop {
        let ask = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            ask = asks.recv() => ask,
        };
        let Some(ask) = ask else { return };
        let now = Instant::now();
        let answer = if rates.allow(ask.from, now) { shared.answer(&ask.body, now) } else { None };
        match answer {
            Some(answer) => {
                Counts::count(&shared.counts.asks_answered);
                ask.reply(answer);
            }
            // Dropped, it is refused.
            None => Counts::count(&shared.counts.asks_refused),
        }
    }
}

impl Shared {
    /// `None` for what is no question.
    pub(crate) fn answer(&self, body: &[u8], now: Instant) -> Option<Bytes> {
        let Question::Instances { name, start, max } = Question::decode(body)?;
        let max = (max as usize).min(MAX_INSTANCES);
        let mut answer = (Vec::new(), false);
        if let Some(service) = self.snapshot.load().get(&name) {
            // A place behind the last one is no place: `live_from` would begin anew there.
            let start = start as usize;
            let rest = service.len().saturating_sub(start);
            let mut left = MAX_ANSWER - AROUND - name.len() - self.config.region.len();
            for instance in service.live_from(start, now).take(rest) {
                let detail = Detail {
                    provider: instance.owner.peer,
                    instance: instance.owner.instance,
                    metadata: instance.metadata.to_vec(),
                    ttl_ms: left_ms(instance.expires, now),
                    callable: callable_of(instance),
                };
                let bytes = bytes_of(&detail);
                if answer.0.len() == max || bytes > left {
                    answer.1 = true;
                    break;
                }
                left -= bytes;
                answer.0.push(detail);
            }
        }
        let (instances, more) = answer;
        Some(Answer::Instances { name, region: self.config.region.clone(), instances, more }.encode())
    }
}

/// More than what an answer has around its texts and instances.
const AROUND: usize = 64;

/// More than what an instance takes in an answer.
fn bytes_of(detail: &Detail) -> usize {
    let cache = detail.callable.as_ref().and_then(|callable| callable.procedure.cache.as_ref());
    let vary = cache.map_or(0, |cache| cache.vary.iter().map(|header| 8 + header.len()).sum());
    128 + detail.metadata.iter().map(|(key, value)| 16 + key.len() + value.len()).sum::<usize>() + vary
}

fn callable_of(instance: &Instance) -> Option<Callable> {
    let procedure = instance.procedure.as_deref()?.clone();
    Some(Callable { id: instance.number, procedure, health: instance.health })
}

/// How much each node may ask: so many times in a second, half of them at once.
struct Rates {
    per_second: f64,
    askers: HashMap<PeerId, (f64, Instant)>,
}

impl Rates {
    fn new(per_second: f64) -> Self {
        Self { per_second, askers: HashMap::new() }
    }

    fn allow(&mut self, node: PeerId, now: Instant) -> bool {
        let burst = (self.per_second / 2.0).max(1.0);
        if self.askers.len() >= MAX_ASKERS && !self.askers.contains_key(&node) {
            // Who has been silent for so long has all of its burst again.
            self.askers.retain(|_, (_, last)| now.saturating_duration_since(*last).as_secs() < 1);
            if self.askers.len() >= MAX_ASKERS {
                return false;
            }
        }
        let (left, last) = self.askers.entry(node).or_insert((burst, now));
        *left = (*left + now.saturating_duration_since(*last).as_secs_f64() * self.per_second).min(burst);
        *last = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(n: u16) -> PeerId {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_le_bytes());
        PeerId::from_public_key(key)
    }

    #[test]
    fn each_node_has_a_rate_of_its_own() {
        let mut rates = Rates::new(100.0);
        let now = Instant::now();
        let allowed = |rates: &mut Rates, of, now| (0..1_000).filter(|_| rates.allow(of, now)).count();
        assert_eq!(allowed(&mut rates, node(1), now), 50);
        assert_eq!(allowed(&mut rates, node(2), now), 50);
        assert_eq!(allowed(&mut rates, node(1), now + Duration::from_millis(100)), 10);
        assert_eq!(allowed(&mut rates, node(1), now + Duration::from_secs(3_600)), 50);
    }

    #[test]
    fn askers_are_bounded() {
        let mut rates = Rates::new(100.0);
        let now = Instant::now();
        let allowed = (0..10_000).filter(|n| rates.allow(node(*n), now)).count();
        assert_eq!((allowed, rates.askers.len()), (MAX_ASKERS, MAX_ASKERS));
        assert!(rates.allow(node(9_999), now + Duration::from_secs(2)));
        assert_eq!(rates.askers.len(), 1);
    }
}
