//! The workload of `sinew bench`, for other messaging systems.
//!
//! Sender and receiver are separate processes. A payload begins with its send
//! time (`CLOCK_MONOTONIC`, nanoseconds, little endian) and its sequence number
//! (8 bytes each). The receiver says `ready` on stderr once it is subscribed,
//! counts what arrives, and prints one JSON object on stdout.
//!
//! Calls: who serves says `ready`, and answers with what it gets, until it is
//! killed; who calls measures and prints.

mod calls;
mod clock;
mod options;
mod pace;
mod stamp;
mod tally;

pub use calls::CallTally;
pub use clock::now_ns;
pub use options::{CallOptions, PublishOptions, ServeOptions, SubscribeOptions};
pub use pace::Pace;
pub use stamp::{MIN_PAYLOAD, read_stamp, write_stamp};
pub use tally::{Receipts, SILENCE, print_ready, print_sent};
