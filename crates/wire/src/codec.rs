//! The one place that knows bincode.
//!
//! bincode 2.0.1 is unmaintained (RUSTSEC-2025-0141). It stays behind these functions, decodes under a hard size
//! limit, is fuzzed, and golden tests hold its bytes: should it have to go, nothing else changes.
//!
//! Frames use it by themselves ([`crate::Control::decode`]). What else crosses between nodes (membership, details of
//! services) is a serde type of its own crate, which goes through [`encode`] and [`decode`]: fixed integers, little
//! endian, enums by the position of their variant.

use bincode::config::{Configuration, Fixint, LittleEndian};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DecodeError, Limit, MAX_CONTROL};

/// Most bytes that [`decode`] takes: 512 KiB. Whoever reads from a stranger has a tighter bound of its own in front of
/// it.
pub const MAX_BYTES: usize = 512 << 10;

/// The limit is what all length fields of one value may claim together: beyond it they are refused before allocation.
const fn config<const LIMIT: usize>() -> Configuration<LittleEndian, Fixint, bincode::config::Limit<LIMIT>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Encodes a value.
///
/// # Panics
///
/// When the type asks for something that the encoding has not (a map or sequence of unknown length, serde's
/// `flatten`): a mistake in the type, not in its values.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

/// Bytes that [`encode`] makes of a value, without making them.
pub(crate) fn encoded_len<T: Serialize>(value: &T) -> usize {
    let mut counted = Counted(0);
    write(value, &mut counted);
    counted.0
}

pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut BytesMut) {
    write(value, &mut out.writer());
}

fn write<T: Serialize>(value: &T, out: &mut impl std::io::Write) {
    bincode::serde::encode_into_std_write(value, out, config::<MAX_BYTES>())
        .expect("our types have nothing that bincode can't write, and memory takes every write");
}

/// Decodes a value that takes all of `bytes`.
///
/// Fails on more than [`MAX_BYTES`], on what is no such value, and on bytes after its end. Length fields are held
/// against the size of the input, rounded up to 16 KiB, 64 KiB or 512 KiB, before anything is allocated for them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    const MIDDLE: usize = 64 << 10;
    if bytes.len() <= MAX_CONTROL {
        decode_within::<T, MAX_CONTROL>(bytes)
    } else if bytes.len() <= MIDDLE {
        decode_within::<T, MIDDLE>(bytes)
    } else if bytes.len() <= MAX_BYTES {
        decode_within::<T, MAX_BYTES>(bytes)
    } else {
        Err(DecodeError::too_large(Limit::FrameBytes, bytes.len(), MAX_BYTES))
    }
}

/// Decodes the body of a control or mesh frame.
pub(crate) fn decode_control<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    decode_within::<T, MAX_CONTROL>(body)
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, config::<LIMIT>()).map_err(|e| DecodeError::Control(e.to_string()))?;
    match bytes.len() - read {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing(extra)),
    }
}

/// Counts what is written to it.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
