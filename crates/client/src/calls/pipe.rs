use std::fmt;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use sinew_flow::Overrun;
use tokio::sync::Notify;

use crate::calls::inflow::{Inflow, Taken};

/// An open call on one link: between the reader of the link, which fills it, and whoever makes or executes the call. It ends
/// once, with an `E`.
pub(crate) struct Pipe<E> {
    /// Number of the call on its link.
    pub(crate) call: u64,
    /// Number of the link.
    pub(crate) link: u64,
    /// Whether this side has opened the call.
    pub(crate) caller: bool,
    state: Mutex<State<E>>,
    /// Wakes everybody else who waits for the end.
    gone: Notify,
}

struct State<E> {
    inflow: Inflow,
    /// The peer has sent all, though the call goes on.
    complete: bool,
    /// Bytes that may be sent.
    credit: u64,
    /// An item was begun and not ended.
    cut: bool,
    ended: bool,
    /// Until it is taken.
    end: Option<E>,
    wakers: Wakers,
}

/// At most one task each.
#[derive(Default)]
struct Wakers {
    /// Waits for parts, or the end.
    taker: Option<Waker>,
    /// Waits for credit, or the end.
    sender: Option<Waker>,
    /// Waits for the end.
    watcher: Option<Waker>,
}

/// What [`Pipe::poll_part`] finds.
#[derive(Debug)]
pub(crate) enum Next {
    Part(Taken),
    /// All is taken, and the call goes on.
    Complete,
    /// All is taken, and the call has ended: [`Pipe::take_end`].
    Ended,
}

impl<E> Pipe<E> {
    /// A call in which the peer may send `window` bytes, and this side `credit`.
    pub(crate) fn new(call: u64, link: u64, caller: bool, window: u32, credit: u32) -> Self {
        let state = State {
            inflow: Inflow::new(window),
            complete: false,
            credit: credit.into(),
            cut: false,
            ended: false,
            end: None,
            wakers: Wakers::default(),
        };
        Self { call, link, caller, state: Mutex::new(state), gone: Notify::new() }
    }

    /// A part came, for the reader of the link. `complete`: the last one.
    pub(crate) fn receive(&self, bytes: &[u8], ends_item: bool, complete: bool) -> Result<(), Overrun> {
        let mut state = self.state.lock();
        if state.ended || state.complete {
            return Ok(());
        }
        state.inflow.receive(bytes, ends_item)?;
        state.complete = complete;
        let waker = state.wakers.taker.take();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Credit came.
    pub(crate) fn grant(&self, bytes: u32) {
        let mut state = self.state.lock();
        state.credit = state.credit.saturating_add(bytes.into());
        let waker = state.wakers.sender.take();
        drop(state);
        wake(waker);
    }

    /// Ends the call, if it has not ended yet. Returns whether it had not.
    pub(crate) fn end(&self, end: E) -> bool {
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        state.ended = true;
        state.end = Some(end);
        let Wakers { taker, sender, watcher } = std::mem::take(&mut state.wakers);
        drop(state);
        wake(taker);
        wake(sender);
        wake(watcher);
        self.gone.notify_waiters();
        true
    }

    /// Waits for the end, in whatever task. Cancel safe.
    pub(crate) async fn ended(&self) {
        // Made before the state is read: it hears every later `notify_waiters`.
        let gone = self.gone.notified();
        if !self.has_ended() {
            gone.await;
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// How it has ended; only for the first who asks.
    pub(crate) fn take_end(&self) -> Option<E> {
        self.state.lock().end.take()
    }

    pub(crate) fn poll_part(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        if let Some(taken) = state.inflow.take() {
            return Poll::Ready(Next::Part(taken));
        }
        if state.ended {
            return Poll::Ready(Next::Ended);
        }
        if state.complete {
            return Poll::Ready(Next::Complete);
        }
        register(&mut state.wakers.taker, cx);
        Poll::Pending
    }

    /// Waits for credit, or the end.
    pub(crate) fn poll_credit(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.credit > 0 || state.ended {
            return Poll::Ready(());
        }
        register(&mut state.wakers.sender, cx);
        Poll::Pending
    }

    /// Waits for the end.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.ended {
            return Poll::Ready(());
        }
        register(&mut state.wakers.watcher, cx);
        Poll::Pending
    }

    /// Takes credit for up to `wanted` bytes, which are to be sent now. `None` when the call has ended.
    pub(crate) fn spend(&self, wanted: usize) -> Option<usize> {
        let mut state = self.state.lock();
        if state.ended {
            return None;
        }
        let spent = state.credit.min(wanted as u64);
        state.credit -= spent;
        Some(spent as usize)
    }

    /// Notes whether an item was begun and not ended.
    pub(crate) fn set_cut(&self, cut: bool) {
        self.state.lock().cut = cut;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().cut
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl<E> fmt::Debug for Pipe<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("call", &self.call).field("link", &self.link).finish_non_exhaustive()
    }
}
