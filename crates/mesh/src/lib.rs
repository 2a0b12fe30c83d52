//! The other nodes of the realm: membership, interest, links to them, forwarding.

#![warn(missing_docs)]
