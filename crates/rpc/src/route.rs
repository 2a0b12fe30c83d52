//! From a call to a provider: on the node of the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_balance::{Choice, InstanceId, Pick};
use sinew_discovery::ProvidersError;
use sinew_wire::call::{CallFrame, Flags, Reply, Status, Strategy};

use crate::accept::BUSY_MS;
use crate::entry::{Keeping, Last, Place, Up};
use crate::instance::{Admission, Instance};
use crate::peers::Way;
use crate::procedure::{Chosen, Procedure};
use crate::service::{Counts, Service};
use crate::settle::Cause;
use crate::table::CallId;

/// What a choice goes by.
struct Plan {
    procedure: Arc<Procedure>,
    strategy: Strategy,
    /// For its key.
    request: Option<Bytes>,
    excluded: Vec<InstanceId>,
    may_be_kept: bool,
}

impl Service {
    /// Chooses a provider for an attempt that is being routed, and sends it there.
    pub(crate) fn route(self: &Arc<Self>, id: CallId, attempt: u8, now: Instant) {
        let plan = self.table.with(id, attempt, |entry| {
            entry.place = Place::Routing;
            let route = entry.route.as_ref()?;
            Some(Plan {
                procedure: Arc::clone(&route.procedure),
                strategy: route.strategy,
                request: (route.strategy == Strategy::Sticky).then(|| entry.request.clone()),
                excluded: route.excluded.clone(),
                may_be_kept: matches!(route.keeping, Keeping::Maybe) && entry.is_unary(),
            })
        });
        let Some(Some(plan)) = plan else { return };
        if plan.strategy == Strategy::All {
            return self.gather(id, attempt, &plan.procedure, now);
        }
        let key = match plan.request.as_deref().map(CallFrame::decode) {
            Some(Ok(CallFrame::Request(request))) => request.key,
            _ => &[],
        };
        let how = Choice { strategy: plan.strategy, key };
        match plan.procedure.choose(self.view_of_realm(), how, &plan.excluded, plan.may_be_kept, now) {
            Chosen::One(pick, idempotent) => self.send(id, attempt, &plan.procedure, (pick, idempotent), now),
            Chosen::Kept(traits) => self.answer_kept(id, attempt, &traits, now),
            Chosen::Unknown => self.resolve(id, attempt, &plan.procedure),
            Chosen::Nobody { of, next } => self.give_up(id, attempt, &plan.procedure, (of, next), now),
        }
    }

    /// Sends a call to the instance that was chosen.
    pub(crate) fn send(
        self: &Arc<Self>,
        id: CallId,
        attempt: u8,
        procedure: &Procedure,
        (pick, idempotent): (Pick, bool),
        now: Instant,
    ) {
        let noted = self.table.with(id, attempt, |entry| {
            let Some(route) = &mut entry.route else { return None };
            route.pick = Some(pick);
            route.dispatches = route.dispatches.saturating_add(1);
            route.idempotent |= idempotent;
            let wants_hedge = route.idempotent && entry.flags.contains(Flags::HEDGE);
            if pick.id.node != self.node {
                entry.place = Place::Waiting { node: pick.id.node, target: pick.id.id };
            }
            let wants_hedge = wants_hedge && matches!(entry.up, Up::Link { .. }) && entry.is_unary();
            Some((entry.priority, entry.deadline.saturating_duration_since(now), wants_hedge))
        });
        // Cancelled meanwhile.
        let Some(Some((priority, left, wants_hedge))) = noted else {
            return procedure.not_used(&pick, now);
        };
        if wants_hedge {
            self.hedge_later(id, attempt, procedure, now);
        }
        Counts::count(&self.counts.dispatched);
        if pick.id.node == self.node {
            match self.instance(pick.id.id) {
                Some(instance) => self.admit(id, attempt, &instance, priority, left, now),
                None => self.not_there(id, attempt, now),
            }
        } else {
            self.send_to_node(id, attempt, pick.id, now);
        }
    }

    fn send_to_node(self: &Arc<Self>, id: CallId, attempt: u8, target: InstanceId, now: Instant) {
        let way = match self.peers.link(&target.node) {
            Some(link) => Way::Link(link),
            None => self.peers.link_or_wait(target.node, id, attempt),
        };
        match way {
            Way::Link(link) => {
                self.hand_to_node(id, attempt, &link, now);
            }
            Way::Waits => {
                // It may have ended before it was entered.
                let is_there = self.table.with(id, attempt, |entry| matches!(entry.place, Place::Waiting { .. }));
                if is_there != Some(true) {
                    self.peers.unwait(&target.node, id);
                }
            }
            Way::Full => self.overloaded(id, attempt, BUSY_MS, "too many calls wait for a link to that node", now),
        }
    }

    /// A call comes to a provider of this node.
    pub(crate) fn admit(
        self: &Arc<Self>,
        id: CallId,
        attempt: u8,
        instance: &Arc<Instance>,
        priority: u8,
        left: Duration,
        now: Instant,
    ) {
        match instance.admit(id, attempt, priority, left) {
            Admission::Start => self.start(instance, (id, attempt), now),
            Admission::Queued { ticket, given_up } => {
                Counts::count(&self.counts.queued);
                self.queued(id, attempt, instance, ticket);
                if let Some((id, attempt)) = given_up {
                    self.overloaded(id, attempt, instance.retry_after_ms(), "given up for others", now);
                }
            }
            Admission::Overloaded => {
                self.overloaded(id, attempt, instance.retry_after_ms(), "the provider has too much to do", now);
            }
            Admission::Closed => self.not_there(id, attempt, now),
        }
    }

    /// Notes where a call waits. Somebody may have taken it up already, or it may have ended.
    fn queued(&self, id: CallId, attempt: u8, instance: &Arc<Instance>, ticket: u64) {
        let noted = self.table.with(id, attempt, |entry| match &entry.place {
            Place::Routing => entry.place = Place::Queued { instance: Arc::clone(instance), ticket },
            _taken_up => {}
        });
        if noted.is_none() {
            instance.unqueue(ticket);
        }
    }

    /// Looks for who provides a procedure; the call goes on from there.
    pub(crate) fn resolve(self: &Arc<Self>, id: CallId, attempt: u8, procedure: &Arc<Procedure>) {
        if self.table.with(id, attempt, |entry| entry.place = Place::Resolving).is_none() {
            return;
        }
        if procedure.wait(id, attempt) {
            let (service, procedure) = (Arc::clone(self), Arc::clone(procedure));
            tokio::spawn(async move {
                let found = service.directory.providers(&procedure.name, Duration::ZERO).await;
                let now = Instant::now();
                let waiting = procedure.resolved(found.as_ref().ok(), service.node, now);
                for (id, attempt) in waiting {
                    match &found {
                        Ok(_) => service.resume(id, attempt, now),
                        Err(error) => service.not_found(id, attempt, error, now),
                    }
                }
            });
        }
    }

    /// Goes on with a call that has waited for its providers.
    fn resume(self: &Arc<Self>, id: CallId, attempt: u8, now: Instant) {
        if self.table.with(id, attempt, |entry| matches!(entry.place, Place::Resolving)) == Some(true) {
            self.route(id, attempt, now);
        }
    }

    fn not_found(self: &Arc<Self>, id: CallId, attempt: u8, error: &ProvidersError, now: Instant) {
        let text = error.to_string();
        let status = match error {
            ProvidersError::NotFound => Status::NoProvider,
            ProvidersError::NoPeers => Status::NoPeers,
            ProvidersError::TimedOut | ProvidersError::Refused(_) => Status::NotSent,
        };
        self.end_here(id, attempt, &Reply::failure(0, status, &text), now);
    }

    /// Nobody of those who provide it may be called, or called again.
    pub(crate) fn give_up(
        self: &Arc<Self>,
        id: CallId,
        attempt: u8,
        procedure: &Arc<Procedure>,
        (of, next): (usize, Option<Duration>),
        now: Instant,
    ) {
        // Who was not there may not be the only one that was not known to be gone, or to have come.
        let look_again = self.table.with(id, attempt, |entry| {
            let route = entry.route.as_mut()?;
            let missed = route.last.is_some_and(|last| last.status == Status::NotSent);
            let first = !std::mem::replace(&mut route.resolved, true);
            Some((missed && first, route.last))
        });
        let Some(Some((look_again, last))) = look_again else { return };
        if look_again {
            self.directory.forget(&procedure.name);
            return self.resolve(id, attempt, procedure);
        }
        let reply = match last {
            Some(Last { status, code, retry_after_ms }) => {
                Reply { code, retry_after_ms, ..Reply::failure(0, status, "and there is no other provider") }
            }
            None if of == 0 => Reply::failure(0, Status::NoProvider, "nobody provides it"),
            None => {
                let next = next.map_or(BUSY_MS, |next| u32::try_from(next.as_millis()).unwrap_or(u32::MAX).max(1));
                let text = "all who provide it have failed lately";
                Reply { retry_after_ms: next, ..Reply::failure(0, Status::Overloaded, text) }
            }
        };
        self.end_here(id, attempt, &reply, now);
    }

    fn not_there(self: &Arc<Self>, id: CallId, attempt: u8, now: Instant) {
        let reply = Reply::failure(0, Status::NotSent, "there is no such provider any more");
        self.ended(id, attempt, None, Cause::Gone, &reply, now);
    }

    pub(crate) fn overloaded(self: &Arc<Self>, id: CallId, attempt: u8, after_ms: u32, text: &str, now: Instant) {
        Counts::count(&self.counts.overloaded);
        let reply = Reply { retry_after_ms: after_ms, ..Reply::failure(0, Status::Overloaded, text) };
        self.ended(id, attempt, None, Cause::Replied, &reply, now);
    }
}
