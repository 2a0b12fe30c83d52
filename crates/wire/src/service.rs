use serde::{Deserialize, Serialize};

use crate::label::{check_key, check_region, check_service, check_value};
use crate::{Control, DecodeError, Limit, MAX_CONTROL, MAX_METADATA, MAX_METADATA_BYTES, PeerId, Refusal, codec};

/// Announces a service under a lease of the client's choosing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The client's number for it, unused by another of its leases.
    pub lease: u32,
    /// The service: a topic name, at most [`crate::MAX_SERVICE`] bytes.
    pub name: String,
    /// How long it holds without [`Control::Renew`], in milliseconds; 0 for the node's default.
    pub ttl_ms: u64,
    /// What callers may want to know of it: at most [`MAX_METADATA`] pairs and [`MAX_METADATA_BYTES`] together.
    pub metadata: Vec<(String, String)>,
}

impl Announce {
    /// Whether the receiver will take its texts. That the name is a topic name is not looked at: what is wrong with it is
    /// answered by a [`Refusal`] and doesn't close the link.
    pub fn validate(&self) -> Result<(), DecodeError> {
        check_service(&self.name)?;
        check_metadata(&self.metadata)
    }
}

/// One provider of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInstance {
    /// The service.
    pub name: String,
    /// The node that the provider is connected to.
    pub node: PeerId,
    /// Who provides it.
    pub provider: PeerId,
    /// The provider's instance: [`crate::Hello::instance`].
    pub instance: u64,
    /// As announced.
    pub metadata: Vec<(String, String)>,
    /// How long its lease still holds unless it is renewed, in milliseconds.
    pub ttl_ms: u64,
    /// Region label of the node; may be empty.
    pub region: String,
}

impl ServiceInstance {
    /// Whether its texts are within their bounds.
    pub fn validate(&self) -> Result<(), DecodeError> {
        check_service(&self.name)?;
        check_region(&self.region)?;
        check_metadata(&self.metadata)
    }
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LookupOutcome {
    /// These provide it; at least one. Made by [`LookupOutcome::found`], which leaves out what one frame can't hold.
    Found(Vec<ServiceInstance>),
    /// The other nodes were asked, and nobody provides it.
    NotFound,
    /// This node does not provide it, and it knows no other node that it could ask.
    NoPeers,
    /// The deadline passed first.
    TimedOut,
    /// The node refuses to look.
    Refused(Refusal),
}

impl LookupOutcome {
    /// The leading instances, as many as one frame holds; [`LookupOutcome::NotFound`] when there are none. With the
    /// largest metadata allowed that is three, usually it is more than fifty.
    pub fn found(mut instances: Vec<ServiceInstance>) -> Self {
        instances.truncate(fitting(&instances));
        if instances.is_empty() { Self::NotFound } else { Self::Found(instances) }
    }
}

/// One line of the service listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummaryRow {
    /// The service.
    pub name: String,
    /// Its providers in the realm.
    pub instances: u32,
    /// Nodes with at least one of them.
    pub nodes: u32,
}

impl Control {
    /// A page of the listing. Rows beyond what one frame holds are left out, and `more` is set.
    pub fn service_page(request: u32, mut services: Vec<ServiceSummaryRow>, more: bool) -> Self {
        let fit = fitting(&services);
        let more = more || fit < services.len();
        services.truncate(fit);
        Self::ServicePage { request, services, more }
    }
}

/// How many leading items fit into a control frame, beside what stands around them.
fn fitting<T: Serialize>(items: &[T]) -> usize {
    const AROUND: usize = 64;
    let mut left = MAX_CONTROL - AROUND;
    let fits = |item: &&T| {
        let len = codec::encoded_len(*item);
        let fits = len <= left;
        left = left.saturating_sub(len);
        fits
    };
    items.iter().take_while(fits).count()
}

pub(crate) fn check_metadata(metadata: &[(String, String)]) -> Result<(), DecodeError> {
    if metadata.len() > MAX_METADATA {
        return Err(DecodeError::TooLong { field: "metadata pairs", actual: metadata.len(), allowed: MAX_METADATA });
    }
    let bytes = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(DecodeError::too_large(Limit::MetadataBytes, bytes, MAX_METADATA_BYTES));
    }
    metadata.iter().try_for_each(|(key, value)| {
        check_key(key)?;
        check_value(value)
    })
}
