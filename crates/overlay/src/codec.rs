//! Requests and replies on the wire: `length u32 (big endian) | body`, one each way per stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::MAX_REQUEST;
use crate::status::Meters;

/// Memory for bodies of all requests and replies that are being read or wait to be taken, in KiB.
const MEMORY_KIB: usize = 64 << 10;

/// What is allocated before anything of the body was read.
const FIRST: usize = 16 << 10;

/// A body, and its share of the memory that bodies from outside may take.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, held: None }
    }
}

/// Checks every length before anything is allocated for it.
#[derive(Clone)]
pub(crate) struct Codec {
    memory: Arc<Semaphore>,
    meters: Arc<Meters>,
}

impl Codec {
    pub(crate) fn new(meters: Arc<Meters>) -> Self {
        Self { memory: Arc::new(Semaphore::new(MEMORY_KIB)), meters }
    }

    async fn read<T: AsyncRead + Unpin + Send>(&self, io: &mut T) -> io::Result<Body> {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length);
        let Some(size) = usize::try_from(length).ok().filter(|size| *size <= MAX_REQUEST) else {
            self.meters.refused_request_size.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a body of {length} bytes")));
        };
        let kib = length.div_ceil(1024);
        let Ok(held) = Arc::clone(&self.memory).try_acquire_many_owned(kib) else {
            self.meters.refused_requests_busy.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many bodies at once"));
        };
        let mut body = Vec::with_capacity(size.min(FIRST));
        io.take(u64::from(length)).read_to_end(&mut body).await?;
        if body.len() < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Body { bytes: body.into(), held: Some(held) })
    }

    async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, body: &Bytes) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_REQUEST);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the body is too large"))?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(body).await?;
        io.flush().await
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Body;
    type Response = Body;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Body>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Body>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Body) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Self::write(io, &request.bytes).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Body) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Self::write(io, &response.bytes).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn read(codec: &Codec, bytes: Vec<u8>) -> io::Result<Body> {
        codec.read(&mut Cursor::new(bytes)).await
    }

    #[tokio::test]
    async fn there_and_back() {
        let codec = Codec::new(Arc::default());
        for size in [0, 1, 1023, 1024, 1025, MAX_REQUEST] {
            let body = Bytes::from(vec![7; size]);
            let mut wire = Cursor::new(Vec::new());
            Codec::write(&mut wire, &body).await.unwrap();
            assert_eq!(read(&codec, wire.into_inner()).await.unwrap().bytes, body);
        }
        assert_eq!(codec.memory.available_permits(), MEMORY_KIB, "all memory was given back");
        assert!(Codec::write(&mut Cursor::new(Vec::new()), &vec![0; MAX_REQUEST + 1].into()).await.is_err());
    }

    #[tokio::test]
    async fn lengths_are_checked_first() {
        let codec = Codec::new(Arc::default());
        for length in [u32::MAX, 512 * 1024 + 1] {
            assert_eq!(
                read(&codec, length.to_be_bytes().to_vec()).await.unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
        assert_eq!(codec.meters.read().refused_request_size, 2);
        let cut = [&8_u32.to_be_bytes()[..], b"short"].concat();
        assert_eq!(read(&codec, cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let codec = Codec::new(Arc::default());
        let wire = [&(MAX_REQUEST as u32).to_be_bytes()[..], &vec![0; MAX_REQUEST]].concat();
        let mut held = Vec::new();
        while let Ok(body) = read(&codec, wire.clone()).await {
            held.push(body);
        }
        assert_eq!(held.len(), MEMORY_KIB * 1024 / MAX_REQUEST);
        assert_eq!(codec.meters.read().refused_requests_busy, 1);
        held.pop();
        assert!(read(&codec, wire).await.is_ok());
    }
}
