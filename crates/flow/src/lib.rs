//! Bounded queues with overflow policies, credit windows and a shared memory budget.
//!
//! The parts of flow control, without I/O: no clock, no tasks, no waiting. An operation that has no room says so in its
//! result, and the caller decides who waits or who is told.
//!
//! - [`Queue`] holds [`Batch`]es within [`Limits`]; its [`Policy`] says what happens beyond them.
//! - [`Overflow`] holds work that is waited for: some in order, more by priority, and hands back what it has to give up.
//! - [`SendWindow`] and [`ReceiveWindow`] are the two ends of one credit window.
//! - [`Budget`] bounds the memory of all queues together.

#![warn(missing_docs)]

mod batch;
mod budget;
mod credit;
mod index;
mod overflow;
mod policy;
mod queue;

pub use batch::Batch;
pub use budget::{Budget, Reservation};
pub use credit::{Overgranted, Overrun, ReceiveWindow, SendWindow};
pub use overflow::Overflow;
pub use policy::{DropReason, Limits, Policy};
pub use queue::Queue;
