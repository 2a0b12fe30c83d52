use std::time::Duration;

use sinew_wire::{MAX_METADATA, MAX_METADATA_BYTES, MAX_NAME, Procedure};

use crate::AnnounceError;

/// Bounds of a [`Registry`](crate::Registry). Every one holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most leases of the node. Default 100,000.
    pub services: usize,
    /// Most leases of one publisher, over all of its sessions. Default 64.
    pub per_publisher: usize,
    /// Most bytes in keys and values of one lease's metadata. Default, and at most, [`MAX_METADATA_BYTES`]: others would refuse
    /// what has more.
    pub metadata_bytes: usize,
    /// Most bytes of all metadata together, and of the headers that caches of procedures go by. Default 64 MiB.
    pub metadata_total: usize,
    /// Shortest time to live. Default 10 s.
    pub min_ttl: Duration,
    /// Longest time to live. Default 1 h.
    pub max_ttl: Duration,
    /// Time to live of who asks for none. Default 60 s.
    pub default_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            services: 100_000,
            per_publisher: 64,
            metadata_bytes: MAX_METADATA_BYTES,
            metadata_total: 64 << 20,
            min_ttl: Duration::from_secs(10),
            max_ttl: Duration::from_secs(60 * 60),
            default_ttl: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The time to live that is granted.
    pub(crate) fn ttl(&self, asked: Duration) -> Result<Duration, AnnounceError> {
        let (min, max) = (self.min_ttl, self.max_ttl);
        match asked {
            Duration::ZERO => Ok(self.default_ttl),
            _ if asked < min || asked > max => Err(AnnounceError::Ttl { asked, min, max }),
            _ => Ok(asked),
        }
    }

    /// Checks the metadata of one lease, and gives their bytes.
    pub(crate) fn metadata(&self, metadata: &[(String, String)]) -> Result<usize, AnnounceError> {
        let (actual, allowed) = (bytes_of(metadata), self.metadata_bytes.min(MAX_METADATA_BYTES));
        if actual > allowed {
            return Err(AnnounceError::MetadataBytes { actual, allowed });
        }
        if metadata.len() > MAX_METADATA {
            return Err(AnnounceError::Metadata("has more than 16 pairs"));
        }
        for (key, value) in metadata {
            if key.len() > MAX_NAME {
                return Err(AnnounceError::Metadata("has a key of more than 128 bytes"));
            }
            if key.is_empty() {
                return Err(AnnounceError::Metadata("has an empty key"));
            }
            if key.chars().chain(value.chars()).any(char::is_control) {
                return Err(AnnounceError::Metadata("has a control character"));
            }
        }
        Ok(actual)
    }
}

/// What metadata are charged.
pub(crate) fn bytes_of(metadata: &[(String, String)]) -> usize {
    metadata.iter().map(|(key, value)| key.len().saturating_add(value.len())).fold(0, usize::saturating_add)
}

/// What the texts of a procedure are charged, beside the metadata.
pub(crate) fn vary_bytes(procedure: Option<&Procedure>) -> usize {
    let vary = procedure.and_then(|procedure| procedure.cache.as_ref()).map_or(&[][..], |cache| &cache.vary);
    vary.iter().map(String::len).fold(0, usize::saturating_add)
}

/// Checks the name of a service: a topic that is not reserved.
///
/// # Errors
/// [`AnnounceError::Name`] or [`AnnounceError::Reserved`].
pub fn check_name(name: &str) -> Result<(), AnnounceError> {
    sinew_topic::validate_topic(name)?;
    if sinew_topic::is_reserved(name) { Err(AnnounceError::Reserved) } else { Ok(()) }
}
