//! Authenticated, framed links over QUIC, TLS and Unix sockets, and within a process.
//!
//! A [`Link`] is one ordered byte stream in each direction between two peers that have proven their [`Identity`] to each
//! other. It carries the frames of [`sinew_wire`]. Which transport is below shows in the [`Address`] only:
//!
//! | address | transport | encrypted | who the peer is |
//! |---|---|---|---|
//! | `quic://host:port` | QUIC over UDP, one bidirectional stream | yes | libp2p certificate, both sides |
//! | `tls://host:port` | TLS 1.3 over TCP | yes | libp2p certificate, both sides |
//! | `unix:///path` | Unix stream socket | no: it does not leave the host | signed challenge, both sides |
//! | `memory://name` | memory of this process | no: it does not leave the process | the same program |
//! | none: [`Link::over`] | any stream, such as one of the overlay | as the stream is | whom its maker has proven |
//!
//! A [`Listener`] hands out [`Incoming`] attempts, and a [`Dialer`] makes links. The two halves of a link are made for
//! one task each: a [`LinkReader`] lends frames out of one reusable buffer, and a [`LinkWriter`] takes batches of
//! chunks and hands them to the transport with as few calls as possible.
//!
//! The first word on a link is the dialer's: over QUIC the listener learns of the stream only when something is written
//! to it, and [`Incoming::establish`] waits for that.
//!
//! A [`Lane`] holds what waits to be written of remote calls.
//!
//! [`pool`] keeps the books of links that are made on demand: how many, which goes first, who is dialled again when.
//!
//! Types of quinn, rustls and libp2p do not leave this crate, except the key pair that the overlay shares. Why its defaults are what they are, with the measurements,
//! stands in `docs/decisions/0003-quic-transport.md`.

#![warn(missing_docs)]

mod address;
mod buffer;
mod config;
mod connection_id;
mod dialer;
mod error;
mod identity;
mod inline;
mod lane;
mod link;
mod listener;
mod memory;
#[cfg(all(test, unix))]
mod narrow;
mod over;
pub mod pool;
mod probe;
mod quic;
#[cfg(unix)]
mod quic_socket;
mod race;
mod reader;
mod socket;
mod tcp;
mod tls;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_auth;
mod verifier;
#[cfg(unix)]
mod writability;
mod writer;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use config::LinkConfig;
pub use dialer::Dialer;
pub use error::{AcceptError, BindError, DialError, LinkError};
pub use identity::{Identity, IdentityError};
pub use lane::{Body, Lane, LaneError};
pub use link::{Link, Transport};
pub use listener::{Incoming, Listener};
pub use probe::Probe;
pub use reader::{Fill, LinkReader};
pub use writer::LinkWriter;
