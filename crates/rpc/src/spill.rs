//! Data that wait until their link has room for them.
//!
//! What a call may have on its way is bounded by its window; that of all calls of a link together is more than may wait
//! in its lane. The rest waits here, charged to the memory budget, and leaves most of the lane to short calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use sinew_flow::Reservation;
use sinew_link::{Body, Lane, LaneError};
use sinew_wire::call::{Data, Reply};

use crate::link::{Kind, Link};

/// How often it is looked whether there is room again. The writer of the link needs longer for what the lane holds.
const LOOK: Duration = Duration::from_millis(2);

/// Most bytes that wait for one client, and for one node.
const MAX_BYTES: (usize, usize) = (32 << 20, 64 << 20);

/// A call on a link: its number, and whether this node has given it.
pub(crate) type Numbered = (u64, bool);

/// What waits for one link, in order.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    frames: VecDeque<Waiting>,
    /// How many frames of each call wait: what comes behind them waits, too.
    calls: HashMap<Numbered, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    call: Numbered,
    head: Bytes,
    body: Bytes,
    _memory: Reservation,
}

impl Spill {
    fn pop(&mut self) {
        let Some(frame) = self.frames.pop_front() else { return };
        self.bytes -= frame.head.len() + frame.body.len();
        if let Some(count) = self.calls.get_mut(&frame.call) {
            *count -= 1;
            if *count == 0 {
                self.calls.remove(&frame.call);
            }
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Link {
    /// Sends data of a call, or has them wait.
    ///
    /// # Errors
    /// [`LaneError::Full`] when there is no memory for them to wait.
    pub(crate) fn send_data(self: &Arc<Self>, data: &Data<'_>, body: Body<'_>, ours: bool) -> Result<(), LaneError> {
        let data = Data { body: &[], ..*data };
        let len = body.len();
        let call = (data.call, ours);
        if !self.spilling.load(Ordering::Acquire) && has_room(&self.lane) {
            return self.lane.push(|out| data.encode_head(len, out), body);
        }
        self.wait(call, |out| data.encode_head(len, out), body, has_room)
    }

    /// Sends the answer to a call of the peer, behind its data.
    ///
    /// # Errors
    /// As [`Link::send_data`].
    pub(crate) fn send_reply(self: &Arc<Self>, reply: &Reply<'_>) -> Result<(), LaneError> {
        let (len, body) = (reply.body.len(), Body::Lent(reply.body));
        if !self.spilling.load(Ordering::Acquire) {
            match self.lane.push(|out| reply.encode_head(len, out), body.clone()) {
                Err(LaneError::Full) => {}
                sent => return sent,
            }
        }
        let call = (reply.call, false);
        self.wait(call, |out| reply.encode_head(len, out), body, |lane| lane.bytes() < lane.max())
    }

    /// Puts a frame behind those that wait, if it may not pass them.
    fn wait(
        self: &Arc<Self>,
        call: Numbered,
        head: impl FnOnce(&mut BytesMut),
        body: Body<'_>,
        may_pass: impl Fn(&Lane) -> bool,
    ) -> Result<(), LaneError> {
        let mut spill = self.spill.lock();
        if !spill.calls.contains_key(&call) && may_pass(&self.lane) {
            return self.lane.push(head, body);
        }
        let mut encoded = BytesMut::new();
        head(&mut encoded);
        let bytes = encoded.len() + body.len();
        let most = if self.kind == Kind::Node { MAX_BYTES.1 } else { MAX_BYTES.0 };
        // Never more than is left to all others.
        let fits = spill.bytes + bytes <= most.min(self.budget.free());
        let memory = fits.then(|| self.budget.try_reserve(bytes)).flatten();
        let memory = memory.ok_or(LaneError::Full)?;
        let body = match body {
            Body::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Body::Shared(bytes) => bytes,
        };
        spill.bytes += bytes;
        *spill.calls.entry(call).or_default() += 1;
        spill.frames.push_back(Waiting { call, head: encoded.freeze(), body, _memory: memory });
        if !self.spilling.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).refill());
        }
        Ok(())
    }

    /// Throws away what waits of a call that has ended otherwise. Whether there was something.
    pub(crate) fn forget_waiting(&self, call: Numbered) -> bool {
        if !self.spilling.load(Ordering::Acquire) {
            return false;
        }
        let mut spill = self.spill.lock();
        let waits = spill.calls.remove(&call).is_some();
        if waits {
            spill.frames.retain(|frame| frame.call != call);
            spill.bytes = spill.frames.iter().map(|frame| frame.head.len() + frame.body.len()).sum();
        }
        waits
    }

    /// Moves what waits to the lane, as there is room, until nothing waits.
    async fn refill(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut spill = self.spill.lock();
            if self.is_closed() {
                spill.clear();
            }
            while has_room(&self.lane)
                && let Some(frame) = spill.frames.front()
            {
                match self.lane.push(|out| out.extend_from_slice(&frame.head), frame.body.clone()) {
                    Ok(()) => spill.pop(),
                    // Somebody was quicker.
                    Err(LaneError::Full) => break,
                    Err(LaneError::Closed) => spill.clear(),
                }
            }
            if spill.frames.is_empty() {
                self.spilling.store(false, Ordering::Release);
                return;
            }
        }
    }
}

/// Whether there is room for data: the rest of the lane is for others.
fn has_room(lane: &Lane) -> bool {
    lane.bytes() <= lane.max() / 4
}
