//! Calls that come for the procedures of this client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use sinew_wire::call::{Flags, INITIAL_WINDOW, Reply, Request, Status, refused_body};
use sinew_wire::{Control, Headers, ProviderHealth, Refusal};
use tokio::time::Instant;

use super::calls::GRACE;
use super::{MAX_BATCH_BYTES, Phase, Sent, Shared, State};
use crate::calls::Pipe;
use crate::serve::{Admitted, Incoming, Procedure, Served, Stop, WINDOW};

/// Replies that may wait for a node that does not read them, beyond what waits anyway.
const MAX_UNREAD_BYTES: usize = 1 << 20;

/// After which time to try again, when a node has sent more calls than were asked for.
const RETRY_AFTER_MS: u32 = 100;

/// Longest deadline that is believed.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// What this client serves, by lease, and the calls of it that are open, by the number that the node gave them.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    procedures: HashMap<u32, Arc<Procedure>>,
    open: HashMap<u64, OpenCall>,
}

#[derive(Debug)]
struct OpenCall {
    pipe: Arc<Served>,
    lease: u32,
    until: Instant,
}

impl Serving {
    pub(super) fn insert(&mut self, lease: u32, procedure: Arc<Procedure>) {
        self.procedures.insert(lease, procedure);
    }

    pub(super) fn knows(&self, lease: u32) -> bool {
        self.procedures.contains_key(&lease)
    }

    /// How its procedures are, where that is worth telling a node that does not know them yet.
    pub(super) fn healths(&self) -> impl Iterator<Item = Control> {
        let told = self.procedures.iter().map(|(lease, procedure)| (*lease, procedure.health()));
        told.filter(|(_, health)| *health != ProviderHealth::Good)
            .map(|(lease, health)| Control::ServeHealth { lease, health })
    }

    /// The link is gone, and all calls with it.
    pub(super) fn abandon(&mut self) {
        for call in self.open.drain().map(|(_, call)| call) {
            call.pipe.end(Stop::Lost);
        }
    }
}

impl Shared {
    /// A call has come.
    pub(super) fn requested(self: &Arc<Self>, link: u64, request: &Request<'_>) -> Result<(), String> {
        let now = Instant::now();
        // Copied before the lock is taken.
        let headers = Bytes::copy_from_slice(request.headers.as_bytes());
        let body = Bytes::copy_from_slice(request.body);
        let (started, watch) = self.with(|state| {
            let started = state.requested(link, request, headers, body, now)?;
            let watch = started.is_some() && !std::mem::replace(&mut state.calls.watched, true);
            Ok::<_, String>((started, watch))
        })?;
        if watch {
            self.watch_calls.notify_one();
        }
        if let Some((procedure, call)) = started {
            procedure.start(self, call);
        }
        Ok(())
    }

    pub(super) fn served(&self, call: u64) -> Option<Arc<Served>> {
        self.state.lock().serving.open.get(&call).map(|call| Arc::clone(&call.pipe))
    }

    /// The caller does not want an answer any more.
    pub(super) fn cancelled(&self, call: u64) {
        let call = self.state.lock().serving.open.remove(&call);
        if let Some(call) = call {
            call.pipe.end(Stop::Cancelled);
        }
    }

    /// Answers a call, if nobody has done so.
    pub(crate) fn reply_call(&self, pipe: &Served, reply: &Reply<'_>) -> Sent {
        self.with(|state| {
            if !state.can_write(pipe.link) {
                return Sent::Over;
            }
            if !state.has_call_room() {
                return Sent::Full;
            }
            if state.serving.open.remove(&pipe.call).is_none() {
                return Sent::Over;
            }
            state.batch.frames(|out| reply.encode(out));
            Sent::Done
        })
    }

    /// Nobody serves it any more: its calls end. Its lease is withdrawn elsewhere.
    pub(crate) fn unserve(&self, lease: u32) {
        let ended: Vec<_> = {
            let mut state = self.state.lock();
            state.serving.procedures.remove(&lease);
            let of_lease = state.serving.open.values().filter(|call| call.lease == lease);
            of_lease.map(|call| Arc::clone(&call.pipe)).collect()
        };
        for pipe in ended {
            pipe.end(Stop::Withdrawn);
        }
    }

    /// Tells the node how a procedure is.
    pub(crate) fn tell_health(&self, lease: u32, health: ProviderHealth) {
        self.with(|state| {
            if state.phase == Phase::Up && state.leases.contains_key(&lease) {
                state.batch.control(&Control::ServeHealth { lease, health });
            }
        });
    }
}

type Started = Option<(Arc<Procedure>, Incoming)>;

impl State {
    fn requested(
        &mut self,
        link: u64,
        request: &Request<'_>,
        headers: Bytes,
        body: Bytes,
        now: Instant,
    ) -> Result<Started, String> {
        if self.serving.open.contains_key(&request.call) {
            return Err("a call has the number of another that is open".to_owned());
        }
        let lease = u32::try_from(request.target).unwrap_or(u32::MAX);
        let Some(procedure) = self.serving.procedures.get(&lease).cloned() else {
            return self.refuse(link, &Reply::failure(request.call, Status::NotSent, "it is not served any more"));
        };
        if request.flags.contains(Flags::ITEMS_IN) && !procedure.streams {
            let refusal = refused_body(&Refusal::Unavailable("this procedure takes no stream".to_owned()));
            let reply = Reply::failure(request.call, Status::Refused, "");
            return self.refuse(link, &Reply { body: &refusal, ..reply });
        }
        let time = Duration::from_millis(request.deadline_ms.into());
        let until = now + if time.is_zero() { MAX_DEADLINE } else { time };
        let more = request.flags.contains(Flags::MORE);
        let window = if more { request.window.clamp(INITIAL_WINDOW, WINDOW) } else { 0 };
        let pipe = Arc::new(Pipe::new(request.call, link, false, window, request.window));
        let call = Incoming {
            pipe: Arc::clone(&pipe),
            flags: request.flags,
            until,
            caller: request.caller,
            extra_credit: window.saturating_sub(INITIAL_WINDOW),
            headers,
            body,
        };
        let started = match procedure.admit(call) {
            Admitted::Start(call) => Some((procedure, call)),
            Admitted::Waits => None,
            Admitted::Overloaded => {
                let reply = Reply::failure(request.call, Status::Overloaded, "");
                let load = procedure.open_calls().try_into().unwrap_or(u32::MAX);
                return self.refuse(link, &Reply { retry_after_ms: RETRY_AFTER_MS, load, ..reply });
            }
        };
        self.serving.open.insert(request.call, OpenCall { pipe, lease, until });
        Ok(started)
    }

    /// Answers without a task.
    fn refuse(&mut self, link: u64, reply: &Reply<'_>) -> Result<Started, String> {
        if self.batch.len() > MAX_BATCH_BYTES + MAX_UNREAD_BYTES {
            return Err("it does not read the answers to its calls".to_owned());
        }
        let reply = Reply { headers: Headers::default(), ..*reply };
        if self.can_write(link) {
            self.batch.frames(|out| reply.encode(out));
        }
        Ok(None)
    }

    pub(super) fn serves(&self) -> bool {
        !self.serving.open.is_empty()
    }

    /// Stops the calls whose time is up. The task of each answers and forgets it; if there is none any more, because a handler
    /// has panicked where it was dropped, it is forgotten here.
    pub(super) fn expire_served(&mut self, now: Instant) {
        self.serving.open.retain(|_, call| {
            if call.until <= now {
                call.pipe.end(Stop::Late);
            }
            now.saturating_duration_since(call.until) < GRACE
        });
    }
}
