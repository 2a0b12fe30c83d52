//! Calls that ask all who provide a procedure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use sinew_balance::Pick;
use sinew_flow::Reservation;
use sinew_wire::PeerId;
use sinew_wire::call::{CallFrame, Data, DataFlags, Flags, GatheredItem, MAX_CHUNK, Reply, Status, Strategy};

use crate::accept::BUSY_MS;
use crate::entry::{Entry, Keeping, Place, Route, Up};
use crate::procedure::Procedure;
use crate::service::Service;
use crate::settle::Cause;
use crate::table::{CallId, Step, Stepped};

/// The answers of all who were asked for one call.
#[derive(Debug)]
pub(crate) struct Gather {
    asked: Vec<Asked>,
    /// So many have not answered yet.
    left: usize,
    /// So many results are enough; 0 for all.
    enough: usize,
    results: usize,
    /// Answers for which the caller has no room yet.
    items: VecDeque<Bytes>,
    /// For what is kept here.
    memory: Reservation,
}

/// One of those who were asked.
#[derive(Debug)]
struct Asked {
    /// The call made for it; `None` once it has ended.
    call: Option<CallId>,
    node: PeerId,
    provider: PeerId,
    /// What has come of its answer before the last part.
    parts: BytesMut,
}

impl Gather {
    /// The calls under way.
    pub(crate) fn children(&self) -> impl Iterator<Item = CallId> {
        self.asked.iter().filter_map(|asked| asked.call)
    }

    fn is_done(&self) -> bool {
        self.items.is_empty() && (self.left == 0 || (self.enough > 0 && self.results >= self.enough))
    }

    /// Adds an answer to what the caller gets; without its body if there is no memory for that.
    fn add(&mut self, index: usize, reply: &Reply<'_>) {
        let Some(asked) = self.asked.get_mut(index) else { return };
        asked.call = None;
        self.left = self.left.saturating_sub(1);
        let mut parts = std::mem::take(&mut asked.parts);
        let held = self.memory.bytes().saturating_sub(parts.len());
        let is_result = matches!(reply.status, Status::Ok | Status::Application);
        if !is_result {
            parts.clear();
        }
        let bytes = GatheredItem::HEAD_LEN + parts.len() + reply.body.len();
        self.memory.resize(held);
        let fits = self.memory.resize(held + bytes);
        let (status, code) = if fits { (reply.status, reply.code) } else { (Status::Unknown, 0) };
        self.results += usize::from(is_result && fits);
        let mut item = BytesMut::with_capacity(bytes);
        GatheredItem { node: asked.node, provider: asked.provider, status, code, body: &[] }.encode(&mut item);
        if fits {
            item.extend_from_slice(&parts);
            item.extend_from_slice(reply.body);
        }
        self.items.push_back(item.freeze());
    }
}

/// Sends the caller as much of what was gathered for a call as it has room for. Whether that was all there will be.
///
/// Called with the call locked: two who send parts of the same answers must not get in each other's way.
pub(crate) fn send_on(entry: &mut Entry) -> bool {
    let (Some(gather), Up::Link { link, number }) = (&mut entry.gather, &entry.up) else { return false };
    while let Some(item) = gather.items.front_mut() {
        let len = item.len().min(MAX_CHUNK).min(entry.out_credit as usize);
        if len == 0 {
            break;
        }
        let flags = if len == item.len() { DataFlags::END_ITEM } else { DataFlags::default() };
        let data = Data { call: *number, flags, body: &[] };
        // If the node has no memory for it either, it is tried again with the next answer or credit.
        if link.send_data(&data, item.slice(..len).into(), false).is_err() {
            break;
        }
        item.advance(len);
        entry.out_credit -= len as u32;
        entry.passed = true;
        let freed = gather.memory.bytes().saturating_sub(len);
        gather.memory.resize(freed);
        if item.is_empty() {
            gather.items.pop_front();
        }
    }
    gather.is_done()
}

impl Service {
    /// Asks all who provide a procedure.
    pub(crate) fn gather(self: &Arc<Self>, id: CallId, attempt: u8, procedure: &Arc<Procedure>, now: Instant) {
        let Some(picks) = procedure.choose_all(self.view_of_realm(), now) else {
            return self.resolve(id, attempt, procedure);
        };
        if picks.is_empty() {
            return self.give_up(id, attempt, procedure, (usize::MAX, None), now);
        }
        let Some(calls) = self.make_calls(id, attempt, procedure, &picks, now) else {
            picks.iter().for_each(|(pick, _)| procedure.not_used(pick, now));
            let text = "the node is at its memory budget";
            let reply = Reply { retry_after_ms: BUSY_MS, ..Reply::failure(0, Status::Overloaded, text) };
            return self.end_here(id, attempt, &reply, now);
        };
        for (index, (pick, _)) in picks.into_iter().enumerate() {
            match calls.get(index) {
                Some(Some(call)) => self.send(*call, 0, procedure, (pick, false), now),
                // The table is full; or the call has ended meanwhile.
                _ => {
                    procedure.not_used(&pick, now);
                    let text = "the node has as many calls as it may";
                    self.gathered(id, index, &Reply::failure(0, Status::Overloaded, text), now);
                }
            }
        }
    }

    /// A call for each who is asked, noted at the one that asks. `None` for those that find no room.
    fn make_calls(
        self: &Arc<Self>,
        id: CallId,
        attempt: u8,
        procedure: &Arc<Procedure>,
        picks: &[(Pick, PeerId)],
        now: Instant,
    ) -> Option<Vec<Option<CallId>>> {
        let memory = self.budget.try_reserve(0)?;
        let call = |index| {
            let made = self.table.with(id, attempt, |entry| self.one_of_many(entry, (id, index), procedure, now));
            made.and_then(|made| self.table.insert(made).ok())
        };
        let calls: Vec<Option<CallId>> = (0..picks.len()).map(call).collect();
        let asked = picks.iter().zip(&calls).map(|((pick, provider), call)| Asked {
            call: *call,
            node: pick.id.node,
            provider: *provider,
            parts: BytesMut::new(),
        });
        let asked: Vec<Asked> = asked.collect();
        let left = asked.len();
        let noted = self.table.with(id, attempt, |entry| {
            let enough = match CallFrame::decode(&entry.request) {
                Ok(CallFrame::Request(request)) => request.answers.into(),
                _ => 0,
            };
            entry.place = Place::Parent;
            entry.gather = Some(Box::new(Gather { asked, left, enough, results: 0, items: VecDeque::new(), memory }));
        });
        if noted.is_none() {
            calls.iter().flatten().for_each(|call| self.cancel_call(*call, now));
        }
        Some(calls)
    }

    fn one_of_many(
        &self,
        entry: &Entry,
        (parent, index): (CallId, usize),
        procedure: &Arc<Procedure>,
        now: Instant,
    ) -> Box<Entry> {
        let route = Route {
            procedure: Arc::clone(procedure),
            strategy: Strategy::Balanced,
            pick: None,
            idempotent: false,
            dispatches: 0,
            excluded: Vec::new(),
            last: None,
            resolved: true,
            hedge: None,
            keeping: Keeping::Never,
        };
        let flags = entry.flags.without(Flags::ITEMS_OUT).without(Flags::HEDGE);
        entry.made_for_it(Up::Gather { parent, index }, route, flags, self.config.max_window, now)
    }

    /// One who was asked has answered, or will not.
    pub(crate) fn gathered(self: &Arc<Self>, parent: CallId, index: usize, reply: &Reply<'_>, now: Instant) {
        let stepped = self.table.step(parent, |entry| {
            let Some(gather) = &mut entry.gather else { return Step::Leave };
            gather.add(index, reply);
            if send_on(entry) { Step::Take } else { Step::Keep(()) }
        });
        if let Stepped::Taken(entry) = stepped {
            self.gather_done(parent, entry, now);
        }
    }

    /// A part of an answer. Whether there is memory for it.
    pub(crate) fn gather_part(&self, parent: CallId, index: usize, body: &[u8]) -> bool {
        let stepped = self.table.step(parent, |entry| {
            let Some(gather) = &mut entry.gather else { return Step::Leave };
            let Some(asked) = gather.asked.get_mut(index) else { return Step::Leave };
            let fits = gather.memory.resize(gather.memory.bytes() + body.len());
            if fits {
                asked.parts.extend_from_slice(body);
            }
            Step::Keep(fits)
        });
        matches!(stepped, Stepped::Kept(true))
    }

    /// All answers that the caller wants have gone to it.
    pub(crate) fn gather_done(self: &Arc<Self>, id: CallId, entry: Box<Entry>, now: Instant) {
        self.settle(id, entry, Cause::Replied, &Reply::failure(0, Status::Ok, ""), now);
    }
}
