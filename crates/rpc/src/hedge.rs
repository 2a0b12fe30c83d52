//! A second provider for a call whose answer takes longer than usual.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinew_wire::call::{Flags, Reply, Status, Strategy};

use crate::entry::{Entry, Keeping, Place, Route, Up};
use crate::procedure::Procedure;
use crate::service::{Counts, Service};
use crate::settle::Cause;
use crate::table::CallId;

impl Service {
    /// Notes when a second provider is to be asked; not before it is known what is usual.
    pub(crate) fn hedge_later(&self, id: CallId, attempt: u8, procedure: &Procedure, now: Instant) {
        let Some(usual) = procedure.p95() else { return };
        let at = now + usual.max(self.config.hedge.at_least);
        self.table.with(id, attempt, |entry| entry.timer = at.min(entry.deadline));
    }

    /// An answer takes longer than usual.
    pub(crate) fn hedge(self: &Arc<Self>, id: CallId, attempt: u8, now: Instant) {
        let second = self.table.with(id, attempt, |entry| {
            let is_fit = !entry.passed && entry.gather.is_none();
            let route = entry.route.as_ref().filter(|route| is_fit && route.hedge.is_none())?;
            let mut excluded = route.excluded.clone();
            excluded.push(route.pick.as_ref()?.id);
            let route = Route {
                procedure: Arc::clone(&route.procedure),
                strategy: Strategy::Balanced,
                pick: None,
                idempotent: true,
                dispatches: 0,
                excluded,
                last: None,
                resolved: true,
                hedge: None,
                keeping: Keeping::Never,
            };
            // Without a window: an answer longer than a frame is left to the first one.
            Some(entry.made_for_it(Up::Hedge { parent: id }, route, entry.flags.without(Flags::HEDGE), 0, now))
        });
        let Some(Some(second)) = second else { return };
        let allowed = second.route.as_ref().is_some_and(|route| route.procedure.may_retry(Status::Unknown, now));
        if !allowed {
            return Counts::count(&self.counts.retries_refused);
        }
        let Ok(child) = self.table.insert(second) else { return };
        let noted =
            self.table.with(id, attempt, |entry| entry.route.as_mut().map(|route| route.hedge = Some(child)).is_some());
        if noted != Some(true) {
            return self.cancel_call(child, now);
        }
        Counts::count(&self.counts.hedged);
        self.route(child, 0, now);
    }

    /// The second one has answered. Only a result is of use; else the first one goes on.
    pub(crate) fn hedge_answered(self: &Arc<Self>, id: CallId, parent: CallId, reply: &Reply<'_>, now: Instant) {
        if !matches!(reply.status, Status::Ok | Status::Application) {
            return;
        }
        let first =
            self.table.take_if(parent, |entry| entry.route.as_ref().is_some_and(|route| route.hedge == Some(id)));
        if let Some(first) = first {
            Counts::count(&self.counts.hedges_won);
            self.settle(parent, first, Cause::Outrun, reply, now);
        }
    }
}

impl Entry {
    /// A call made for this one: with its request and its deadline.
    pub(crate) fn made_for_it(&self, up: Up, route: Route, flags: Flags, window: u32, now: Instant) -> Box<Self> {
        Box::new(Self {
            up,
            caller: self.caller,
            flags,
            priority: self.priority,
            attempt: 0,
            place: Place::Routing,
            route: Some(Box::new(route)),
            request: Bytes::clone(&self.request),
            span: None,
            _memory: None,
            opened: now,
            deadline: self.deadline,
            timer: self.deadline,
            sent: now,
            maybe: false,
            opening: false,
            passed: false,
            in_ended: true,
            in_credit: 0,
            out_credit: window,
            pending: None,
            gather: None,
        })
    }
}
