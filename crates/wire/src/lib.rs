//! Frames of the Sinew protocol: layout, codec, limits.
//!
//! A link is one ordered byte stream in each direction. It carries *frames*: a five byte header ([`FrameHeader`])
//! and a body. Three bodies are laid out by hand, because millions of messages a second pass through them:
//!
//! * [`publish`]: a *run* of messages from a client to its node,
//! * [`forward`]: the same run, from that node to another one,
//! * [`deliver`]: the same run, from a node to a subscriber.
//!
//! A **run** is one or more messages of one topic, with the same options and consecutive sequence numbers. Its
//! messages are one block of [`entry`] records. A node validates that block once and hands the very same bytes to
//! every subscriber: only the small header in front of it differs.
//!
//! Everything else is a [`Control`] frame, or between nodes a [`MeshControl`] frame: a serde type, encoded by bincode
//! behind one module ([`codec`]), and limited in size.
//!
//! This crate is pure: no sockets, no clock, no randomness. Whatever it decodes comes from a stranger, so every
//! decoder takes a slice, never panics, allocates nothing before it has checked the size, and returns
//! [`DecodeError`].
//!
//! All integers are little endian.

#![warn(missing_docs)]

mod bits;
pub mod call;
pub mod codec;
mod control;
mod cursor;
pub mod deliver;
pub mod entry;
mod error;
pub mod forward;
mod frame;
#[cfg(test)]
mod golden;
mod headers;
mod label;
pub mod live;
pub mod mesh;
pub mod pack;
mod peer;
mod procedure;
pub mod publish;
mod refusal;
mod service;
mod trace;

pub use control::{Control, Features, Goodbye, Hello, Policy, PublishResult, RefusedRun, Role, Subscribe, Welcome};
pub use error::DecodeError;
pub use frame::{Frame, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, encode_control};
pub use headers::{HeaderIter, Headers, encode_header};
pub use label::{check_group, check_name, check_realm, check_region};
pub use mesh::{MeshControl, encode_mesh};
pub use peer::{ParsePeerIdError, PeerId};
pub use procedure::{CachePolicy, Procedure, ProviderHealth, Serve};
pub use refusal::{Limit, Refusal};
pub use service::{Announce, LookupOutcome, ServiceInstance, ServiceSummaryRow};
pub use trace::{TRACEPARENT, TraceContext};

/// Version of the protocol this crate speaks, sent in [`Hello`] and [`Welcome`].
pub const PROTOCOL_VERSION: u16 = 1;

/// Largest payload of one message, in bytes, unless configured lower: 1 MiB.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Largest encoded headers of one message, in bytes: 4 KiB.
pub const MAX_HEADERS: usize = 4 << 10;

/// Longest message id, in bytes.
pub const MAX_ID: usize = u8::MAX as usize;

/// Most messages in one run. Bounds what a node does for one frame.
pub const MAX_RUN_MESSAGES: usize = 65_536;

/// Largest block of entries that a sender makes of more than one message, in bytes: 256 KiB. A run of one message may
/// be as large as the message. A receiver refuses only what passes [`FrameLimits::run`].
pub const MAX_RUN_BYTES: usize = 256 << 10;

/// Largest body of a control frame, in bytes: 16 KiB.
pub const MAX_CONTROL: usize = 16 << 10;

/// Longest name of a realm, in bytes.
pub const MAX_REALM: usize = 64;

/// Longest name of a client or node for people, in bytes.
pub const MAX_NAME: usize = 128;

/// Longest name of a queue group, in bytes.
pub const MAX_GROUP: usize = 128;

/// Longest topic, in bytes.
pub const MAX_TOPIC: usize = 512;

/// Longest name of a service, in bytes: it is a topic.
pub const MAX_SERVICE: usize = MAX_TOPIC;

/// Most pairs in the metadata of a service.
pub const MAX_METADATA: usize = 16;

/// Most bytes of keys and values in the metadata of a service together: 4 KiB.
pub const MAX_METADATA_BYTES: usize = 4 << 10;

/// Most headers that tell the calls of a cached procedure apart.
pub const MAX_VARY: usize = 8;

/// Longest text in a [`Refusal`], in bytes. What is longer is cut when it is sent.
pub const MAX_TEXT: usize = 1024;
