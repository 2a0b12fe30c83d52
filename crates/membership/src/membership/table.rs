//! All members, and a hash of what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha8Rng;
use rand_core::Rng;
use sinew_wire::PeerId;

use super::member::{Member, Status};
use crate::wire::BUCKETS;
use crate::{DownReason, Record};

/// Members that are up, and those that went down and are remembered.
#[derive(Debug)]
pub(super) struct Table {
    members: BTreeMap<PeerId, Member>,
    /// Those that are up, in no order: for choosing some at random.
    up: Vec<PeerId>,
    /// Over the stamps of those that are up, and of this node.
    buckets: [u64; BUCKETS],
}

impl Table {
    pub(super) fn new() -> Self {
        Self { members: BTreeMap::new(), up: Vec::new(), buckets: [0; BUCKETS] }
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.members.get(peer)
    }

    /// For everything but the status and the record, which [`Self::up`], [`Self::down`] and [`Self::replace`] change.
    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Member> {
        self.members.get_mut(peer)
    }

    /// The member, if it is up.
    pub(super) fn get_up(&mut self, peer: &PeerId) -> Option<&mut Member> {
        self.members.get_mut(peer).filter(|member| member.is_up())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(super) fn iter_up(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_up())
    }

    pub(super) fn up_len(&self) -> usize {
        self.up.len()
    }

    pub(super) fn down_len(&self) -> usize {
        self.members.len() - self.up.len()
    }

    /// Adds a member that is not up yet.
    pub(super) fn insert(&mut self, record: Arc<Record>, now: Instant) {
        self.members.insert(record.peer(), Member::new(record, now));
    }

    /// A newer record.
    pub(super) fn replace(&mut self, record: Arc<Record>, now: Instant) {
        let Some(member) = self.members.get_mut(&record.peer()) else { return };
        let up = member.is_up();
        let old = std::mem::replace(&mut member.record, record.clone());
        member.heard = now;
        if up {
            self.toggle(&old);
            self.toggle(&record);
        }
    }

    pub(super) fn up(&mut self, peer: &PeerId, now: Instant) {
        let Some(member) = self.members.get_mut(peer).filter(|member| !member.is_up()) else { return };
        *member = Member {
            direct: member.direct,
            #[cfg(feature = "planted-bug-2")]
            confirmed: member.confirmed,
            ..Member::new(member.record.clone(), now)
        };
        member.status = Status::Up;
        let record = member.record.clone();
        self.toggle(&record);
        self.up.push(*peer);
    }

    pub(super) fn down(&mut self, peer: &PeerId, reason: DownReason, now: Instant) {
        let Some(member) = self.members.get_mut(peer).filter(|member| member.is_up()) else { return };
        *member = Member {
            direct: member.direct,
            #[cfg(feature = "planted-bug-2")]
            confirmed: member.confirmed,
            ..Member::new(member.record.clone(), now)
        };
        member.status = Status::Down(reason);
        let record = member.record.clone();
        self.toggle(&record);
        self.up.retain(|other| other != peer);
    }

    /// Forgets a member that is down.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        if self.members.get(peer).is_some_and(|member| !member.is_up()) {
            self.members.remove(peer);
        }
    }

    /// Puts a record into the hash, or takes it out.
    pub(super) fn toggle(&mut self, record: &Record) {
        self.buckets[bucket(&record.peer(), BUCKETS)] ^= hash(record);
    }

    /// Over everything.
    pub(super) fn summary(&self) -> u64 {
        self.buckets.iter().enumerate().fold(0, |all, (index, bucket)| all ^ mix(bucket ^ index as u64))
    }

    /// As `count` buckets, a power of two up to [`BUCKETS`].
    pub(super) fn buckets(&self, count: usize) -> Vec<u64> {
        let mut folded = vec![0; count];
        for (index, bucket) in self.buckets.iter().enumerate() {
            folded[index % count] ^= bucket;
        }
        folded
    }

    /// Some members that are up, at random, each once.
    pub(super) fn choose(&self, wanted: usize, rng: &mut ChaCha8Rng) -> Vec<PeerId> {
        sample(&self.up, wanted, rng)
    }
}

/// Some of these, at random, each once.
pub(super) fn sample(from: &[PeerId], wanted: usize, rng: &mut ChaCha8Rng) -> Vec<PeerId> {
    // Floyd's way: as many draws as are wanted, whatever there is to choose from.
    let wanted = wanted.min(from.len());
    let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
    for top in from.len() - wanted..from.len() {
        let drawn = usize::try_from(rng.next_u64() % (top as u64 + 1)).unwrap_or(top);
        chosen.push(if chosen.contains(&drawn) { top } else { drawn });
    }
    chosen.into_iter().filter_map(|index| from.get(index).copied()).collect()
}

/// In which of `count` buckets a member is.
pub(super) fn bucket(peer: &PeerId, count: usize) -> usize {
    peer.public_key()[0] as usize % count
}

fn hash(record: &Record) -> u64 {
    let key = record.info.peer.public_key();
    let mut all = 0;
    for part in key.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(part);
        all = mix(all ^ u64::from_le_bytes(word));
    }
    mix(mix(all ^ record.info.epoch) ^ record.seq)
}

/// The finalizer of splitmix64. Who wants to collide can; it costs him what he does not hear of.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
