use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sinew_wire::call::{Flags, MAX_CHUNK, Reply as ReplyFrame, Status};
use sinew_wire::{MAX_TEXT, Refusal};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::calls::builder::CallOptions;
use crate::calls::pipe::Pipe;
use crate::calls::transfer::{Intake, Item, Outflow};
use crate::calls::{CallError, Reply};
use crate::client::Handle;

/// A call as its caller sees it.
pub(crate) type Call = Pipe<Outcome>;

/// How a call has ended for its caller.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Answer),
    /// With the link. Whether it had been handed to the writer.
    Lost {
        written: bool,
    },
    /// The node has not answered in time.
    Late,
    /// The caller did not want it any more.
    Cancelled,
}

/// What a reply says.
#[derive(Debug)]
pub(crate) struct Answer {
    status: Status,
    code: u16,
    retry_after_ms: u32,
    headers: Bytes,
    body: Bytes,
}

impl From<ReplyFrame<'_>> for Answer {
    fn from(reply: ReplyFrame<'_>) -> Self {
        Self {
            status: reply.status,
            code: reply.code,
            retry_after_ms: reply.retry_after_ms,
            headers: Bytes::copy_from_slice(reply.headers.as_bytes()),
            body: Bytes::copy_from_slice(reply.body),
        }
    }
}

impl Answer {
    /// With what came of the body before it.
    fn result(mut self, front: Bytes, limit: usize) -> Result<Reply, CallError> {
        if front.len() + self.body.len() > limit {
            return Err(CallError::ResultTooLarge { limit });
        }
        if !front.is_empty() {
            let mut body = BytesMut::from(front);
            body.extend_from_slice(&self.body);
            self.body = body.freeze();
        }
        match self.status {
            Status::Ok => Ok(Reply { body: self.body, headers: self.headers }),
            status => Err(failure(status, self.code, self.retry_after_ms, self.body)),
        }
    }
}

/// What a status that is no success says.
pub(crate) fn failure(status: Status, code: u16, retry_after_ms: u32, body: Bytes) -> CallError {
    match status {
        Status::Ok | Status::Application => CallError::Application { code, body },
        Status::NoProvider => CallError::NoProvider,
        Status::NoPeers => CallError::NoPeers,
        Status::NotSent => CallError::NotSent(text(&body)),
        Status::Unknown => CallError::Unknown(text(&body)),
        Status::Overloaded => CallError::Overloaded { retry_after: Duration::from_millis(retry_after_ms.into()) },
        Status::TimedOut => CallError::TimedOut { maybe_executed: code != 0 },
        Status::Cancelled => CallError::Cancelled,
        Status::Panicked => CallError::Panicked(text(&body)),
        Status::Refused => {
            let reply = ReplyFrame { body: &body, ..ReplyFrame::failure(0, status, "") };
            let unreadable = |_| Refusal::Unavailable("a refusal this client does not know".to_owned());
            CallError::Refused(reply.refusal().unwrap_or_else(unreadable))
        }
    }
}

/// A text for people, of a stranger.
fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT)]).into_owned()
}

/// A call to be made.
#[derive(Debug, Clone)]
pub(crate) struct Order<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) headers: &'a [u8],
    pub(crate) options: CallOptions,
    pub(crate) body: Bytes,
    pub(crate) until: Instant,
}

impl Order<'_> {
    /// Makes the call, and waits for its result. Sends it again when the link is lost, if that can do no harm.
    pub(crate) async fn unary(&self, handle: &Arc<Handle>) -> Result<Reply, CallError> {
        let mut maybe_executed = false;
        loop {
            let open = self.open(handle, maybe_executed).await?;
            let mut intake = open.intake();
            match open.answered(&mut intake, self.body.clone()).await {
                Ok(Err(CallError::Refused(Refusal::Draining))) => {
                    // It was not executed, and there is another node soon, or this one again.
                    let link = open.pipe.link;
                    drop(open);
                    let gone = timeout_at(self.until, handle.shared().link_gone(link)).await;
                    gone.map_err(|_| CallError::Refused(Refusal::Draining))?;
                }
                Ok(result) => return result,
                Err(written) => {
                    let again = !written || self.options.flags.contains(Flags::IDEMPOTENT);
                    if !again {
                        return Err(CallError::Disconnected { maybe_executed: true });
                    }
                    maybe_executed |= written;
                }
            }
        }
    }

    /// Sends the request as soon as there is room for it, within the deadline.
    pub(crate) async fn open(&self, handle: &Arc<Handle>, maybe_executed: bool) -> Result<Arc<Open>, CallError> {
        let shared = handle.shared();
        let limit = shared.config.max_call_bytes;
        if self.body.len() > limit {
            return Err(CallError::TooLarge { actual: self.body.len(), limit });
        }
        if let Some(permit) = shared.try_call_permit()
            && let Some(pipe) = shared.try_call(self)?
        {
            return Ok(Open::new(handle, pipe, permit));
        }
        // The slow way is the only one that needs a clock of its own: open calls have that of the session.
        let opening = async {
            let permit = shared.call_permit().await;
            Ok(Open::new(handle, shared.begin_call(self).await?, permit))
        };
        let timed_out = |_| Err(CallError::TimedOut { maybe_executed });
        timeout_at(self.until, opening).await.unwrap_or_else(timed_out)
    }
}

/// An open call. Dropping it cancels the call, unless it has ended.
pub(crate) struct Open {
    handle: Arc<Handle>,
    pub(crate) pipe: Arc<Call>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(handle: &Arc<Handle>, pipe: Arc<Call>, permit: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self { handle: Arc::clone(handle), pipe, _permit: permit })
    }

    pub(crate) fn intake(&self) -> Intake<Outcome> {
        Intake::new(Arc::clone(self.handle.shared()), Arc::clone(&self.pipe), 0)
    }

    pub(crate) fn outflow(&self) -> Outflow<Outcome> {
        Outflow::new(Arc::clone(self.handle.shared()), Arc::clone(&self.pipe))
    }

    /// Does not want the answer any more.
    pub(crate) fn cancel(&self) {
        if !self.pipe.has_ended() {
            self.handle.shared().cancel_call(&self.pipe);
        }
    }

    /// Sends what is left of the body, and waits for the result. Without one, whether the call had been written when its link
    /// was lost.
    async fn answered(&self, intake: &mut Intake<Outcome>, body: Bytes) -> Result<Result<Reply, CallError>, bool> {
        if let Some(rest) = rest_of(&body) {
            // If it has ended, the answer says how.
            let _ended = self.outflow().last(rest).await;
        }
        self.result(intake).await
    }

    /// Waits for the result; as [`Open::answered`].
    pub(crate) async fn result(&self, intake: &mut Intake<Outcome>) -> Result<Result<Reply, CallError>, bool> {
        let front = loop {
            match poll_fn(|cx| intake.poll_item(cx)).await {
                Item::Ended(front) => break front,
                Item::TooLarge => return Ok(Err(CallError::ResultTooLarge { limit: self.limit() })),
                // A result has no items, and the provider's side ends with its reply.
                Item::Whole(_) | Item::Complete(_) => {}
            }
        };
        match self.pipe.take_end() {
            Some(Outcome::Lost { written }) => Err(written),
            Some(Outcome::Answer(answer)) => Ok(answer.result(front, self.limit())),
            end => Ok(Err(unanswered(end))),
        }
    }

    /// How a stream has ended, after `front`, which came behind its last item.
    pub(crate) fn end_of_stream(&self, front: Bytes) -> Result<Reply, CallError> {
        match self.pipe.take_end() {
            Some(Outcome::Answer(answer)) => answer.result(front, self.limit()),
            end => Err(unanswered(end)),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.handle.shared().config.max_call_bytes
    }
}

/// What of a body does not stand in the frame of the request.
pub(crate) fn rest_of(body: &Bytes) -> Option<Bytes> {
    (body.len() > MAX_CHUNK).then(|| body.slice(MAX_CHUNK..))
}

fn unanswered(end: Option<Outcome>) -> CallError {
    match end {
        Some(Outcome::Lost { written }) => CallError::Disconnected { maybe_executed: written },
        Some(Outcome::Late) => CallError::TimedOut { maybe_executed: true },
        _ => CallError::Cancelled,
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("pipe", &self.pipe).finish_non_exhaustive()
    }
}
