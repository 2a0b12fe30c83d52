use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::over::OverWriter;
use crate::quic::QuicWriter;
use crate::tcp::TlsWriter;
#[cfg(unix)]
use crate::unix::UnixWriter;
use crate::{LinkConfig, LinkError};

/// Chunks below it are copied together with their neighbours: every transport pays more for a chunk than for copying so
/// few bytes. (quinn walks through the unacknowledged chunks for every packet.)
const SMALL: usize = 8 << 10;

/// What is copied together, at most.
const BLOCK: usize = 64 << 10;

/// The sending half of a link.
///
/// Dropping it without [`LinkWriter::finish`] may lose what was sent last.
#[derive(Debug)]
pub struct LinkWriter {
    stream: WriteStream,
    finish_timeout: Duration,
    /// A send is under way, or was and did not come to its end.
    poisoned: bool,
}

#[derive(Debug)]
pub(crate) enum WriteStream {
    Quic(QuicWriter),
    Tls(TlsWriter),
    #[cfg(unix)]
    Unix(UnixWriter),
    Over(OverWriter),
}

impl LinkWriter {
    pub(crate) fn new(stream: WriteStream, config: &LinkConfig) -> Self {
        Self { stream, finish_timeout: config.finish_timeout, poisoned: false }
    }

    /// Writes all chunks in their order, and leaves the vector empty, with its capacity.
    ///
    /// Waits while the peer or the network does not take more: that is the back-pressure. When it returns, the bytes are
    /// handed to the transport, not yet to the peer. Chunks of more than a few KiB are not copied on their way (except by
    /// encryption).
    ///
    /// Not cancel safe: a send that is dropped half-way has sent a part of the chunks, perhaps half a frame, so every later
    /// one answers [`LinkError::Poisoned`]. So does one after an error.
    pub async fn send(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), LinkError> {
        if self.poisoned {
            return Err(LinkError::Poisoned);
        }
        self.poisoned = true;
        coalesce(chunks);
        match &mut self.stream {
            WriteStream::Quic(stream) => stream.send(chunks).await?,
            WriteStream::Tls(stream) => stream.send(chunks).await?,
            #[cfg(unix)]
            WriteStream::Unix(stream) => stream.send(chunks).await?,
            WriteStream::Over(stream) => stream.send(chunks).await?,
        }
        chunks.clear();
        self.poisoned = false;
        Ok(())
    }

    /// Ends this side: the peer reads everything that was sent, and then [`Fill::End`](crate::Fill::End).
    ///
    /// Over QUIC it waits until the peer has acknowledged everything. Over TLS, if the reader is dropped already, it waits
    /// until the peer has ended its own side (what it still sends is thrown away), because a socket closed earlier may
    /// take back the last bytes; otherwise the reader is to be kept until it has seen the end.
    ///
    /// # Errors
    ///
    /// [`LinkError::FinishTimeout`] after [`LinkConfig::finish_timeout`]; [`LinkError::Poisoned`] after a send that came to
    /// no end, in which case the link is given up instead. Dropping it half-way is like dropping the writer.
    pub async fn finish(self) -> Result<(), LinkError> {
        if self.poisoned {
            self.abort();
            return Err(LinkError::Poisoned);
        }
        let ending = async {
            match self.stream {
                WriteStream::Quic(stream) => stream.finish().await,
                WriteStream::Tls(stream) => stream.finish().await,
                #[cfg(unix)]
                WriteStream::Unix(stream) => stream.finish().await,
                WriteStream::Over(stream) => stream.finish().await,
            }
        };
        timeout(self.finish_timeout, ending).await.unwrap_or(Err(LinkError::FinishTimeout(self.finish_timeout)))
    }

    /// Gives the whole link up at once, the reader's side too. What is on its way is lost, and the peer reads an error,
    /// except over a Unix socket, where it reads what had been sent and then the end.
    pub fn abort(self) {
        match &self.stream {
            WriteStream::Quic(stream) => stream.abort(),
            WriteStream::Tls(stream) => stream.abort(),
            #[cfg(unix)]
            WriteStream::Unix(stream) => stream.abort(),
            WriteStream::Over(stream) => stream.abort(),
        }
    }
}

/// Copies neighbours together where they are small, and drops empty chunks.
fn coalesce(chunks: &mut Vec<Bytes>) {
    let mut kept = 0;
    let mut next = 0;
    while let Some(run) = small_run(&chunks[next..]) {
        let end = next + run.count;
        if run.count == 1 {
            chunks.swap(kept, next);
        } else {
            let mut block = BytesMut::with_capacity(run.bytes);
            for chunk in &chunks[next..end] {
                block.extend_from_slice(chunk);
            }
            chunks[kept] = block.freeze();
        }
        if !chunks[kept].is_empty() {
            kept += 1;
        }
        next = end;
    }
    chunks.truncate(kept);
}

struct Run {
    count: usize,
    bytes: usize,
}

/// The chunks at the front that become one: a large one alone, or small ones up to a block. Nothing if there is none.
fn small_run(chunks: &[Bytes]) -> Option<Run> {
    let mut run = Run { count: 1, bytes: chunks.first()?.len() };
    if run.bytes < SMALL {
        for chunk in &chunks[1..] {
            if chunk.len() >= SMALL || run.bytes + chunk.len() > BLOCK {
                break;
            }
            run.count += 1;
            run.bytes += chunk.len();
        }
    }
    Some(run)
}
