//! The sending half of a link whose frames come from an outbox and, where they belong to calls, from a lane.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sinew_link::{Lane, LinkError, LinkWriter};
use sinew_pubsub::{Next, Outbox, WriteBatch};
use sinew_wire::call::{Reply, Status};
use sinew_wire::{HEADER_LEN, Refusal};

/// About how much of each of the two goes out with one write. Large enough that system calls don't count, small enough
/// that a control frame is not kept waiting, nor calls by messages, nor messages by calls.
const WRITE_BYTES: usize = 256 << 10;

/// What a writer tells of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// So much was handed to the transport.
    Sent {
        /// All bytes.
        bytes: usize,
        /// Those of calls.
        calls: usize,
    },
    /// Calls wait behind the [guard](Lane::guard) of the lane: the peer is to be asked whether it is there.
    Held,
}

/// Writes what stands in an outbox and in a lane until the outbox is closed, then the goodbye and the end of the
/// stream. Serves sessions of clients as well as links between nodes: what they have in common are these two.
///
/// `wrote` hears of all that goes out, and of what has to wait.
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
    // Told once, for as long as it lasts.
    let mut held = false;
    loop {
        let next = outbox.collect(Instant::now(), &mut batch, WRITE_BYTES);
        let finish = matches!(next, Next::Finish(_));
        // The goodbye is the last word: all that waits goes before it.
        let of_calls = lane.collect(&mut calls, if finish { usize::MAX } else { WRITE_BYTES });
        let bytes = batch.bytes() + of_calls;
        held &= of_calls == 0;
        if finish {
            calls.append(&mut batch.chunks);
            std::mem::swap(&mut calls, &mut batch.chunks);
        } else {
            batch.chunks.append(&mut calls);
        }
        if bytes > 0 {
            link.send(&mut batch.chunks).await?;
            wrote(Wrote::Sent { bytes, calls: of_calls });
        }
        match next {
            Next::Finish(reason) => {
                link.finish().await?;
                return Ok(reason);
            }
            _ if bytes > 0 => tokio::task::consume_budget().await,
            _ if !held && lane.is_held() => {
                held = true;
                wrote(Wrote::Held);
            }
            _ => {
                batch.rest();
                calls = Vec::new();
                tokio::select! {
                    () = outbox.woken() => {}
                    () = lane.woken() => {}
                }
            }
        }
    }
}

/// Replies to calls whose requests were thrown away before they were written ([`Lane::close`]): the certainty that they
/// were not executed, in the form in which a peer would say so.
pub fn not_sent(calls: Vec<u64>, mut reply: impl FnMut(&[u8])) {
    let mut frame = BytesMut::new();
    for call in calls {
        frame.clear();
        Reply::failure(call, Status::NotSent, "the link was lost before").encode(&mut frame);
        reply(&frame[HEADER_LEN..]);
    }
}
