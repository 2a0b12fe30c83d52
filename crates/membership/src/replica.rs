//! The copy of what another node publishes.

use std::collections::BTreeMap;

use crate::state::{Change, weight};
use crate::wire::Page;
use crate::{Key, MembershipConfig, Refused, Value};

/// What is held of one member. Everything in it came from the member itself: in its signed record, or over a
/// connection that has proven who it is.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    entries: BTreeMap<Key, Held>,
    version: u64,
    interests: usize,
    services: usize,
    bytes: usize,
    /// What is told anew, since the member does not remember what was removed.
    reset: Option<Reset>,
    round: u32,
}

#[derive(Debug)]
struct Held {
    value: Value,
    /// When it was last told, in rounds of telling everything anew.
    round: u32,
}

#[derive(Debug, Clone, Copy)]
struct Reset {
    /// What was told anew up to here.
    after: u64,
}

/// What became of a key.
pub(crate) type Told = (Key, Option<Value>);

impl Replica {
    /// Everything up to here is known.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// After which version the next page has to go on.
    pub(crate) const fn next(&self) -> u64 {
        match self.reset {
            Some(reset) => reset.after,
            None => self.version,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held, for the telling of all.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter().map(|(key, held)| (key, &held.value))
    }

    /// Takes checked changes that lead from `base` to `version`, if they go on from what is held. `spare` bounds by
    /// how many bytes it may grow.
    pub(crate) fn apply(
        &mut self,
        base: u64,
        version: u64,
        changes: &[Change],
        config: &MembershipConfig,
        spare: usize,
        told: &mut Vec<Told>,
    ) -> Result<(), Refused> {
        if self.reset.is_some() || base > self.version || version <= self.version {
            return Ok(());
        }
        let news: Vec<Change> = changes.iter().filter(|change| change.version > self.version).cloned().collect();
        self.take(news, config, spare, told)?;
        self.version = version;
        Ok(())
    }

    /// Takes a checked page that was asked for after `asked`. Says whether there is more to ask for.
    pub(crate) fn apply_page(
        &mut self,
        asked: u64,
        page: Page,
        config: &MembershipConfig,
        spare: usize,
        told: &mut Vec<Told>,
    ) -> Result<bool, Refused> {
        if page.reset {
            self.round = self.round.wrapping_add(1);
            self.reset = Some(Reset { after: 0 });
        } else if asked != self.next() {
            // Something else has brought us further meanwhile: what is missing is asked for from there.
            #[cfg(not(feature = "planted-bug-1"))]
            return Ok(page.more || self.next() < page.upto);
        }
        let upto = page.upto;
        self.take(page.changes, config, spare, told)?;
        match &mut self.reset {
            Some(reset) if page.more => reset.after = upto,
            Some(_) => self.finish_reset(upto, told),
            None => self.version = self.version.max(upto),
        }
        Ok(page.more)
    }

    /// Whatever was not told anew is gone.
    fn finish_reset(&mut self, version: u64, told: &mut Vec<Told>) {
        self.drop_stale(told);
        self.reset = None;
        self.version = version;
    }

    fn drop_stale(&mut self, told: &mut Vec<Told>) {
        let round = self.round;
        let stale: Vec<Key> =
            self.entries.iter().filter(|(_, held)| held.round != round).map(|(key, _)| key.clone()).collect();
        for key in stale {
            self.remove(&key);
            told.push((key, None));
        }
    }

    fn take(
        &mut self,
        changes: Vec<Change>,
        config: &MembershipConfig,
        spare: usize,
        told: &mut Vec<Told>,
    ) -> Result<(), Refused> {
        let ceiling = self.bytes.saturating_add(spare).min(config.max_node_bytes);
        for change in changes {
            let Some(value) = change.value else {
                if self.remove(&change.key) {
                    told.push((change.key, None));
                }
                continue;
            };
            if !self.has_room(&change.key, &value, config, ceiling) {
                // What is about to go anyway can go first.
                if self.reset.is_some() {
                    self.drop_stale(told);
                }
                if !self.has_room(&change.key, &value, config, ceiling) {
                    return Err(Refused::TooMuchState(ceiling));
                }
            }
            if self.insert(change.key.clone(), value.clone()) {
                told.push((change.key, Some(value)));
            }
        }
        Ok(())
    }

    fn has_room(&self, key: &Key, value: &Value, config: &MembershipConfig, ceiling: usize) -> bool {
        let held = self.entries.get(key);
        let freed = held.map_or(0, |held| weight(key, Some(&held.value)));
        let count = match key {
            Key::Interest(_) => self.interests,
            Key::Service(_) => self.services,
        };
        (held.is_some() || count < config.max_keys) && self.bytes - freed + weight(key, Some(value)) <= ceiling
    }

    fn count(&mut self, key: &Key) -> &mut usize {
        match key {
            Key::Interest(_) => &mut self.interests,
            Key::Service(_) => &mut self.services,
        }
    }

    /// Whether that changes anything.
    fn insert(&mut self, key: Key, value: Value) -> bool {
        let round = self.round;
        if let Some(held) = self.entries.get_mut(&key) {
            held.round = round;
            if held.value == value {
                return false;
            }
            self.bytes = self.bytes - weight(&key, Some(&held.value)) + weight(&key, Some(&value));
            held.value = value;
            return true;
        }
        self.bytes += weight(&key, Some(&value));
        *self.count(&key) += 1;
        self.entries.insert(key, Held { value, round });
        true
    }

    /// Whether there was anything.
    fn remove(&mut self, key: &Key) -> bool {
        let Some(held) = self.entries.remove(key) else { return false };
        self.bytes -= weight(key, Some(&held.value));
        *self.count(key) -= 1;
        true
    }
}
