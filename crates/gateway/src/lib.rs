//! Client sessions: admission, limits, credit, drain.
//!
//! One task accepts per listener; it never waits for a handshake. Each session is two tasks: its *reader* decodes
//! frames, enforces limits and calls the pub/sub service directly; its *writer* empties the session's
//! [outbox](sinew_pubsub::Outbox). Nothing else may block either of them.
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
mod roster;
mod session;
mod writer;

pub use config::GatewayConfig;
pub use gateway::Gateway;
pub use roster::ClientInfo;
