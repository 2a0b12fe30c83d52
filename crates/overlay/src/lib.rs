//! The libp2p swarm of a node, in one task.

#![warn(missing_docs)]
