//! Bounded queues with overflow policies, credit windows and a shared memory budget.
//!
//! The parts of flow control, without I/O: no clock, no tasks, no waiting. An operation that has no room says so in its
//! result, and the caller decides who waits or who is told.

#![warn(missing_docs)]

mod budget;
mod credit;
mod queue;

pub use budget::{Budget, Reservation};
pub use credit::{Overgranted, Overrun, ReceiveWindow, SendWindow};
pub use queue::{Batch, DropReason, Limits, Policy, Queue};
