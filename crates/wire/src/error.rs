use crate::Limit;

/// Why bytes from a link are not a valid frame.
///
/// Every variant is the peer's fault: the receiver closes the link and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame kind is not one of ours.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// A length stands above its limit. Found before anything was allocated for it.
    #[error("{limit} is {actual}, the limit is {allowed}")]
    TooLarge {
        /// Which limit.
        limit: Limit,
        /// What was announced.
        actual: u64,
        /// What is allowed.
        allowed: u64,
    },
    /// A text is longer than its field may be.
    #[error("{field} is {actual} bytes long, the limit is {allowed}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// What is allowed, in bytes.
        allowed: usize,
    },
    /// The body ends before the field does.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// The body goes on after its last field.
    #[error("{0} bytes after the end of the frame")]
    Trailing(usize),
    /// A field has a value that it must not have.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A control frame that bincode refuses.
    #[error("control frame: {0}")]
    Control(String),
}

impl DecodeError {
    pub(crate) const fn invalid(field: &'static str, problem: &'static str) -> Self {
        Self::Invalid { field, problem }
    }

    pub(crate) const fn too_large(limit: Limit, actual: usize, allowed: usize) -> Self {
        Self::TooLarge { limit, actual: actual as u64, allowed: allowed as u64 }
    }
}
