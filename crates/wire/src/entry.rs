//! The messages of a run: one record after the other, the same bytes from publisher to subscriber.
//!
//! ```text
//! payload_len u32 | headers_len u16 | id_len u8 | reserved u8 = 0 | id | headers | payload
//! ```

use std::iter::FusedIterator;

use bytes::{BufMut, BytesMut};

use crate::{DecodeError, Headers, Limit, MAX_RUN_MESSAGES};

/// Bytes in front of the variable part of an entry.
pub const FIXED_LEN: usize = 8;

/// What one message may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryLimits {
    /// Payload bytes.
    pub payload: usize,
    /// Encoded header bytes.
    pub headers: usize,
}

impl Default for EntryLimits {
    fn default() -> Self {
        Self { payload: crate::MAX_PAYLOAD, headers: crate::MAX_HEADERS }
    }
}

/// One message, lent from a block of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Id for de-duplication; empty for none.
    pub id: &'a [u8],
    /// Encoded headers; see [`Headers::decode`].
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl Entry<'_> {
    /// Bytes of the whole record.
    pub const fn encoded_len(&self) -> usize {
        FIXED_LEN + self.id.len() + self.headers.len() + self.payload.len()
    }

    /// Appends the record to `out`. The caller has checked the sizes; longer ids and headers than the format can
    /// hold are a bug.
    #[inline]
    pub fn encode(&self, out: &mut BytesMut) {
        debug_assert!(self.id.len() <= crate::MAX_ID && self.headers.len() <= crate::MAX_HEADERS);
        let mut fixed = [0; FIXED_LEN];
        fixed[..4].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        fixed[4..6].copy_from_slice(&(self.headers.len() as u16).to_le_bytes());
        fixed[6] = self.id.len() as u8;
        out.reserve(self.encoded_len());
        out.put_slice(&fixed);
        // Most messages have neither: no call to copy nothing.
        if !self.id.is_empty() {
            out.put_slice(self.id);
        }
        if !self.headers.is_empty() {
            out.put_slice(self.headers);
        }
        out.put_slice(self.payload);
    }
}

/// Lengths of the three parts of an entry.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    id: usize,
    headers: usize,
    payload: usize,
}

impl Lengths {
    #[inline]
    fn read(fixed: [u8; FIXED_LEN]) -> Self {
        let [a, b, c, d, e, f, g, _] = fixed;
        Self {
            payload: u32::from_le_bytes([a, b, c, d]) as usize,
            headers: usize::from(u16::from_le_bytes([e, f])),
            id: usize::from(g),
        }
    }

    #[inline]
    const fn total(self) -> usize {
        // At most 4 GiB + 64 KiB + 263: no overflow where usize has 64 bits, and saturating elsewhere.
        self.payload.saturating_add(FIXED_LEN + self.headers + self.id)
    }
}

/// What [`validate`] learned about a block of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many messages there are.
    pub messages: usize,
    /// Whether any of them has an id.
    pub any_id: bool,
    /// Whether any of them has headers.
    pub any_headers: bool,
}

/// Walks a block of entries once and checks everything about it: lengths, limits, header encoding, count.
///
/// Allocates nothing. After it, [`Entries`] over the same bytes cannot fail.
pub fn validate(block: &[u8], limits: &EntryLimits) -> Result<Summary, DecodeError> {
    let mut summary = Summary { messages: 0, any_id: false, any_headers: false };
    let mut rest = block;
    while !rest.is_empty() {
        let (fixed, _) = rest.split_first_chunk::<FIXED_LEN>().ok_or(DecodeError::Truncated("entry"))?;
        if fixed[7] != 0 {
            return Err(DecodeError::invalid("entry flags", "are reserved"));
        }
        let lengths = Lengths::read(*fixed);
        if lengths.payload > limits.payload {
            return Err(DecodeError::too_large(Limit::MessageBytes, lengths.payload, limits.payload));
        }
        if lengths.headers > limits.headers {
            return Err(DecodeError::too_large(Limit::HeaderBytes, lengths.headers, limits.headers));
        }
        let (entry, after) = rest.split_at_checked(lengths.total()).ok_or(DecodeError::Truncated("entry"))?;
        if lengths.headers > 0 {
            let start = FIXED_LEN + lengths.id;
            Headers::decode(&entry[start..start + lengths.headers])?;
            summary.any_headers = true;
        }
        summary.any_id |= lengths.id > 0;
        summary.messages += 1;
        rest = after;
    }
    if summary.messages > MAX_RUN_MESSAGES {
        return Err(DecodeError::too_large(Limit::RunMessages, summary.messages, MAX_RUN_MESSAGES));
    }
    if summary.messages == 0 {
        return Err(DecodeError::invalid("run", "has no messages"));
    }
    Ok(summary)
}

/// Iterator over a block of entries: the offset of each record and the record. Ends at the first malformed one, of
/// which a validated block has none.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    block: &'a [u8],
    offset: usize,
}

impl<'a> Entries<'a> {
    /// Over the whole block.
    pub const fn new(block: &'a [u8]) -> Self {
        Self { block, offset: 0 }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (usize, Entry<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.block.get(self.offset..)?;
        let (fixed, body) = rest.split_first_chunk::<FIXED_LEN>()?;
        let lengths = Lengths::read(*fixed);
        let (id, body) = body.split_at_checked(lengths.id)?;
        let (headers, body) = body.split_at_checked(lengths.headers)?;
        let payload = body.get(..lengths.payload)?;
        let at = self.offset;
        self.offset += lengths.total();
        Some((at, Entry { id, headers, payload }))
    }
}

impl FusedIterator for Entries<'_> {}

/// Bytes that the first `messages` entries take; the whole block when there are fewer.
#[inline]
pub fn prefix_len(block: &[u8], messages: usize) -> usize {
    let mut offset = 0;
    for _ in 0..messages {
        match record_len(block, offset) {
            Some(len) => offset += len,
            None => return block.len(),
        }
    }
    offset
}

/// How many leading entries fit into `bytes`.
#[inline]
pub fn messages_within(block: &[u8], bytes: usize) -> usize {
    let mut offset = 0;
    let mut messages = 0;
    while let Some(len) = record_len(block, offset) {
        offset += len;
        if offset > bytes {
            break;
        }
        messages += 1;
    }
    messages
}

#[inline]
fn record_len(block: &[u8], offset: usize) -> Option<usize> {
    let (fixed, _) = block.get(offset..)?.split_first_chunk::<FIXED_LEN>()?;
    let len = Lengths::read(*fixed).total();
    (block.len() - offset >= len).then_some(len)
}
