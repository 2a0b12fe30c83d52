use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sinew_wire::call::CallFrame;
use sinew_wire::{FrameHeader, FrameLimits, HEADER_LEN};
use tokio::sync::Notify;

/// Bodies up to this size are copied behind their head: the transports would copy them anyway, and a chunk of its own
/// costs more.
const INLINE: usize = 2 << 10;

/// Small frames stand side by side in blocks of about this size.
const BLOCK: usize = 16 << 10;

/// Room that a block should have left for one more small frame.
const ROOM: usize = INLINE + 1024;

/// What [`Lane::push_always`] may add above the bound.
const MARGIN: usize = 1 << 20;

/// Frames of calls that wait to be written to one link, in order. Filled by anybody, emptied by the link's writer.
///
/// Bounded in bytes: what does not fit is given back to whoever brings it, before a byte of it is queued.
#[derive(Debug)]
pub struct Lane {
    max: usize,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Small frames, not yet a chunk. Between two pushes it ends with the end of a frame.
    block: BytesMut,
    /// Of the chunks and of the block.
    bytes: usize,
    stuck: bool,
    closed: bool,
    guard: Option<Guard>,
}

/// See [`Lane::guard`].
#[derive(Debug)]
struct Guard {
    after: Duration,
    heard: Instant,
    held: bool,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Whether a frame ends with it: others may write behind it.
    whole: bool,
}

/// Body of a frame that is pushed into a [`Lane`].
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// Is copied.
    Lent(&'a [u8]),
    /// Is copied if it is small, and else shared.
    Shared(Bytes),
}

impl Body<'_> {
    /// Bytes of it.
    pub const fn len(&self) -> usize {
        match self {
            Self::Lent(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Lent(bytes)
    }
}

impl From<Bytes> for Body<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// Why a frame was not queued. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// As many bytes wait as may.
    #[error("the link has as many bytes to write as may wait")]
    Full,
    /// The link is gone, or is given up.
    #[error("the link is closed")]
    Closed,
}

impl Lane {
    /// For at most `max` bytes; a frame is taken as long as fewer wait, so that any frame fits into an empty lane.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default(), wake: Notify::new() })
    }

    /// Most bytes that wait.
    pub const fn max(&self) -> usize {
        self.max
    }

    /// Queues a frame: `head` appends all that stands in front of the body.
    ///
    /// # Errors
    /// [`LaneError`]; `head` was not called then.
    pub fn push<'a>(&self, head: impl FnOnce(&mut BytesMut), body: impl Into<Body<'a>>) -> Result<(), LaneError> {
        let mut state = self.state.lock();
        if state.closed || state.stuck {
            return Err(LaneError::Closed);
        }
        if state.bytes >= self.max {
            return Err(LaneError::Full);
        }
        let first = state.append(head, body.into());
        drop(state);
        self.wake_if(first);
        Ok(())
    }

    /// Queues a whole frame of a few bytes that has to come through: a cancel, a credit, a reply that tells a failure.
    /// There are
    /// 1 MiB for them above the bound; what comes beyond that is thrown away, and the lane is [stuck](Lane::stuck).
    pub fn push_always(&self, frame: impl FnOnce(&mut BytesMut)) {
        let mut state = self.state.lock();
        if state.closed || state.stuck {
            return;
        }
        state.stuck = state.bytes >= self.max.saturating_add(MARGIN);
        let first = state.stuck || state.append(frame, Body::Lent(&[]));
        drop(state);
        self.wake_if(first);
    }

    /// Whether the peer has left so much unread that the link has to be closed: frames were thrown away.
    pub fn stuck(&self) -> bool {
        self.state.lock().stuck
    }

    /// From now on nothing is collected when the peer was not [heard](Lane::heard) for so long, until it is: it may be
    /// dead, and what was not written was certainly not executed.
    pub fn guard(&self, after: Duration) {
        let guard = Guard { after, heard: Instant::now(), held: false };
        self.state.lock().guard = Some(guard);
    }

    /// The peer has said something. Of use with a [guard](Lane::guard).
    pub fn heard(&self, now: Instant) {
        let mut state = self.state.lock();
        let Some(guard) = &mut state.guard else { return };
        guard.heard = now;
        let held = std::mem::take(&mut guard.held);
        drop(state);
        if held {
            self.wake.notify_one();
        }
    }

    /// Whether something waits until the peer is heard: it is to be asked for a word.
    pub fn is_held(&self) -> bool {
        self.state.lock().guard.as_ref().is_some_and(|guard| guard.held)
    }

    /// Moves whole frames to `chunks`, until they are at least `max_bytes` together or there are no more. Gives the
    /// bytes.
    pub fn collect(&self, chunks: &mut Vec<Bytes>, max_bytes: usize) -> usize {
        let mut state = self.state.lock();
        if state.is_held() {
            return 0;
        }
        let mut taken = 0;
        let mut whole = true;
        while (taken < max_bytes || !whole)
            && let Some(chunk) = state.chunks.pop_front()
        {
            taken += chunk.bytes.len();
            whole = chunk.whole;
            chunks.push(chunk.bytes);
        }
        if taken < max_bytes && !state.block.is_empty() {
            let block = state.block.split().freeze();
            taken += block.len();
            chunks.push(block);
        }
        state.bytes -= taken;
        taken
    }

    /// Waits until there may be something to [`Lane::collect`], or the lane is stuck. Whoever waits has collected until
    /// there was nothing. Cancel safe.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Throws away what waits, and takes nothing more. Gives the numbers of the calls whose requests were among it:
    /// nothing of them has gone out.
    pub fn close(&self) -> Vec<u64> {
        let mut state = self.state.lock();
        let closed = State { closed: true, stuck: state.stuck, ..State::default() };
        let mut thrown = std::mem::replace(&mut *state, closed);
        drop(state);
        self.wake.notify_one();
        thrown.seal(true);
        requests(thrown.chunks.iter().map(|chunk| &*chunk.bytes))
    }

    /// Gives memory back if nothing waits. For a session to call once in a while.
    pub fn shrink(&self) {
        let mut state = self.state.lock();
        if state.bytes == 0 {
            state.block = BytesMut::new();
            state.chunks.shrink_to(0);
        }
    }

    /// Who finds nothing when it collects is told of the first frame only: it will find the others with it.
    fn wake_if(&self, first: bool) {
        if first {
            self.wake.notify_one();
        }
    }
}

impl State {
    /// Whether what waits has to wait on.
    fn is_held(&mut self) -> bool {
        match &mut self.guard {
            Some(guard) if self.bytes > 0 => {
                guard.held |= guard.heard.elapsed() > guard.after;
                guard.held
            }
            _ => false,
        }
    }

    /// Returns whether nothing waited before.
    fn append(&mut self, head: impl FnOnce(&mut BytesMut), body: Body<'_>) -> bool {
        let first = self.bytes == 0;
        if self.block.len() >= BLOCK || self.block.capacity() - self.block.len() < ROOM {
            self.seal(true);
            self.block.reserve(BLOCK);
        }
        let before = self.block.len();
        head(&mut self.block);
        self.bytes += self.block.len() - before + body.len();
        if body.len() <= INLINE {
            self.block.extend_from_slice(body.as_slice());
        } else {
            self.seal(false);
            self.chunks.push_back(Chunk { bytes: body.into_bytes(), whole: true });
        }
        first
    }

    fn seal(&mut self, whole: bool) {
        if !self.block.is_empty() {
            self.chunks.push_back(Chunk { bytes: self.block.split().freeze(), whole });
        }
    }
}

/// Numbers of the calls that are opened by these frames. A head stands in one chunk; a body may follow in others.
fn requests<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<u64> {
    let mut calls = Vec::new();
    let mut skip = 0;
    for mut chunk in chunks {
        loop {
            let skipped = skip.min(chunk.len());
            chunk = &chunk[skipped..];
            skip -= skipped;
            let Some((header, rest)) = chunk.split_first_chunk::<HEADER_LEN>() else { break };
            // As it was written here, and within all limits.
            let Ok(header) = FrameHeader::decode(*header, &UNLIMITED) else { return calls };
            let body = &rest[..header.len.min(rest.len())];
            if let Ok(CallFrame::Request(request)) = CallFrame::decode(body) {
                calls.push(request.call);
            }
            (chunk, skip) = (rest, header.len);
        }
    }
    calls
}

const UNLIMITED: FrameLimits = FrameLimits { control: usize::MAX, run: usize::MAX, call: usize::MAX };

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_wire::call::{Data, DataFlags, Flags, Request, Strategy as Choice};
    use sinew_wire::{Headers, PeerId};

    use super::*;

    fn push(lane: &Lane, call: u64, len: usize, shared: bool) -> Result<(), LaneError> {
        let content = vec![call as u8; len];
        let data = Data { call, flags: DataFlags::default(), body: &[] };
        let body = if shared { Body::Shared(content.clone().into()) } else { Body::Lent(&content) };
        lane.push(|out| data.encode_head(len, out), body)
    }

    /// Takes whole frames off what was collected, as (call, body length).
    fn frames(mut bytes: &[u8]) -> Vec<(u64, usize)> {
        let mut frames = Vec::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("a header");
            let (body, rest) = rest.split_at(header.len);
            let CallFrame::Data(data) = CallFrame::decode(body).expect("a call frame") else { panic!("is no data") };
            assert!(data.body.iter().all(|byte| *byte == data.call as u8));
            frames.push((data.call, data.body.len()));
            bytes = rest;
        }
        assert!(bytes.is_empty(), "a part of a frame");
        frames
    }

    proptest! {
        #[test]
        fn frames_come_whole_and_in_order(
            lens in prop::collection::vec((prop_oneof![0..64_usize, 1_900..2_200_usize, 0..40_000_usize], any::<bool>()), 0..80),
            max in 1..100_000_usize,
            every in 1..20_usize,
        ) {
            let lane = Lane::new(usize::MAX);
            let (mut pushed, mut collected) = (Vec::new(), Vec::new());
            let collect = |collected: &mut Vec<_>| {
                let mut chunks = Vec::new();
                let taken = lane.collect(&mut chunks, max);
                let bytes = chunks.concat();
                assert_eq!(bytes.len(), taken);
                // Not only all of it, each part on its own: others write in between.
                collected.extend(frames(&bytes));
                taken
            };
            for (n, (len, shared)) in lens.into_iter().enumerate() {
                push(&lane, n as u64, len, shared).expect("has room");
                pushed.push((n as u64, len));
                if n % every == 0 {
                    collect(&mut collected);
                }
            }
            while collect(&mut collected) > 0 {}
            prop_assert_eq!(collected, pushed);
            prop_assert_eq!(lane.bytes(), 0);
        }
    }

    fn ask(lane: &Lane, call: u64, len: usize) {
        let request = Request {
            call,
            flags: Flags::default(),
            strategy: Choice::default(),
            priority: 0,
            target: 0,
            caller: PeerId::from_public_key([0; 32]),
            deadline_ms: 0,
            window: 0,
            answers: 0,
            name: "some.name",
            key: &[],
            headers: Headers::default(),
            body: &[],
        };
        lane.push(|out| request.encode_head(len, out), Body::Shared(vec![1; len].into())).expect("has room");
    }

    #[test]
    fn what_was_not_written_is_told_at_the_end() {
        let lane = Lane::new(usize::MAX);
        for (call, len) in [(1, 10), (2, 50_000)] {
            ask(&lane, call, len);
        }
        assert!(lane.collect(&mut Vec::new(), usize::MAX) > 0);
        for (call, len) in [(3, 10), (4, 50_000), (5, 2_048), (6, 2_049), (7, 0)] {
            ask(&lane, call, len);
            push(&lane, 100 + call, len, true).expect("has room");
        }
        lane.guard(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
        assert!(!lane.is_held(), "nobody wanted it");
        assert_eq!(lane.collect(&mut Vec::new(), usize::MAX), 0);
        assert!(lane.is_held());
        lane.heard(Instant::now() + Duration::from_secs(60));
        assert!(!lane.is_held());
        assert!(lane.collect(&mut Vec::new(), 1) > 0);
        assert_eq!(lane.close(), [5, 6, 7], "those before stood in one block with the first");
        assert_eq!(lane.close(), []);
    }

    #[test]
    fn a_full_lane_gives_back_what_it_cannot_hold() {
        let lane = Lane::new(10_000);
        push(&lane, 1, 50_000, true).expect("any frame fits into an empty lane");
        assert_eq!(push(&lane, 2, 0, false), Err(LaneError::Full));
        lane.push_always(|out| sinew_wire::call::encode_cancel(2, out));
        let mut chunks = Vec::new();
        assert!(lane.collect(&mut chunks, usize::MAX) > 50_000);
        assert_eq!(push(&lane, 3, 0, false), Ok(()));
        assert!(!lane.stuck());
    }

    #[tokio::test]
    async fn who_reads_nothing_is_stuck() {
        let lane = Lane::new(100);
        for _ in 0..200_000 {
            lane.push_always(|out| sinew_wire::call::encode_cancel(2, out));
        }
        assert!(lane.stuck() && lane.bytes() < (1 << 20) + 200);
        assert_eq!(push(&lane, 1, 0, false), Err(LaneError::Closed));
        lane.woken().await;
        lane.close();
        assert!(lane.stuck() && lane.bytes() == 0);
        assert_eq!(lane.collect(&mut Vec::new(), 100), 0);
    }

    #[tokio::test]
    async fn the_writer_is_woken_by_the_first_frame() {
        let lane = Lane::new(1 << 20);
        let writer = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move {
                let mut got = Vec::new();
                while got.len() < 100 {
                    let mut chunks = Vec::new();
                    if lane.collect(&mut chunks, 64) == 0 {
                        lane.woken().await;
                    }
                    got.extend(frames(&chunks.concat()));
                }
                got.len()
            }
        });
        for call in 0..100 {
            push(&lane, call, 10, false).expect("has room");
            tokio::task::yield_now().await;
        }
        assert_eq!(writer.await.expect("ran"), 100);
        lane.shrink();
    }
}
