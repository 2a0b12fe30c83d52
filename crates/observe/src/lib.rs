//! What a node shows of itself: counters, health, and the admin HTTP server that serves both.
//!
//! Services report here; nothing here asks a service. Hot paths hold resolved [`Counter`]s from [`Metrics`], owner
//! tasks hold their [`Health`] checks, and [`Admin`] reads snapshots only, so that looking at a node locks nobody.

#![warn(missing_docs)]

mod access;
mod admin;
mod connection;
mod dashboard;
mod events;
mod health;
mod metrics;
mod outlet;
mod pulse;
mod reason;
mod spans;
mod viewers;

pub use admin::{Admin, AdminConfig, View, Views};
pub use events::{Events, Recorded, RoutingEvent, wall_clock_ms};
pub use health::{Check, CheckState, Failing, Health, Heartbeat, Report, Scope, Turn};
pub use metrics::{
    CacheCounters, Fill, Handles, Histogram, Metrics, Queues, Reading, Readings, Registry, encode, resident_bytes,
};
pub use outlet::{Outlet, Reported};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
#[doc(hidden)]
pub use pulse::Jam;
pub use pulse::{Beats, Pulse};
pub use reason::{CloseReason, DropReason};
pub use spans::{Span, SpanId, SpanKind, Spans, new_span_id, publish_span_id};
pub use viewers::{ViewerStats, Viewers};
