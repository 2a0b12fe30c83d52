use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::{DecodeError, Limit, MAX_HEADERS};

/// The headers of one message, still encoded: `key_len u8, value_len u16, key, value`, repeated.
///
/// Keys are UTF-8 and not empty, values are any bytes. A `Headers` was checked when it was made, so that reading it
/// cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// Checks encoded headers, without allocating.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_HEADERS {
            return Err(DecodeError::too_large(Limit::HeaderBytes, bytes.len(), MAX_HEADERS));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, _, after) = split_first(rest).ok_or(DecodeError::Truncated("headers"))?;
            if key.is_empty() {
                return Err(DecodeError::invalid("header key", "is empty"));
            }
            // Nearly all keys are ASCII, which is found out in half the time.
            if !key.is_ascii() && std::str::from_utf8(key).is_err() {
                return Err(DecodeError::invalid("header key", "is not UTF-8"));
            }
            rest = after;
        }
        Ok(Self(bytes))
    }

    /// The encoded form.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value with this key.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.0.get(self.position(key)?)
    }

    /// Where the first value with this key stands in the encoded form.
    pub(crate) fn position(&self, key: &str) -> Option<Range<usize>> {
        let mut rest = self.0;
        while let Some((found, value, after)) = split_first(rest) {
            if found == key.as_bytes() {
                let end = self.0.len() - after.len();
                return Some(end - value.len()..end);
            }
            rest = after;
        }
        None
    }

    /// All of them, in the order in which they were written.
    pub const fn iter(&self) -> HeaderIter<'a> {
        HeaderIter(self.0)
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Headers`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a>(&'a [u8]);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, rest) = split_first(self.0)?;
        self.0 = rest;
        // Checked by `Headers::decode`; an empty key would only end the iteration early.
        Some((std::str::from_utf8(key).ok()?, value))
    }
}

/// Key, value and what follows; `None` when the bytes end before the header does.
fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[key_len, lo, hi], rest) = bytes.split_first_chunk::<3>()?;
    let (key, rest) = rest.split_at_checked(usize::from(key_len))?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([lo, hi])))?;
    Some((key, value, rest))
}

/// Appends one header to an encoded block. Refuses an empty or too long key, a too long value, and a block that would
/// pass [`MAX_HEADERS`].
pub fn encode_header(key: &str, value: &[u8], out: &mut BytesMut) -> Result<(), DecodeError> {
    let key_len =
        u8::try_from(key.len()).map_err(|_| DecodeError::invalid("header key", "is longer than 255 bytes"))?;
    if key_len == 0 {
        return Err(DecodeError::invalid("header key", "is empty"));
    }
    let total = out.len() + 3 + key.len() + value.len();
    let value_len = u16::try_from(value.len())
        .ok()
        .filter(|_| total <= MAX_HEADERS)
        .ok_or_else(|| DecodeError::too_large(Limit::HeaderBytes, total, MAX_HEADERS))?;
    out.put_u8(key_len);
    out.put_u16_le(value_len);
    out.put_slice(key.as_bytes());
    out.put_slice(value);
    Ok(())
}
