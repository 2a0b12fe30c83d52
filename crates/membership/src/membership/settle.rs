//! Waiting until everybody knows what this node published.

use std::time::Instant;

use bytes::Bytes;
use sinew_wire::PeerId;

use super::Membership;
use super::requests::Purpose;
use crate::Event;
use crate::wire::{Blob, Request, Response};

/// Somebody waits.
#[derive(Debug)]
pub(super) struct Settle {
    token: u64,
    version: u64,
    deadline: Instant,
}

impl Membership {
    pub(super) fn open_settle(&mut self, token: u64, now: Instant) {
        let version = self.own.published().version();
        if self.own.left() || self.settles.len() >= self.config.max_settles {
            let (nodes, missing) = self.standing(version);
            let missing = if self.own.left() { nodes } else { missing.max(1) };
            self.event(Event::Settled { token, nodes, missing });
            return;
        }
        self.settles.push(Settle { token, version, deadline: now + self.config.settle_timeout });
        if self.own.is_dirty() {
            self.flush(now);
        }
        self.ask_unconfirmed(now);
    }

    /// Members that are up, and those of them that have not said that they know this version.
    fn standing(&self, version: u64) -> (u32, u32) {
        let missing = self.table.iter_up().filter(|member| member.confirmed < Some(version)).count();
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        (count(self.table.up_len()), count(missing))
    }

    /// Asks everybody who has not said that it knows what somebody waits for.
    pub(super) fn ask_unconfirmed(&mut self, now: Instant) {
        let Some(version) = self.settles.iter().map(|settle| settle.version).max() else { return };
        let silent: Vec<PeerId> = self
            .table
            .iter_up()
            .filter(|member| member.confirmed < Some(version))
            .map(|member| member.record.peer())
            .collect();
        for peer in silent {
            let request = Request::Confirm { record: Blob(self.own.record().signed.clone()) };
            self.ask(peer, &request, Purpose::Confirm, now);
        }
    }

    /// The answer to that question of another node.
    pub(super) fn confirm(&mut self, from: PeerId) -> Response {
        let Some(member) = self.table.get_up(&from) else { return Response::Held { epoch: 0, version: 0 } };
        member.asked = member.replica.version() < member.record.version;
        Response::Held { epoch: member.record.info.epoch, version: member.replica.version() }
    }

    pub(super) fn take_held(&mut self, from: PeerId, epoch: u64, version: u64) {
        let (own, known) = (self.own.epoch(), self.own.published().version());
        if let Some(member) = self.table.get_mut(&from).filter(|_| epoch == own) {
            member.confirmed = Some(version.min(known));
        }
    }

    /// Tells a member that asked what we hold, now that it is all there is. Each message says it.
    pub(super) fn answer_asked(&mut self, peer: PeerId) {
        let Some(member) = self.table.get_up(&peer) else { return };
        if member.asked && member.replica.version() >= member.record.version {
            member.asked = false;
            self.send(peer, Bytes::new(), Vec::new());
        }
    }

    /// Answers whom there is an answer for.
    pub(super) fn check_settles(&mut self, now: Instant) {
        if self.settles.is_empty() {
            return;
        }
        let joining = self.is_joining();
        let least = self.table.iter_up().map(|member| member.confirmed).min().unwrap_or(Some(u64::MAX));
        let mut settles = std::mem::take(&mut self.settles);
        settles.retain(|settle| {
            let known = Some(settle.version) <= least && !joining;
            let done = known || settle.deadline <= now;
            if done {
                let (nodes, missing) = self.standing(settle.version);
                self.event(Event::Settled { token: settle.token, nodes, missing });
            }
            !done
        });
        self.settles = settles;
    }

    /// Nobody will be told any more.
    pub(super) fn end_settles(&mut self) {
        for settle in std::mem::take(&mut self.settles) {
            let (nodes, missing) = self.standing(settle.version);
            self.event(Event::Settled { token: settle.token, nodes, missing });
        }
    }
}
