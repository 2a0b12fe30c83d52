//! Remote calls, from the caller's side; and what both sides have in common.

mod builder;
mod error;
mod inflow;
mod open;
mod pipe;
mod reply;
mod stream;
mod transfer;

pub use builder::CallBuilder;
pub use error::{AppError, CallError, Executed, SendError};
pub use reply::Reply;
pub use stream::{Answers, CallSender, Gathered, GatheredAnswer};

pub(crate) use open::{Call, Order, Outcome};
pub(crate) use pipe::Pipe;
pub(crate) use transfer::{Intake, Item, Outflow, Over, advance};
