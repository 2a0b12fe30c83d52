use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew_wire::Frame;

use crate::buffer::FrameBuffer;
use crate::over::OverReader;
use crate::probe::Probe;
use crate::quic::QuicReader;
use crate::tcp::TlsReader;
#[cfg(unix)]
use crate::unix::UnixReader;
use crate::{LinkConfig, LinkError};

/// What [`LinkReader::fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// At least one whole frame can be taken.
    Frames,
    /// The peer has ended its side, after a whole frame, and all its frames are taken.
    End,
}

/// The receiving half of a link.
///
/// All frames live in one buffer of the reader, which starts empty, grows with the load to
/// [`LinkConfig::read_buffer`] (or to one frame, where that is larger), and gives its memory back on
/// [`LinkReader::shrink`].
#[derive(Debug)]
pub struct LinkReader {
    stream: ReadStream,
    buffer: FrameBuffer,
    /// What came behind the last bytes read.
    then: Option<Result<Fill, LinkError>>,
}

#[derive(Debug)]
pub(crate) enum ReadStream {
    Quic(QuicReader),
    Tls(TlsReader),
    #[cfg(unix)]
    Unix(UnixReader),
    Over(OverReader),
}

impl ReadStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        match self {
            Self::Quic(stream) => stream.poll_read(cx, room),
            Self::Tls(stream) => stream.poll_read(cx, room),
            #[cfg(unix)]
            Self::Unix(stream) => stream.poll_read(cx, room),
            Self::Over(stream) => stream.poll_read(cx, room),
        }
    }

    /// Reads until there is nothing more to read, or no room: batches are what makes everything behind it cheap.
    fn poll_read_all(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<(usize, Option<Result<Fill, LinkError>>)> {
        let mut count = 0;
        while let Some(left) = room.get_mut(count..).filter(|left| !left.is_empty()) {
            match self.poll_read(cx, left) {
                Poll::Ready(Ok(0)) => return Poll::Ready((count, Some(Ok(Fill::End)))),
                Poll::Ready(Ok(read)) => count += read,
                Poll::Ready(Err(error)) => return Poll::Ready((count, Some(Err(error)))),
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((count, None))
    }
}

impl LinkReader {
    pub(crate) fn new(stream: ReadStream, config: &LinkConfig) -> Self {
        Self { stream, buffer: FrameBuffer::new(config.read_buffer, config.frame_limits), then: None }
    }

    /// Waits until at least one whole frame is buffered, or the peer has ended its side. Reads as much as there is at
    /// once, so that [`LinkReader::next_frame`] is to be called until it returns nothing.
    ///
    /// Waits without a limit: who wants one wraps it. Cancel safe: no byte is lost.
    ///
    /// # Errors
    ///
    /// [`LinkError::Frame`] on a header that announces too much or an unknown kind, before its body is stored;
    /// [`LinkError::CutShort`] if the peer's side ends inside a frame; anything that ends the transport. Frames that
    /// arrived before the error can still be taken first.
    pub async fn fill(&mut self) -> Result<Fill, LinkError> {
        loop {
            if self.buffer.has_frame()? {
                return Ok(Fill::Frames);
            }
            match self.then.take() {
                Some(Ok(_)) if self.buffer.len() > 0 => return Err(LinkError::CutShort(self.buffer.len())),
                Some(Ok(fill)) => {
                    self.then = Some(Ok(fill));
                    return Ok(fill);
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
            let (stream, room) = (&mut self.stream, self.buffer.room());
            let (count, then) = poll_fn(|cx| stream.poll_read_all(cx, room)).await;
            self.buffer.filled(count);
            self.then = then;
        }
    }

    /// Takes the next frame, if it is buffered as a whole. It is lent until the next call.
    ///
    /// # Errors
    ///
    /// [`LinkError::Frame`], like [`LinkReader::fill`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, LinkError> {
        Ok(self.buffer.next_frame()?)
    }

    /// What finds out that the peer's process is dead, where silence alone would say so: over QUIC. The system tells of
    /// the others.
    pub fn probe(&self) -> Option<Probe> {
        match &self.stream {
            ReadStream::Quic(stream) => Some(stream.probe()),
            _ => None,
        }
    }

    /// The round trip to the peer as the transport smooths it, where it does: over QUIC. Zero on one host, where it
    /// says more of the load than of the way.
    pub fn rtt(&self) -> Option<Duration> {
        match &self.stream {
            ReadStream::Quic(stream) => Some(stream.rtt()),
            _ => None,
        }
    }

    /// Gives the buffer's memory back if nothing is in it. For a session to call once in a while: it costs a busy
    /// reader next to nothing, and makes a silent one small.
    pub fn shrink(&mut self) {
        self.buffer.shrink();
    }
}
