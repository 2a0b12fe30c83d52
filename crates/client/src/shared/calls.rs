//! Calls that this client makes: their numbers, their frames, and those that are open.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use sinew_wire::call::{
    CallFrame, Data, DataFlags, Flags, INITIAL_WINDOW, MAX_CHUNK, Reply, Request, encode_cancel, encode_credit,
};
use sinew_wire::{Headers, PeerId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::{Phase, Shared, State};
use crate::CallError;
use crate::calls::{Call, Order, Outcome, Pipe, advance};
use crate::draft::millis;

/// Time for the other side's own answer that a deadline has passed.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Open calls of a client on one link, by their number.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: HashMap<u64, OpenCall>,
    last: u64,
    /// Number of the last one that was handed to the writer.
    written: u64,
    /// The session looks at deadlines from time to time.
    pub(super) watched: bool,
}

#[derive(Debug)]
struct OpenCall {
    pipe: Arc<Call>,
    until: Instant,
}

impl Calls {
    /// Everything in the batch is handed to the writer.
    pub(super) const fn mark(&mut self) {
        self.written = self.last;
    }

    /// The link is gone, and all calls with it.
    pub(super) fn abandon(&mut self) {
        self.watched = false;
        for (number, call) in self.open.drain() {
            call.pipe.end(Outcome::Lost { written: number <= self.written });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// What became of a part that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it was sent.
    Done,
    /// Some of it.
    Part,
    /// There is no room in the batch.
    Full,
    /// There is no credit.
    Dry,
    /// The call has ended.
    Over,
}

impl Shared {
    /// The right to have one more call open, if there is one at once.
    pub(crate) fn try_call_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open_calls).try_acquire_owned().ok()
    }

    /// The right to have one more call open. Cancel safe.
    pub(crate) async fn call_permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.open_calls).acquire_owned().await.expect("is never closed")
    }

    /// Waits until there may be room for a frame of a call. To be made before looking.
    pub(crate) fn call_room(&self) -> Notified<'_> {
        self.call_room.notified()
    }

    /// Sends a request now; `None` when there is no room, or no link.
    pub(crate) fn try_call(&self, order: &Order<'_>) -> Result<Option<Arc<Call>>, CallError> {
        let now = Instant::now();
        if order.until <= now {
            return Err(CallError::TimedOut { maybe_executed: false });
        }
        let (call, watch) = self.with(|state| {
            let call = state.begin_call(order, now)?;
            let watch = call.is_some() && !std::mem::replace(&mut state.calls.watched, true);
            Ok::<_, CallError>((call, watch))
        })?;
        if watch {
            self.watch_calls.notify_one();
        }
        Ok(call)
    }

    /// Sends a request as soon as there is room. Dropped early, it has not.
    pub(crate) async fn begin_call(&self, order: &Order<'_>) -> Result<Arc<Call>, CallError> {
        loop {
            let room = self.call_room();
            if let Some(call) = self.try_call(order)? {
                return Ok(call);
            }
            room.await;
        }
    }

    /// Waits until the link of this number is gone. Cancel safe.
    pub(crate) async fn link_gone(&self, link: u64) {
        loop {
            // Told of every end of a link.
            let room = self.call_room();
            if self.state.lock().link != link {
                return;
            }
            room.await;
        }
    }

    /// Its caller does not want it any more.
    pub(crate) fn cancel_call(&self, call: &Call) {
        self.with(|state| {
            if state.calls.open.remove(&call.call).is_some() && state.can_write(call.link) {
                state.batch.frames(|out| encode_cancel(call.call, out));
            }
        });
        call.end(Outcome::Cancelled);
    }

    /// Sends as much of an item, or of a part of a body, as credit allows and one frame holds, and takes it off.
    pub(crate) fn send_part<E>(&self, pipe: &Pipe<E>, bytes: &mut Bytes, item: bool) -> Sent {
        let ends = |left: &Bytes| if item && left.is_empty() { DataFlags::END_ITEM } else { DataFlags::default() };
        let sent = self.send_data(pipe, bytes, ends);
        if item && matches!(sent, Sent::Done | Sent::Part) {
            pipe.set_cut(sent == Sent::Part);
        }
        sent
    }

    /// The same for the last part of what a caller sends.
    pub(crate) fn send_last<E>(&self, pipe: &Pipe<E>, bytes: &mut Bytes) -> Sent {
        let ends = |left: &Bytes| if left.is_empty() { DataFlags::END } else { DataFlags::default() };
        self.send_data(pipe, bytes, ends)
    }

    fn send_data<E>(&self, pipe: &Pipe<E>, bytes: &mut Bytes, flags: impl FnOnce(&Bytes) -> DataFlags) -> Sent {
        self.with(|state| {
            if !state.can_write(pipe.link) {
                return Sent::Over;
            }
            if !state.has_call_room() {
                return Sent::Full;
            }
            let part = match pipe.spend(bytes.len().min(MAX_CHUNK)) {
                None => return Sent::Over,
                Some(0) if !bytes.is_empty() => return Sent::Dry,
                Some(len) => bytes.slice(..len),
            };
            advance(bytes, part.len());
            let side = if pipe.caller { DataFlags::CALLER } else { DataFlags::default() };
            let data = Data { call: pipe.call, flags: side.with(flags(bytes)), body: &part };
            state.batch.frames(|out| data.encode(out));
            if bytes.is_empty() { Sent::Done } else { Sent::Part }
        })
    }

    /// Lets the peer of a call send so many more bytes.
    pub(crate) fn give_credit<E>(&self, pipe: &Pipe<E>, bytes: u32) {
        self.with(|state| {
            if state.can_write(pipe.link) && !pipe.has_ended() {
                state.batch.frames(|out| encode_credit(pipe.call, pipe.caller, bytes, out));
            }
        });
    }

    /// A frame of a call has come. The error says how it breaks the protocol.
    pub(crate) fn call_frame(self: &Arc<Self>, link: u64, frame: &CallFrame<'_>) -> Result<(), String> {
        match frame {
            CallFrame::Request(request) => self.requested(link, request)?,
            CallFrame::Reply(reply) => self.replied(*reply),
            CallFrame::Data(data) => self.data(data)?,
            CallFrame::Credit { call, caller: true, bytes } => {
                if let Some(pipe) = self.served(*call) {
                    pipe.grant(*bytes);
                }
            }
            CallFrame::Credit { call, caller: false, bytes } => {
                if let Some(pipe) = self.called(*call) {
                    pipe.grant(*bytes);
                }
            }
            CallFrame::Cancel { call } => self.cancelled(*call),
        }
        Ok(())
    }

    fn replied(&self, reply: Reply<'_>) {
        // One that was answered already, or cancelled, is known no longer.
        let call = self.state.lock().calls.open.remove(&reply.call);
        if let Some(call) = call {
            call.pipe.end(Outcome::Answer(reply.into()));
        }
    }

    fn data(&self, data: &Data<'_>) -> Result<(), String> {
        let ends_item = data.flags.contains(DataFlags::END_ITEM);
        let complete = data.flags.contains(DataFlags::END);
        let received = if data.flags.contains(DataFlags::CALLER) {
            self.served(data.call).map(|pipe| pipe.receive(data.body, ends_item, complete))
        } else {
            self.called(data.call).map(|pipe| pipe.receive(data.body, ends_item, false))
        };
        received.unwrap_or(Ok(())).map_err(|overrun| format!("a window of a call: {overrun}"))
    }

    fn called(&self, call: u64) -> Option<Arc<Call>> {
        self.state.lock().calls.open.get(&call).map(|call| Arc::clone(&call.pipe))
    }

    /// Ends the calls whose time is up. Returns whether there are others.
    pub(crate) fn expire_calls(&self, now: Instant) -> bool {
        let mut late = Vec::new();
        let more = self.with(|state| {
            let over = |call: &mut OpenCall| now.saturating_duration_since(call.until) >= GRACE;
            let State { calls, batch, .. } = state;
            for (number, call) in calls.open.extract_if(|_, call| over(call)) {
                batch.frames(|out| encode_cancel(number, out));
                late.push(call.pipe);
            }
            state.expire_served(now);
            state.calls.watched = !state.calls.is_empty() || state.serves();
            state.calls.watched
        });
        for pipe in late {
            pipe.end(Outcome::Late);
        }
        more
    }
}

impl State {
    /// Whether what belongs to the link of this number may be written.
    pub(super) fn can_write(&self, link: u64) -> bool {
        self.link == link && self.connection.is_some() && !self.finish
    }

    fn begin_call(&mut self, order: &Order<'_>, now: Instant) -> Result<Option<Arc<Call>>, CallError> {
        match self.phase {
            Phase::Closing | Phase::Closed => return Err(CallError::Closed),
            _ if !self.has_room() => return Ok(None),
            _ => {}
        }
        self.calls.last += 1;
        let call = self.calls.last;
        let options = &order.options;
        let first = &order.body[..order.body.len().min(MAX_CHUNK)];
        let more = first.len() < order.body.len() || options.flags.contains(Flags::ITEMS_IN);
        let request = Request {
            call,
            flags: if more { options.flags.with(Flags::MORE) } else { options.flags },
            strategy: options.strategy,
            priority: options.priority,
            target: 0,
            caller: PeerId::from_public_key([0; 32]),
            deadline_ms: millis(order.until.saturating_duration_since(now)),
            window: options.window,
            answers: options.answers,
            name: order.name,
            key: order.key,
            headers: Headers::decode(order.headers).unwrap_or_default(),
            body: first,
        };
        self.batch.frames(|out: &mut BytesMut| request.encode(out));
        let pipe = Arc::new(Pipe::new(call, self.link, true, options.window, INITIAL_WINDOW));
        self.calls.open.insert(call, OpenCall { pipe: Arc::clone(&pipe), until: order.until });
        Ok(Some(pipe))
    }
}
