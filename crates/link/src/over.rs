use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::{fmt, mem};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::LinkError;

/// Somebody else's byte stream: boxed, since it is the slow path, for peers that can't be reached otherwise.
pub(crate) struct OverReader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    aborted: Arc<Aborted>,
}

pub(crate) struct OverWriter {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    aborted: Arc<Aborted>,
}

/// The writer has given the link up: its reader is to end too. The stream itself is out of reach then, since the reader
/// owns its half.
#[derive(Debug, Default)]
struct Aborted {
    is: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

pub(crate) fn split(
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
) -> (OverReader, OverWriter) {
    let aborted = Arc::<Aborted>::default();
    (OverReader { stream: read, aborted: Arc::clone(&aborted) }, OverWriter { stream: write, aborted })
}

impl OverReader {
    /// 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        if self.aborted.is.load(Ordering::Acquire) {
            return Poll::Ready(Err(LinkError::ClosedHere));
        }
        let mut room = ReadBuf::new(room);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Pending => {
                *self.aborted.reader.lock() = Some(cx.waker().clone());
                // It may have happened since.
                if self.aborted.is.load(Ordering::Acquire) {
                    return Poll::Ready(Err(LinkError::ClosedHere));
                }
                Poll::Pending
            }
            ready => {
                ready!(ready)?;
                Poll::Ready(Ok(room.filled().len()))
            }
        }
    }
}

impl OverWriter {
    pub(crate) async fn send(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        for chunk in chunks {
            // Taken out, so that its memory is free as soon as it is written.
            self.stream.write_all(&mem::take(chunk)).await.map_err(reset)?;
        }
        Ok(self.stream.flush().await.map_err(reset)?)
    }

    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        Ok(self.stream.shutdown().await.map_err(reset)?)
    }

    pub(crate) fn abort(&self) {
        self.aborted.is.store(true, Ordering::Release);
        let reader = self.aborted.reader.lock().take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A stream that takes no more bytes is one whose peer is gone.
fn reset(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WriteZero { io::ErrorKind::ConnectionReset.into() } else { error }
}

impl fmt::Debug for OverReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverReader").finish_non_exhaustive()
    }
}

impl fmt::Debug for OverWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverWriter").finish_non_exhaustive()
    }
}
