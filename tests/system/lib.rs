//! What the tests that need root share: networks made of namespaces, and the cluster of containers.

mod containers;
mod namespaces;

pub use containers::Compose;
pub use namespaces::{Nat, Network};
