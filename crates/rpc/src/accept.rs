//! Requests that come over a link: of a client of this node, or of another node for a provider of this one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_observe::SpanKind;
use sinew_topic::Topic;
use sinew_wire::call::{Flags, INITIAL_WINDOW, Reply, Request, Status, Strategy, refused_body};
use sinew_wire::{Limit, PeerId, Refusal, TRACEPARENT};
use tracing::debug;

use crate::entry::{Entry, Keeping, Place, Route, Up};
use crate::link::{Kind, Link};
use crate::procedure::Procedure;
use crate::service::Service;
use crate::span::CallSpan;
use crate::table::CallId;

/// When to try again if the node itself has too much to do.
pub(crate) const BUSY_MS: u32 = 100;

/// Why a request opens no call.
enum Unfit {
    Refused(Refusal),
    Overloaded(&'static str),
    NotSent(&'static str),
}

impl Service {
    /// Takes a request. `frame` is the body of its frame.
    pub(crate) fn request(
        self: &Arc<Self>,
        link: &Arc<Link>,
        request: &Request<'_>,
        frame: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let opened = match link.kind {
            Kind::Client { .. } => self.open(link, request, frame, now)?,
            Kind::Node => self.open_for_node(link, request, frame, now)?,
        };
        if let Err(unfit) = opened {
            self.refuse(link, (request.call, request.name), &unfit);
        }
        Ok(())
    }

    /// A call of a client.
    fn open(
        self: &Arc<Self>,
        link: &Arc<Link>,
        request: &Request<'_>,
        frame: &[u8],
        now: Instant,
    ) -> Result<Result<(), Unfit>, Refusal> {
        if request.caller != link.peer && *request.caller.public_key() != [0; PeerId::LEN] {
            return Err(Refusal::Denied("a client calls in its own name only".to_owned()));
        }
        let (deadline, procedure) = match self.check(request, now) {
            Ok(fit) => fit,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let route = Route {
            procedure: Arc::clone(&procedure),
            strategy: request.strategy,
            pick: None,
            idempotent: request.flags.contains(Flags::IDEMPOTENT),
            dispatches: 0,
            excluded: Vec::new(),
            last: None,
            resolved: false,
            hedge: None,
            keeping: if request.flags.contains(Flags::FRESH) { Keeping::Never } else { Keeping::Maybe },
        };
        let entry = match self.entry(link, request, frame, (now, deadline)) {
            Ok(entry) => Box::new(Entry { route: Some(Box::new(route)), caller: link.peer, ..entry }),
            Err(unfit) => return Ok(Err(unfit)),
        };
        let id = match self.insert(link, request.call, entry)? {
            Ok(id) => id,
            Err(unfit) => return Ok(Err(unfit)),
        };
        trace(request, "a client calls");
        self.route(id, 0, now);
        Ok(Ok(()))
    }

    /// Whether a client may call so. Gives the deadline and the procedure.
    fn check(&self, request: &Request<'_>, now: Instant) -> Result<(Instant, Arc<Procedure>), Unfit> {
        if self.is_draining() {
            return Err(Unfit::Refused(Refusal::Draining));
        }
        let asked = Duration::from_millis(request.deadline_ms.into());
        let limit = if asked.is_zero() { self.config.default_deadline } else { asked };
        if limit > self.config.max_deadline {
            return Err(self.limit(Limit::CallDeadline, self.config.max_deadline.as_millis() as u64));
        }
        if request.strategy == Strategy::All && request.flags.contains(Flags::MORE) {
            let text = "what is asked of all has to fit into one frame";
            return Err(Unfit::Refused(Refusal::Unavailable(text.to_owned())));
        }
        let procedure = match self.procedures.get(request.name, now) {
            Some(procedure) => procedure,
            None => {
                Topic::parse(request.name).map_err(|error| Unfit::Refused(Refusal::InvalidName(error.to_string())))?;
                self.procedures.get_or_insert(request.name, now)
            }
        };
        Ok((now + limit, procedure))
    }

    /// A call from the node of its caller to a provider of this one.
    fn open_for_node(
        self: &Arc<Self>,
        link: &Arc<Link>,
        request: &Request<'_>,
        frame: &[u8],
        now: Instant,
    ) -> Result<Result<(), Unfit>, Refusal> {
        let instance = self.instance(request.target).filter(|instance| *instance.name == *request.name);
        let Some(instance) = instance else { return Ok(Err(Unfit::NotSent("there is no such provider any more"))) };
        if self.is_draining() {
            return Ok(Err(Unfit::NotSent("the node is shutting down")));
        }
        let asked = Duration::from_millis(request.deadline_ms.into());
        let limit = if asked.is_zero() { self.config.default_deadline } else { asked.min(self.config.max_deadline) };
        let entry = match self.entry(link, request, frame, (now, now + limit)) {
            Ok(entry) => Box::new(Entry { caller: request.caller, ..entry }),
            Err(unfit) => return Ok(Err(unfit)),
        };
        let id = match self.insert(link, request.call, entry)? {
            Ok(id) => id,
            Err(unfit) => return Ok(Err(unfit)),
        };
        trace(request, "another node calls");
        self.admit(id, 0, &instance, request.priority, limit, now);
        Ok(Ok(()))
    }

    /// A call as it begins.
    fn entry(
        &self,
        link: &Arc<Link>,
        request: &Request<'_>,
        frame: &[u8],
        (now, deadline): (Instant, Instant),
    ) -> Result<Entry, Unfit> {
        let Some(memory) = self.budget.try_reserve(frame.len()) else {
            self.metrics.limit_refused(Limit::QueueMemory).inc();
            return Err(Unfit::Overloaded("the node is at its memory budget"));
        };
        let kind = if matches!(link.kind, Kind::Client { .. }) { SpanKind::Call } else { SpanKind::Serve };
        let (span, frame) = CallSpan::begin(&self.metrics.spans, kind, request, frame);
        Ok(Entry {
            up: Up::Link { link: Arc::clone(link), number: request.call },
            caller: request.caller,
            flags: request.flags,
            priority: request.priority,
            attempt: 0,
            place: Place::Routing,
            route: None,
            request: frame,
            span,
            _memory: Some(memory),
            opened: now,
            deadline,
            timer: deadline,
            sent: now,
            maybe: false,
            opening: false,
            passed: false,
            in_ended: !request.flags.contains(Flags::MORE),
            in_credit: INITIAL_WINDOW,
            out_credit: request.window.min(self.config.max_window),
            pending: None,
            gather: None,
        })
    }

    /// Opens the call under the number of its peer. A number that is in use breaks the protocol.
    fn insert(&self, link: &Link, number: u64, entry: Box<Entry>) -> Result<Result<CallId, Unfit>, Refusal> {
        let mut asked = link.asked.lock();
        if asked.closed {
            return Err(Refusal::Closed);
        }
        if asked.calls.contains_key(&number) {
            return Err(Refusal::Protocol("a call number that is in use".to_owned()));
        }
        let is_client = matches!(link.kind, Kind::Client { .. });
        if is_client && asked.calls.len() >= self.config.max_calls_per_client {
            return Ok(Err(self.limit(Limit::CallsPerClient, self.config.max_calls_per_client as u64)));
        }
        match self.table.insert(entry) {
            Ok(id) => {
                asked.calls.insert(number, id);
                Ok(Ok(id))
            }
            Err(_full) if is_client => Ok(Err(self.limit(Limit::Calls, self.table.max() as u64))),
            Err(_full) => Ok(Err(Unfit::Overloaded("the node has as many calls as it may"))),
        }
    }

    fn limit(&self, limit: Limit, allowed: u64) -> Unfit {
        self.metrics.limit_refused(limit).inc();
        Unfit::Refused(Refusal::Limit { limit, allowed })
    }

    /// Answers a request that has opened no call.
    fn refuse(&self, link: &Link, (number, name): (u64, &str), unfit: &Unfit) {
        let body;
        let reply = match unfit {
            Unfit::Refused(refusal) => {
                body = refused_body(refusal);
                Reply { body: &body, ..Reply::failure(number, Status::Refused, "") }
            }
            Unfit::Overloaded(text) => {
                Reply { retry_after_ms: BUSY_MS, ..Reply::failure(number, Status::Overloaded, text) }
            }
            Unfit::NotSent(text) => Reply::failure(number, Status::NotSent, text),
        };
        if matches!(link.kind, Kind::Client { .. }) {
            self.metrics.calls(reply.status).inc();
            // A name that can't be one is not shown to anybody.
            if self.metrics.events.wanted() && Topic::parse(name).is_ok() {
                self.report(&name.into(), None, reply.status, Duration::ZERO);
            }
        }
        link.lane.push_always(|out| reply.encode(out));
    }
}

/// Where a call belongs in a distributed trace, for the log.
fn trace(request: &Request<'_>, what: &str) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let traceparent = request.headers.get(TRACEPARENT).and_then(|value| std::str::from_utf8(value).ok());
        debug!(name = request.name, caller = %request.caller.short(), traceparent, "{what}");
    }
}
