use bytes::{Bytes, BytesMut};
use sinew_wire::{DecodeError, encode_header};

/// What a handler returns: bytes, with headers if it has any to give.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Response {
    /// The result.
    pub body: Bytes,
    pub(crate) headers: BytesMut,
}

impl Response {
    /// A result without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), headers: BytesMut::new() }
    }

    /// Adds a header, of the size of those of calls.
    ///
    /// # Errors
    /// The key is empty or too long, or the headers are too large together.
    pub fn header(mut self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        encode_header(key.as_ref(), value.as_ref(), &mut self.headers)?;
        Ok(self)
    }
}

/// What handlers may return in place of a [`Response`].
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// Nothing: an empty result, or after a stream no further item.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::default()
    }
}

macro_rules! bodies {
    ($($body:ty),*) => {$(
        impl IntoResponse for $body {
            fn into_response(self) -> Response {
                Response::new(self)
            }
        }
    )*};
}

bodies!(Bytes, BytesMut, Vec<u8>, Box<[u8]>, String, &'static str, &'static [u8]);
