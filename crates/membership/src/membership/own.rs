//! What this node says of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Membership;
use super::member::identity;
use crate::packet::Identity;
use crate::published::Published;
use crate::record::{Draft, MAX_COUNT};
use crate::wire::{Blob, Page};
use crate::{
    Key, MAX_ADDRESS, MAX_ADDRESSES, MAX_LIFETIME, MAX_RECORD, MAX_REGION, MembershipConfig, NodeInfo, Record, Signer,
    TooMany, Value,
};

/// At most once in this time the node contradicts that it is down: who says so falsely can't keep it busy.
const RENEWAL_GAP: Duration = Duration::from_millis(250);

/// This node: its record, and what it publishes.
#[derive(Debug)]
pub(super) struct Own {
    info: NodeInfo,
    life: u32,
    seq: u64,
    left: bool,
    published: Published,
    record: Arc<Record>,
    signed_at: Instant,
    addresses_changed: bool,
    renewed_at: Option<Instant>,
    contested_at: Option<Instant>,
}

impl Own {
    pub(super) fn new(config: &MembershipConfig, info: NodeInfo, signer: &dyn Signer, now: Instant) -> Self {
        let info = NodeInfo {
            epoch: info.epoch.min(MAX_COUNT / 2),
            data: fitting(info.data),
            mesh: fitting(info.mesh),
            region: if info.region.len() > MAX_REGION { String::new() } else { info.region },
            ..info
        };
        let published = Published::default();
        let record = draft(config, &info, &published, 1, 0, false).sign(signer);
        Self {
            info,
            life: 0,
            seq: 1,
            left: false,
            published,
            record,
            signed_at: now,
            addresses_changed: false,
            renewed_at: None,
            contested_at: None,
        }
    }

    pub(super) const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(super) const fn left(&self) -> bool {
        self.left
    }

    pub(super) const fn published(&self) -> &Published {
        &self.published
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.info.epoch
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { life: self.life, ..identity(&self.record) }
    }

    /// Whether something has changed since the record was signed.
    pub(super) fn is_dirty(&self) -> bool {
        self.addresses_changed || self.record.version != self.published.version()
    }

    /// Whether the record is to be renewed, so that it stays valid.
    pub(super) fn is_stale(&self, config: &MembershipConfig, now: Instant) -> bool {
        now.saturating_duration_since(self.signed_at) >= config.record_lifetime / 3
    }

    /// Whether anything is another.
    pub(super) fn set_addresses(&mut self, data: Vec<String>, mesh: Vec<String>) -> bool {
        let (data, mesh) = (fitting(data), fitting(mesh));
        if self.info.data == data && self.info.mesh == mesh {
            return false;
        }
        (self.info.data, self.info.mesh, self.addresses_changed) = (data, mesh, true);
        true
    }

    pub(super) fn set(&mut self, key: Key, value: Option<Value>, config: &MembershipConfig) -> Result<u64, TooMany> {
        self.published.set(key, value, config)
    }

    pub(super) fn page(&self, after: u64, since: u64) -> Page {
        self.published.page(self.info.epoch, after, since)
    }

    /// Whether the node may contradict again that it is down.
    pub(super) fn may_renew(&self, now: Instant) -> bool {
        self.renewed_at.is_none_or(|at| now.saturating_duration_since(at) >= RENEWAL_GAP)
    }
}

fn draft<'a>(
    config: &'a MembershipConfig,
    info: &'a NodeInfo,
    published: &Published,
    seq: u64,
    life: u32,
    left: bool,
) -> Draft<'a> {
    let (base, changes) = published.latest(config.inline_bytes.min(MAX_RECORD / 4));
    Draft {
        realm: &config.realm,
        info,
        seq,
        life,
        left,
        version: published.version(),
        expires_after: config.record_lifetime.clamp(Duration::from_secs(1), MAX_LIFETIME),
        base,
        changes,
    }
}

/// What others accept of a list of addresses: a quarter of a record for each of the two lists.
fn fitting(mut addresses: Vec<String>) -> Vec<String> {
    const ROOM: usize = 2 << 10;
    addresses.retain(|address| address.len() <= MAX_ADDRESS && !address.chars().any(char::is_control));
    addresses.truncate(MAX_ADDRESSES);
    let mut room = ROOM;
    addresses.retain(|address| {
        let left = room.checked_sub(address.len() + 8);
        room = left.unwrap_or(room);
        left.is_some()
    });
    addresses
}

impl Membership {
    /// Signs a new record, which others are told.
    pub(super) fn sign(&mut self, now: Instant) {
        let own = &mut self.own;
        own.seq += 1;
        own.addresses_changed = false;
        own.signed_at = now;
        let draft = draft(&self.config, &own.info, &own.published, own.seq, own.life, own.left);
        let record = draft.sign(self.signer.as_ref());
        let old = std::mem::replace(&mut own.record, record.clone());
        self.table.toggle(&old);
        self.table.toggle(&record);
        self.counters.signed += 1;
        self.rumours.add(record.peer(), None);
    }

    /// Somebody held this node for down, and the detector goes on under another identity.
    pub(super) fn renewed(&mut self, id: Identity, now: Instant) {
        self.own.life = id.life;
        self.own.renewed_at = Some(now);
        self.counters.renewals += 1;
        // Who held it for down has dropped what it knew.
        for member in self.table.iter_mut() {
            (member.confirmed, member.knows) = (None, false);
        }
        self.sign(now);
        self.rumours.hurry(now);
    }

    /// There is a newer record of this node than it has made: its clock went back since its last start, or another one
    /// runs with its key. The first is cured by a newer epoch; the second goes on, but slowly, and can be seen.
    pub(super) fn contested(&mut self, epoch: u64, now: Instant) {
        let own = &mut self.own;
        let soon = own.contested_at.is_some_and(|at| now.saturating_duration_since(at) < self.config.anti_entropy);
        if soon || epoch >= MAX_COUNT {
            return;
        }
        own.contested_at = Some(now);
        own.info.epoch = epoch + 1;
        own.life = 0;
        self.counters.renewals += 1;
        for member in self.table.iter_mut() {
            (member.confirmed, member.knows) = (None, false);
        }
        self.sign(now);
        let id = self.own.identity();
        self.detector.rename(id, now);
        self.rumours.hurry(now);
    }

    pub(super) fn say_goodbye(&mut self, now: Instant) {
        self.own.left = true;
        self.sign(now);
        // Once to each: the epidemic goes on from those who hear it.
        let record = Blob(self.own.record().signed.clone());
        let mut members: Vec<_> = self.table.iter_up().map(|member| member.record.peer()).collect();
        // They may have heard of this node, though it has not heard of them.
        members.extend(self.joins.keys().copied());
        for peer in members {
            self.send(peer, bytes::Bytes::new(), vec![record.clone()]);
        }
        self.end_settles();
        self.asks.clear();
        self.joins.clear();
        self.pulls.clear();
    }
}
