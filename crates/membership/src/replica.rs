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
    /// What comes in several pages, and is not complete.
    telling: Option<Telling>,
    round: u32,
}

#[derive(Debug)]
struct Held {
    value: Value,
    /// When it was last told, in rounds of telling everything anew.
    round: u32,
}

/// While pages are missing nothing is known up to any later version: what changed twice is told last.
#[derive(Debug, Clone, Copy)]
struct Telling {
    asked: Asked,
    /// It began with the first key that there is: what does not occur in it is gone.
    whole: bool,
}

/// Where a page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// After this version.
    pub(crate) after: u64,
    /// Removals since this version matter.
    pub(crate) since: u64,
}

/// What became of a key.
pub(crate) type Told = (Key, Option<Value>);

impl Replica {
    /// Everything up to here is known.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Where the next page has to go on.
    pub(crate) const fn next(&self) -> Asked {
        match self.telling {
            Some(telling) => telling.asked,
            None => Asked { after: self.version, since: self.version },
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
        let whole = self.telling.is_some_and(|telling| telling.whole);
        if whole || base > self.version || version <= self.version {
            return Ok(());
        }
        let news: Vec<Change> = changes.iter().filter(|change| change.version > self.version).cloned().collect();
        self.take(news, config, spare, told)?;
        self.version = version;
        self.telling = None;
        Ok(())
    }

    /// Takes a checked page, for which was `asked`. Says whether there is more to ask for.
    pub(crate) fn apply_page(
        &mut self,
        asked: Asked,
        page: Page,
        config: &MembershipConfig,
        spare: usize,
        told: &mut Vec<Told>,
    ) -> Result<bool, Refused> {
        if asked != self.next() {
            // Something else has brought us further meanwhile: what is missing is asked for from there.
            return Ok(page.more || self.next().after < page.upto);
        }
        let begins = page.reset || asked.after == 0;
        let before = if begins { None } else { self.telling };
        if begins {
            self.round = self.round.wrapping_add(1);
            self.telling = None;
        }
        let whole = begins || before.is_some_and(|telling| telling.whole);
        let since = match before {
            Some(telling) if telling.whole => telling.asked.since,
            _ if whole => page.version,
            _ => page.upto,
        };
        if page.more || begins {
            // Also should there be no room for all of it: it is not complete then.
            let after = if page.more { page.upto } else { 0 };
            self.telling = Some(Telling { asked: Asked { after, since }, whole });
        }
        self.take(page.changes, config, spare, told)?;
        if !page.more {
            if whole {
                self.drop_stale(told);
            }
            self.telling = None;
            self.version = self.version.max(page.upto);
        }
        Ok(page.more)
    }

    /// Whatever was not told anew is gone.
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
                // What is told anew may bring back what is dropped here; it has no room until then.
                if self.telling.is_some_and(|telling| telling.whole) {
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
