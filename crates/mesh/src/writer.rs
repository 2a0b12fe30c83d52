//! The sending half of a link whose frames come from an outbox and, where they belong to calls, from a lane.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinew_link::{Lane, LinkError, LinkWriter};
use sinew_pubsub::{Next, Outbox, WriteBatch};
use sinew_wire::Refusal;

/// About how much of each of the two goes out with one write. Large enough that system calls don't count, small enough that
/// a control frame is not kept waiting, nor calls by messages, nor messages by calls.
const WRITE_BYTES: usize = 256 << 10;

/// What went out with one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrote {
    /// All bytes.
    pub bytes: usize,
    /// Those of calls.
    pub calls: usize,
}

/// Writes what stands in an outbox and in a lane until the outbox is closed, then the goodbye and the end of the stream. Serves
/// sessions of clients as well as links between nodes: what they have in common are these two.
///
/// `wrote` hears of every batch after it was handed to the transport.
///
/// Returns the reason of the goodbye. Waits as long as the transport pushes back: whoever needs it to end drops it.
pub async fn write(
    mut link: LinkWriter,
    outbox: Arc<Outbox>,
    lane: Arc<Lane>,
    mut wrote: impl FnMut(Wrote) + Send,
) -> Result<Refusal, LinkError> {
    let mut batch = WriteBatch::default();
    let mut calls: Vec<Bytes> = Vec::new();
    loop {
        let next = outbox.collect(Instant::now(), &mut batch, WRITE_BYTES);
        let finish = matches!(next, Next::Finish(_));
        // The goodbye is the last word: all that waits goes before it.
        let of_calls = lane.collect(&mut calls, if finish { usize::MAX } else { WRITE_BYTES });
        let bytes = batch.bytes() + of_calls;
        if finish {
            calls.append(&mut batch.chunks);
            std::mem::swap(&mut calls, &mut batch.chunks);
        } else {
            batch.chunks.append(&mut calls);
        }
        if bytes > 0 {
            link.send(&mut batch.chunks).await?;
            wrote(Wrote { bytes, calls: of_calls });
        }
        match next {
            Next::Finish(reason) => {
                link.finish().await?;
                return Ok(reason);
            }
            _ if bytes > 0 => tokio::task::consume_budget().await,
            _ => tokio::select! {
                () = outbox.woken() => {}
                () = lane.woken() => {}
            },
        }
    }
}
