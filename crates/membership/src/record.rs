//! The signed record of a node.
//!
//! On the wire: `peer [u8;32] | epoch u64 | seq u64 | body | signature [u8;64]`, little endian; the body is what
//! [`sinew_wire::codec`] makes of [`Body`]. What comes first tells whether the record is news, before anything is
//! decoded or checked. The signature covers all that stands before it, after [`DOMAIN`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinew_wire::{PeerId, check_realm, codec};

use crate::state::Change;
use crate::{Refused, Signer, Verifier};

/// Largest record, in bytes.
pub const MAX_RECORD: usize = 8 << 10;

/// Most addresses of one plane in a record.
pub const MAX_ADDRESSES: usize = 32;

/// Longest address, in bytes.
pub const MAX_ADDRESS: usize = 256;

/// Longest label of a region, in bytes.
pub const MAX_REGION: usize = 64;

/// Longest life of a record that is not renewed: one hour.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3_600);

/// Epochs and sequence numbers stay far from where they could overflow.
pub(crate) const MAX_COUNT: u64 = 1 << 60;

/// So that no signature under this can stand for anything else that the key signs.
const DOMAIN: &[u8] = b"sinew membership record 1\0";

const PREFIX: usize = PeerId::LEN + 16;
const SIGNATURE: usize = 64;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its identity.
    pub peer: PeerId,
    /// When it was started: milliseconds of the wall clock, higher with each start.
    pub epoch: u64,
    /// Where its client listeners are, as URLs. At most [`MAX_ADDRESSES`].
    pub data: Vec<String>,
    /// Where the overlay reaches it, as multiaddresses. At most [`MAX_ADDRESSES`].
    pub mesh: Vec<String>,
    /// Where it stands, as people call it. At most [`MAX_REGION`] bytes.
    pub region: String,
    /// What it can do, as bits. This crate gives them no meaning.
    pub features: u64,
}

/// A record that its node has signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What the node says of itself.
    pub info: NodeInfo,
    /// Version of what it published when it signed this.
    pub version: u64,
    /// How long the record is valid after it was first heard, if no newer one comes.
    pub expires_after: Duration,
    /// Rises with each record of an epoch.
    pub seq: u64,
    /// Rises each time the node hears that it is held for down.
    pub(crate) life: u32,
    /// It says goodbye.
    pub(crate) left: bool,
    /// `changes` lead from here to `version`.
    pub(crate) base: u64,
    pub(crate) changes: Vec<Change>,
    /// As it travels.
    pub(crate) signed: Bytes,
}

impl Record {
    /// Whose it is.
    pub const fn peer(&self) -> PeerId {
        self.info.peer
    }

    /// Which of two records of a node is newer.
    pub(crate) const fn stamp(&self) -> (u64, u64) {
        (self.info.epoch, self.seq)
    }
}

/// What the signature covers beside the prefix.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    realm: String,
    life: u32,
    left: bool,
    version: u64,
    expires_after_ms: u64,
    data: Vec<String>,
    mesh: Vec<String>,
    region: String,
    features: u64,
    base: u64,
    changes: Vec<Change>,
}

/// What a node puts into its next record.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) realm: &'a str,
    pub(crate) info: &'a NodeInfo,
    pub(crate) seq: u64,
    pub(crate) life: u32,
    pub(crate) left: bool,
    pub(crate) version: u64,
    pub(crate) expires_after: Duration,
    pub(crate) base: u64,
    pub(crate) changes: Vec<Change>,
}

impl Draft<'_> {
    pub(crate) fn sign(self, signer: &dyn Signer) -> Arc<Record> {
        let info = self.info.clone();
        let body = Body {
            realm: self.realm.to_owned(),
            life: self.life,
            left: self.left,
            version: self.version,
            expires_after_ms: u64::try_from(self.expires_after.as_millis()).unwrap_or(u64::MAX),
            data: info.data.clone(),
            mesh: info.mesh.clone(),
            region: info.region.clone(),
            features: info.features,
            base: self.base,
            changes: self.changes,
        };
        let mut message = DOMAIN.to_vec();
        message.extend_from_slice(info.peer.public_key());
        message.extend_from_slice(&info.epoch.to_le_bytes());
        message.extend_from_slice(&self.seq.to_le_bytes());
        message.extend_from_slice(&codec::encode(&body));
        let signature = signer.sign(&message);
        message.extend_from_slice(&signature);
        Arc::new(Record {
            info,
            version: self.version,
            expires_after: self.expires_after,
            seq: self.seq,
            life: self.life,
            left: self.left,
            base: self.base,
            changes: body.changes,
            signed: Bytes::from(message).slice(DOMAIN.len()..),
        })
    }
}

/// A record as it came, of which only the size and the beginning were looked at.
#[derive(Debug)]
pub(crate) struct Unchecked<'a> {
    pub(crate) peer: PeerId,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    bytes: &'a [u8],
}

impl<'a> Unchecked<'a> {
    pub(crate) fn peek(bytes: &'a [u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_RECORD {
            return Err(Refused::TooLarge { what: "a record", actual: bytes.len(), allowed: MAX_RECORD });
        }
        let short = || Refused::Malformed("a record that is cut short".to_owned());
        if bytes.len() < PREFIX + SIGNATURE {
            return Err(short());
        }
        let (peer, rest) = bytes.split_first_chunk::<{ PeerId::LEN }>().ok_or_else(short)?;
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (seq, _) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (epoch, seq) = (u64::from_le_bytes(*epoch), u64::from_le_bytes(*seq));
        if epoch > MAX_COUNT || seq > MAX_COUNT {
            return Err(Refused::Malformed(format!("a record of epoch {epoch}, number {seq}")));
        }
        Ok(Self { peer: PeerId::from_public_key(*peer), epoch, seq, bytes })
    }

    /// Checks everything else, the signature last, because it costs most.
    pub(crate) fn check(self, realm: &str, verifier: &dyn Verifier) -> Result<Record, Refused> {
        let (said, signature) = self
            .bytes
            .split_last_chunk::<SIGNATURE>()
            .ok_or_else(|| Refused::Malformed("a record that is cut short".to_owned()))?;
        let body: Body = codec::decode(said.get(PREFIX..).unwrap_or_default())?;
        body.check(realm)?;
        let message = [DOMAIN, said].concat();
        if !verifier.verify(&self.peer, &message, signature) {
            return Err(Refused::Signature);
        }
        Ok(Record {
            info: NodeInfo {
                peer: self.peer,
                epoch: self.epoch,
                data: body.data,
                mesh: body.mesh,
                region: body.region,
                features: body.features,
            },
            version: body.version,
            expires_after: Duration::from_millis(body.expires_after_ms),
            seq: self.seq,
            life: body.life,
            left: body.left,
            base: body.base,
            changes: body.changes,
            signed: Bytes::copy_from_slice(self.bytes),
        })
    }
}

impl Body {
    fn check(&self, realm: &str) -> Result<(), Refused> {
        if self.realm != realm {
            check_realm(&self.realm)?;
            return Err(Refused::Realm(self.realm.clone()));
        }
        let longest = u64::try_from(MAX_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        if self.expires_after_ms == 0 || self.expires_after_ms > longest {
            return Err(Refused::Lifetime(self.expires_after_ms));
        }
        for addresses in [&self.data, &self.mesh] {
            let longest = addresses.iter().map(String::len).max().unwrap_or(0);
            if addresses.len() > MAX_ADDRESSES || longest > MAX_ADDRESS {
                let actual = addresses.len().max(longest);
                return Err(Refused::TooLarge { what: "a list of addresses", actual, allowed: MAX_ADDRESSES });
            }
        }
        if self.region.len() > MAX_REGION {
            return Err(Refused::TooLarge { what: "a region", actual: self.region.len(), allowed: MAX_REGION });
        }
        let texts = self.data.iter().chain(&self.mesh).chain([&self.region]);
        if texts.flat_map(|text| text.chars()).any(char::is_control) {
            return Err(Refused::Malformed("a control character in an address or region".to_owned()));
        }
        if self.version > MAX_COUNT || self.base > self.version {
            return Err(Refused::Malformed(format!("changes from {} to {}", self.base, self.version)));
        }
        check_changes(&self.changes, self.base, self.version)
    }
}

/// Changes are valid, and their versions rise from after `base` to at most `version`.
pub(crate) fn check_changes(changes: &[Change], base: u64, version: u64) -> Result<(), Refused> {
    let mut last = base;
    for change in changes {
        if change.version <= last || change.version > version {
            return Err(Refused::Malformed("changes out of order".to_owned()));
        }
        last = change.version;
        if let Some(problem) = change.problem() {
            return Err(Refused::Key(problem));
        }
    }
    Ok(())
}
