//! The tasks that execute calls.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt;
use sinew_wire::call::{Flags, MAX_CHUNK, Reply, Status, refused_body};
use sinew_wire::{Headers, Limit, MAX_TEXT, Refusal};

use crate::AppError;
use crate::calls::{Intake, Item, Outflow, Over};
use crate::serve::procedure::{Incoming, Procedure, Served, Start, Stop};
use crate::serve::request::Request;
use crate::serve::{IntoResponse, Response};
use crate::shared::{Sent, Shared};

/// Makes of a handler what starts the tasks that run it.
pub(crate) fn start<F, Fut, R>(handler: F) -> Start
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, AppError>> + Send + 'static,
    R: IntoResponse + 'static,
{
    let handler = Arc::new(handler);
    Box::new(move |procedure, shared, call| {
        tokio::spawn(work(Arc::clone(&handler), procedure, shared, call));
    })
}

/// Executes a call, and those that wait by then.
async fn work<F, Fut, R>(handler: Arc<F>, procedure: Arc<Procedure>, shared: Arc<Shared>, first: Incoming)
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Result<R, AppError>>,
    R: IntoResponse + 'static,
{
    let mut working = Working { procedure: &procedure, done: false };
    let mut next = Some(first);
    while let Some(call) = next {
        let pipe = Arc::clone(&call.pipe);
        let done = execute(&*handler, &shared, call).await;
        answer(&shared, &procedure, &pipe, done).await;
        pipe.end(Stop::Answered);
        // Handlers that never wait must not keep the tasks beside this one from their turn.
        tokio::task::consume_budget().await;
        next = procedure.next();
    }
    working.done = true;
}

/// Gives back the place of a task that ends in another way than by its end: a handler may panic where it is dropped.
struct Working<'a> {
    procedure: &'a Procedure,
    done: bool,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if !self.done {
            // A call that waits is lost with the task. Its node ends it at its deadline.
            while self.procedure.next().is_some() {}
        }
    }
}

/// What became of a call that was executed.
enum Done {
    Result(Response),
    Error(AppError),
    Panicked(String),
    TooLarge,
    /// The call had ended before the handler had.
    Stopped,
    /// The call had ended before the handler had begun.
    NotBegun,
}

async fn execute<F, Fut, R>(handler: &F, shared: &Arc<Shared>, call: Incoming) -> Done
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Result<R, AppError>>,
    R: IntoResponse + 'static,
{
    let pipe = Arc::clone(&call.pipe);
    if pipe.has_ended() {
        return Done::NotBegun;
    }
    let request = match request(shared, call).await {
        Ok(request) => request,
        Err(done) => return done,
    };
    let handling = async { handler(request).await.map(IntoResponse::into_response) };
    let mut handling = pin!(AssertUnwindSafe(handling).catch_unwind());
    poll_fn(|cx| {
        if let Poll::Ready(result) = handling.as_mut().poll(cx) {
            return Poll::Ready(match result {
                Ok(Ok(response)) => Done::Result(response),
                Ok(Err(error)) => Done::Error(error),
                Err(panic) => Done::Panicked(panic_text(&*panic)),
            });
        }
        pipe.poll_ended(cx).map(|()| Done::Stopped)
    })
    .await
}

/// Takes what is left of the argument.
async fn request(shared: &Arc<Shared>, mut call: Incoming) -> Result<Request, Done> {
    if call.flags.contains(Flags::MORE) && !call.flags.contains(Flags::ITEMS_IN) {
        let mut intake = Intake::new(Arc::clone(shared), Arc::clone(&call.pipe), call.extra_credit);
        match intake.body(&call.body).await {
            Item::Complete(body) => call.body = body,
            Item::TooLarge => return Err(Done::TooLarge),
            Item::Ended(_) | Item::Whole(_) => return Err(Done::NotBegun),
        }
    }
    Ok(Request::new(shared, call))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let mut text = text.unwrap_or("without a text").to_owned();
    truncate(&mut text);
    text
}

fn truncate(text: &mut String) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// A reply that is about to be sent.
struct Draft {
    status: Status,
    code: u16,
    headers: Bytes,
    body: Bytes,
}

impl Draft {
    fn failure(status: Status, code: u16, body: impl Into<Bytes>) -> Self {
        Self { status, code, headers: Bytes::new(), body: body.into() }
    }

    /// The argument is larger than `limit`.
    fn too_large(limit: usize) -> Self {
        let refusal = Refusal::Limit { limit: Limit::CallBytes, allowed: limit as u64 };
        Self::failure(Status::Refused, 0, refused_body(&refusal))
    }
}

/// Tells the caller what became of its call.
async fn answer(shared: &Arc<Shared>, procedure: &Procedure, pipe: &Arc<Served>, done: Done) {
    let limit = shared.config.max_call_bytes;
    let mut draft = match done {
        Done::Result(_) if pipe.is_cut() => {
            Draft::failure(Status::Unknown, 0, "the handler has ended in the middle of an item")
        }
        Done::Result(response) => {
            Draft { status: Status::Ok, code: 0, headers: response.headers.freeze(), body: response.body }
        }
        Done::Error(error) => Draft::failure(Status::Application, error.code, error.body),
        Done::Panicked(text) => Draft::failure(Status::Panicked, 0, text),
        Done::TooLarge => Draft::too_large(limit),
        Done::Stopped => return stopped(shared, procedure, pipe, true).await,
        Done::NotBegun => return stopped(shared, procedure, pipe, false).await,
    };
    if draft.body.len() > limit {
        let text = format!("the result is {} bytes long, the limit is {limit}", draft.body.len());
        draft = Draft::failure(Status::Unknown, 0, text);
    }
    if draft.body.len() > MAX_CHUNK {
        let outflow = Outflow::new(Arc::clone(shared), Arc::clone(pipe));
        if outflow.all_but_last(&mut draft.body).await == Err(Over) {
            return stopped(shared, procedure, pipe, true).await;
        }
    }
    reply(shared, procedure, pipe, &draft).await;
}

/// Tells the caller that its call was stopped, if it does not know.
async fn stopped(shared: &Shared, procedure: &Procedure, pipe: &Served, begun: bool) {
    let draft = match pipe.take_end() {
        Some(Stop::Late) => Draft::failure(Status::TimedOut, begun.into(), ""),
        Some(Stop::TooLarge) => Draft::too_large(shared.config.max_call_bytes),
        Some(Stop::Withdrawn) => {
            let status = if begun { Status::Unknown } else { Status::NotSent };
            Draft::failure(status, 0, "its provider does not serve it any more")
        }
        Some(Stop::Answered | Stop::Cancelled | Stop::Lost) | None => return,
    };
    reply(shared, procedure, pipe, &draft).await;
}

async fn reply(shared: &Shared, procedure: &Procedure, pipe: &Served, draft: &Draft) {
    let reply = Reply {
        call: pipe.call,
        status: draft.status,
        code: draft.code,
        // This one does not count any more.
        load: procedure.open_calls().saturating_sub(1).try_into().unwrap_or(u32::MAX),
        retry_after_ms: 0,
        health: procedure.health(),
        headers: Headers::decode(&draft.headers).unwrap_or_default(),
        body: &draft.body,
    };
    loop {
        let room = shared.call_room();
        if shared.reply_call(pipe, &reply) != Sent::Full {
            return;
        }
        room.await;
    }
}
