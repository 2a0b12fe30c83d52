//! The sending half of a link whose frames come from an outbox.

use std::sync::Arc;
use std::time::Instant;

use sinew_link::{LinkError, LinkWriter};
use sinew_pubsub::{Next, Outbox, WriteBatch};
use sinew_wire::Refusal;

/// About how much goes out with one write. Large enough that system calls don't count, small enough that a control
/// frame is not kept waiting.
const WRITE_BYTES: usize = 256 << 10;

/// Writes what stands in an outbox until it is closed, then the goodbye and the end of the stream. Serves sessions of
/// clients as well as links between nodes: what they have in common is the outbox.
///
/// `wrote` hears of every batch, with its bytes, after it was handed to the transport.
///
/// Returns the reason of the goodbye. Waits as long as the transport pushes back: whoever needs it to end drops it.
pub async fn write(
    mut link: LinkWriter,
    outbox: Arc<Outbox>,
    mut wrote: impl FnMut(usize) + Send,
) -> Result<Refusal, LinkError> {
    let mut batch = WriteBatch::default();
    loop {
        let next = outbox.collect(Instant::now(), &mut batch, WRITE_BYTES);
        let bytes = batch.bytes();
        if bytes > 0 {
            link.send(&mut batch.chunks).await?;
            wrote(bytes);
        }
        match next {
            Next::Write => tokio::task::consume_budget().await,
            Next::Wait => outbox.woken().await,
            Next::Finish(reason) => {
                link.finish().await?;
                return Ok(reason);
            }
        }
    }
}
