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

    /// Appends frames of another kind behind everything published so far.
    pub(crate) fn frames(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        self.close_run();
        encode(&mut self.bytes);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_wire::entry::{Entries, EntryLimits, validate};
    use sinew_wire::{FrameHeader, FrameKind, FrameLimits};

    use super::*;

    const fn message(payload: &[u8]) -> Entry<'_> {
        Entry { id: &[], headers: &[], payload }
    }

    /// What a node would read.
    #[derive(Debug, PartialEq)]
    enum Read {
        Run { topic: String, options: RunOptions, first_seq: u64, payloads: Vec<Vec<u8>> },
        Control(Control),
    }

    fn read(frames: &[u8]) -> Vec<Read> {
        let mut rest = frames;
        let mut all = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("is a frame");
            let (body, after) = after.split_at(header.len);
            rest = after;
            if header.kind == FrameKind::Control {
                all.push(Read::Control(Control::decode(body).expect("is valid")));
                continue;
            }
            let (run, entries) = PublishHeader::decode(body).expect("is a run");
            let summary = validate(entries, &EntryLimits::default()).expect("is valid");
            assert_eq!(summary.messages, run.messages as usize);
            all.push(Read::Run {
                topic: run.topic.to_owned(),
                options: RunOptions { flags: run.flags, ttl_ms: run.ttl_ms, deadline_ms: run.deadline_ms },
                first_seq: run.first_seq,
                payloads: Entries::new(entries).map(|(_, entry)| entry.payload.to_vec()).collect(),
            });
        }
        all
    }

    fn runs(batch: &mut Batch) -> Vec<(String, u64, usize)> {
        read(&batch.take(BytesMut::new()))
            .into_iter()
            .map(|read| match read {
                Read::Run { topic, first_seq, payloads, .. } => (topic, first_seq, payloads.len()),
                Read::Control(control) => panic!("unexpected {control:?}"),
            })
            .collect()
    }

    #[test]
    fn another_topic_or_other_options_begin_another_run() {
        let mut batch = Batch::default();
        let plain = RunOptions::default();
        let kept = RunOptions { flags: Flags::RETAIN, ..plain };
        let brief = RunOptions { ttl_ms: 5, ..plain };
        for (seq, topic, options) in
            [(1, "a", plain), (2, "a", plain), (3, "ab", plain), (4, "ab", kept), (5, "ab", brief), (6, "ab", brief)]
        {
            batch.append(topic, options, seq, &message(b"x"));
        }
        let found = runs(&mut batch);
        let expected = [("a", 1, 2), ("ab", 3, 1), ("ab", 4, 1), ("ab", 5, 2)];
        assert_eq!(found, expected.map(|(topic, seq, count)| (topic.to_owned(), seq, count)));
    }

    #[test]
    fn a_run_ends_at_its_size() {
        let mut batch = Batch::default();
        let payload = [0; 1_000];
        for seq in 1..=100 {
            batch.append("a", RunOptions::default(), seq, &message(&payload));
        }
        let most = RUN_BYTES / 1_008;
        assert_eq!(runs(&mut batch), [("a".to_owned(), 1, most), ("a".to_owned(), most as u64 + 1, 100 - most)]);
        // One that is larger by itself has a run of its own.
        let large = vec![0; 2 * RUN_BYTES];
        for (seq, payload) in [(1, &payload[..]), (2, &large), (3, &payload)] {
            batch.append("a", RunOptions::default(), seq, &message(payload));
        }
        assert_eq!(runs(&mut batch).len(), 3);
    }

    #[test]
    fn control_frames_stay_in_their_place() {
        let mut batch = Batch::default();
        batch.append("a", RunOptions::default(), 1, &message(b"1"));
        batch.control(&Control::Ping { nonce: 9 });
        batch.append("a", RunOptions::default(), 2, &message(b"2"));
        let run = |first_seq, payload: &[u8]| Read::Run {
            topic: "a".to_owned(),
            options: RunOptions::default(),
            first_seq,
            payloads: vec![payload.to_vec()],
        };
        let expected = [run(1, b"1"), Read::Control(Control::Ping { nonce: 9 }), run(2, b"2")];
        assert_eq!(read(&batch.take(BytesMut::new())), expected);
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn knows_the_topic_of_the_open_run() {
        let mut batch = Batch::default();
        assert!(!batch.has_topic("a"));
        batch.append("a", RunOptions::default(), 1, &message(b""));
        assert!(batch.has_topic("a") && !batch.has_topic("ab"));
        batch.close_run();
        assert!(!batch.has_topic("a"));
        batch.append("a", RunOptions::default(), 2, &message(b""));
        batch.clear();
        assert!(!batch.has_topic("a") && batch.take(BytesMut::new()).is_empty());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            steps in prop::collection::vec((0..3_usize, 0..3_u32, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..60)
        ) {
            let topics = ["a", "b.c", "longer.topic.name"];
            let mut batch = Batch::default();
            let mut frames = Vec::new();
            for (seq, (topic, ttl_ms, payload, take)) in steps.iter().enumerate() {
                let options = RunOptions { ttl_ms: *ttl_ms, ..RunOptions::default() };
                batch.append(topics[*topic], options, seq as u64, &message(payload));
                if *take {
                    frames.extend_from_slice(&batch.take(BytesMut::new()));
                }
            }
            frames.extend_from_slice(&batch.take(BytesMut::new()));
            let mut seq = 0;
            for read in read(&frames) {
                let Read::Run { topic, options, first_seq, payloads } = read else { panic!("no control") };
                prop_assert_eq!(first_seq, seq as u64);
                for payload in payloads {
                    let (in_topic, in_ttl, in_payload, _) = &steps[seq];
                    prop_assert_eq!((topic.as_str(), options.ttl_ms, &payload), (topics[*in_topic], *in_ttl, in_payload));
                    seq += 1;
                }
            }
            prop_assert_eq!(seq, steps.len());
        }
    }
}
