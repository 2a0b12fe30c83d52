//! Requests of this node that are under way, and the answers to those of others.

use std::time::Instant;

use bytes::Bytes;
use sinew_wire::PeerId;

use super::Membership;
use crate::packet::Identity;
use crate::replica::Asked;
use crate::wire::{self, Blob, MAX_ASKED, RECORDS_ROOM, Request, Response};
use crate::{MAX_REQUEST, Output, Refused};

/// A request under way.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) to: PeerId,
    pub(super) purpose: Purpose,
    pub(super) deadline: Instant,
}

/// What it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    Compare {
        /// Into how many buckets; none when nobody was known.
        buckets: usize,
    },
    /// These, and those that come after them.
    Records {
        asked: Vec<PeerId>,
        rest: Vec<PeerId>,
    },
    Pull {
        id: Identity,
        asked: Asked,
    },
    Confirm,
    Doubt(Identity),
}

impl Purpose {
    /// One of each kind may be under way to a peer.
    const fn kind(&self) -> u8 {
        match self {
            Self::Compare { .. } => 0,
            Self::Records { .. } => 1,
            Self::Pull { .. } => 2,
            Self::Confirm => 3,
            Self::Doubt(_) => 4,
        }
    }
}

impl Membership {
    /// Whether such a request may be made now.
    pub(super) fn may_ask(&self, to: PeerId, purpose: &Purpose) -> bool {
        let twice = || self.asks.values().any(|ask| ask.to == to && ask.purpose.kind() == purpose.kind());
        self.asks.len() < self.config.max_requests && self.outputs.len() < self.config.max_outputs && !twice()
    }

    /// Returns the number of the request, if it may be made.
    pub(super) fn ask(&mut self, to: PeerId, request: &Request, purpose: Purpose, now: Instant) -> Option<u64> {
        if !self.may_ask(to, &purpose) {
            return None;
        }
        let body: Bytes = wire::encode(request).into();
        self.next_ask += 1;
        let id = self.next_ask;
        self.asks.insert(id, Ask { to, purpose, deadline: now + self.config.request_timeout });
        self.counters.requests_out += 1;
        self.counters.request_bytes_out += body.len() as u64;
        self.outputs.push_back(Output::Request { id, to, body });
        Some(id)
    }

    pub(super) fn is_asking(&self, to: PeerId, wanted: impl Fn(&Purpose) -> bool) -> bool {
        self.asks.values().any(|ask| ask.to == to && wanted(&ask.purpose))
    }

    pub(super) fn ask_records(&mut self, to: PeerId, mut peers: Vec<PeerId>, now: Instant) {
        let rest = peers.split_off(peers.len().min(MAX_ASKED));
        if !peers.is_empty() {
            let purpose = Purpose::Records { asked: peers.clone(), rest };
            self.ask(to, &Request::Records { peers }, purpose, now);
        }
    }

    pub(super) fn ask_doubted(&mut self, id: Identity, now: Instant) {
        let request = Request::Confirm { record: Blob(self.own.record().signed.clone()) };
        if self.ask(id.peer, &request, Purpose::Doubt(id), now).is_none()
            && let Some(member) = self.table.get_up(&id.peer)
        {
            member.doubt = super::member::Doubt::None;
        }
    }

    /// The answer to a request of another node.
    pub(super) fn answer(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<Vec<u8>, Refused> {
        let request: Request = wire::decode(bytes, "a request", MAX_REQUEST)?;
        let response = match request {
            Request::Compare { record, buckets } => {
                self.take_own_record(from, &record, now)?;
                self.compare(from, &buckets)?
            }
            Request::Records { peers } => {
                if peers.len() > MAX_ASKED {
                    return Err(Refused::TooLarge {
                        what: "a list of members",
                        actual: peers.len(),
                        allowed: MAX_ASKED,
                    });
                }
                self.known(from, now)?;
                Response::Records { records: self.records_of(&peers) }
            }
            Request::Pull { epoch, after, since } => {
                self.known(from, now)?;
                if epoch != self.own.epoch() {
                    // It asks for what was before this node was started anew.
                    let record = Blob(self.own.record().signed.clone());
                    self.tell(from, vec![record]);
                    return Err(Refused::Replayed);
                }
                Response::Page(self.own.page(after, since))
            }
            Request::Confirm { record } => {
                self.take_own_record(from, &record, now)?;
                self.confirm(from)
            }
        };
        Ok(wire::encode(&response))
    }

    /// A record that came with a request, and must be that of who asks. One that is not news is as good.
    fn take_own_record(&mut self, from: PeerId, record: &Blob, now: Instant) -> Result<(), Refused> {
        if crate::record::Unchecked::peek(&record.0)?.peer != from {
            return Err(Refused::Impostor);
        }
        match self.take_record(from, &record.0, now) {
            Err(refused @ Refused::Replayed) => self.count(&refused),
            other => other?,
        }
        if let Some(member) = self.table.get_mut(&from) {
            member.direct = true;
        }
        Ok(())
    }

    fn known(&mut self, from: PeerId, now: Instant) -> Result<(), Refused> {
        if self.table.get(&from).is_none() {
            self.join(from, now);
            return Err(Refused::Stranger);
        }
        Ok(())
    }

    /// The records of these, as far as they are held and there is room.
    fn records_of(&self, peers: &[PeerId]) -> Vec<Blob> {
        let me = self.own.record();
        let held = peers.iter().filter_map(|peer| {
            if *peer == me.peer() {
                return Some(me);
            }
            let member = self.table.get(peer)?;
            // What is said of those that failed would bring them back.
            (member.is_up() || member.record.left).then_some(&member.record)
        });
        let mut room = RECORDS_ROOM;
        held.map_while(|record| {
            room = room.checked_sub(record.signed.len() + 8)?;
            Some(Blob(record.signed.clone()))
        })
        .collect()
    }

    pub(super) fn take_response(
        &mut self,
        from: PeerId,
        request: u64,
        outcome: Result<&[u8], ()>,
        now: Instant,
    ) -> Result<(), Refused> {
        if self.asks.get(&request).is_none_or(|ask| ask.to != from) {
            return Err(Refused::Unsolicited);
        }
        let Some(ask) = self.asks.remove(&request) else { return Err(Refused::Unsolicited) };
        let response = outcome.map(|bytes| wire::decode::<Response>(bytes, "an answer", MAX_REQUEST));
        match response {
            Ok(Ok(response)) => self.answered(ask, response, now),
            Ok(Err(refused)) => {
                self.unanswered(ask, now);
                Err(refused)
            }
            Err(()) => {
                self.unanswered(ask, now);
                Ok(())
            }
        }
    }

    fn answered(&mut self, ask: Ask, response: Response, now: Instant) -> Result<(), Refused> {
        let from = ask.to;
        match (ask.purpose, response) {
            (Purpose::Compare { buckets }, Response::Differ { differing, stamps, gone, records }) => {
                self.joins.remove(&from);
                let taken = self.take_records(from, &records, now);
                self.differ(from, buckets, &differing, &stamps, &gone, now);
                taken
            }
            (Purpose::Records { asked, rest }, Response::Records { records }) => {
                let taken = self.take_records(from, &records, now);
                // What had no room in the answer is asked for again; what the other does not hold is not.
                let mut missing = rest;
                if !records.is_empty() {
                    missing.extend(asked.into_iter().filter(|peer| self.table.get(peer).is_none()));
                }
                self.ask_records(from, missing, now);
                taken
            }
            (Purpose::Pull { id, asked }, Response::Page(page)) => self.take_page(id, asked, page, now),
            (Purpose::Confirm, Response::Held { epoch, version }) => {
                self.take_held(from, epoch, version);
                Ok(())
            }
            (Purpose::Doubt(id), Response::Held { .. }) => {
                self.doubted(id, true, now);
                Ok(())
            }
            (purpose, _) => {
                self.unanswered(Ask { to: from, purpose, deadline: ask.deadline }, now);
                Err(Refused::Unsolicited)
            }
        }
    }

    /// No answer came, or none that is worth anything.
    pub(super) fn unanswered(&mut self, ask: Ask, now: Instant) {
        self.counters.requests_failed += 1;
        match ask.purpose {
            Purpose::Compare { .. } => self.join_failed(ask.to, now),
            Purpose::Pull { id, .. } => self.pull_failed(id, now),
            Purpose::Doubt(id) => self.doubted(id, false, now),
            Purpose::Records { .. } | Purpose::Confirm => {}
        }
    }

    fn take_records(&mut self, from: PeerId, records: &[Blob], now: Instant) -> Result<(), Refused> {
        let mut outcome = Ok(());
        for record in records {
            if let Err(refused) = self.take_record(from, &record.0, now) {
                if refused.is_hostile() {
                    return Err(refused);
                }
                match outcome {
                    Ok(()) => outcome = Err(refused),
                    Err(_) => self.count(&refused),
                }
            }
        }
        outcome
    }
}
