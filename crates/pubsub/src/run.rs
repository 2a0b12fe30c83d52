use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinew_flow::{Batch, Reservation};
use sinew_topic::Topic;
use sinew_wire::{PeerId, entry};

use crate::ack::Ack;

/// Who published: one client object of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The authenticated peer.
    pub peer: PeerId,
    /// The client object, see [`sinew_wire::Hello::instance`].
    pub instance: u64,
}

/// Messages of one topic, validated, held once for all their subscribers.
#[derive(Debug)]
pub struct Run {
    /// Topic of every message.
    pub topic: Topic,
    /// Who published.
    pub origin: Arc<Origin>,
    /// The block of entries; passed [`entry::validate`].
    pub entries: Bytes,
    /// The same block as it was packed by the publisher.
    pub packed: Option<Bytes>,
    /// Number of entries.
    pub messages: u32,
    /// Sequence number of the first entry.
    pub first_seq: u64,
    /// Whether any entry has headers.
    pub any_headers: bool,
    /// Whether any entry has an id for de-duplication.
    pub any_id: bool,
    /// When the node read it.
    pub received: Instant,
    /// When it stops being worth delivering.
    pub expires: Option<Instant>,
    /// Whether it is a retained value, delivered because a subscription asked for the last one.
    pub retained: bool,
    /// Who wants to know what became of it.
    pub ack: Option<Arc<Ack>>,
    /// Its share of the node's queue memory; `None` when the budget had no room, and then it is never queued.
    pub memory: Option<Reservation>,
}

impl Run {
    /// What one run costs beside its entries: the struct, its shared counters, its place in the allocator.
    pub const OVERHEAD: usize = 256;
}

/// A consecutive part of a [`Run`], as it stands in a queue: a reference, no bytes.
#[derive(Debug, Clone)]
pub struct Slice {
    run: Arc<Run>,
    start: u32,
    end: u32,
    /// Index of the first message in the run, and [`Slice::FOREIGN`].
    first: u32,
    messages: u32,
}

impl Slice {
    /// Bit of `first`, far above the most messages of a run: it came from another node, and is not forwarded again.
    const FOREIGN: u32 = 1 << 31;

    /// The whole run.
    pub fn whole(run: Arc<Run>) -> Self {
        // A block of entries is bounded by the frame limit, far below 4 GiB.
        let end = run.entries.len() as u32;
        let messages = run.messages;
        Self { run, start: 0, end, first: 0, messages }
    }

    /// The whole run, which another node forwarded to this one.
    pub(crate) fn foreign(run: Arc<Run>) -> Self {
        Self { first: Self::FOREIGN, ..Self::whole(run) }
    }

    pub(crate) const fn is_foreign(&self) -> bool {
        self.first & Self::FOREIGN != 0
    }

    /// The run it is a part of.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Sequence number of its first message.
    pub fn first_seq(&self) -> u64 {
        self.run.first_seq + u64::from(self.first & !Self::FOREIGN)
    }

    /// Its entries, borrowed.
    pub fn block(&self) -> &[u8] {
        &self.run.entries[self.start as usize..self.end as usize]
    }

    /// Its entries, sharing the run's memory.
    pub fn shared_block(&self) -> Bytes {
        self.run.entries.slice(self.start as usize..self.end as usize)
    }

    /// The packed form, when this is the whole run and there is one.
    pub fn packed(&self) -> Option<&Bytes> {
        self.run.packed.as_ref().filter(|_| self.messages == self.run.messages)
    }

    /// Splits into single messages, each with its entry.
    pub fn singles(&self) -> impl Iterator<Item = (Self, entry::Entry<'_>)> {
        entry::Entries::new(self.block()).enumerate().map(|(i, (offset, entry))| {
            let start = self.start + offset as u32;
            let end = start + entry.encoded_len() as u32;
            (Self { run: Arc::clone(&self.run), start, end, first: self.first + i as u32, messages: 1 }, entry)
        })
    }

    /// Joins with the slice that follows directly; hands it back when it does not follow.
    pub fn join(&mut self, next: Self) -> Result<(), Self> {
        if Arc::ptr_eq(&self.run, &next.run) && self.end == next.start {
            self.end = next.end;
            self.messages += next.messages;
            Ok(())
        } else {
            Err(next)
        }
    }

    /// Only the last message.
    pub fn last(&self) -> Self {
        let mut last = self.clone();
        if self.messages > 1 {
            last.split_front(self.messages as usize - 1);
        }
        last
    }
}

impl Batch for Slice {
    fn messages(&self) -> usize {
        self.messages as usize
    }

    fn bytes(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn split_front(&mut self, n: usize) -> Self {
        let len = entry::prefix_len(self.block(), n) as u32;
        let front = Self {
            run: Arc::clone(&self.run),
            start: self.start,
            end: self.start + len,
            first: self.first,
            messages: n as u32,
        };
        self.start += len;
        self.first += n as u32;
        self.messages -= n as u32;
        front
    }

    fn messages_within(&self, bytes: usize) -> usize {
        entry::messages_within(self.block(), bytes)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use bytes::BytesMut;
    use sinew_wire::entry::Entry;

    use super::*;

    /// Messages of one byte each, 9 with what is around it.
    pub(crate) fn slice(first_seq: u64, messages: u32) -> Slice {
        let mut block = BytesMut::new();
        for _ in 0..messages {
            Entry { id: b"", headers: b"", payload: b"!" }.encode(&mut block);
        }
        let run = Run {
            topic: Topic::parse("a").expect("a topic"),
            origin: Arc::new(Origin { peer: PeerId::from_public_key([7; 32]), instance: 1 }),
            entries: block.freeze(),
            packed: None,
            messages,
            first_seq,
            any_headers: false,
            any_id: false,
            received: Instant::now(),
            expires: None,
            retained: false,
            ack: None,
            memory: None,
        };
        Slice::whole(Arc::new(run))
    }
}
