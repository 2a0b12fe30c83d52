//! Remote calls, from the caller's side.

mod builder;
mod error;
mod reply;
mod stream;

pub use builder::CallBuilder;
pub use error::{AppError, CallError, Executed, SendError};
pub use reply::Reply;
pub use stream::{Answers, CallSender, Gathered, GatheredAnswer};

pub(crate) use builder::TRACEPARENT;
