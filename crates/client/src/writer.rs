use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use sinew_link::{LinkError, LinkWriter};
use sinew_wire::publish::{Flags, PublishHeader};
use sinew_wire::{FrameHeader, FrameKind, FrameLimits, HEADER_LEN, pack};

use crate::shared::{Next, Shared};

/// What reader and writer of a link tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Something was written since the reader has looked last.
    pub(crate) wrote: AtomicBool,
    /// Nothing was written for a while: memory kept for more may go.
    pub(crate) idle: AtomicBool,
}

/// Writes what the handles have for the node until the link shall end.
pub(crate) async fn write(
    mut link: LinkWriter,
    shared: Arc<Shared>,
    compress: bool,
    pulse: Arc<Pulse>,
) -> Result<(), LinkError> {
    let mut chunks = Vec::new();
    let mut spares = Spares::default();
    let mut spare = BytesMut::new();
    let mut looked_again = false;
    loop {
        match shared.collect(&mut chunks, &mut spare) {
            Next::Write => {
                if compress {
                    chunks = chunks.iter().map(|frames| packed(frames, &shared.config.frame_limits)).collect();
                }
                spares.keep(&chunks);
                link.send(&mut chunks).await?;
                pulse.wrote.store(true, Ordering::Relaxed);
                spares.refill(&mut spare);
                // A publisher that never pauses must not keep the tasks beside this one from their turn.
                tokio::task::consume_budget().await;
                looked_again = false;
            }
            // A publisher at full speed has more a moment later, and to wake a sleeping writer costs it more than that.
            Next::Wait if !looked_again => {
                looked_again = true;
                tokio::task::yield_now().await;
            }
            Next::Wait => {
                shared.work().await;
                if pulse.idle.swap(false, Ordering::Relaxed) {
                    spares.release();
                }
            }
            Next::Finish => return link.finish().await,
        }
    }
}

/// Buffers that were written, to be filled again: a batch is as large as a cache, and memory that is new each time costs more
/// than what is written into it.
#[derive(Debug, Default)]
struct Spares(VecDeque<Bytes>);

impl Spares {
    /// A transport that keeps what it has not sent yet gives a buffer back a few writes later.
    const MAX: usize = 4;
    /// Below this a new one is as good.
    const MIN_BYTES: usize = 4 << 10;

    fn keep(&mut self, chunks: &[Bytes]) {
        if let Some(batch) = chunks.last().filter(|batch| batch.len() >= Self::MIN_BYTES) {
            if self.0.len() == Self::MAX {
                self.0.pop_front();
            }
            self.0.push_back(batch.clone());
        }
    }

    /// Makes an empty `spare` one with room, if there is one that nobody reads any more.
    fn refill(&mut self, spare: &mut BytesMut) {
        if spare.capacity() > 0 {
            return;
        }
        if let Some(at) = self.0.iter().position(Bytes::is_unique)
            && let Some(Ok(mut buffer)) = self.0.remove(at).map(Bytes::try_into_mut)
        {
            buffer.clear();
            *spare = buffer;
        }
    }

    /// An idle client holds no memory for busier times.
    fn release(&mut self) {
        self.0.clear();
    }
}

/// The same frames, with the entries of publish frames packed where that makes them smaller.
fn packed(frames: &Bytes, limits: &FrameLimits) -> Bytes {
    let mut out = BytesMut::with_capacity(frames.len());
    let mut rest: &[u8] = frames;
    while let Some((header, body)) = rest.split_first_chunk::<HEADER_LEN>() {
        let Ok(FrameHeader { kind, len }) = FrameHeader::decode(*header, limits) else { break };
        let Some((body, after)) = body.split_at_checked(len) else { break };
        let smaller = if kind == FrameKind::Publish { pack_run(body, &mut out) } else { None };
        if smaller.is_none() {
            out.extend_from_slice(&rest[..HEADER_LEN + len]);
        }
        rest = after;
    }
    debug_assert!(rest.is_empty(), "what this client has laid out is whole frames within its limits");
    out.extend_from_slice(rest);
    out.freeze()
}

fn pack_run(body: &[u8], out: &mut BytesMut) -> Option<()> {
    let (header, entries) = PublishHeader::decode(body).ok()?;
    let packed = pack::pack(entries)?;
    PublishHeader { flags: header.flags.with(Flags::PACKED), ..header }.encode(packed.len(), out);
    out.extend_from_slice(&packed);
    Some(())
}

#[cfg(test)]
mod tests {
    use sinew_wire::entry::Entry;
    use sinew_wire::{Control, encode_control};

    use super::*;

    #[test]
    fn packs_what_gains_and_leaves_the_rest() {
        let mut frames = BytesMut::new();
        let mut expected = Vec::new();
        for payload in [vec![b'x'; 5_000], b"short".to_vec(), vec![b'y'; 3_000]] {
            let mut entries = BytesMut::new();
            Entry { id: &[], headers: &[], payload: &payload }.encode(&mut entries);
            let header = PublishHeader {
                flags: Flags::RETAIN,
                topic: "a",
                messages: 1,
                first_seq: 3,
                ttl_ms: 0,
                deadline_ms: 0,
                entries_len: entries.len() as u32,
            };
            header.encode(entries.len(), &mut frames);
            frames.extend_from_slice(&entries);
            encode_control(&Control::Ping { nonce: 1 }, &mut frames);
            expected.push(entries);
        }
        let limits = FrameLimits::default();
        let packed = packed(&frames.freeze(), &limits);
        assert!(packed.len() < 500, "{}", packed.len());
        let mut rest: &[u8] = &packed;
        let mut found = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::decode(*header, &limits).expect("is a frame");
            let (body, after) = after.split_at(header.len);
            rest = after;
            if header.kind == FrameKind::Publish {
                let (run, entries) = PublishHeader::decode(body).expect("is a run");
                assert!(run.flags.contains(Flags::RETAIN));
                found.push(match run.flags.contains(Flags::PACKED) {
                    true => pack::unpack(entries, run.entries_len, &limits).expect("unpacks"),
                    false => entries.to_vec(),
                });
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_buffer_comes_back_when_nobody_reads_it() {
        let mut spares = Spares::default();
        let mut spare = BytesMut::new();
        let batch = Bytes::from(vec![1; 10_000]);
        spares.keep(std::slice::from_ref(&batch));
        spares.refill(&mut spare);
        assert_eq!(spare.capacity(), 0, "the transport still has it");
        drop(batch);
        spares.refill(&mut spare);
        assert!(spare.is_empty() && spare.capacity() >= 10_000);
        spares.keep(&[Bytes::from_static(b"small")]);
        assert!(spares.0.is_empty());
    }
}
