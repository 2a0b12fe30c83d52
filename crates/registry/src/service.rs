use std::sync::Arc;
use std::time::Instant;

use crate::{Instance, LeaseId};

/// Instances in one chunk. A change copies one chunk of references, and a reference per chunk: with one list, every change of a
/// name that a hundred thousand offer would copy a hundred thousand.
const CHUNK: usize = 64;

/// The instances of one name, as of one moment.
#[derive(Debug, Clone)]
pub struct Service {
    name: Arc<str>,
    /// All full, but for the last one, which is not empty.
    chunks: Vec<Arc<Vec<Arc<Instance>>>>,
}

impl Service {
    pub(crate) const fn new(name: Arc<str>) -> Self {
        Self { name, chunks: Vec::new() }
    }

    /// The name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Instances, those included whose lease has ended and which the registry has not been told to expire.
    pub fn len(&self) -> usize {
        match self.chunks.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * CHUNK + last.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The instances whose lease has not ended.
    pub fn live(&self, now: Instant) -> impl Iterator<Item = &Arc<Instance>> {
        self.live_from(0, now)
    }

    /// All instances whose lease has not ended, beginning with the one at `start`, which may be any number: who takes only
    /// some of many can take others each time.
    pub fn live_from(&self, start: usize, now: Instant) -> impl Iterator<Item = &Arc<Instance>> {
        let len = self.len();
        let start = start.checked_rem(len).unwrap_or(0);
        (start..len).chain(0..start).filter_map(|at| self.get(at)).filter(move |instance| instance.expires > now)
    }

    fn get(&self, at: usize) -> Option<&Arc<Instance>> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// Adds an instance, and gives its place.
    pub(crate) fn push(&mut self, instance: Arc<Instance>) -> usize {
        let at = self.len();
        if at.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).push(instance);
        }
        at
    }

    pub(crate) fn replace(&mut self, at: usize, instance: Arc<Instance>) {
        if let Some(slot) = self.chunks.get_mut(at / CHUNK).and_then(|chunk| Arc::make_mut(chunk).get_mut(at % CHUNK)) {
            *slot = instance;
        }
    }

    /// Removes the instance at a place. The last one comes to stand there; which that is, if it is another, is returned.
    pub(crate) fn swap_remove(&mut self, at: usize) -> Option<LeaseId> {
        let chunk = Arc::make_mut(self.chunks.last_mut()?);
        let last = chunk.pop()?;
        if chunk.is_empty() {
            self.chunks.pop();
        }
        if at == self.len() {
            return None;
        }
        let moved = last.id();
        self.replace(at, last);
        Some(moved)
    }
}
