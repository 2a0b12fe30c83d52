//! A run of messages from the publisher's node to another node of the realm.
//!
//! ```text
//! flags u8 | reserved u8 = 0 | topic_len u16 | messages u32 | first_seq u64 | entries_len u32 | ttl_ms u32 | ack u64 |
//! deadline_ms u32 | instance u64 | publisher [u8; 32] | groups u8 | topic | (len u8, name) for each group |
//! entries, or entries packed by lz4
//! ```
//!
//! The receiving node hands it to its own subscriptions and never forwards it again: to those outside of queue groups if
//! [`Flags::DIRECT`] is set, and to one member of each group named.

use bytes::{BufMut, BytesMut};

use crate::bits::flags;
use crate::cursor::Cursor;
use crate::{DecodeError, FrameHeader, FrameKind, HEADER_LEN, MAX_GROUP, PeerId, check_group};

/// Bytes of the fixed part of the body.
pub const FIXED_LEN: usize = 77;

/// Most queue groups that one frame names. A run for more of them goes in several frames.
pub const MAX_GROUPS: usize = 32;

/// Most bytes that the names of the groups take.
pub(crate) const MAX_GROUPS_LEN: usize = MAX_GROUPS * (1 + MAX_GROUP);

flags! {
    /// Properties of a forwarded run: bits of the first byte.
    pub struct Flags {
        /// It is for the subscriptions outside of queue groups.
        DIRECT = 0,
        /// Every subscriber confirms, and the sender gets a [`crate::MeshControl::ForwardResult`] when all have.
        ACKED = 1,
        /// The sender wants a [`crate::MeshControl::ForwardResult`] once it is known for how many it was queued.
        REPORT = 2,
        /// The entries are packed by lz4: [`crate::pack`].
        PACKED = 3,
    }
}

/// Names of queue groups, encoded: [`GroupList`] owns them, a frame lends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups<'a> {
    count: u8,
    names: &'a [u8],
}

impl<'a> Groups<'a> {
    /// None.
    pub const NONE: Self = Self { count: 0, names: &[] };

    /// How many.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names, in the order of the frame.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.names;
        std::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            // Checked where it was decoded or made.
            std::str::from_utf8(name).ok()
        })
    }

    /// Reads and checks `count` names at the front of `rest`; returns what comes after them.
    fn decode(count: u8, rest: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        if usize::from(count) > MAX_GROUPS {
            return Err(DecodeError::TooLong { field: "queue groups", actual: count.into(), allowed: MAX_GROUPS });
        }
        let mut cursor = Cursor::new(rest, "queue group");
        for _ in 0..count {
            let len = cursor.u8()?;
            check_group(cursor.str(len.into(), "queue group")?)?;
        }
        let after = cursor.rest();
        let names = &rest[..rest.len() - after.len()];
        Ok((Self { count, names }, after))
    }
}

/// Names of at most [`MAX_GROUPS`] queue groups, encoded once for many frames.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GroupList {
    count: u8,
    names: Box<[u8]>,
}

impl GroupList {
    /// Encodes the names. Fails on more than [`MAX_GROUPS`], and on a name that fails [`check_group`].
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, DecodeError> {
        let mut count = 0;
        let mut encoded = Vec::new();
        for name in names {
            check_group(name)?;
            if count == MAX_GROUPS {
                return Err(DecodeError::TooLong { field: "queue groups", actual: count + 1, allowed: MAX_GROUPS });
            }
            count += 1;
            encoded.push(name.len() as u8);
            encoded.extend_from_slice(name.as_bytes());
        }
        Ok(Self { count: count as u8, names: encoded.into() })
    }

    /// For a header.
    pub const fn as_groups(&self) -> Groups<'_> {
        Groups { count: self.count, names: &self.names }
    }
}

/// Everything in a forward frame but its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardHeader<'a> {
    /// Properties.
    pub flags: Flags,
    /// Topic, not yet validated as a name.
    pub topic: &'a str,
    /// How many messages the entries hold.
    pub messages: u32,
    /// Sequence number of the first message; the others follow.
    pub first_seq: u64,
    /// Unpacked bytes of the entries.
    pub entries_len: u32,
    /// Time to live that is left, in milliseconds; 0 for none.
    pub ttl_ms: u32,
    /// Token of the [`crate::MeshControl::ForwardResult`], with [`Flags::ACKED`] or [`Flags::REPORT`]; 0 otherwise.
    pub ack: u64,
    /// With [`Flags::ACKED`]: how long the publisher still waits for confirmations, in milliseconds.
    pub deadline_ms: u32,
    /// The publisher's instance: [`crate::Hello::instance`].
    pub instance: u64,
    /// Who published.
    pub publisher: PeerId,
    /// The queue groups that are to get it.
    pub groups: Groups<'a>,
}

impl<'a> ForwardHeader<'a> {
    /// Splits a body into header and entries (packed, if the flag says so).
    ///
    /// The entries still have to pass [`crate::entry::validate`]; that their count is [`ForwardHeader::messages`] is for
    /// the caller to compare.
    pub fn decode(body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut cursor = Cursor::new(body, "forward header");
        let flags = Flags::decode(cursor.u8()?, "forward flags")?;
        if cursor.u8()? != 0 {
            return Err(DecodeError::invalid("forward flags", "are reserved"));
        }
        let topic_len = cursor.u16()?;
        let messages = cursor.u32()?;
        let first_seq = cursor.u64()?;
        let entries_len = cursor.u32()?;
        let ttl_ms = cursor.u32()?;
        let ack = cursor.u64()?;
        let deadline_ms = cursor.u32()?;
        let instance = cursor.u64()?;
        let publisher = PeerId::from_public_key(cursor.array()?);
        let count = cursor.u8()?;
        let topic = cursor.str(usize::from(topic_len), "topic")?;
        let (groups, entries) = Groups::decode(count, cursor.rest())?;
        if !flags.contains(Flags::DIRECT) && groups.is_empty() {
            return Err(DecodeError::invalid("forward flags", "name nobody"));
        }
        let wants_result = flags.contains(Flags::ACKED) || flags.contains(Flags::REPORT);
        if wants_result != (ack != 0) {
            return Err(DecodeError::invalid("forward token", "does not fit the flags"));
        }
        if !flags.contains(Flags::PACKED) && entries.len() != entries_len as usize {
            return Err(DecodeError::invalid("entries length", "is not what the frame holds"));
        }
        if first_seq.checked_add(u64::from(messages)).is_none() {
            return Err(DecodeError::invalid("sequence number", "overflows"));
        }
        let header = Self {
            flags,
            topic,
            messages,
            first_seq,
            entries_len,
            ttl_ms,
            ack,
            deadline_ms,
            instance,
            publisher,
            groups,
        };
        Ok((header, entries))
    }

    /// Appends frame header and run header to `out`, for `body_entries` bytes of (maybe packed) entries that follow.
    pub fn encode(&self, body_entries: usize, out: &mut BytesMut) {
        debug_assert!(u16::try_from(self.topic.len()).is_ok(), "a topic is bounded far below 64 KiB");
        let head = FIXED_LEN + self.topic.len() + self.groups.names.len();
        out.reserve(HEADER_LEN + head);
        FrameHeader { kind: FrameKind::Forward, len: head + body_entries }.encode(out);
        out.put_u8(self.flags.0);
        out.put_u8(0);
        out.put_u16_le(self.topic.len() as u16);
        out.put_u32_le(self.messages);
        out.put_u64_le(self.first_seq);
        out.put_u32_le(self.entries_len);
        out.put_u32_le(self.ttl_ms);
        out.put_u64_le(self.ack);
        out.put_u32_le(self.deadline_ms);
        out.put_u64_le(self.instance);
        out.put_slice(self.publisher.public_key());
        out.put_u8(self.groups.count);
        out.put_slice(self.topic.as_bytes());
        out.put_slice(self.groups.names);
    }
}
