use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Identity of a node or a client: its Ed25519 public key.
///
/// The text form is the libp2p PeerId of that key: base58 of the identity multihash of the key's protobuf encoding
/// ([libp2p peer id specification](https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md)), which begins
/// with `12D3KooW`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerId([u8; 32]);

/// identity multihash (0x00) of 36 bytes (0x24): protobuf field 1 = Ed25519 (1), field 2 = 32 bytes.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerId {
    /// Length of the binary form, in bytes.
    pub const LEN: usize = 32;

    /// From the raw Ed25519 public key. That it is a point on the curve is not checked here: links prove possession.
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The raw Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// Last eight characters of the text form, for logs.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; PREFIX.len() + 32];
        bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
        bytes[PREFIX.len()..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// Why a text is not a [`PeerId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the peer id of an Ed25519 key: {0}")]
pub struct ParsePeerIdError(&'static str);

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // 38 bytes are at most 52 base58 characters: longer text is refused before it is decoded.
        if text.len() > 64 {
            return Err(ParsePeerIdError("too long"));
        }
        let mut bytes = [0; PREFIX.len() + 32];
        let len = bs58::decode(text).onto(&mut bytes).map_err(|_| ParsePeerIdError("not base58 of 38 bytes"))?;
        let key = bytes[..len].strip_prefix(&PREFIX).ok_or(ParsePeerIdError("another kind of key"))?;
        key.try_into().map(Self).map_err(|_| ParsePeerIdError("not 32 bytes of key"))
    }
}
