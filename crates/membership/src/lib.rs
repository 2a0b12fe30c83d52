//! Who is in the realm and what they want: records, interest, epidemic, as one state machine without I/O.
//!
//! [`Membership`] is one node's view of its realm. It learns who is there, tells who went, and keeps a copy of what
//! every member **publishes**: a map from [`Key`] to [`Value`] that tells what somebody at that node listens to or
//! offers. Whoever owns it carries its [`Output`] to the others, gives it what they send, and wakes it at
//! [`Membership::next_deadline`]:
//!
//! - *Who is there* is found out by SWIM: each node probes another one every half second, and asks others to try before
//!   it suspects. Who is suspected has [`MembershipConfig::suspicion`] to contradict.
//! - *Records* are signed by their nodes, and spread as an epidemic: who hears a new one tells ceil(log2 N) + 1 others.
//!   Small changes of what is published travel inside.
//! - *What is published* has a version, which rises by one with each change. Who hears of a version that it does not
//!   have asks the origin for what changed since, in pages.
//! - *What was lost* is repaired: messages carry a hash of all that is known, and who sees another one compares.
//!
//! Every bound is in [`MembershipConfig`]; what passes one is refused with a [`Refused`] that names the reason, and
//! counted. This crate is pure: time comes in as an argument, chance from the seed. `docs/simulation.md` tells how
//! that is used to test it.

#![warn(missing_docs)]

mod config;
mod counters;
mod detector;
mod error;
mod membership;
#[cfg(test)]
mod model;
mod output;
mod packet;
mod published;
mod record;
mod replica;
mod state;
mod wire;

pub use config::{Ed25519, MembershipConfig, Signer, Verifier, VerifierHandle};
pub use counters::Counters;
pub use error::{Refused, TooMany};
pub use membership::{Member, Membership};
pub use output::{DownReason, Event, Output};
pub use record::{MAX_ADDRESS, MAX_ADDRESSES, MAX_LIFETIME, MAX_RECORD, MAX_REGION, NodeInfo, Record};
pub use state::{Interest, Key, MAX_GROUPS, ServiceSummary, Value};
pub use wire::{MAX_MESSAGE, MAX_REQUEST};
