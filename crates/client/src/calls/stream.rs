use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use sinew_wire::call::{GatheredItem, Status};
use sinew_wire::{Headers, PeerId};

use crate::calls::open::{Open, Outcome, failure};
use crate::calls::{CallError, Intake, Item, Outflow, Over, SendError};

/// The answers of a call: a [`Stream`] of items that ends with the call. An error is its last item.
///
/// Answers that are not taken wait within the [window](crate::CallBuilder::window); then the provider waits. Dropping it
/// before the end cancels the call. It keeps the client connected.
#[must_use = "dropping it cancels the call"]
pub struct Answers {
    intake: Intake<Outcome>,
    /// `None` after the last item.
    open: Option<Arc<Open>>,
    headers: Bytes,
}

impl Answers {
    pub(crate) fn new(open: Arc<Open>) -> Self {
        Self { intake: open.intake(), open: Some(open), headers: Bytes::new() }
    }

    /// Headers of the end of the call; none before it.
    pub fn headers(&self) -> Headers<'_> {
        Headers::decode(&self.headers).unwrap_or_default()
    }

    /// The next item; `None` when the call has ended well. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        let Some(open) = &self.open else { return Poll::Ready(None) };
        let end = match ready!(self.intake.poll_item(cx)) {
            Item::Whole(item) => return Poll::Ready(Some(Ok(item))),
            Item::Complete(_) => None,
            Item::TooLarge => Some(Err(CallError::ResultTooLarge { limit: open.limit() })),
            Item::Ended(front) => match open.end_of_stream(front) {
                Ok(reply) => {
                    self.headers = reply.headers;
                    (!reply.body.is_empty()).then_some(Ok(reply.body))
                }
                Err(error) => Some(Err(error)),
            },
        };
        if let Some(open) = self.open.take() {
            open.cancel();
        }
        Poll::Ready(end)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.cancel();
        }
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
pub struct CallSender {
    open: Arc<Open>,
    outflow: Outflow<Outcome>,
    finished: bool,
}

impl CallSender {
    pub(crate) fn new(open: Arc<Open>) -> Self {
        Self { outflow: open.outflow(), open, finished: false }
    }

    /// Sends an item. Waits while the provider takes no more (credit), and for room in the next write.
    ///
    /// Cancel safe: dropped early, either nothing of the item was sent, or the rest of it goes out in front of the next item.
    ///
    /// # Errors
    /// [`SendError::Ended`]: the procedure has answered, or the call has failed; [`Answers`] tell. [`SendError::TooLarge`].
    pub async fn send(&mut self, item: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.outflow.checked_item(item.into()).await
    }

    /// Ends the stream: the procedure has got all items.
    ///
    /// Dropped early, the call is cancelled.
    ///
    /// # Errors
    /// [`SendError::Ended`]: the procedure has answered before, or the call has failed; [`Answers`] tell.
    pub async fn finish(mut self) -> Result<(), SendError> {
        let ended = |Over| SendError::Ended;
        self.outflow.rest().await.map_err(ended)?;
        self.outflow.last(Bytes::new()).await.map_err(ended)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for CallSender {
    fn drop(&mut self) {
        if !self.finished {
            self.open.cancel();
        }
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

    fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Option<Result<GatheredAnswer, CallError>>> {
        let item = ready!(self.answers.poll_item(cx));
        Poll::Ready(item.map(|item| item.and_then(|item| gathered(&item))))
    }
}

fn gathered(item: &Bytes) -> Result<GatheredAnswer, CallError> {
    let GatheredItem { node, provider, status, code, body } =
        GatheredItem::decode(item).map_err(|error| CallError::Decode(error.to_string()))?;
    let body = item.slice_ref(body);
    let result = if status == Status::Ok { Ok(body) } else { Err(failure(status, code, 0, body)) };
    Ok(GatheredAnswer { node, provider, result })
}

impl Stream for Gathered {
    type Item = Result<GatheredAnswer, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_answer(cx)
    }
}
