//! What nodes send each other.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sinew_wire::{PeerId, codec};

use crate::Refused;
use crate::state::Change;

/// Largest message, in bytes: 60 KiB.
pub const MAX_MESSAGE: usize = 60 << 10;

/// Largest request or answer, in bytes: 512 KiB.
pub const MAX_REQUEST: usize = 512 << 10;

/// What records and changes may take of one, so that what stands around them has room too.
pub(crate) const MESSAGE_ROOM: usize = 48 << 10;
pub(crate) const RECORDS_ROOM: usize = 256 << 10;
pub(crate) const PAGE_ROOM: usize = 256 << 10;

/// Most buckets of a comparison.
pub(crate) const BUCKETS: usize = 256;

/// Most members asked for in one request.
pub(crate) const MAX_ASKED: usize = 1_024;

/// What a node of this version writes first.
const VERSION: u8 = 1;

/// Opaque bytes, without serde's detour over single bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One message, which may be lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Hash of the newest stamps of all members that the sender holds for up.
    pub(crate) summary: u64,
    /// What the sender holds of the receiver.
    pub(crate) holds: Holds,
    /// For the failure detector; may be empty.
    pub(crate) swim: Blob,
    /// Signed records.
    pub(crate) records: Vec<Blob>,
}

/// Under which identity a node is known, and up to which version what it published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holds {
    pub(crate) epoch: u64,
    pub(crate) life: u32,
    pub(crate) version: u64,
}

/// Newest record of a member, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) peer: PeerId,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// The record says goodbye.
    pub(crate) left: bool,
}

/// A member that was found to have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub(crate) peer: PeerId,
    pub(crate) epoch: u64,
    pub(crate) life: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Here is my record, and a hash per bucket of the members that I know. Without buckets: I know nobody.
    Compare { record: Blob, buckets: Vec<u64> },
    /// The records of these.
    Records { peers: Vec<PeerId> },
    /// What you published in this epoch, after this version; I need no removals before the other one.
    Pull { epoch: u64, after: u64, since: u64 },
    /// Here is my record. What do you hold of what I published?
    Confirm { record: Blob },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Response {
    /// What is in the buckets that differ; with records for somebody who knows nobody.
    Differ {
        differing: Vec<u16>,
        stamps: Vec<Stamp>,
        gone: Vec<Gone>,
        records: Vec<Blob>,
    },
    Records {
        records: Vec<Blob>,
    },
    Page(Page),
    Held {
        epoch: u64,
        version: u64,
    },
}

/// What changed after the version asked for, up to and with `upto`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) epoch: u64,
    /// The changes are not told one by one any more: this begins with the first key that there is.
    pub(crate) reset: bool,
    /// What the newest version is.
    pub(crate) version: u64,
    pub(crate) upto: u64,
    pub(crate) more: bool,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u8,
    content: T,
}

/// Encodes any of the above.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    codec::encode(&Versioned { version: VERSION, content })
}

/// Decodes any of the above, which may have at most `allowed` bytes.
pub(crate) fn decode<T: de::DeserializeOwned>(bytes: &[u8], what: &'static str, allowed: usize) -> Result<T, Refused> {
    if bytes.len() > allowed {
        return Err(Refused::TooLarge { what, actual: bytes.len(), allowed });
    }
    if bytes.first().is_some_and(|version| *version != VERSION) {
        return Err(Refused::Malformed("of another version of the protocol".to_owned()));
    }
    Ok(codec::decode::<Versioned<T>>(bytes)?.content)
}
