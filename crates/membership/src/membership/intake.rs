//! What comes in: messages, and the records in them.

use std::sync::Arc;
use std::time::Instant;

use sinew_wire::PeerId;

use super::Membership;
use super::member::{Status, identity};
use crate::record::Unchecked;
use crate::wire::{self, Message};
use crate::{DownReason, Event, MAX_MESSAGE, Record, Refused};

impl Membership {
    pub(super) fn take_message(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        let message: Message = wire::decode(bytes, "a message", MAX_MESSAGE)?;
        let mut outcome = Ok(());
        for record in &message.records {
            if let Err(refused) = self.take_record(from, &record.0, now) {
                if refused.is_hostile() {
                    return Err(refused);
                }
                // The first is counted with the message.
                match outcome {
                    Ok(()) => outcome = Err(refused),
                    Err(_) => self.count(&refused),
                }
            }
        }
        let me = self.own.identity();
        let (known, summary) = (self.own.published().version(), self.table.summary());
        let Some(member) = self.table.get_mut(&from) else {
            // It has a connection to us, or it could not send: so it can be asked who it is.
            self.join(from, now);
            return outcome.and(Err(Refused::Stranger));
        };
        member.direct = true;
        member.differs = message.summary != summary;
        let holds = message.holds;
        if holds.epoch == me.epoch {
            member.confirmed = Some(holds.version.min(known));
            member.knows = holds.life == me.life;
        }
        if !message.swim.0.is_empty() {
            self.take_packet(from, &message.swim.0, now)?;
        }
        outcome
    }

    /// Takes a record that may be news, whoever brings it.
    pub(super) fn take_record(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        let unchecked = Unchecked::peek(bytes)?;
        let peer = unchecked.peer;
        let stamp = (unchecked.epoch, unchecked.seq);
        if peer == self.own.record().peer() {
            if stamp > self.own.record().stamp() {
                self.check(unchecked)?;
                self.contested(stamp.0, now);
            }
            return Ok(());
        }
        if let Some(held) = self.table.get(&peer) {
            let newest = held.record.stamp();
            if stamp == newest {
                self.counters.duplicates += 1;
                return Ok(());
            }
            if stamp < newest {
                return Err(Refused::Replayed);
            }
        } else {
            self.room_for_another(from == peer, now)?;
        }
        let record = Arc::new(self.check(unchecked)?);
        self.accept(from, record, now);
        Ok(())
    }

    fn check(&mut self, unchecked: Unchecked<'_>) -> Result<Record, Refused> {
        self.counters.verified += 1;
        unchecked.check(&self.config.realm, self.config.verifier.0.as_ref())
    }

    /// A member that is only known by hearsay makes room for one that has come itself.
    fn room_for_another(&mut self, came_itself: bool, now: Instant) -> Result<(), Refused> {
        let most = self.config.max_members.saturating_sub(1);
        if self.table.up_len() < most {
            return Ok(());
        }
        let hearsay = self.table.iter_up().find(|member| !member.is_direct()).map(|member| member.identity());
        match hearsay {
            Some(id) if came_itself => {
                self.set_down(id.peer, DownReason::Failed, now);
                self.forget(id, now);
                Ok(())
            }
            _ => Err(Refused::TooManyMembers(self.config.max_members)),
        }
    }

    /// A checked record that is newer than any before.
    fn accept(&mut self, from: PeerId, record: Arc<Record>, now: Instant) {
        let id = identity(&record);
        let Some(held) = self.table.get(&id.peer) else {
            if !record.left {
                self.remember(record, now);
                self.detector.alive(id, now);
                self.apply_detector(now);
                self.rumours.add(id.peer, Some(from));
                self.schedule_flush(now);
            }
            return;
        };
        let (before, status) = (held.record.clone(), held.status);
        let (reborn, restarted) = (id.order() > held.identity().order(), before.info.epoch != id.epoch);
        if status == Status::Up && restarted {
            self.set_down(id.peer, DownReason::Restarted, now);
        }
        self.table.replace(record.clone(), now);
        if record.left {
            self.detector.alive(id, now);
            self.detector.down(id, true, now);
            self.apply_detector(now);
        } else if reborn {
            self.detector.alive(id, now);
            self.apply_detector(now);
            if status == Status::Up && restarted {
                // To the detector it never went.
                self.set_up(id.peer, now);
            }
        }
        // What is said about a member that is down goes no further, but for its goodbye.
        let up = self.table.get_up(&id.peer).is_some();
        if up || (status == Status::Up && record.left) {
            self.rumours.add(id.peer, Some(from));
            self.schedule_flush(now);
        }
        if up && status == Status::Up && !restarted {
            if record.info != before.info {
                self.event(Event::Updated(record.clone()));
            }
            self.take_inline(&record, now);
        }
    }

    /// Adds a member that is not up yet, in the place of the one that has been down for longest if there are too many.
    fn remember(&mut self, record: Arc<Record>, now: Instant) {
        self.shed_remembered(self.config.max_members.saturating_sub(1), now);
        self.table.insert(record, now);
    }
}
