use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use rand::RngExt;
use sinew_overlay::{DhtError, Overlay, Purpose, RequestError};
use sinew_registry::check_name;
use sinew_wire::{Limit, LookupOutcome, PeerId, Refusal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use crate::cache::{Entry, Remote};
use crate::protocol::{Answer, MAX_INSTANCES, Question, dht_key};
use crate::refusal::refusal_of;
use crate::shared::{Counts, Shared};

/// Pages taken from one node for one look-up.
const MAX_PAGES: usize = 8;

/// How long a node is left alone that has refused a question, before it is asked again; half of it at least.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// Details of one name on their way: whoever asks for them meanwhile waits for the same ones.
pub(crate) struct Flight {
    number: u64,
    done: watch::Receiver<Option<Outcome>>,
}

/// What other nodes have of a service.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// These instances; or none, after all that could be asked were.
    Known(Arc<Entry>),
    /// There was nobody to ask.
    NoPeers,
    TimedOut,
    /// Who has it cannot be reached, or this node has too much to do.
    Refused(Refusal),
}

impl Shared {
    /// See [`crate::Discovery::lookup`].
    pub(crate) async fn lookup(self: &Arc<Self>, name: &str, deadline: Duration) -> LookupOutcome {
        if let Err(error) = check_name(name) {
            return LookupOutcome::Refused(refusal_of(error, 0));
        }
        let now = Instant::now();
        let mut found = self.local_instances(name, now);
        let elsewhere = match self.cached_entry(name, !found.is_empty(), now) {
            Some(entry) => {
                self.cached.hits.inc();
                Outcome::Known(entry)
            }
            None => {
                self.cached.misses.inc();
                let limit = if deadline.is_zero() { self.config.lookup_timeout } else { deadline };
                self.elsewhere(name, !found.is_empty(), limit.min(self.config.fetch_timeout)).await
            }
        };
        match elsewhere {
            Outcome::Known(entry) => {
                found.extend(entry.instances(Instant::now()));
                LookupOutcome::found(found)
            }
            _ if !found.is_empty() => LookupOutcome::found(found),
            Outcome::NoPeers => LookupOutcome::NoPeers,
            Outcome::TimedOut => LookupOutcome::TimedOut,
            Outcome::Refused(refusal) => LookupOutcome::Refused(refusal),
        }
    }

    fn cached_entry(&self, name: &str, is_here: bool, now: Instant) -> Option<Arc<Entry>> {
        self.entries.get(name).filter(|entry| entry.holds(now) && (is_here || !entry.here_only))
    }

    /// What other nodes have of a service that the cache does not know.
    pub(crate) async fn elsewhere(self: &Arc<Self>, name: &str, is_here: bool, limit: Duration) -> Outcome {
        let begun = Instant::now();
        let (outcome, joined) = self.join(name, is_here, limit).await;
        let left = limit.saturating_sub(begun.elapsed());
        // Somebody else's fetch may have had its time already: who came late gets one of its own.
        if joined && !left.is_zero() && matches!(outcome, Outcome::TimedOut | Outcome::Refused(_)) {
            return self.join(name, is_here, left).await.0;
        }
        outcome
    }

    /// Waits for the fetch of a name, which is begun if there is none. Gives whether there was one.
    async fn join(self: &Arc<Self>, name: &str, is_here: bool, limit: Duration) -> (Outcome, bool) {
        let alone = self.is_alone();
        let mut joined = false;
        let mut done = {
            let now = Instant::now();
            let mut state = self.state.lock();
            // Somebody else may have been quicker.
            if let Some(entry) = self.cached_entry(name, is_here, now) {
                return (Outcome::Known(entry), false);
            }
            if let Some(flight) = state.flights.get(name) {
                joined = true;
                flight.done.clone()
            } else {
                let nodes = state.directory.nodes_of(name, self.turn(), self.config.nodes_asked);
                if nodes.is_empty() && is_here {
                    let entry = Arc::new(Entry::here_only(now, self.config.cache_ttl));
                    self.entries.insert(name.into(), Arc::clone(&entry));
                    return (Outcome::Known(entry), false);
                }
                let Some(overlay) = self.overlay.clone() else { return (self.nobody(now), false) };
                if nodes.is_empty() && alone {
                    return (self.nobody(now), false);
                }
                let Ok(permit) = Arc::clone(&self.fetches).try_acquire_owned() else {
                    self.metrics.limit_refused(Limit::Lookups).inc();
                    let allowed = self.config.fetches as u64;
                    return (Outcome::Refused(Refusal::Limit { limit: Limit::Lookups, allowed }), false);
                };
                state.flown += 1;
                let number = state.flown;
                let (landed, done) = watch::channel(None);
                let name: Arc<str> = name.into();
                state.flights.insert(Arc::clone(&name), Flight { number, done: done.clone() });
                let shared = Arc::clone(self);
                // In a task of its own: who asked first may give up, and the others still wait.
                tokio::spawn(async move {
                    let outcome = shared.fetch(&overlay, &name, nodes).await;
                    shared.land(&name, number, &outcome);
                    landed.send_replace(Some(outcome));
                    drop(permit);
                });
                done
            }
        };
        let outcome = match timeout(limit, done.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Outcome::TimedOut),
            Ok(Err(_ended)) => unavailable("the look-up has ended early"),
            Err(_) => Outcome::TimedOut,
        };
        (outcome, joined)
    }

    /// Nobody to ask. Whether that is all there is to say, depends.
    fn nobody(&self, now: Instant) -> Outcome {
        if self.overlay.is_some() && self.should_have_peers() {
            return Outcome::NoPeers;
        }
        Outcome::Known(Arc::new(Entry::fetched(Vec::new(), now, Duration::ZERO)))
    }

    /// Keeps what a flight has brought, unless it was outdated on its way.
    fn land(&self, name: &Arc<str>, number: u64, outcome: &Outcome) {
        let mut state = self.state.lock();
        if state.flights.get(name).is_some_and(|flight| flight.number == number) {
            state.flights.remove(name);
            if let Outcome::Known(entry) = outcome {
                self.entries.insert(Arc::clone(name), Arc::clone(entry));
            }
        }
    }

    async fn fetch(&self, overlay: &Overlay, name: &Arc<str>, nodes: Vec<PeerId>) -> Outcome {
        let known = !nodes.is_empty();
        let nodes = if known {
            nodes
        } else {
            match self.providers(overlay, name).await {
                Ok(nodes) => nodes,
                Err(DhtError::NoPeers) => return self.nobody(Instant::now()),
                Err(DhtError::TimedOut) => return Outcome::TimedOut,
                Err(error) => return unavailable(&error.to_string()),
            }
        };
        let mut asked: FuturesUnordered<_> = nodes.into_iter().map(|node| self.ask(overlay, name, node)).collect();
        let (mut instances, mut answered, mut timed_out, mut failed) = (Vec::new(), false, false, false);
        while let Some(result) = asked.next().await {
            match result {
                Ok(some) => {
                    answered = true;
                    instances.extend(some);
                }
                Err(Failure::TimedOut) => timed_out = true,
                // A record in the DHT outlives its node: only who is in the directory should be there.
                Err(Failure::Gone) => failed |= known,
                Err(Failure::Other) => failed = true,
            }
        }
        if !answered && timed_out {
            return Outcome::TimedOut;
        }
        if !answered && failed {
            return unavailable("the nodes that have it did not answer");
        }
        let complete = !instances.is_empty() && !timed_out && !failed;
        let ttl = if complete { self.config.cache_ttl } else { self.config.absent_ttl };
        Outcome::Known(Arc::new(Entry::fetched(instances, Instant::now(), ttl)))
    }

    /// Other nodes that have said in the DHT that they have it.
    async fn providers(&self, overlay: &Overlay, name: &str) -> Result<Vec<PeerId>, DhtError> {
        let begun = Instant::now();
        let limit = self.config.fetch_timeout;
        let Ok(Ok(_permit)) = timeout(limit, self.dht_queries.acquire()).await else { return Err(DhtError::TimedOut) };
        let key = dht_key(&self.config.realm, name);
        let mut nodes = overlay.providers(&key, limit.saturating_sub(begun.elapsed())).await?;
        // Records outlive their nodes: who is known to have gone is not waited for.
        let peers = overlay.peers();
        let state = self.state.lock();
        let is_gone = |node: &PeerId| state.gone.contains(node) && !peers.iter().any(|peer| peer.peer == *node);
        nodes.retain(|node| *node != self.node && !is_gone(node));
        nodes.truncate(self.config.nodes_asked);
        Ok(nodes)
    }

    /// The instances of one node.
    async fn ask(&self, overlay: &Overlay, name: &Arc<str>, node: PeerId) -> Result<Vec<Remote>, Failure> {
        let begun = Instant::now();
        let mut instances: Vec<Remote> = Vec::new();
        for _ in 0..MAX_PAGES {
            let max = self.config.instances_taken.saturating_sub(instances.len()).min(MAX_INSTANCES);
            if max == 0 {
                break;
            }
            let start = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            let question = Question::Instances { name: name.as_ref().to_owned(), start, max: max as u32 };
            let limit = self.config.fetch_timeout.saturating_sub(begun.elapsed());
            let answer = patient_request(overlay, node, question.encode(), limit).await.map_err(Failure::of)?;
            let page = Answer::decode(&answer, node, name, max).map_err(|bad| {
                Counts::count(&self.counts.answers_refused);
                debug!(%node, ?bad, "a node gave an answer about a service that is none");
                Failure::Other
            })?;
            let more = page.more && !page.instances.is_empty();
            instances.extend(page.instances);
            if !more {
                break;
            }
        }
        Ok(instances)
    }
}

/// Asks a node, and again after a pause when it refuses: it answers so many questions in a second, and a look-up has time. Also
/// when the connection went away under the question, as one of two does when they are one too many.
async fn patient_request(
    overlay: &Overlay,
    node: PeerId,
    question: Bytes,
    limit: Duration,
) -> Result<Bytes, RequestError> {
    let begun = Instant::now();
    let mut pauses = PAUSES.iter();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let answer = overlay.request(node, Purpose::Discovery, question.clone(), left).await;
        let Err(RequestError::Refused | RequestError::Busy | RequestError::Lost) = answer else { return answer };
        let left = limit.saturating_sub(begun.elapsed());
        let Some(pause) = pauses.next().filter(|pause| **pause < left) else { return answer };
        // Who was refused together does not come again together.
        let share = rand::rng().random_range(0.5..=1.0);
        tokio::time::sleep(pause.mul_f64(share)).await;
    }
}

/// Why one node gave no details.
enum Failure {
    TimedOut,
    /// It can't be reached.
    Gone,
    Other,
}

impl Failure {
    fn of(error: RequestError) -> Self {
        match error {
            RequestError::TimedOut => Self::TimedOut,
            RequestError::Unreachable => Self::Gone,
            _ => Self::Other,
        }
    }
}

fn unavailable(why: &str) -> Outcome {
    Outcome::Refused(Refusal::Unavailable(why.to_owned()))
}
