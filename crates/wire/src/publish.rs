//! A run of messages from a client to its node.
//!
//! ```text
//! flags u8 | reserved u8 = 0 | topic_len u16 | messages u32 | first_seq u64 | ttl_ms u32 | deadline_ms u32 |
//! entries_len u32 | topic | entries, or entries packed by lz4
//! ```
//!
//! `entries_len` is the unpacked size of the entries.

use bytes::{BufMut, BytesMut};

use crate::bits::flags;
use crate::cursor::Cursor;
use crate::{DecodeError, FrameHeader, FrameKind, HEADER_LEN};

/// Bytes of the fixed part of the body.
pub const FIXED_LEN: usize = 28;

flags! {
    /// Options of a run: bits of the first byte.
    pub struct Flags {
        /// Every subscriber confirms, and the publisher is told.
        ACKED = 0,
        /// The publisher wants a [`crate::PublishResult`] at once.
        REPORT = 1,
        /// Keep the last message as the topic's retained value.
        RETAIN = 2,
        /// Refuse the run when nobody listens.
        REQUIRE_SUBSCRIBERS = 3,
        /// The entries are packed by lz4: [`crate::pack`].
        PACKED = 4,
    }
}

/// Everything in a publish frame but its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishHeader<'a> {
    /// Options.
    pub flags: Flags,
    /// Topic, not yet validated as a name.
    pub topic: &'a str,
    /// How many messages the entries hold.
    pub messages: u32,
    /// Sequence number of the first message; the others follow.
    pub first_seq: u64,
    /// Time to live from arrival at the node, in milliseconds; 0 for none.
    pub ttl_ms: u32,
    /// With [`Flags::ACKED`]: how long to wait for confirmations, in milliseconds.
    pub deadline_ms: u32,
    /// Unpacked bytes of the entries.
    pub entries_len: u32,
}

impl<'a> PublishHeader<'a> {
    /// Splits a body into header and entries (packed, if the flag says so).
    ///
    /// The entries still have to pass [`crate::entry::validate`]; that their count is [`PublishHeader::messages`] is for
    /// the caller to compare.
    pub fn decode(body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut cursor = Cursor::new(body, "publish header");
        let flags = Flags::decode(cursor.u8()?, "publish flags")?;
        if cursor.u8()? != 0 {
            return Err(DecodeError::invalid("publish flags", "are reserved"));
        }
        let topic_len = cursor.u16()?;
        let messages = cursor.u32()?;
        let first_seq = cursor.u64()?;
        let ttl_ms = cursor.u32()?;
        let deadline_ms = cursor.u32()?;
        let entries_len = cursor.u32()?;
        let topic = cursor.str(usize::from(topic_len), "topic")?;
        let entries = cursor.rest();
        if !flags.contains(Flags::PACKED) && entries.len() != entries_len as usize {
            return Err(DecodeError::invalid("entries length", "is not what the frame holds"));
        }
        if first_seq.checked_add(u64::from(messages)).is_none() {
            return Err(DecodeError::invalid("sequence number", "overflows"));
        }
        Ok((Self { flags, topic, messages, first_seq, ttl_ms, deadline_ms, entries_len }, entries))
    }

    /// Appends frame header and run header to `out`, for `body_entries` bytes of (maybe packed) entries that follow.
    pub fn encode(&self, body_entries: usize, out: &mut BytesMut) {
        debug_assert!(u16::try_from(self.topic.len()).is_ok(), "a topic is bounded far below 64 KiB");
        let len = FIXED_LEN + self.topic.len() + body_entries;
        out.reserve(HEADER_LEN + FIXED_LEN + self.topic.len());
        FrameHeader { kind: FrameKind::Publish, len }.encode(out);
        out.put_u8(self.flags.0);
        out.put_u8(0);
        out.put_u16_le(self.topic.len() as u16);
        out.put_u32_le(self.messages);
        out.put_u64_le(self.first_seq);
        out.put_u32_le(self.ttl_ms);
        out.put_u32_le(self.deadline_ms);
        out.put_u32_le(self.entries_len);
        out.put_slice(self.topic.as_bytes());
    }
}
