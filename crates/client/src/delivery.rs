use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use bytes::Bytes;
use sinew_topic::Topic;
use sinew_wire::entry::{Entries, Entry};
use sinew_wire::{Headers, PeerId};

/// A run as it came from the node: checked, and copied once.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) topic: Topic,
    pub(crate) publisher: PeerId,
    pub(crate) instance: u64,
    pub(crate) first_seq: u64,
    pub(crate) retained: bool,
    pub(crate) messages: u32,
    /// Validated.
    pub(crate) entries: Bytes,
    /// Token to confirm it with, or 0.
    pub(crate) ack: u64,
    /// Number of the link it came over.
    pub(crate) link: u64,
}

impl Block {
    pub(crate) const fn entries(&self) -> &Bytes {
        &self.entries
    }

    pub(crate) const fn messages(&self) -> u32 {
        self.messages
    }
}

/// A message that a subscription received.
///
/// Its payload is a slice of the buffer in which it arrived together with its neighbours: nothing is copied. Whoever
/// keeps a few small messages for long copies them (`payload().to_vec()`), since each keeps that buffer, of up to 256 KiB,
/// alive.
#[derive(Clone)]
pub struct Message {
    block: Arc<Block>,
    payload: Bytes,
    seq: u64,
    /// Where the record's id begins; the headers follow it, and then the payload.
    id_at: u32,
    id_len: u8,
    headers_len: u16,
}

impl Message {
    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        self.block.topic.as_str()
    }

    /// Its content.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Its content, without the rest.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Its headers, in the order in which they were written.
    pub fn headers(&self) -> Headers<'_> {
        let at = self.id_at as usize + usize::from(self.id_len);
        headers(&self.block.entries[at..at + usize::from(self.headers_len)])
    }

    /// The first header with this key.
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers().get(key)
    }

    /// The id by which the mesh suppresses duplicates, if its publisher gave one.
    pub fn id(&self) -> Option<&[u8]> {
        let at = self.id_at as usize;
        some(&self.block.entries[at..at + usize::from(self.id_len)])
    }

    /// Who published it: proven to its node, not to you.
    pub fn publisher(&self) -> PeerId {
        self.block.publisher
    }

    /// Which client object of the publisher: it is another one after each start.
    pub fn instance(&self) -> u64 {
        self.block.instance
    }

    /// Its number at its publisher and instance: rising over all topics, and of one topic in order.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether it was published before this subscription began, and kept as the last value of its topic.
    pub fn is_retained(&self) -> bool {
        self.block.retained
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Message", self.topic(), self.seq, &self.payload)
    }
}

/// A message lent from a [`Run`].
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    block: &'a Block,
    entry: Entry<'a>,
    seq: u64,
}

impl<'a> MessageRef<'a> {
    /// The topic it was published to.
    pub fn topic(&self) -> &'a str {
        self.block.topic.as_str()
    }

    /// Its content.
    pub const fn payload(&self) -> &'a [u8] {
        self.entry.payload
    }

    /// Its headers, in the order in which they were written.
    pub fn headers(&self) -> Headers<'a> {
        headers(self.entry.headers)
    }

    /// The id by which the mesh suppresses duplicates, if its publisher gave one.
    pub const fn id(&self) -> Option<&'a [u8]> {
        some(self.entry.id)
    }

    /// Its number at its publisher: [`Message::seq`].
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "MessageRef", self.topic(), self.seq, self.entry.payload)
    }
}

fn debug(f: &mut fmt::Formatter<'_>, name: &str, topic: &str, seq: u64, payload: &[u8]) -> fmt::Result {
    f.debug_struct(name)
        .field("topic", &topic)
        .field("seq", &seq)
        .field("payload_bytes", &payload.len())
        .finish_non_exhaustive()
}

fn headers(encoded: &[u8]) -> Headers<'_> {
    // They were checked when the run came.
    Headers::decode(encoded).unwrap_or_default()
}

const fn some(id: &[u8]) -> Option<&[u8]> {
    if id.is_empty() { None } else { Some(id) }
}

/// Messages of one publisher to one topic, with consecutive numbers, that arrived together.
///
/// Iterate over it by reference to look at the messages without touching a reference count ([`MessageRef`]), or by
/// value to keep them ([`Message`]).
#[derive(Clone)]
pub struct Run {
    block: Arc<Block>,
    /// Where the first message that is left begins.
    offset: usize,
    left: u32,
}

impl Run {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        let left = block.messages;
        Self { block, offset: 0, left }
    }

    pub(crate) const fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The topic of all its messages.
    pub fn topic(&self) -> &str {
        self.block.topic.as_str()
    }

    /// How many messages are left in it.
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Number of the first message that is left: [`Message::seq`].
    pub fn first_seq(&self) -> u64 {
        self.block.first_seq + u64::from(self.block.messages - self.left)
    }

    /// Who published it: [`Message::publisher`].
    pub fn publisher(&self) -> PeerId {
        self.block.publisher
    }

    /// Which client object of the publisher: [`Message::instance`].
    pub fn instance(&self) -> u64 {
        self.block.instance
    }

    /// Whether they are retained values: [`Message::is_retained`].
    pub fn is_retained(&self) -> bool {
        self.block.retained
    }

    /// Its messages, lent.
    pub fn iter(&self) -> RunIter<'_> {
        let entries = Entries::new(&self.block.entries[self.offset..]);
        RunIter { block: &self.block, entries, seq: self.first_seq() }
    }

    /// The next message.
    #[inline]
    pub(crate) fn take_next(&mut self) -> Option<Message> {
        let rest = self.block.entries.get(self.offset..)?;
        let (_, entry) = Entries::new(rest).next()?;
        let end = self.offset + entry.encoded_len();
        let start = end - entry.payload.len();
        let message = Message {
            payload: self.block.entries.slice(start..end),
            seq: self.first_seq(),
            id_at: (self.offset + sinew_wire::entry::FIXED_LEN) as u32,
            id_len: entry.id.len() as u8,
            headers_len: entry.headers.len() as u16,
            block: Arc::clone(&self.block),
        };
        self.offset = end;
        self.left = self.left.saturating_sub(1);
        Some(message)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("topic", &self.topic())
            .field("first_seq", &self.first_seq())
            .field("messages", &self.left)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Run {
    type Item = MessageRef<'a>;
    type IntoIter = RunIter<'a>;

    fn into_iter(self) -> RunIter<'a> {
        self.iter()
    }
}

impl IntoIterator for Run {
    type Item = Message;
    type IntoIter = RunIntoIter;

    fn into_iter(self) -> RunIntoIter {
        RunIntoIter(self)
    }
}

/// Iterator over the messages of a [`Run`], lent from it.
#[derive(Debug, Clone)]
pub struct RunIter<'a> {
    block: &'a Block,
    entries: Entries<'a>,
    seq: u64,
}

impl<'a> Iterator for RunIter<'a> {
    type Item = MessageRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<MessageRef<'a>> {
        let (_, entry) = self.entries.next()?;
        let seq = self.seq;
        self.seq += 1;
        Some(MessageRef { block: self.block, entry, seq })
    }
}

impl FusedIterator for RunIter<'_> {}

/// Iterator over the messages of a [`Run`].
#[derive(Debug, Clone)]
pub struct RunIntoIter(Run);

impl Iterator for RunIntoIter {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.0.take_next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for RunIntoIter {}
impl FusedIterator for RunIntoIter {}
