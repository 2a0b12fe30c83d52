//! What a membership asks its owner to do, and what it tells him.

use std::sync::Arc;

use bytes::Bytes;
use sinew_wire::PeerId;

use crate::{Key, Record, Value};

/// Something to do, from [`crate::Membership::poll_output`].
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this message. It may be lost.
    Send {
        /// To whom.
        to: PeerId,
        /// At most [`crate::MAX_MESSAGE`] bytes.
        message: Bytes,
    },
    /// Ask this, and give the answer, or that there is none, to [`crate::Membership::handle_response`].
    Request {
        /// Given back with the answer.
        id: u64,
        /// Whom.
        to: PeerId,
        /// At most [`crate::MAX_REQUEST`] bytes.
        body: Bytes,
    },
    /// Something happened.
    Event(Event),
}

/// Something that happened in the realm. Events of one peer come in the order in which they have to be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A node is there. Nothing that it publishes is known yet.
    Up(Arc<Record>),
    /// The record of a node that is there has changed.
    Updated(Arc<Record>),
    /// A node is gone, and with it everything that it published: there is no [`Event::Changed`] for each key.
    Down {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// A node that is there published something else than before under this key; nothing any more without a value.
    Changed {
        /// Who.
        peer: PeerId,
        /// What.
        key: Key,
        /// As it is now.
        value: Option<Value>,
    },
    /// The answer to [`crate::Membership::settle`].
    Settled {
        /// As it was given.
        token: u64,
        /// Members that are up.
        nodes: u32,
        /// Those of them that may not know what the node published before it asked.
        missing: u32,
    },
}

/// Why a member went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// It does not answer, or nobody renews its record.
    Failed,
    /// It said goodbye.
    Left,
    /// It was started anew: [`Event::Up`] follows.
    Restarted,
}
