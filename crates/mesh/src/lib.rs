//! The other nodes of the realm: who is there, what they want, links to them, forwarding.
//!
//! ```text
//!            overlay ◄──messages, requests──► membership task ──up, interest, down──► pubsub, discovery
//!                                                    │
//!   gateway ──links of nodes──┐                      ▼ news
//!   overlay ──links of nodes──┤                  pool task ──dial on demand, LRU, idle, one link per node
//!                             ▼                      │
//!             session (reader + writer) of each link ◄
//! ```
//!
//! * The **membership task** owns [`sinew_membership::Membership`]. It carries its messages over the overlay, publishes what is
//!   subscribed and announced here, and tells pub/sub and discovery what the others publish.
//! * The **pool task** decides which links there are: a node that has something queued and no link is dialled, at its own
//!   addresses first and over the overlay where those don't work; idle links are closed, the least recently used one makes room;
//!   of two links between the same nodes one is left; one over a relay is replaced as soon as there is a better path.
//! * A **session** is one link: handshake, frames both ways, signs of life. What was on its way when a link broke goes over the
//!   next one: nothing is lost or repeated by a change of links.
//!
//! `docs/paths/peer-links.md` follows a link through its life.

#![warn(missing_docs)]

mod accept;
mod config;
mod context;
mod counters;
mod driver;
mod handshake;
mod info;
mod mesh;
mod node;
mod nodes;
mod pool;
mod session;
mod time;
pub mod writer;

pub use accept::LinkFacts;
pub use config::MeshConfig;
pub use info::{LinkInfo, LostPeer, Path, PeerInfo, PoolInfo, Settled};
pub use mesh::{Mesh, MeshParts};
pub use sinew_membership::{NodeInfo, Signer};
