//! What a node shows of itself: counters, health, and the admin HTTP server that serves both.
//!
//! Services report here; nothing here asks a service. Hot paths hold resolved [`Counter`]s from [`Metrics`], so that
//! recording is one atomic addition.

#![warn(missing_docs)]

mod metrics;
mod reason;

pub use metrics::{CacheCounters, Handles, Histogram, Metrics, Registry, encode};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use reason::{CloseReason, DropReason};
