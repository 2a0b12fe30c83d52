//! One node, and what its owner has been told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sinew_membership::{DownReason, Event, Key, Membership, Value};
use sinew_wire::PeerId;

/// A member, as the owner of a node knows it from events alone.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) epoch: u64,
    pub(crate) keys: BTreeMap<Key, Value>,
}

/// A settle that is open.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) version: u64,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    /// None while it is down.
    pub(crate) membership: Option<Membership>,
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    /// When it crashed or left, if it is down.
    pub(crate) ended: Option<(Instant, DownReason)>,
    /// It gets no CPU before this.
    pub(crate) starved_until: Instant,
    pub(crate) starved_for: std::time::Duration,
    pub(crate) view: BTreeMap<PeerId, Seen>,
    /// Whom it lost, when last, and why.
    pub(crate) lost: BTreeMap<PeerId, (Instant, DownReason)>,
    /// What it publishes now, and ever did.
    pub(crate) truth: BTreeMap<Key, Value>,
    pub(crate) version: u64,
    pub(crate) ever: BTreeSet<String>,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    pub(crate) wake: u64,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) settled: u64,
}

/// A key with its value, as something that can be looked up.
pub(crate) fn said(key: &Key, value: &Value) -> String {
    format!("{key:?}={value:?}")
}

impl Node {
    pub(crate) fn is_alive(&self) -> bool {
        self.membership.is_some()
    }

    /// Applies an event as an owner would; says what no owner could make sense of.
    pub(crate) fn told(&mut self, event: &Event, now: Instant) -> Result<(), String> {
        match event {
            Event::Up(record) => {
                self.lost.remove(&record.peer());
                let seen = Seen { epoch: record.info.epoch, keys: BTreeMap::new() };
                if self.view.insert(record.peer(), seen).is_some() {
                    return Err(format!("up twice: {}", record.peer().short()));
                }
            }
            Event::Updated(record) => {
                if !self.view.contains_key(&record.peer()) {
                    return Err(format!("updated, but not up: {}", record.peer().short()));
                }
            }
            Event::Down { peer, reason } => {
                self.lost.insert(*peer, (now, *reason));
                if self.view.remove(peer).is_none() {
                    return Err(format!("down, but not up: {}", peer.short()));
                }
            }
            Event::Changed { peer, key, value } => {
                let Some(seen) = self.view.get_mut(peer) else {
                    return Err(format!("{key:?} of {}, which is not up", peer.short()));
                };
                match value {
                    Some(value) => seen.keys.insert(key.clone(), value.clone()),
                    None => seen.keys.remove(key),
                };
            }
            Event::Settled { .. } => self.settled += 1,
        }
        Ok(())
    }
}
