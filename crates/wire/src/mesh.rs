//! What nodes tell each other beside runs of messages.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::label::{check_group, check_topic};
use crate::{DecodeError, Features, FrameKind, PeerId, codec, forward, frame};

/// Everything on a link between two nodes that is not a run of messages, after the [`crate::Hello`].
///
/// [`crate::Control`] frames that mean the same between nodes are used as they are: `Hello`, `Goodbye`, `Ping` and
/// `Pong`. Variants are encoded by their position: new ones go to the end, and golden tests hold the bytes.
///
/// Frames that must arrive are counted: forward frames, and [`MeshControl::ForwardResult`], [`MeshControl::Hold`],
/// [`MeshControl::Release`] and [`MeshControl::Missed`]. Each side knows how many it took from the other (`received`),
/// over all links there were between the two, from a number that it chose when it first met that node's epoch. That is
/// what both tell each other on a new link, so that what a broken one lost is sent again and nothing twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MeshControl {
    /// Answer to a [`crate::Hello`] of role `Node`, whose instance is the dialling node's epoch: the link is open.
    Accepted {
        /// Epoch of the accepting node.
        instance: u64,
        /// Counted frames it took from the dialling node's epoch so far.
        received: u64,
        /// Entry bytes that may be on their way to it without a [`MeshControl::ForwardAck`].
        window: u64,
        /// What both can do.
        features: Features,
    },
    /// The dialling node's answer to that. From here on both may send forward frames.
    Resume {
        /// Counted frames it took from the accepting node's epoch so far.
        received: u64,
        /// Entry bytes that may be on their way to it without a [`MeshControl::ForwardAck`].
        window: u64,
    },
    /// So many counted frames of your epoch were taken. Frees the sender's window, and the memory of what it kept to send
    /// again.
    ForwardAck {
        /// The count so far.
        received: u64,
    },
    /// What became of a forwarded run that asked for a result. Counts are of deliveries, as in [`crate::PublishResult`].
    ForwardResult {
        /// From [`forward::ForwardHeader::ack`].
        token: u64,
        /// Deliveries that were due on the receiving node.
        matched: u64,
        /// Deliveries confirmed (level acked), or queued for their subscriber (report).
        delivered: u64,
        /// Deliveries known not to have happened.
        dropped: u64,
        /// Deliveries of which nothing is known.
        unknown: u64,
    },
    /// Send no more runs of this publisher until [`MeshControl::Release`]: what it sent waits for a subscriber, and
    /// would soon be in the way of the others. What is on its way is taken.
    Hold {
        /// The publisher.
        publisher: PeerId,
        /// Its instance.
        instance: u64,
    },
    /// Runs of this publisher are welcome again.
    Release {
        /// The publisher.
        publisher: PeerId,
        /// Its instance.
        instance: u64,
    },
    /// So many messages for you were dropped before they were sent: tell your subscribers.
    Missed {
        /// Their topic; empty when there were more topics than the sender could keep apart.
        topic: String,
        /// How many, for each of the subscriptions and groups below.
        messages: u64,
        /// They were for the subscriptions outside of queue groups.
        direct: bool,
        /// They were for these queue groups: at most [`forward::MAX_GROUPS`] names.
        groups: Vec<String>,
    },
}

impl MeshControl {
    /// Decodes the body of a mesh frame. The body's size was limited by [`crate::FrameHeader::decode`].
    ///
    /// Checks [`MeshControl::validate`] too, so that nobody forgets it.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let control: Self = codec::decode_control(body)?;
        control.validate()?;
        Ok(control)
    }

    /// Whether the receiver will take its texts. That a topic is a valid name is left to whoever uses it.
    pub fn validate(&self) -> Result<(), DecodeError> {
        let Self::Missed { topic, groups, .. } = self else { return Ok(()) };
        if !topic.is_empty() {
            check_topic(topic)?;
        }
        if groups.len() > forward::MAX_GROUPS {
            let (actual, allowed) = (groups.len(), forward::MAX_GROUPS);
            return Err(DecodeError::TooLong { field: "queue groups", actual, allowed });
        }
        groups.iter().try_for_each(|group| check_group(group))
    }
}

/// Appends a whole mesh frame to `out`. The sender has checked [`MeshControl::validate`].
pub fn encode_mesh(control: &MeshControl, out: &mut BytesMut) {
    frame::encode_body(FrameKind::Mesh, control, out);
}
