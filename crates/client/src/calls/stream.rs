use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use sinew_wire::PeerId;

use crate::calls::{CallError, SendError};

/// The answers of a call: a [`Stream`] of items that ends with the call. An error is its last item.
///
/// Answers that are not taken wait within the [window](crate::CallBuilder::window); then the provider waits. Dropping it
/// before the end cancels the call. It keeps the client connected.
#[must_use = "dropping it cancels the call"]
pub struct Answers {}

impl Answers {
    /// The next item; `None` when the call has ended well. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        Poll::Ready(None)
    }
}

impl Stream for Answers {
    type Item = Result<Bytes, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(cx)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// The sending half of a call with streams: [`CallBuilder::open`](crate::CallBuilder::open).
///
/// Dropping it before [`CallSender::finish`] cancels the call, so that a stream that was cut off is never taken for a whole one.
#[must_use = "dropping it cancels the call"]
pub struct CallSender {}

impl CallSender {
    /// Sends an item. Waits while the provider takes no more (credit), and for room in the next write.
    ///
    /// Cancel safe: dropped early, either nothing of the item was sent, or the rest of it goes out in front of the next item.
    ///
    /// # Errors
    /// [`SendError::Ended`]: the procedure has answered, or the call has failed; [`Answers`] tell. [`SendError::TooLarge`].
    pub async fn send(&mut self, item: impl Into<Bytes> + Send) -> Result<(), SendError> {
        let _ = item.into();
        Err(SendError::Ended)
    }

    /// Ends the stream: the procedure has got all items.
    ///
    /// Dropped early, the call is cancelled.
    ///
    /// # Errors
    /// [`SendError::Ended`]: the procedure has answered before, or the call has failed; [`Answers`] tell.
    pub async fn finish(self) -> Result<(), SendError> {
        Err(SendError::Ended)
    }
}

impl fmt::Debug for CallSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSender").finish_non_exhaustive()
    }
}

/// What one of several providers has answered: an item of [`Gathered`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatheredAnswer {
    /// The node that the provider is connected to.
    pub node: PeerId,
    /// The provider.
    pub provider: PeerId,
    /// Its result.
    pub result: Result<Bytes, CallError>,
}

/// The answers of several providers: a [`Stream`] that ends with the call. An error of the call as a whole is its last item.
///
/// Dropping it before the end cancels what is left of the call.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct Gathered {
    answers: Answers,
}

impl Gathered {
    pub(crate) const fn new(answers: Answers) -> Self {
        Self { answers }
    }

    /// The next answer; `None` when there are no more. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<GatheredAnswer, CallError>> {
        std::future::poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<GatheredAnswer, CallError>>> {
        let item = ready!(self.answers.poll_item(cx));
        Poll::Ready(item.map(|item| item.map(|_| unreachable!())))
    }
}

impl Stream for Gathered {
    type Item = Result<GatheredAnswer, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_answer(cx)
    }
}
