//! Plain streams of two protocols, messages and links, on a connection that the caller chooses.
//!
//! It does what `libp2p-stream` does, with three differences that matter here: the caller says which connection (a direct one
//! where a relayed one is open too), an inbound stream is never dropped because two came at once, and nothing is kept of
//! connections that are closed. It never dials.

mod behaviour;
mod handler;

pub(crate) use behaviour::{Behaviour, Event};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Link,
}

/// Why a stream was not opened.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The peer does not speak the protocol.
    Unsupported,
    /// The connection broke, or the peer did not answer in time.
    Io(std::io::Error),
    /// Too many are being opened on this connection.
    Busy,
}
