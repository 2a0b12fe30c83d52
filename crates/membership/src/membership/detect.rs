//! Between the failure detector and the table of members.

use std::time::Instant;

use bytes::Bytes;
use foca::{Message, State};
use sinew_wire::PeerId;

use super::Membership;
use super::member::{Doubt, Status};
use crate::detector::{MAX_PACKET, Note};
use crate::packet::{BadPacket, Identity, Packet};
use crate::wire::MAX_ASKED;
use crate::{DownReason, Event, Refused};

impl From<BadPacket> for Refused {
    fn from(bad: BadPacket) -> Self {
        Self::Malformed(bad.to_string())
    }
}

impl Membership {
    /// Gives the detector a packet, without what speaks of nodes whose record is not held.
    pub(super) fn take_packet(&mut self, from: PeerId, bytes: &Bytes, now: Instant) -> Result<(), Refused> {
        if bytes.len() > MAX_PACKET {
            return Err(Refused::TooLarge {
                what: "a packet of the detector",
                actual: bytes.len(),
                allowed: MAX_PACKET,
            });
        }
        let mut packet = Packet::read(bytes)?;
        let (src, dst) = (packet.header.src, packet.header.dst);
        let me = self.own.identity();
        if src.peer != from {
            return Err(Refused::Impostor);
        }
        if dst.peer != me.peer || matches!(packet.header.message, Message::Broadcast) {
            return Err(Refused::Malformed("a packet of the detector that is not for this node".to_owned()));
        }
        let Some(member) = self.table.get_mut(&from) else { return Err(Refused::Stranger) };
        let held = member.identity();
        if src != held {
            if src.order() > held.order() {
                // Its newest record was lost.
                self.ask_records(from, vec![from], now);
            }
            return Ok(());
        }
        if dst != me && !matches!(packet.header.message, Message::Announce) {
            // It does not know our newest life yet: the record goes along.
            if member.is_up() {
                self.send(from, Bytes::new(), Vec::new());
            }
            return Ok(());
        }
        let may_renew = self.own.may_renew(now);
        if matches!(packet.header.message, Message::TurnUndead) && !may_renew {
            return Ok(());
        }
        if packet.third().is_some_and(|third| !self.is_held(&third)) {
            return Ok(());
        }
        let came = packet.updates.len();
        let unknown = self.filter(&mut packet, me, may_renew);
        if packet.updates.len() == came {
            self.detector.packet(bytes, now);
        } else {
            self.detector.packet(&packet.write()?, now);
        }
        if !unknown.is_empty() {
            self.ask_records(from, unknown, now);
        }
        self.apply_detector(now);
        Ok(())
    }

    /// Drops updates that no record bears out. Returns who is said to be there and has no record yet.
    fn filter(&mut self, packet: &mut Packet, me: Identity, may_renew: bool) -> Vec<PeerId> {
        let mut unknown = Vec::new();
        let table = &self.table;
        packet.updates.retain(|update| {
            let id = *update.id();
            if id.peer == me.peer {
                return id == me && (may_renew || update.state() != State::Down);
            }
            let held = table.get(&id.peer).map(|member| member.identity());
            let newer = held.is_none_or(|held| id.order() > held.order());
            if newer && update.state() != State::Down && unknown.len() < MAX_ASKED {
                unknown.push(id.peer);
            }
            held == Some(id)
        });
        unknown
    }

    /// Whether it is a member under just this identity.
    fn is_held(&self, id: &Identity) -> bool {
        self.table.get(&id.peer).is_some_and(|member| member.identity() == *id)
    }

    /// Does what the detector wants done.
    pub(super) fn apply_detector(&mut self, now: Instant) {
        loop {
            let notes = self.detector.take_notes();
            let done = notes.is_empty();
            for note in notes {
                match note {
                    Note::Up(id) => self.set_up(id.peer, now),
                    Note::Down(id) => {
                        let left = self.table.get(&id.peer).is_some_and(|member| member.record.left);
                        let reason = if left { DownReason::Left } else { DownReason::Failed };
                        self.set_down(id.peer, reason, now);
                    }
                    Note::Renewed(id) => self.renewed(id, now),
                }
            }
            if done {
                break;
            }
        }
        for (to, packet) in self.detector.take_sends() {
            self.send(to.peer, packet, Vec::new());
        }
    }

    pub(super) fn set_up(&mut self, peer: PeerId, now: Instant) {
        self.table.up(&peer, now);
        self.joins.remove(&peer);
        let Some(member) = self.table.get_up(&peer) else { return };
        let record = member.record.clone();
        self.event(Event::Up(record.clone()));
        self.resize();
        self.take_inline(&record, now);
    }

    pub(super) fn set_down(&mut self, peer: PeerId, reason: DownReason, now: Instant) {
        let Some(member) = self.table.get_up(&peer) else { return };
        let (entries, bytes) = (member.replica.len(), member.replica.bytes());
        self.table.down(&peer, reason, now);
        self.held_entries -= entries;
        self.held_bytes -= bytes;
        self.event(Event::Down { peer, reason });
        self.resize();
    }

    fn resize(&mut self) {
        let members = self.table.up_len() + 1;
        self.detector.set_size(members, self.fan_out());
    }

    /// Forgets a member that is down.
    pub(super) fn forget(&mut self, id: Identity, now: Instant) {
        self.detector.down(id, false, now);
        self.apply_detector(now);
        self.detector.forget(id, now);
        self.table.remove(&id.peer);
    }

    /// Keeps at most so many members that are down: those that went last.
    pub(super) fn shed_remembered(&mut self, most: usize, now: Instant) {
        while self.table.down_len() >= most.max(1) {
            let oldest = self.table.iter().filter(|member| !member.is_up()).min_by_key(|member| member.since);
            let Some(id) = oldest.map(|member| member.identity()) else { return };
            self.forget(id, now);
        }
    }

    /// Somebody says that this member is gone. Others have found it out, but it may have been them that were cut off:
    /// so it is asked itself.
    pub(super) fn doubt(&mut self, id: Identity, now: Instant) {
        let Some(member) = self.table.get_up(&id.peer) else { return };
        if member.identity() == id && member.doubt == Doubt::None {
            member.doubt = Doubt::Asking(0);
            member.direct = false;
            self.ask_doubted(id, now);
        }
    }

    /// The answer to that.
    pub(super) fn doubted(&mut self, id: Identity, answered: bool, now: Instant) {
        /// Requests in a row without an answer that it takes to believe it.
        const ENOUGH: u32 = 3;
        let Some(member) = self.table.get_up(&id.peer) else { return };
        let Doubt::Asking(failed) = member.doubt else { return };
        member.doubt = Doubt::None;
        if answered || member.identity() != id || member.direct {
            return;
        }
        if failed + 1 < ENOUGH {
            member.doubt = Doubt::Asking(failed + 1);
            self.ask_doubted(id, now);
        } else {
            self.detector.down(id, true, now);
            self.apply_detector(now);
        }
    }

    /// Whether a member is down because it failed: it is tried again.
    pub(super) const fn is_failed(status: Status) -> bool {
        matches!(status, Status::Down(DownReason::Failed))
    }
}
