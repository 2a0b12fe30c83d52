//! Optional lz4 compression of the entries of a run.
//!
//! The publisher's SDK packs once. A node unpacks to validate and keeps the packed form beside it for the subscribers
//! that can read it, so that it never packs anything itself.

use crate::{DecodeError, FrameLimits, Limit};

/// Runs with fewer payload bytes are not worth packing.
pub const MIN_BYTES: usize = 1 << 10;

/// lz4 adds at most 255 bytes of a match per byte of input.
const MAX_EXPANSION: usize = 255;

/// Packs a block of entries, or `None` when it is small or does not shrink by at least an eighth.
pub fn pack(entries: &[u8]) -> Option<Vec<u8>> {
    if entries.len() < MIN_BYTES {
        return None;
    }
    let packed = lz4_flex::block::compress(entries);
    (packed.len() <= entries.len() - entries.len() / 8).then_some(packed)
}

/// Unpacks entries that must come out at exactly `entries_len` bytes.
///
/// The announced size is checked against `limits` and against what lz4 can expand to before anything is allocated, and
/// is a hard bound while unpacking.
pub fn unpack(packed: &[u8], entries_len: u32, limits: &FrameLimits) -> Result<Vec<u8>, DecodeError> {
    let len = entries_len as usize;
    if len > limits.run {
        return Err(DecodeError::too_large(Limit::FrameBytes, len, limits.run));
    }
    if len > packed.len().saturating_mul(MAX_EXPANSION) {
        return Err(DecodeError::invalid("packed entries", "are too short for the announced length"));
    }
    let mut out = vec![0; len];
    match lz4_flex::block::decompress_into(packed, &mut out) {
        Ok(written) if written == len => Ok(out),
        Ok(_) => Err(DecodeError::invalid("packed entries", "are shorter than announced")),
        Err(_) => Err(DecodeError::invalid("packed entries", "are not valid lz4 of the announced length")),
    }
}
