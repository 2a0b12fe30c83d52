//! How attempts end, and calls with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_balance::Outcome;
use sinew_link::LaneError;
use sinew_observe::RoutingEvent;
use sinew_wire::call::{Reply, Status, encode_cancel};
use sinew_wire::{PeerId, ProviderHealth, live};

use crate::entry::{Entry, Keeping, Left, Place, Up};
use crate::link::{Kind, Link};
use crate::service::{Counts, Service};
use crate::table::{CallId, Step, Stepped};

/// Longest reply that is queued although the link has as much to write as it may.
const SMALL: usize = 1 << 10;

/// Why an attempt ended, as far as its reply does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By its reply.
    Replied,
    /// The instance was not there.
    Gone,
    /// It could not be handed over.
    Unreachable,
    /// It was handed over, and the way to it was lost.
    Lost,
    /// The deadline passed.
    TimedOut,
    /// The deadline passed before it was handed over.
    NotHanded,
    /// Nobody wants the answer any more.
    Cancelled,
    /// Another one was quicker.
    Outrun,
}

impl Cause {
    /// What it says of the instance.
    fn outcome(self, reply: &Reply<'_>, took: Duration) -> Outcome {
        match self {
            Self::Gone | Self::Unreachable | Self::Lost => Outcome::NetworkFailure,
            Self::TimedOut => Outcome::Timeout,
            Self::Cancelled | Self::NotHanded => Outcome::NotCounted,
            // So long it takes at least.
            Self::Outrun => Outcome::Success { latency: took, load: 1, health: ProviderHealth::Good },
            Self::Replied => match reply.status {
                Status::Ok | Status::Application => {
                    Outcome::Success { latency: took, load: reply.load, health: reply.health }
                }
                Status::Panicked => Outcome::Failure,
                Status::Unknown | Status::NotSent => Outcome::NetworkFailure,
                Status::Overloaded => {
                    Outcome::Overloaded { retry_after: Duration::from_millis(reply.retry_after_ms.into()) }
                }
                Status::TimedOut => Outcome::Timeout,
                Status::NoProvider | Status::NoPeers | Status::Cancelled | Status::Refused => Outcome::NotCounted,
            },
        }
    }

    /// How long a provider has worked on it, if it has.
    fn served(self, reply: &Reply<'_>, took: Duration) -> Option<Duration> {
        let executed = matches!(reply.status, Status::Ok | Status::Application | Status::Panicked);
        (self == Self::Replied && executed).then_some(took)
    }

    /// Whether who has it at hand knows that it has ended.
    const fn is_known_there(self) -> bool {
        matches!(self, Self::Replied | Self::Gone | Self::Unreachable)
    }
}

/// How an attempt leaves its place.
struct Leaving {
    /// Its number on the link to who has it at hand.
    number: u64,
    opening: bool,
    cause: Cause,
    /// How long the provider has worked on it, if it has answered.
    served: Option<Duration>,
}

impl Service {
    /// A reply has come over a link, under the number that this node gave the call there.
    pub(crate) fn reply(self: &Arc<Self>, link: &Arc<Link>, reply: &Reply<'_>, now: Instant) {
        let (id, attempt) = CallId::of_number(reply.call);
        self.ended(id, attempt, Some(link), Cause::Replied, reply, now);
    }

    /// An attempt has ended with this reply: it is tried elsewhere if that may be, or the call has ended with it.
    ///
    /// `from`: the link over which it came. An attempt that is not at hand there, or not any more, is not concerned.
    pub(crate) fn ended(
        self: &Arc<Self>,
        id: CallId,
        attempt: u8,
        from: Option<&Link>,
        cause: Cause,
        reply: &Reply<'_>,
        now: Instant,
    ) {
        let dispatches = self.config.dispatches;
        let stepped = self.table.step(id, |entry| {
            if entry.attempt != attempt || from.is_some_and(|link| !entry.place.is_at(link)) {
                return Step::Leave;
            }
            if !entry.may_retry(reply.status, dispatches, now) {
                return Step::Take;
            }
            entry.fail(reply).map_or(Step::Take, Step::Keep)
        });
        match stepped {
            Stepped::Nothing => Counts::count(&self.counts.late),
            Stepped::Taken(entry) => self.settle(id, entry, cause, reply, now),
            Stepped::Kept(left) => self.try_again(id, left, cause, reply, now),
        }
    }

    /// A call ends with this reply: no other attempt.
    pub(crate) fn end_here(self: &Arc<Self>, id: CallId, attempt: u8, reply: &Reply<'_>, now: Instant) {
        if let Some(entry) = self.table.take_if(id, |entry| entry.attempt == attempt) {
            self.settle(id, entry, Cause::Replied, reply, now);
        }
    }

    fn try_again(self: &Arc<Self>, id: CallId, left: Left, cause: Cause, reply: &Reply<'_>, now: Instant) {
        let Left { place, opening, sent, pick, procedure, attempt, hedge } = left;
        if let Some(hedge) = hedge {
            self.cancel_call(hedge, now);
        }
        let took = now.saturating_duration_since(sent);
        let number = id.number(attempt.wrapping_sub(1));
        self.leave(id, place, Leaving { number, opening, cause, served: cause.served(reply, took) }, now);
        if let Some(pick) = pick {
            procedure.finished(&pick, cause.outcome(reply, took), took, now);
        }
        if procedure.may_retry(reply.status, now) {
            Counts::count(&self.counts.retried);
            return self.route(id, attempt, now);
        }
        Counts::count(&self.counts.retries_refused);
        self.end_here(id, attempt, reply, now);
    }

    /// Ends a call that was taken out of the table.
    pub(crate) fn settle(
        self: &Arc<Self>,
        id: CallId,
        mut entry: Box<Entry>,
        cause: Cause,
        reply: &Reply<'_>,
        now: Instant,
    ) {
        let took = now.saturating_duration_since(entry.sent);
        let place = std::mem::replace(&mut entry.place, Place::Routing);
        let reply = match &place {
            Place::Provider(instance) => {
                let load = instance.load();
                let load = u32::try_from(load.running + load.queued).unwrap_or(u32::MAX);
                let health =
                    if reply.health as u8 > instance.health() as u8 { reply.health } else { instance.health() };
                &Reply { load, health, ..*reply }
            }
            _ => reply,
        };
        if let (Place::Resolving, Some(route)) = (&place, &entry.route) {
            route.procedure.unwait(id);
        }
        if let Some(hedge) = entry.route.as_mut().and_then(|route| route.hedge.take()) {
            self.cancel_call(hedge, now);
        }
        if let Some(gather) = entry.gather.take() {
            gather.children().for_each(|child| self.cancel_call(child, now));
        }
        let provider = entry.route.as_ref().and_then(|route| route.provider());
        let (number, opening) = (id.number(entry.attempt), entry.opening);
        self.leave(id, place, Leaving { number, opening, cause, served: cause.served(reply, took) }, now);
        if let Some(route) = &mut entry.route
            && let Some(pick) = route.pick.take()
        {
            route.procedure.finished(&pick, cause.outcome(reply, took), took, now);
        }
        if cause != Cause::Cancelled {
            self.answer(id, &entry, (reply, provider), now);
        } else if matches!(entry.up, Up::Link { .. }) {
            self.tell(&entry, provider, Status::Cancelled, now);
        }
        let keeping = entry.route.map_or(Keeping::Never, |route| route.keeping);
        self.landed(id, keeping, entry.passed, reply, now);
    }

    /// Leaves the place where an attempt was.
    fn leave(self: &Arc<Self>, id: CallId, place: Place, leaving: Leaving, now: Instant) {
        if let Some(link) = place.link()
            && !leaving.cause.is_known_there()
        {
            link.forget_waiting((leaving.number, true));
            // Whoever is handing it over looks whether it is still there, and cancels it itself.
            if !leaving.opening {
                link.lane.push_always(|out| encode_cancel(leaving.number, out));
            }
        }
        match place {
            Place::Routing | Place::Resolving | Place::Parent => {}
            Place::Waiting { node, .. } => self.peers.unwait(&node, id),
            Place::Queued { instance, ticket } => instance.unqueue(ticket),
            Place::Node(link) => link.done(),
            Place::Provider(instance) => {
                instance.link.done();
                Counts::count(&self.counts.served);
                if let Some(next) = instance.done(leaving.served) {
                    self.start(&instance, next, now);
                }
            }
        }
    }

    /// A call that came over a link has ended: counters, live view and traces learn of it. `provider` is the node that was to
    /// answer last.
    fn tell(&self, entry: &Entry, provider: Option<PeerId>, status: Status, now: Instant) {
        let took = now.saturating_duration_since(entry.opened);
        if let Some(span) = &entry.span {
            span.end(&self.metrics.spans, provider, status, took);
        }
        // Those of other nodes are counted there.
        let Some(route) = &entry.route else { return };
        self.metrics.calls(status).inc();
        if status != Status::Cancelled {
            self.metrics.call_seconds.observe(took, 1);
        }
        self.report(&route.procedure.name, provider, status, took);
    }

    /// Tells the live view of a call of a client of this node that has ended.
    pub(crate) fn report(&self, name: &Arc<str>, provider: Option<PeerId>, status: Status, took: Duration) {
        self.metrics.events.emit(|| RoutingEvent {
            kind: live::Kind::Call,
            name: Arc::clone(name),
            provider,
            messages: 1,
            nodes: usize::from(provider.is_some_and(|node| node != self.node)),
            outcome: live::Outcome::of_call(status),
            latency: Some(took),
        });
    }

    /// Tells who has called. `provider` is the node that was to answer last.
    fn answer(
        self: &Arc<Self>,
        id: CallId,
        entry: &Entry,
        (reply, provider): (&Reply<'_>, Option<PeerId>),
        now: Instant,
    ) {
        // An attempt before may have been executed: whatever became of the last one.
        let reply = match reply.status {
            Status::NotSent | Status::Overloaded | Status::NoProvider | Status::NoPeers if entry.maybe => {
                &Reply { body: reply.body, ..Reply::failure(0, Status::Unknown, "") }
            }
            Status::TimedOut if entry.maybe => &Reply { code: 1, ..*reply },
            _ => reply,
        };
        match &entry.up {
            Up::Link { link, number } => {
                self.tell(entry, provider, reply.status, now);
                if link.forget(*number, id) {
                    deliver(link, *number, reply);
                }
            }
            Up::Gather { parent, index } => self.gathered(*parent, *index, reply, now),
            Up::Hedge { parent } => self.hedge_answered(id, *parent, reply, now),
        }
    }

    /// The caller does not want the answer of a call any more.
    pub(crate) fn cancel(self: &Arc<Self>, link: &Link, number: u64, now: Instant) {
        let Some(id) = link.asked.lock().calls.remove(&number) else { return };
        link.forget_waiting((number, false));
        self.cancel_call(id, now);
    }

    /// A call of a link, or one made for another, that nobody is to answer any more.
    pub(crate) fn cancel_call(self: &Arc<Self>, id: CallId, now: Instant) {
        if let Some(entry) = self.table.take_if(id, |_| true) {
            self.settle(id, entry, Cause::Cancelled, &Reply::failure(0, Status::Cancelled, ""), now);
        }
    }

    /// A link is gone: what its peer has asked is cancelled, and what it was to answer goes elsewhere or ends.
    pub(crate) fn link_down(self: &Arc<Self>, link: &Arc<Link>, now: Instant) {
        link.close();
        let asked = {
            let mut asked = link.asked.lock();
            asked.closed = true;
            std::mem::take(&mut asked.calls)
        };
        let taken = asked.into_values().filter_map(|id| {
            let entry = self.table.take_if(id, |entry| entry.is_asked_by(link))?;
            Some((id, entry))
        });
        // Those that wait first: they are not to be begun when those at hand leave their places.
        let (at_hand, waiting): (Vec<_>, Vec<_>) = taken.partition(|(_, entry)| entry.place.is_handed());
        for (id, entry) in waiting.into_iter().chain(at_hand) {
            self.settle(id, entry, Cause::Cancelled, &Reply::failure(0, Status::Cancelled, ""), now);
        }
        match link.kind {
            Kind::Node => self.peers.down(link),
            Kind::Client { session } => self.session_ended(session, now),
        }
        if link.at_hand() > 0 {
            for (id, attempt) in self.table.find(|entry| entry.place.is_at(link)) {
                let text = "the link to the provider was lost";
                let reply = Reply::failure(0, Status::Unknown, text);
                self.ended(id, attempt, Some(link), Cause::Lost, &reply, now);
            }
        }
    }
}

/// Sends a reply to who has called. If it finds no room, the caller hears at least that.
fn deliver(link: &Arc<Link>, number: u64, reply: &Reply<'_>) {
    let reply = Reply { call: number, ..*reply };
    if link.send_reply(&reply) != Err(LaneError::Full) {
        return;
    }
    let was_cut = link.forget_waiting((number, false));
    if !was_cut && reply.body.len() <= SMALL {
        return link.lane.push_always(|out| reply.encode(out));
    }
    let (status, code) = if is_certain(reply.status) { (reply.status, reply.code) } else { (Status::Unknown, 0) };
    let lost = Reply { code, ..Reply::failure(number, status, "the answer finds no room on the link") };
    link.lane.push_always(|out| lost.encode(out));
}

/// Whether it says all without a body.
const fn is_certain(status: Status) -> bool {
    matches!(
        status,
        Status::NoProvider
            | Status::NoPeers
            | Status::NotSent
            | Status::Overloaded
            | Status::TimedOut
            | Status::Panicked
    )
}
