use std::sync::Arc;

use hashbrown::HashMap;

/// Names whose number of instances others have to be told, each once, however often it changes before they are.
///
/// Bounded by its callers' names: it holds those of which something was told (which were there then) and those that are there
/// now. A name that comes and goes before it was told leaves nothing.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// What was handed out, and not withdrawn since.
    told: HashMap<Arc<str>, u32>,
    /// What differs from it.
    changed: HashMap<Arc<str>, u32>,
}

impl ChangeSet {
    /// Nothing told, nothing to tell.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name has so many instances now, 0 when it is gone. Returns whether there is something to tell.
    pub fn set(&mut self, name: &Arc<str>, instances: u32) -> bool {
        if self.told.get(name).copied().unwrap_or(0) == instances {
            self.changed.remove(name);
        } else {
            self.changed.insert(Arc::clone(name), instances);
        }
        !self.changed.is_empty()
    }

    /// Takes up to `max` changes to tell: names with their instances, `None` for those that are gone.
    pub fn take(&mut self, max: usize) -> Vec<(Arc<str>, Option<u32>)> {
        let taken: Vec<_> = self.changed.extract_if(|_, _| true).take(max).collect();
        let told = &mut self.told;
        let tell = |(name, instances): (Arc<str>, u32)| {
            if instances == 0 {
                told.remove(&name);
                return (name, None);
            }
            told.insert(Arc::clone(&name), instances);
            (name, Some(instances))
        };
        taken.into_iter().map(tell).collect()
    }

    /// How many names have something to tell.
    pub fn len(&self) -> usize {
        self.changed.len()
    }

    /// Whether nothing is to tell.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }
}
