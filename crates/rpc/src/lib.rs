//! Remote calls of one node: choice of providers, failover, limits, streams, memory of results.
//!
//! ```text
//!  caller ──► node A: takes the decisions ──link──► node B: guards its providers ──► provider
//!             cache, single flight, choice,         concurrency, queue,
//!             breaker, retry, hedge                 overload
//! ```
//!
//! If A is B the same code runs without a link between. Frames are those of [`sinew_wire::call`], the same on every
//! link; nodes translate the numbers of calls. A [`Port`] is one link's part in it: the task that reads the link hands
//! it each frame, and all work is done there; what has to be written goes to the [`Lane`](sinew_link::Lane) of the link
//! it is for. One task sees to what is due: deadlines, and second providers.
//!
//! ```text
//!  Port ──request──► accept ──► route ──► hand ──► Lane of a provider, or of its node
//!                       │         ▲ │       ▲
//!                       │   retry │ └─queue─┘ (instance)
//!  Port ──reply──────► settle ────┘──► Lane of the caller
//!  Port ──data, credit──► stream ──► (spill, while there is no room) ──► Lane of the other side
//! ```
//!
//! **One entry per call** and node, in a table of stripes. It says where the call is: being routed, waiting for its
//! providers, for a link, in a queue, or at hand somewhere. Whoever takes the entry out of the table ends the call: so
//! each ends once. An attempt is numbered, and what comes of an earlier one finds another number. Hedges, and the parts
//! of a call that asks all, are calls of their own whose answer goes to the one they were made for.
//!
//! **What an end says is true**: *not sent*, *overloaded* and *no provider* are certain not to have been executed, by
//! any attempt. What may have been is *unknown*, and was tried again only if that does no harm.
//!
//! **What is bounded**: calls of a client and of the node; deadlines; calls that wait for a provider, and for a link to
//! a node; windows, and with them what is held of a stream; attempts, and retries by a budget; results by bytes and
//! time; procedures and their providers that are remembered. Requests, data that wait, and gathered answers are charged
//! to the memory budget of the node.
//!
//! Locks are held for moments and never over an await, and nearly always one at a time. Where there are two, their
//! order is: calls of a link, stripe of the table, what waits for a link, lane.

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
mod span;
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
