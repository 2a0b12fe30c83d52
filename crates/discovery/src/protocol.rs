//! What nodes ask each other about services: one request, one reply, over [`sinew_overlay::Purpose::Discovery`].
//!
//! The overlay has proven who answers, and a node answers only for its own clients: that is why details carry no signature, and
//! why whatever an answer says, the `node` of its instances is the peer that gave it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinew_registry::check_name;
use sinew_wire::{DecodeError, PeerId, ServiceInstance, codec};

/// Largest question, in bytes.
pub(crate) const MAX_QUESTION: usize = 1 << 10;

/// Largest answer, in bytes.
pub(crate) const MAX_ANSWER: usize = 64 << 10;

/// Most instances in one answer.
pub(crate) const MAX_INSTANCES: usize = 256;

/// A longer remaining time than this is nonsense: leases last an hour.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Which instances of a service do you have?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Instances of one name, beginning at any place; who goes on asks for those behind what it got.
    Instances {
        /// The service.
        name: String,
        /// The place to begin at.
        start: u32,
        /// How many to give at most.
        max: u32,
    },
}

/// Answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// As many as fit an answer, of those that were asked for.
    Instances {
        /// The service.
        name: String,
        /// Region label of the node.
        region: String,
        /// The instances.
        instances: Vec<Detail>,
        /// Whether more follow.
        more: bool,
    },
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// Who provides it.
    pub(crate) provider: PeerId,
    /// The provider's instance.
    pub(crate) instance: u64,
    /// As announced.
    pub(crate) metadata: Vec<(String, String)>,
    /// How long the lease still holds unless it is renewed, in milliseconds.
    pub(crate) ttl_ms: u64,
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    TooLarge,
    Undecodable,
    OtherName,
    TooMany,
    Texts,
    Ttl,
}

impl From<DecodeError> for Bad {
    fn from(_: DecodeError) -> Self {
        Self::Undecodable
    }
}

impl Question {
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From a stranger: bounded, and the name is one.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_QUESTION {
            return None;
        }
        let question: Self = codec::decode(body).ok()?;
        let Self::Instances { name, .. } = &question;
        check_name(name).ok()?;
        Some(question)
    }
}

/// A page of instances of one node, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) instances: Vec<ServiceInstance>,
    pub(crate) more: bool,
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From a stranger, who was asked for up to `max` instances of `asked`.
    pub(crate) fn decode(body: &[u8], node: PeerId, asked: &str, max: usize) -> Result<Page, Bad> {
        if body.len() > MAX_ANSWER {
            return Err(Bad::TooLarge);
        }
        let Self::Instances { name, region, instances, more } = codec::decode(body)?;
        if name != asked {
            return Err(Bad::OtherName);
        }
        if instances.len() > max {
            return Err(Bad::TooMany);
        }
        let instances: Vec<_> = instances
            .into_iter()
            .map(|Detail { provider, instance, metadata, ttl_ms }| ServiceInstance {
                name: name.clone(),
                node,
                provider,
                instance,
                metadata,
                ttl_ms,
                region: region.clone(),
            })
            .collect();
        if instances.iter().any(|instance| instance.validate().is_err()) {
            return Err(Bad::Texts);
        }
        if instances.iter().any(|instance| Duration::from_millis(instance.ttl_ms) > MAX_TTL) {
            return Err(Bad::Ttl);
        }
        Ok(Page { instances, more })
    }
}

/// The key of a service in the DHT.
pub(crate) fn dht_key(realm: &str, name: &str) -> [u8; 32] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(b"sinew service\0");
    hash.update(realm.as_bytes());
    // No realm has a control character.
    hash.update(b"\0");
    hash.update(name.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    key
}
