//! One open call.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinew_balance::{InstanceId, Pick};
use sinew_flow::Reservation;
use sinew_wire::call::{Flags, Reply, Status, Strategy};
use sinew_wire::{CachePolicy, PeerId};

use crate::cache::Key;
use crate::gather::Gather;
use crate::instance::Instance;
use crate::link::Link;
use crate::pending::Pending;
use crate::procedure::Procedure;
use crate::span::CallSpan;
use crate::table::CallId;

/// A call, from its request to its end. On the node of its caller it has a [`Route`]; on the node of its provider it
/// has none, unless the two are one.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) up: Up,
    pub(crate) caller: PeerId,
    pub(crate) flags: Flags,
    pub(crate) priority: u8,
    /// Counts the attempts at it: what comes of an earlier one is of no interest any more.
    pub(crate) attempt: u8,
    pub(crate) place: Place,
    /// Where it has to be decided again if an attempt fails.
    pub(crate) route: Option<Box<Route>>,
    /// The body of the request's frame.
    pub(crate) request: Bytes,
    /// What its caller's trace is told of it.
    pub(crate) span: Option<Box<CallSpan>>,
    /// For the request.
    pub(crate) _memory: Option<Reservation>,
    pub(crate) opened: Instant,
    pub(crate) deadline: Instant,
    /// When something is due: the deadline, or something before it.
    pub(crate) timer: Instant,
    /// When this attempt was handed over.
    pub(crate) sent: Instant,
    /// Whether an attempt before this one may have been executed.
    pub(crate) maybe: bool,
    /// The request is being handed over; data frames of the caller wait until it is.
    pub(crate) opening: bool,
    /// Whether data of the provider went to the caller: there is no other attempt then.
    pub(crate) passed: bool,
    /// Whether the caller sends no more data frames.
    pub(crate) in_ended: bool,
    /// Bytes of data frames that the caller may send.
    pub(crate) in_credit: u32,
    /// Bytes of data frames that the provider may send.
    pub(crate) out_credit: u32,
    /// Data of the caller that can't be handed over yet.
    pub(crate) pending: Option<Box<Pending>>,
    /// The answers of the providers that were asked for it.
    pub(crate) gather: Option<Box<Gather>>,
}

/// Who is to be answered.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    /// The peer of a link, by its number for the call.
    Link { link: Arc<Link>, number: u64 },
    /// A call that asks several providers: the one of this number.
    Gather { parent: CallId, index: usize },
    /// A call whose answer takes longer than usual.
    Hedge { parent: CallId },
}

/// Where an attempt is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Somebody decides about it just now.
    Routing,
    /// Who provides it is being looked for.
    Resolving,
    /// There is no link to the provider's node yet; the request is aimed at this instance.
    Waiting { node: PeerId, target: u64 },
    /// In the queue of a provider of this node, under this ticket.
    Queued { instance: Arc<Instance>, ticket: u64 },
    /// At a provider of this node.
    Provider(Arc<Instance>),
    /// At another node.
    Node(Arc<Link>),
    /// It waits for calls that were made for it, or for an equal one.
    Parent,
}

/// What the node of the caller has to know for another attempt.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) procedure: Arc<Procedure>,
    pub(crate) strategy: Strategy,
    /// The instance of this attempt.
    pub(crate) pick: Option<Pick>,
    /// By the word of the caller or of the provider.
    pub(crate) idempotent: bool,
    pub(crate) dispatches: u8,
    /// Instances that have had it.
    pub(crate) excluded: Vec<InstanceId>,
    /// How the attempt before this one ended.
    pub(crate) last: Option<Last>,
    /// Whether it was made sure that there is no other provider.
    pub(crate) resolved: bool,
    /// The call that asks a second provider for it.
    pub(crate) hedge: Option<CallId>,
    /// How it has to do with results that are kept.
    pub(crate) keeping: Keeping,
}

/// How a call has to do with results that are kept.
#[derive(Debug, Clone)]
pub(crate) enum Keeping {
    /// It may be answered by one, if its procedure has it so.
    Maybe,
    /// It may not.
    Never,
    /// It waits for the result of an equal one.
    Waits(Arc<Key>),
    /// Its result is to be kept, and is what others wait for.
    Leads(Arc<Key>, Arc<CachePolicy>),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub(crate) status: Status,
    pub(crate) code: u16,
    pub(crate) retry_after_ms: u32,
}

/// An attempt that has failed, of a call that goes on.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) place: Place,
    pub(crate) opening: bool,
    pub(crate) sent: Instant,
    pub(crate) pick: Option<Pick>,
    pub(crate) procedure: Arc<Procedure>,
    pub(crate) attempt: u8,
    pub(crate) hedge: Option<CallId>,
}

impl Route {
    /// The node of the instance that has it, or had it last.
    pub(crate) fn provider(&self) -> Option<PeerId> {
        self.pick.as_ref().map(|pick| pick.id).or_else(|| self.excluded.last().copied()).map(|id| id.node)
    }
}

impl Entry {
    /// Whether another provider may be tried after this one has answered so. What says that it was not executed may be
    /// tried by all, the rest by those that can be executed twice.
    pub(crate) fn may_retry(&self, status: Status, dispatches: u8, now: Instant) -> bool {
        let Some(route) = &self.route else { return false };
        // What was handed over can't be handed over again unless all of it is here.
        let is_here = self.flags.contains(Flags::MORE) && self.place.is_handed();
        let fits = match status {
            Status::NotSent | Status::Overloaded => true,
            Status::Unknown => route.idempotent,
            _ => false,
        };
        fits && !is_here
            && !self.passed
            && route.dispatches < dispatches
            && now < self.deadline
            && self.attempt < u8::MAX
            && matches!(self.up, Up::Link { .. })
    }

    /// Goes on to the next attempt.
    pub(crate) fn fail(&mut self, reply: &Reply<'_>) -> Option<Left> {
        let route = self.route.as_mut()?;
        let pick = route.pick.take();
        route.excluded.extend(pick.map(|pick| pick.id));
        route.last = Some(Last { status: reply.status, code: reply.code, retry_after_ms: reply.retry_after_ms });
        self.maybe |= reply.status == Status::Unknown;
        let place = std::mem::replace(&mut self.place, Place::Routing);
        let opening = std::mem::take(&mut self.opening);
        self.attempt = self.attempt.wrapping_add(1);
        let (sent, attempt, procedure) = (self.sent, self.attempt, Arc::clone(&route.procedure));
        Some(Left { place, opening, sent, pick, procedure, attempt, hedge: route.hedge.take() })
    }

    /// Whether all of its request stands in one frame, and it has one result.
    pub(crate) const fn is_unary(&self) -> bool {
        !self.flags.contains(Flags::MORE) && !self.flags.contains(Flags::ITEMS_OUT)
    }

    /// Whether the link is the one whose peer asks.
    pub(crate) fn is_asked_by(&self, asking: &Link) -> bool {
        matches!(&self.up, Up::Link { link, .. } if link.id == asking.id)
    }
}

impl Place {
    /// The link to whoever has it at hand.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Self::Provider(instance) => Some(&instance.link),
            Self::Node(link) => Some(link),
            _ => None,
        }
    }

    pub(crate) fn is_at(&self, link: &Link) -> bool {
        self.link().is_some_and(|at| at.id == link.id)
    }

    pub(crate) const fn is_handed(&self) -> bool {
        matches!(self, Self::Provider(_) | Self::Node(_))
    }
}
