use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use sinew_wire::call::Flags;
use sinew_wire::{Headers, PeerId, TRACEPARENT};

use crate::SendError;
use crate::calls::{Intake, Item, Outflow};
use crate::serve::procedure::{Incoming, Served, Stop};
use crate::shared::Shared;

/// Bytes of a caller's stream that may be on their way while the handler does not take them, at most. No more than the caller's
/// own window, which the nodes have cut to theirs.
pub(crate) const WINDOW: u32 = 256 << 10;

/// A call to be executed: what a handler gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The argument; empty if the caller sends a stream.
    pub body: Bytes,
    /// Who calls, proven to its node.
    pub caller: PeerId,
    /// The caller's stream; it ends at once if there is none.
    pub items: Items,
    /// Sends the caller a stream, if it takes one.
    pub sender: ItemSender,
    headers: Bytes,
    until: tokio::time::Instant,
    pipe: Arc<Served>,
}

impl Request {
    pub(crate) fn new(shared: &Arc<Shared>, call: Incoming) -> Self {
        let Incoming { pipe, flags, until, caller, extra_credit, headers, body } = call;
        let items =
            flags.contains(Flags::ITEMS_IN).then(|| Intake::new(Arc::clone(shared), Arc::clone(&pipe), extra_credit));
        let sender = flags.contains(Flags::ITEMS_OUT).then(|| Outflow::new(Arc::clone(shared), Arc::clone(&pipe)));
        Self { body, caller, items: Items(items), sender: ItemSender(sender), headers, until, pipe }
    }

    /// Headers of the call.
    pub fn headers(&self) -> Headers<'_> {
        Headers::decode(&self.headers).unwrap_or_default()
    }

    /// The caller's trace context in the form of W3C, if it gave one.
    pub fn traceparent(&self) -> Option<&str> {
        self.headers().get(TRACEPARENT).and_then(|context| std::str::from_utf8(context).ok())
    }

    /// When the call ends, answered or not: the handler's future is dropped.
    pub fn deadline(&self) -> Instant {
        self.until.into_std()
    }

    /// Time until [`Request::deadline`].
    pub fn time_left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// Whether the caller takes a stream of items.
    pub const fn wants_items(&self) -> bool {
        self.sender.0.is_some()
    }

    /// Waits until the call ends, for work that a handler has begun elsewhere: its own future is dropped then.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        let pipe = Arc::clone(&self.pipe);
        async move { pipe.ended().await }
    }
}

/// The stream of a caller, as its provider sees it.
///
/// If the caller or the way to it is lost, the handler's future is dropped, so that the end is always that of the whole stream. In a
/// task of its own it waits for ever then: such a task has to look at [`Request::cancelled`] too.
pub struct Items(Option<Intake<Stop>>);

impl Items {
    /// The next item; `None` when the caller has sent all. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// An item larger than this client takes ([`Builder::max_call_bytes`](crate::Builder::max_call_bytes)) ends the call.
    pub async fn next(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let Some(intake) = &mut self.0 else { return Poll::Ready(None) };
        match ready!(intake.poll_item(cx)) {
            Item::Whole(item) => Poll::Ready(Some(item)),
            Item::Complete(rest) => {
                self.0 = None;
                // The last item may end with the stream.
                Poll::Ready(if rest.is_empty() { None } else { Some(rest) })
            }
            Item::TooLarge => {
                intake.pipe.end(Stop::TooLarge);
                Poll::Pending
            }
            // What has ended is about to be dropped.
            Item::Ended(_) => Poll::Pending,
        }
    }
}

impl Stream for Items {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.get_mut().poll_item(cx)
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// Sends a caller the items of a stream. The stream ends when the handler returns.
pub struct ItemSender(Option<Outflow<Stop>>);

impl ItemSender {
    /// Sends an item. Waits while the caller takes no more (credit), and for room in the next write.
    ///
    /// Cancel safe: dropped early, either nothing of the item was sent, or the rest of it goes out in front of the next item. A
    /// handler that returns in the middle of an item has failed: its caller gets [`CallError::Unknown`](crate::CallError::Unknown).
    ///
    /// # Errors
    /// The caller takes no stream, the item is too large, or the call has ended.
    pub async fn send(&mut self, item: impl Into<Bytes> + Send) -> Result<(), SendError> {
        let Some(outflow) = &mut self.0 else { return Err(SendError::NotWanted) };
        outflow.checked_item(item.into()).await
    }
}

impl fmt::Debug for ItemSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemSender").finish_non_exhaustive()
    }
}
