//! The libp2p swarm of a node, in one task.
//!
//! The overlay is the control plane of a realm: it finds the other nodes, keeps connections to them, carries small messages,
//! requests and provider records, and, where no direct path exists, streams that carry the frames of the data plane.
//!
//! ```text
//!  Overlay (handle, Clone) ──commands (bounded)──► task: owns the Swarm ──events (bounded)──► membership
//!                                                   ├── one writer and one reader task per peer that gets messages
//!                                                   └── asks (bounded) ─────────────────────► discovery
//! ```
//!
//! The task awaits nothing but the swarm, its queues and its timers. What finds no room is refused or dropped, and counted in
//! [`Counters`]. Types of libp2p do not leave this crate: addresses are text (multiaddresses), peers are
//! [`sinew_wire::PeerId`]. What libp2p is used for, and what of it is switched off, stands in
//! `docs/decisions/0005-overlay.md`.

#![warn(missing_docs)]

mod address;
mod agent;
mod backoff;
mod behaviour;
mod book;
mod codec;
mod config;
mod error;
mod event;
mod gate;
mod handle;
mod mailbox;
mod names;
mod peer_id;
mod shared;
mod status;
mod store;
mod streams;
mod swarm;
mod task;

pub use config::{OverlayConfig, Reserve};
pub use error::{DhtError, OverlayError, RequestError, SendError};
pub use event::{Ask, Event, Purpose};
pub use handle::{Overlay, Started};
pub use shared::Beat;
pub use status::{BootstrapStatus, Counters, Nat, OverlayPeer, Status};

/// Largest message of [`Overlay::send`], in bytes.
pub const MAX_MESSAGE: usize = 60 << 10;

/// Largest body of a request or of its reply, in bytes.
pub const MAX_REQUEST: usize = 512 << 10;

/// Length of a key of the DHT, in bytes: that of a hash.
pub const KEY_LEN: usize = 32;
