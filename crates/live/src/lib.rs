//! What a realm does, as one picture: routing events and states of nodes in, frames for viewers out.
//!
//! Each node puts what it routes into a [`Ring`] while somebody looks, and sends it as batches ([`Batcher`]). A node with
//! viewers puts the batches and states of all nodes together in one [`Aggregate`], and shows its viewers a [`Frame`] each
//! half second.
//!
//! This crate is pure: time comes in as an argument. Everything in it is bounded, whatever the nodes send.

#![warn(missing_docs)]

mod aggregate;
mod batcher;
pub mod frame;
mod nodes;
mod ring;
mod sample;
mod seen;
mod sketch;
mod sources;
mod windows;

pub use aggregate::{Aggregate, Load, Local};
pub use batcher::{Batcher, Routed};
pub use frame::Frame;
pub use nodes::MAX_NODES;
pub use ring::{Ring, Taken};
pub use seen::{MAX_RANGES, REMEMBERED};
pub use sketch::{Packed, Sketch};
pub use windows::MAX_KEYS;
