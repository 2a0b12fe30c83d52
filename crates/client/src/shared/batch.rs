use bytes::{Bytes, BytesMut};
use sinew_wire::entry::Entry;
use sinew_wire::publish::{self, Flags, PublishHeader};
use sinew_wire::{Control, HEADER_LEN, MAX_RUN_BYTES, MAX_RUN_MESSAGES, encode_control};

/// Entry bytes at which a run is closed. Far above this a run saves nothing more, and all that follows it waits longer.
const RUN_BYTES: usize = 64 << 10;

/// What all messages of a run have in common beside the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunOptions {
    pub(crate) flags: Flags,
    pub(crate) ttl_ms: u32,
    pub(crate) deadline_ms: u32,
}

impl RunOptions {
    /// Whether the node answers with a result, of which there is one per run: such a run is closed with the call that
    /// opened it.
    pub(crate) const fn wants_result(&self) -> bool {
        self.flags.contains(Flags::ACKED)
            || self.flags.contains(Flags::REPORT)
            || self.flags.contains(Flags::REQUIRE_SUBSCRIBERS)
    }

    const fn run_bytes(&self) -> usize {
        if self.wants_result() { MAX_RUN_BYTES } else { RUN_BYTES }
    }
}

/// Frames that wait to be written, one after the other in one buffer.
///
/// The last one may be an *open run*, to which messages are appended as long as they share its topic and options. Room
/// for its header is left in front of it, and filled when it is closed and its length is known: so a batch is
/// one chunk for the link, however often the topic changes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: BytesMut,
    open: Option<OpenRun>,
    /// Where a header is encoded before it is copied to its place.
    header: BytesMut,
}

#[derive(Debug)]
struct OpenRun {
    options: RunOptions,
    first_seq: u64,
    messages: usize,
    /// Where the frame begins.
    start: usize,
    topic_len: usize,
}

impl OpenRun {
    const HEADER: usize = HEADER_LEN + publish::FIXED_LEN;

    const fn topic_at(&self) -> usize {
        self.start + Self::HEADER
    }

    const fn entries_at(&self) -> usize {
        self.topic_at() + self.topic_len
    }
}

impl Batch {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the open run has this topic, which is then known to be valid.
    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.open.as_ref().is_some_and(|run| self.bytes[run.topic_at()..run.entries_at()] == *topic.as_bytes())
    }

    /// Appends one message, to the open run if it belongs there, else to a new one.
    pub(crate) fn append(&mut self, topic: &str, options: RunOptions, seq: u64, entry: &Entry<'_>) {
        match &mut self.open {
            Some(run)
                if run.options == options
                    && run.messages < MAX_RUN_MESSAGES
                    && self.bytes.len() - run.entries_at() + entry.encoded_len() <= options.run_bytes()
                    && self.bytes[run.topic_at()..run.entries_at()] == *topic.as_bytes() =>
            {
                run.messages += 1;
            }
            _ => self.open_run(topic, options, seq),
        }
        entry.encode(&mut self.bytes);
    }

    fn open_run(&mut self, topic: &str, options: RunOptions, first_seq: u64) {
        self.close_run();
        let run = OpenRun { options, first_seq, messages: 1, start: self.bytes.len(), topic_len: topic.len() };
        let header = PublishHeader {
            flags: options.flags,
            topic,
            messages: 0,
            first_seq,
            ttl_ms: options.ttl_ms,
            deadline_ms: options.deadline_ms,
            entries_len: 0,
        };
        header.encode(0, &mut self.bytes);
        self.open = Some(run);
    }

    /// Ends the open run: the next message begins another.
    pub(crate) fn close_run(&mut self) {
        let Some(run) = self.open.take() else { return };
        let Self { bytes, header: encoded, .. } = self;
        let entries_len = bytes.len() - run.entries_at();
        let header = PublishHeader {
            flags: run.options.flags,
            topic: std::str::from_utf8(&bytes[run.topic_at()..run.entries_at()]).expect("was written as text"),
            messages: run.messages as u32,
            first_seq: run.first_seq,
            ttl_ms: run.options.ttl_ms,
            deadline_ms: run.options.deadline_ms,
            entries_len: entries_len as u32,
        };
        encoded.clear();
        header.encode(entries_len, encoded);
        bytes[run.start..run.entries_at()].copy_from_slice(encoded);
    }

    /// Appends a control frame behind everything published so far.
    pub(crate) fn control(&mut self, control: &Control) {
        self.close_run();
        encode_control(control, &mut self.bytes);
    }

    /// All frames; the batch goes on in `spare`, which is empty.
    pub(crate) fn take(&mut self, spare: BytesMut) -> Bytes {
        debug_assert!(spare.is_empty());
        self.close_run();
        std::mem::replace(&mut self.bytes, spare).freeze()
    }

    /// Gives back the memory, if nothing is in it.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            *self = Self::default();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.open = None;
        self.bytes.clear();
    }
}
