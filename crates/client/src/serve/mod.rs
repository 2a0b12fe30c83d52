//! Remote calls, from the provider's side.

mod builder;
mod execute;
mod procedure;
mod request;
mod response;
mod serving;

pub use builder::ServeBuilder;
pub use request::{ItemSender, Items, Request};
pub use response::{IntoResponse, Response};
pub use serving::Serving;

pub(crate) use procedure::{Admitted, Incoming, Procedure, Served, Stop};
pub(crate) use request::WINDOW;
