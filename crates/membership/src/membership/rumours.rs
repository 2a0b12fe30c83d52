//! News that are to be told to others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_wire::PeerId;

use super::Membership;
use crate::wire::{Blob, MESSAGE_ROOM};

/// Whose records are news, and from whom they came.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    news: BTreeMap<PeerId, Option<PeerId>>,
    flush_at: Option<Instant>,
    flushed_at: Option<Instant>,
}

impl Rumours {
    pub(super) fn add(&mut self, subject: PeerId, source: Option<PeerId>) {
        self.news.insert(subject, source);
    }

    /// When they are told.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.flush_at
    }

    /// They are told at once.
    pub(super) const fn hurry(&mut self, now: Instant) {
        self.flush_at = Some(now);
    }
}

impl Membership {
    /// For how long news are collected. Grows with the realm, in which more happens, so that it costs less per member.
    pub(super) fn window(&self) -> Duration {
        let members = u32::try_from(self.table.up_len()).unwrap_or(u32::MAX);
        self.config.coalesce + self.config.spread.saturating_mul(members)
    }

    pub(super) fn schedule_flush(&mut self, now: Instant) {
        if self.rumours.flush_at.is_some() {
            return;
        }
        let window = self.window();
        let after_last = self.rumours.flushed_at.map(|at| at + window);
        self.rumours.flush_at = Some(after_last.unwrap_or(now).max(now + self.config.coalesce));
    }

    pub(super) fn flush_due(&mut self, now: Instant) {
        if self.rumours.flush_at.is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// Tells what is new to as many others as make sure that all hear of it.
    pub(super) fn flush(&mut self, now: Instant) {
        self.rumours.flush_at = None;
        self.rumours.flushed_at = Some(now);
        if self.own.is_dirty() {
            self.sign(now);
        }
        let news = std::mem::take(&mut self.rumours.news);
        if news.is_empty() {
            return;
        }
        let me = self.own.record().peer();
        let records: Vec<_> = news
            .into_iter()
            .filter_map(|(subject, source)| {
                let record = if subject == me { self.own.record() } else { &self.table.get(&subject)?.record };
                Some((subject, source, Blob(record.signed.clone())))
            })
            .collect();
        for to in self.table.choose(self.fan_out(), &mut self.rng) {
            let told = records.iter().filter(|(subject, source, _)| *subject != to && *source != Some(to));
            self.tell(to, told.map(|(_, _, record)| record.clone()).collect());
        }
    }

    /// Sends these records, in as many messages as it takes.
    pub(super) fn tell(&mut self, to: PeerId, records: Vec<Blob>) {
        let (mut batch, mut room) = (Vec::new(), MESSAGE_ROOM);
        for record in records {
            let size = record.0.len() + 8;
            if size > room {
                self.send(to, Bytes::new(), std::mem::take(&mut batch));
                room = MESSAGE_ROOM;
            }
            room = room.saturating_sub(size);
            batch.push(record);
        }
        if !batch.is_empty() {
            self.send(to, Bytes::new(), batch);
        }
    }
}
