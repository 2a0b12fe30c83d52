//! Finding services: local leases, the directory of the realm, the DHT.
//!
//! ```text
//!  gateway ──announce, renew, withdraw──► registry ──► LocalChanges ──► mesh ──► other nodes' directories
//!     │                                      │    └──► provider records in the DHT
//!     │                                      └─snapshot──► answers to other nodes' questions
//!     └──lookup──► snapshot, then cache, then: who has it? (directory, else DHT) ──question──► that node
//! ```
//!
//! Other nodes know names and numbers of all services, and the details of none: those are asked from the node that has them when
//! somebody looks, and cached. The overlay has proven who answers; a node is believed what it says of its own clients and
//! nothing else, so details carry no signature.
//!
//! A service that was announced with a [`Procedure`](sinew_wire::Procedure) can be called: [`Providers`] is who does so by one name, as
//! calls want it, kept per name and fetched anew while it is used.
//!
//! **What is bounded**: leases, by [`sinew_registry::Limits`]; the directory; the cache, by names and time; look-ups under way;
//! queries and publications of the DHT; names in the DHT, at most [`DiscoveryConfig::dht_names`] of a node. The DHT is for whoever
//! does not know the directory of a node yet, or can't hold it: what is left out of the DHT ([`Stats::dht_left_out`]) is still
//! found by all that do. Watchers, and what waits for one; questions of a node in a second.
//!
//! Locks are held for moments and never over an await; one for the state, and then one for a watcher. A look-up of what is known
//! takes none.

#![warn(missing_docs)]

mod answer;
mod cache;
mod config;
mod dht;
mod directory;
mod discovery;
mod keeper;
mod local;
mod lookup;
mod protocol;
mod providers;
mod refusal;
mod shared;
mod watch;

pub use config::DiscoveryConfig;
pub use discovery::{AnnounceSpec, Discovery, Grant, Stats};
pub use local::LocalChanges;
pub use providers::{Provider, Providers, ProvidersError};
pub use sinew_registry::{Limits, Owner};
pub use watch::{Watch, Watched};
