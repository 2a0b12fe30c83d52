//! Hands a request to whoever is to answer it: a provider of this node, or the node of one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinew_link::{Body, LaneError};
use sinew_wire::PeerId;
use sinew_wire::call::{CallFrame, Data, Flags, Reply, Request, Status, Strategy, encode_cancel};

use crate::accept::BUSY_MS;
use crate::entry::{Entry, Place};
use crate::instance::Instance;
use crate::link::Link;
use crate::pending::Pending;
use crate::service::Service;
use crate::settle::Cause;
use crate::table::CallId;

/// Bodies up to this size are copied anyway.
const SMALL: usize = 2 << 10;

/// What goes over the link.
struct Parcel {
    request: Bytes,
    flags: Flags,
    caller: PeerId,
    target: u64,
    window: u32,
    deadline_ms: u32,
}

impl Service {
    /// Hands a call to a provider that has a place for it; if it has ended meanwhile, the next one that waits for the
    /// place.
    pub(crate) fn start(self: &Arc<Self>, instance: &Arc<Instance>, call: (CallId, u8), now: Instant) {
        let mut next = Some(call);
        while let Some((id, attempt)) = next {
            let place = Place::Provider(Arc::clone(instance));
            if self.hand(id, attempt, place, &instance.link, now) {
                return;
            }
            next = instance.done(None);
        }
    }

    /// Hands a call that is aimed at an instance of another node to that node.
    pub(crate) fn hand_to_node(self: &Arc<Self>, id: CallId, attempt: u8, link: &Arc<Link>, now: Instant) -> bool {
        self.hand(id, attempt, Place::Node(Arc::clone(link)), link, now)
    }

    /// `false` if it was not handed over, and its place there is free.
    fn hand(self: &Arc<Self>, id: CallId, attempt: u8, place: Place, link: &Arc<Link>, now: Instant) -> bool {
        let parcel = self.table.with(id, attempt, |entry| {
            // Its deadline is about to be seen to.
            if now >= entry.deadline {
                return None;
            }
            let target = match (&entry.place, &place) {
                (Place::Routing | Place::Queued { .. }, Place::Provider(instance)) => u64::from(instance.lease),
                (Place::Waiting { target, .. }, Place::Node(_)) => *target,
                _ => return None,
            };
            entry.place = place;
            entry.sent = now;
            entry.opening = true;
            link.begun();
            Some(pack(entry, target, now))
        });
        let Some(Some(parcel)) = parcel else { return false };
        match Self::push(id.number(attempt), &parcel, &link.lane) {
            Ok(()) => {
                self.handed(id, attempt, link, now);
                true
            }
            Err(error) => !self.not_handed(id, attempt, link, error, now),
        }
    }

    fn push(number: u64, parcel: &Parcel, lane: &sinew_link::Lane) -> Result<(), LaneError> {
        let Ok(CallFrame::Request(request)) = CallFrame::decode(&parcel.request) else { return Err(LaneError::Closed) };
        let onward = Request {
            call: number,
            flags: parcel.flags,
            strategy: Strategy::Balanced,
            target: parcel.target,
            caller: parcel.caller,
            deadline_ms: parcel.deadline_ms,
            window: parcel.window,
            answers: 0,
            key: &[],
            body: &[],
            ..request
        };
        let len = request.body.len();
        let body = match len <= SMALL {
            true => Body::Lent(request.body),
            false => Body::Shared(parcel.request.slice_ref(request.body)),
        };
        lane.push(|out| onward.encode_head(len, out), body)
    }

    /// The request is on its way. Sends what came behind it, and looks whether it has ended meanwhile.
    fn handed(self: &Arc<Self>, id: CallId, attempt: u8, link: &Arc<Link>, now: Instant) {
        let number = id.number(attempt);
        loop {
            let behind = self.table.with(id, attempt, |entry| {
                let pending = entry.pending.take();
                entry.opening = pending.is_some();
                pending
            });
            match behind {
                Some(None) => break,
                Some(pending) => {
                    if push_pending(number, pending, link).is_err() {
                        return self.lost(id, attempt, "the link to the provider is congested", now);
                    }
                }
                // Cancelled, or out of time, before the request stood on the link: who has ended it did not say so
                // there.
                None => return link.lane.push_always(|out| encode_cancel(number, out)),
            }
        }
        // Whoever has closed the link meanwhile may have looked for its calls before this one was there.
        if link.is_closed() {
            self.lost(id, attempt, "the link to the provider is gone", now);
        }
    }

    /// The lane takes no request. It was not handed over, and may go elsewhere. Whether its place is free by that:
    /// whoever has ended it meanwhile has given the place to another one.
    fn not_handed(self: &Arc<Self>, id: CallId, attempt: u8, link: &Arc<Link>, error: LaneError, now: Instant) -> bool {
        let noted = self.table.with(id, attempt, |entry| {
            entry.place = Place::Routing;
            entry.opening = false;
        });
        if noted.is_none() {
            return false;
        }
        link.done();
        match error {
            LaneError::Full => self.overloaded(id, attempt, BUSY_MS, "the link to the provider is congested", now),
            LaneError::Closed => {
                let reply = Reply::failure(0, Status::NotSent, "the link to the provider is gone");
                self.ended(id, attempt, None, Cause::Unreachable, &reply, now);
            }
        }
        true
    }

    /// What was handed over is lost: it may have been executed.
    pub(crate) fn lost(self: &Arc<Self>, id: CallId, attempt: u8, text: &str, now: Instant) {
        let reply = Reply::failure(0, Status::Unknown, text);
        self.ended(id, attempt, None, Cause::Lost, &reply, now);
    }
}

fn pack(entry: &Entry, target: u64, now: Instant) -> Parcel {
    let left = entry.deadline.saturating_duration_since(now).as_millis();
    Parcel {
        request: entry.request.clone(),
        flags: entry.flags,
        caller: entry.caller,
        target,
        window: entry.out_credit,
        deadline_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1),
    }
}

fn push_pending(number: u64, pending: Option<Box<Pending>>, link: &Arc<Link>) -> Result<(), LaneError> {
    let Some(pending) = pending else { return Ok(()) };
    for (flags, body) in pending.into_frames() {
        let data = Data { call: number, flags, body: &[] };
        link.send_data(&data, body.into(), true)?;
    }
    Ok(())
}
