use sinew_registry::AnnounceError;
use sinew_wire::{Limit, Refusal};

/// What a client is told of an offer that is refused, under its number for the lease.
pub(crate) fn refusal_of(error: AnnounceError, lease: u32) -> Refusal {
    let limit = |limit, allowed| Refusal::Limit { limit, allowed };
    match error {
        AnnounceError::Name(error) => Refusal::InvalidName(error.to_string()),
        AnnounceError::Reserved => Refusal::Reserved,
        AnnounceError::Ttl { asked, min, max } => {
            let passed = if asked < min { min } else { max };
            limit(Limit::LeaseTtl, u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
        }
        AnnounceError::MetadataBytes { allowed, .. } | AnnounceError::MetadataTotal { allowed } => {
            limit(Limit::MetadataBytes, allowed as u64)
        }
        AnnounceError::PerPublisher { allowed } => limit(Limit::ServicesPerClient, allowed as u64),
        AnnounceError::Services { allowed } => limit(Limit::Services, allowed as u64),
        error => Refusal::Lease(lease, error.to_string()),
    }
}
