//! Leases of services: expiry, quotas, without I/O.
//!
//! Who offers a service announces its name, and holds a **lease**: it ends when its time to live passes without a
//! renewal, when it is withdrawn, or when the session that holds it is lost. [`Registry`] keeps the leases of one node;
//! [`Snapshot`] is what it looked like at one moment, for readers that wait for nobody.
//!
//! - Everything is bounded by [`Limits`]: leases of the node and of one publisher, bytes of metadata, the time to live.
//!   What passes a limit is refused by an [`AnnounceError`] that names it.
//! - A lookup by name takes constant time; so does a change, but for the queue of deadlines, which is a tree.
//! - [`ChangeSet`] collects what others have to be told, once per name, however often it changes meanwhile.
//!
//! This crate is pure: time comes in as an argument, the next deadline goes out as a value.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use sinew_registry::{Limits, Offer, Owner, Registry};
//! use sinew_wire::PeerId;
//!
//! let now = Instant::now();
//! let mut registry = Registry::new(Limits::default());
//! let owner = Owner { session: 1, peer: PeerId::from_public_key([7; 32]), instance: 42 };
//! let (ttl, metadata) = (Duration::from_secs(30), Vec::new());
//! let offer = Offer { lease: 1, name: "resize.image", ttl, metadata, procedure: None };
//! registry.announce(owner, offer, now)?;
//!
//! let snapshot = registry.snapshot();
//! let instances = snapshot.get("resize.image").map_or(0, |service| service.live(now).count());
//! assert_eq!(instances, 1);
//!
//! registry.expire(now + Duration::from_secs(30), usize::MAX);
//! assert_eq!(registry.instances("resize.image"), 0);
//! # Ok::<(), sinew_registry::AnnounceError>(())
//! ```

#![warn(missing_docs)]

mod changes;
mod error;
mod lease;
mod limits;
mod registry;
mod service;
mod snapshot;

pub use changes::ChangeSet;
pub use error::{AnnounceError, NoSuchLease};
pub use lease::{Announced, Ended, Instance, LeaseId, Metadata, Offer, Owner};
pub use limits::{Limits, check_name};
pub use registry::Registry;
pub use service::Service;
pub use snapshot::Snapshot;
