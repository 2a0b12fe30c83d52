use serde::{Deserialize, Serialize};

use crate::label::check_service;
use crate::service::check_metadata;
use crate::{DecodeError, MAX_VARY};

/// Announces a procedure that the client serves: a service that can be called. Answered, renewed and withdrawn as
/// [`crate::Announce`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// The client's number for the lease, unused by another of its leases.
    pub lease: u32,
    /// The procedure: a topic name, at most [`crate::MAX_SERVICE`] bytes.
    pub name: String,
    /// How long it holds without [`crate::Control::Renew`], in milliseconds; 0 for the node's default.
    pub ttl_ms: u64,
    /// What callers may want to know of it, as in [`crate::Announce::metadata`].
    pub metadata: Vec<(String, String)>,
    /// How it wants to be called.
    pub procedure: Procedure,
}

impl Serve {
    /// Whether the receiver will take its texts. That the name is a topic name is not looked at, as in
    /// [`crate::Announce::validate`].
    pub fn validate(&self) -> Result<(), DecodeError> {
        check_service(&self.name)?;
        check_metadata(&self.metadata)?;
        self.procedure.validate()
    }
}

/// What the nodes must know of a procedure to call it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Procedure {
    /// Calls that the provider takes at once, 0 for the node's default; the others wait on its node.
    pub concurrency: u32,
    /// To execute a call twice does no harm: it may be tried again although it may have been executed.
    pub idempotent: bool,
    /// Its results may be kept on the nodes of callers, in this way.
    pub cache: Option<CachePolicy>,
}

impl Procedure {
    /// Whether its texts and lists are within their bounds.
    pub fn validate(&self) -> Result<(), DecodeError> {
        self.cache.as_ref().map_or(Ok(()), CachePolicy::validate)
    }
}

/// How results of a procedure may be kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CachePolicy {
    /// How long a result holds, in milliseconds.
    pub ttl_ms: u32,
    /// How long an error of the application holds, in milliseconds; 0 to keep none.
    pub negative_ttl_ms: u32,
    /// Largest result that is kept, in bytes.
    pub max_bytes: u32,
    /// Headers whose values tell calls apart, beside the argument: at most [`MAX_VARY`].
    pub vary: Vec<String>,
}

impl CachePolicy {
    fn validate(&self) -> Result<(), DecodeError> {
        if self.vary.len() > MAX_VARY {
            return Err(DecodeError::TooLong { field: "cache headers", actual: self.vary.len(), allowed: MAX_VARY });
        }
        match self.vary.iter().find(|header| header.is_empty() || header.len() > usize::from(u8::MAX)) {
            Some(_) => Err(DecodeError::invalid("cache header", "is empty or longer than 255 bytes")),
            None => Ok(()),
        }
    }
}

/// How an instance is, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum ProviderHealth {
    /// Call it.
    #[default]
    Good = 0,
    /// Call it only if there is no better one.
    Degraded = 1,
    /// Don't call it.
    Down = 2,
}

impl TryFrom<u8> for ProviderHealth {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Good),
            1 => Ok(Self::Degraded),
            2 => Ok(Self::Down),
            _ => Err(DecodeError::invalid("provider health", "is unknown")),
        }
    }
}
