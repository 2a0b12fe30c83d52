//! Data and credit of open calls: passed on, and nobody sends beyond its credit.

use std::sync::Arc;
use std::time::Instant;

use sinew_link::LaneError;
use sinew_wire::call::{Data, DataFlags, INITIAL_WINDOW, Reply, Status, encode_credit, refused_body};
use sinew_wire::{Limit, Refusal};

use crate::accept::BUSY_MS;
use crate::entry::{Entry, Up};
use crate::gather;
use crate::link::{Kind, Link};
use crate::pending::Pending;
use crate::service::Service;
use crate::settle::Cause;
use crate::table::{CallId, Step, Stepped};

/// What becomes of a frame for an open call.
enum Fate {
    /// It goes on over this link, under this number.
    Pass(Arc<Link>, u64),
    /// It goes to the call that this one was made for, as a part of this answer. Whether it may send more.
    Gathered(CallId, usize, bool),
    /// It was taken.
    Taken,
    /// It breaks the rules.
    Violation(Refusal),
    /// There is no room for it.
    NoRoom,
}

impl Service {
    /// Data of a caller.
    pub(crate) fn data_from_caller(
        self: &Arc<Self>,
        link: &Arc<Link>,
        data: &Data<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(id) = link.call(data.call) else { return Ok(()) };
        let stepped = self.table.step(id, |entry| match entry.is_asked_by(link) {
            true => Step::Keep((self.take_in(id, entry, data), entry.attempt, entry.place.is_handed())),
            false => Step::Leave,
        });
        let Stepped::Kept((fate, attempt, was_handed)) = stepped else { return Ok(()) };
        match fate {
            Fate::Pass(to, number) => {
                let onward = Data { call: number, ..*data };
                match to.send_data(&onward, data.body.into(), true) {
                    Ok(()) | Err(LaneError::Closed) => {}
                    Err(LaneError::Full) => self.lost(id, attempt, "the link to the provider is congested", now),
                }
            }
            Fate::Violation(refusal) => return Err(refusal),
            Fate::NoRoom if was_handed => self.lost(id, attempt, "the node is at its memory budget", now),
            Fate::NoRoom => {
                let text = "the node is at its memory budget";
                let reply = Reply { retry_after_ms: BUSY_MS, ..Reply::failure(0, Status::Overloaded, text) };
                self.end_here(id, attempt, &reply, now);
            }
            Fate::Gathered(..) | Fate::Taken => {}
        }
        Ok(())
    }

    fn take_in(&self, id: CallId, entry: &mut Entry, data: &Data<'_>) -> Fate {
        if entry.in_ended {
            return Fate::Violation(Refusal::Protocol("data of a call behind its end".to_owned()));
        }
        let Some(credit) = u32::try_from(data.body.len()).ok().and_then(|bytes| entry.in_credit.checked_sub(bytes))
        else {
            return Fate::Violation(self.beyond_credit());
        };
        entry.in_credit = credit;
        entry.in_ended = data.flags.contains(DataFlags::END);
        if let Some(link) = entry.place.link()
            && !entry.opening
        {
            return Fate::Pass(Arc::clone(link), id.number(entry.attempt));
        }
        let pending = match &mut entry.pending {
            Some(pending) => pending,
            none => {
                let Some(memory) = self.budget.try_reserve(0) else { return Fate::NoRoom };
                none.insert(Box::new(Pending::new(memory)))
            }
        };
        if pending.push(data.flags, data.body) { Fate::Taken } else { Fate::NoRoom }
    }

    /// Data of a provider, or of its node.
    pub(crate) fn data_from_provider(
        self: &Arc<Self>,
        link: &Arc<Link>,
        data: &Data<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let (id, attempt) = CallId::of_number(data.call);
        let stepped = self.table.step(id, |entry| match entry.attempt == attempt && entry.place.is_at(link) {
            true => {
                let hedge = entry.route.as_mut().and_then(|route| route.hedge.take());
                Step::Keep((self.take_out(entry, data), hedge))
            }
            false => Step::Leave,
        });
        let Stepped::Kept((fate, hedge)) = stepped else { return Ok(()) };
        if let Some(hedge) = hedge {
            self.cancel_call(hedge, now);
        }
        match fate {
            Fate::Pass(to, number) => {
                let onward = Data { call: number, ..*data };
                match to.send_data(&onward, data.body.into(), false) {
                    Ok(()) | Err(LaneError::Closed) => {}
                    Err(LaneError::Full) => self.lost(id, attempt, "the link to the caller is congested", now),
                }
            }
            Fate::Violation(refusal) => {
                self.end_refused(id, attempt, &refusal, now);
                return Err(refusal);
            }
            Fate::Gathered(parent, index, more) => {
                if !self.gather_part(parent, index, data.body) || !more {
                    self.lost(id, attempt, "the answer is longer than can be gathered", now);
                }
            }
            Fate::Taken | Fate::NoRoom => {}
        }
        Ok(())
    }

    fn take_out(&self, entry: &mut Entry, data: &Data<'_>) -> Fate {
        let Some(credit) = u32::try_from(data.body.len()).ok().and_then(|bytes| entry.out_credit.checked_sub(bytes))
        else {
            return Fate::Violation(self.beyond_credit());
        };
        entry.out_credit = credit;
        entry.passed = true;
        match &entry.up {
            Up::Link { link, number } => Fate::Pass(Arc::clone(link), *number),
            Up::Gather { parent, index } => Fate::Gathered(*parent, *index, credit > 0),
            // It has no window.
            Up::Hedge { .. } => Fate::Taken,
        }
    }

    /// A caller takes more.
    pub(crate) fn credit_from_caller(
        self: &Arc<Self>,
        link: &Arc<Link>,
        number: u64,
        bytes: u32,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(id) = link.call(number) else { return Ok(()) };
        let stepped = self.table.step(id, |entry| {
            if !entry.is_asked_by(link) {
                return Step::Leave;
            }
            let Some(credit) = more(entry.out_credit, bytes, self.config.max_window, link) else {
                return Step::Keep(Fate::Violation(self.beyond_credit()));
            };
            entry.out_credit = credit;
            if gather::send_on(entry) {
                return Step::Take;
            }
            // Before it was handed over it goes with the request.
            Step::Keep(match entry.place.link() {
                Some(link) => Fate::Pass(Arc::clone(link), id.number(entry.attempt)),
                None => Fate::Taken,
            })
        });
        match stepped {
            Stepped::Kept(Fate::Pass(to, number)) => {
                to.lane.push_always(|out| encode_credit(number, true, bytes, out));
                Ok(())
            }
            Stepped::Kept(Fate::Violation(refusal)) => Err(refusal),
            Stepped::Taken(entry) => {
                self.gather_done(id, entry, now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A provider takes more.
    pub(crate) fn credit_from_provider(
        self: &Arc<Self>,
        link: &Arc<Link>,
        number: u64,
        bytes: u32,
        now: Instant,
    ) -> Result<(), Refusal> {
        let (id, attempt) = CallId::of_number(number);
        let most = self.config.max_window.max(INITIAL_WINDOW);
        let stepped = self.table.step(id, |entry| {
            if entry.attempt != attempt || !entry.place.is_at(link) {
                return Step::Leave;
            }
            let Some(credit) = more(entry.in_credit, bytes, most, link) else {
                return Step::Keep(Fate::Violation(self.beyond_credit()));
            };
            entry.in_credit = credit;
            Step::Keep(match &entry.up {
                Up::Link { link, number } => Fate::Pass(Arc::clone(link), *number),
                Up::Gather { .. } | Up::Hedge { .. } => Fate::Taken,
            })
        });
        match stepped {
            Stepped::Kept(Fate::Pass(to, number)) => {
                to.lane.push_always(|out| encode_credit(number, false, bytes, out));
                Ok(())
            }
            Stepped::Kept(Fate::Violation(refusal)) => {
                self.end_refused(id, attempt, &refusal, now);
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    fn beyond_credit(&self) -> Refusal {
        Refusal::Limit { limit: Limit::CallCredit, allowed: self.config.max_window.into() }
    }

    /// Who was to answer a call has broken the rules.
    fn end_refused(self: &Arc<Self>, id: CallId, attempt: u8, refusal: &Refusal, now: Instant) {
        let body = refused_body(refusal);
        let reply = Reply { body: &body, ..Reply::failure(0, Status::Refused, "") };
        self.ended(id, attempt, None, Cause::Lost, &reply, now);
    }
}

/// Credit after some more was given over a link. `None` if that is beyond what may be; another node, which may allow its
/// clients more, is not to blame for them, and has it cut.
fn more(credit: u32, bytes: u32, most: u32, link: &Link) -> Option<u32> {
    let sum = credit.saturating_add(bytes);
    (sum <= most || link.kind == Kind::Node).then(|| sum.min(most))
}
