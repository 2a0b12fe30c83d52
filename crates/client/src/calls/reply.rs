use bytes::Bytes;
use sinew_wire::Headers;

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reply {
    /// What the procedure has returned.
    pub body: Bytes,
    /// Encoded, and checked when they came.
    pub(crate) headers: Bytes,
}

impl Reply {
    /// What the procedure has returned.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Headers of the result.
    pub fn headers(&self) -> Headers<'_> {
        Headers::decode(&self.headers).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl From<Reply> for Bytes {
    fn from(reply: Reply) -> Self {
        reply.body
    }
}
