//! Client sessions: admission, limits, credit, drain.
//!
//! One task accepts per listener; it never waits for a handshake. Each session is two tasks: its *reader* decodes
//! frames, enforces limits and calls the pub/sub service directly; its *writer* empties the session's
//! [outbox](sinew_pubsub::Outbox). Nothing else may block either of them: what a client asks of the realm (services, whether
//! its interest is known) is answered by tasks beside the session.
//!
//! A link whose hello says that it is another node's is handed to the mesh as soon as it is admitted.
//!
//! ```text
//! listener ─► handshake (deadline) ─► hello ─► admission ─► reader ─► Publisher ─► plans, queues
//!                                                          writer ◄─ Outbox ◄──────────┘
//! ```

#![warn(missing_docs)]

mod accept;
mod admission;
mod config;
mod gateway;
mod incoming;
mod pulse;
mod questions;
mod roster;
mod session;

pub use config::GatewayConfig;
pub use gateway::{Gateway, Services};
pub use roster::{ClientInfo, SlowSubscription};
