//! A run of messages from a node to one subscription of a client.
//!
//! ```text
//! flags u8 | reserved u8 = 0 | topic_len u16 | messages u32 | first_seq u64 | subscription u32 | entries_len u32 |
//! ack u64 | instance u64 | publisher [u8; 32] | topic | entries, or entries packed by lz4
//! ```

use bytes::{BufMut, BytesMut};

use crate::bits::flags;
use crate::cursor::Cursor;
use crate::{DecodeError, FrameHeader, FrameKind, HEADER_LEN, PeerId};

/// Bytes of the fixed part of the body.
pub const FIXED_LEN: usize = 72;

flags! {
    /// Properties of a delivered run: bits of the first byte.
    pub struct Flags {
        /// The entries are packed by lz4: [`crate::pack`].
        PACKED = 0,
        /// A retained value, sent because the subscription asked for it.
        RETAINED = 1,
    }
}

/// Everything in a deliver frame but its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverHeader<'a> {
    /// Properties.
    pub flags: Flags,
    /// Topic.
    pub topic: &'a str,
    /// How many messages the entries hold.
    pub messages: u32,
    /// Sequence number of the first message; the others follow.
    pub first_seq: u64,
    /// The client's number of the subscription.
    pub subscription: u32,
    /// Unpacked bytes of the entries.
    pub entries_len: u32,
    /// Token to confirm with [`crate::Control::DeliverAck`], 0 when none is wanted.
    pub ack: u64,
    /// The publisher's instance: [`crate::Hello::instance`].
    pub instance: u64,
    /// Who published.
    pub publisher: PeerId,
}

impl<'a> DeliverHeader<'a> {
    /// Splits a body into header and entries (packed, if the flag says so), which still have to be validated.
    pub fn decode(body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut cursor = Cursor::new(body, "deliver header");
        let flags = Flags::decode(cursor.u8()?, "deliver flags")?;
        if cursor.u8()? != 0 {
            return Err(DecodeError::invalid("deliver flags", "are reserved"));
        }
        let topic_len = cursor.u16()?;
        let messages = cursor.u32()?;
        let first_seq = cursor.u64()?;
        let subscription = cursor.u32()?;
        let entries_len = cursor.u32()?;
        let ack = cursor.u64()?;
        let instance = cursor.u64()?;
        let publisher = PeerId::from_public_key(cursor.array()?);
        let topic = cursor.str(usize::from(topic_len), "topic")?;
        let entries = cursor.rest();
        if !flags.contains(Flags::PACKED) && entries.len() != entries_len as usize {
            return Err(DecodeError::invalid("entries length", "is not what the frame holds"));
        }
        if first_seq.checked_add(u64::from(messages)).is_none() {
            return Err(DecodeError::invalid("sequence number", "overflows"));
        }
        let header = Self { flags, topic, messages, first_seq, subscription, entries_len, ack, instance, publisher };
        Ok((header, entries))
    }

    /// Appends frame header and run header to `out`, for `body_entries` bytes of (maybe packed) entries that follow.
    pub fn encode(&self, body_entries: usize, out: &mut BytesMut) {
        debug_assert!(u16::try_from(self.topic.len()).is_ok(), "a topic is bounded far below 64 KiB");
        let len = FIXED_LEN + self.topic.len() + body_entries;
        out.reserve(HEADER_LEN + FIXED_LEN + self.topic.len());
        FrameHeader { kind: FrameKind::Deliver, len }.encode(out);
        out.put_u8(self.flags.0);
        out.put_u8(0);
        out.put_u16_le(self.topic.len() as u16);
        out.put_u32_le(self.messages);
        out.put_u64_le(self.first_seq);
        out.put_u32_le(self.subscription);
        out.put_u32_le(self.entries_len);
        out.put_u64_le(self.ack);
        out.put_u64_le(self.instance);
        out.put_slice(self.publisher.public_key());
        out.put_slice(self.topic.as_bytes());
    }
}
