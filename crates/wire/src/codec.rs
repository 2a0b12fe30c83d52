//! The one place that knows bincode.
//!
//! bincode 2.0.1 is unmaintained (RUSTSEC-2025-0141). It stays behind these two functions, decodes under a hard size
//! limit, is fuzzed, and golden tests hold its bytes: should it have to go, nothing else changes.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DecodeError, MAX_CONTROL};

/// The limit is what all length fields of one frame may claim together: beyond it they are refused before allocation.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_CONTROL>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MAX_CONTROL>();

pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut BytesMut) {
    bincode::serde::encode_into_std_write(value, &mut out.writer(), CONFIG)
        .expect("a control frame has no type that bincode can't write, and a BytesMut takes every write");
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| DecodeError::Control(e.to_string()))?;
    match bytes.len() - read {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing(extra)),
    }
}
