use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sinew_link::{LinkError, LinkWriter};
use sinew_observe::Metrics;
use sinew_pubsub::{Next, Outbox, WriteBatch};
use sinew_wire::Refusal;

/// About how much goes out with one write. Large enough that system calls don't count, small enough that a control
/// frame is not kept waiting.
const WRITE_BYTES: usize = 256 << 10;

/// Writes what stands in the outbox until it is closed, then the goodbye and the end of the stream.
///
/// Returns the reason of the goodbye. Waits as long as the transport pushes back: whoever needs it to end drops it.
pub(crate) async fn write(
    mut link: LinkWriter,
    outbox: Arc<Outbox>,
    metrics: Metrics,
    wrote: Arc<AtomicBool>,
) -> Result<Refusal, LinkError> {
    let mut batch = WriteBatch::default();
    loop {
        let next = outbox.collect(Instant::now(), &mut batch, WRITE_BYTES);
        if batch.bytes() > 0 {
            metrics.bytes_out.inc_by(batch.bytes() as u64);
            link.send(&mut batch.chunks).await?;
            wrote.store(true, Ordering::Relaxed);
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
