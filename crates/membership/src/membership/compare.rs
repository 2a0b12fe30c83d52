//! Anti-entropy: two nodes find out what one of them has missed.
//!
//! Each message carries a hash of all that its sender knows. Who keeps seeing another one sends a hash per bucket of
//! members, hears what stands in those that differ, asks for what is newer there, and tells what is newer here.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use sinew_wire::PeerId;

use super::Membership;
use super::requests::Purpose;
use super::table::{bucket, sample};
use crate::Refused;
use crate::packet::Identity;
use crate::record::Record;
use crate::wire::{BUCKETS, Blob, Gone, RECORDS_ROOM, Request, Response, Stamp};

/// Most comparisons at once. While news are on their way everybody seems to know something else; what was lost is
/// known to nearly everybody else, so few are enough.
const MAX_COMPARED: usize = 3;

/// Most records that are told after one comparison.
const MAX_TOLD: usize = 256;

fn stamp(record: &Record) -> Stamp {
    Stamp { peer: record.peer(), epoch: record.info.epoch, seq: record.seq, left: record.left }
}

impl Membership {
    /// Compares with some of those that knew something else just now, and tells some what is known here.
    pub(super) fn start_comparisons(&mut self, now: Instant) {
        let differing: Vec<PeerId> =
            self.table.iter_up().filter(|member| member.differs).map(|member| member.record.peer()).collect();
        for member in self.table.iter_mut() {
            member.differs = false;
        }
        for peer in sample(&differing, MAX_COMPARED, &mut self.rng) {
            self.start_comparison(peer, now);
        }
        for peer in self.table.choose(self.fan_out(), &mut self.rng) {
            self.send(peer, Bytes::new(), Vec::new());
        }
    }

    /// Whether the question could be asked.
    pub(super) fn start_comparison(&mut self, peer: PeerId, now: Instant) -> bool {
        let members = self.table.up_len();
        let count = if members == 0 { 0 } else { members.next_power_of_two().min(BUCKETS) };
        let buckets = if count == 0 { Vec::new() } else { self.table.buckets(count) };
        if let Some(member) = self.table.get_mut(&peer) {
            member.differs = false;
        }
        let request = Request::Compare { record: Blob(self.own.record().signed.clone()), buckets };
        self.ask(peer, &request, Purpose::Compare { buckets: count }, now).is_some()
    }

    /// The answer to somebody's question.
    pub(super) fn compare(&self, from: PeerId, theirs: &[u64]) -> Result<Response, Refused> {
        if !(theirs.is_empty() || theirs.len() <= BUCKETS && theirs.len().is_power_of_two()) {
            return Err(Refused::TooLarge { what: "a list of buckets", actual: theirs.len(), allowed: BUCKETS });
        }
        let ours = if theirs.is_empty() { Vec::new() } else { self.table.buckets(theirs.len()) };
        let differs = |peer: &PeerId| {
            let index = if theirs.is_empty() { return true } else { bucket(peer, theirs.len()) };
            ours.get(index) != theirs.get(index)
        };
        let me = self.own.record();
        let (mut stamps, mut gone) = (Vec::new(), Vec::new());
        // What is held of the one who asks, so that it hears when it is behind itself.
        let asking = self.table.get(&from).map(|member| &member.record);
        stamps.extend(asking.map(|record| stamp(record)));
        if differs(&me.peer()) {
            stamps.push(stamp(me));
        }
        for member in self.table.iter() {
            let record = &member.record;
            if record.peer() == from || !differs(&record.peer()) {
                continue;
            }
            if member.is_up() || record.left {
                stamps.push(stamp(record));
            } else if !theirs.is_empty() {
                let Identity { peer, epoch, life } = member.identity();
                gone.push(Gone { peer, epoch, life });
            }
        }
        let records = if theirs.is_empty() { self.introduction(from) } else { Vec::new() };
        let differing = (0u16..).zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs);
        let differing = differing.map(|(index, _)| index).collect();
        Ok(Response::Differ { differing, stamps, gone, records })
    }

    /// Everybody's record, as far as there is room, for one who knows nobody.
    fn introduction(&self, to: PeerId) -> Vec<Blob> {
        let mut room = RECORDS_ROOM;
        std::iter::once(self.own.record())
            .chain(self.table.iter_up().map(|member| &member.record))
            .filter(|record| record.peer() != to)
            .map_while(|record| {
                room = room.checked_sub(record.signed.len() + 8)?;
                Some(Blob(record.signed.clone()))
            })
            .collect()
    }

    /// What the other knows, where it knows something else.
    pub(super) fn differ(
        &mut self,
        from: PeerId,
        buckets: usize,
        differing: &[u16],
        stamps: &[Stamp],
        gone: &[Gone],
        now: Instant,
    ) {
        let most = self.config.max_members.saturating_mul(2);
        let me = self.own.record().clone();
        let (mut wanted, mut behind) = (Vec::new(), Vec::new());
        let mut spoken_of: BTreeSet<PeerId> = BTreeSet::from([from]);
        for theirs in stamps.iter().take(most) {
            let stamp = (theirs.epoch, theirs.seq);
            spoken_of.insert(theirs.peer);
            let held =
                if theirs.peer == me.peer() { Some(&me) } else { self.table.get(&theirs.peer).map(|m| &m.record) };
            match held.map(|record| record.stamp()) {
                None if !theirs.left => wanted.push(theirs.peer),
                None => {}
                Some(ours) if ours < stamp => wanted.push(theirs.peer),
                Some(ours) if ours > stamp => behind.push(theirs.peer),
                Some(_) => {}
            }
        }
        for gone in gone.iter().take(most) {
            spoken_of.insert(gone.peer);
            self.doubt(Identity { peer: gone.peer, epoch: gone.epoch, life: gone.life }, now);
        }
        // Of whom it does not speak, though the bucket differs, it does not know.
        if buckets > 0 {
            let differing: BTreeSet<usize> = differing.iter().map(|index| usize::from(*index)).collect();
            let silent = self.table.iter_up().map(|member| member.record.peer());
            behind.extend(silent.filter(|p| !spoken_of.contains(p) && differing.contains(&bucket(p, buckets))));
        }
        self.ask_records(from, wanted, now);
        let news: Vec<Blob> = behind
            .into_iter()
            .take(MAX_TOLD)
            .filter_map(|peer| {
                if peer == me.peer() {
                    return Some(Blob(me.signed.clone()));
                }
                let member = self.table.get(&peer).filter(|member| member.is_up() || member.record.left)?;
                Some(Blob(member.record.signed.clone()))
            })
            .collect();
        self.tell(from, news);
    }
}
