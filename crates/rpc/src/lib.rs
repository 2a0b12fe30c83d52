//! Remote calls of one node: choice of providers, failover, limits, streams, memory of results.
//!
//! ```text
//!  caller ──► node A: takes the decisions ──link──► node B: guards its providers ──► provider
//!             cache, single flight, choice,         concurrency, queue,
//!             breaker, retry, hedge                 overload
//! ```
//!
//! If A is B the same code runs without a link between. Frames are those of [`sinew_wire::call`], the same on every link; nodes
//! translate the numbers of calls.

#![warn(missing_docs)]

mod accept;
mod alarm;
mod cache;
mod calls;
mod config;
mod deadlines;
mod directory;
mod entry;
mod gather;
mod hand;
mod hedge;
mod instance;
mod link;
mod peers;
mod pending;
mod port;
mod procedure;
mod providing;
mod route;
mod service;
mod settle;
mod single;
mod spill;
mod stream;
mod table;
mod view;

pub use calls::Calls;
pub use config::{CacheConfig, CallsConfig, HedgeConfig};
pub use directory::{Directory, Looking};
pub use port::Port;
pub use sinew_balance::{BalanceConfig, BreakerConfig, BreakerState, InstanceView, RetryConfig};
pub use sinew_discovery::Owner;
pub use view::{CallsView, ProcedureView, ProviderView};
