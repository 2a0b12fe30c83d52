//! Entries: what is written is read, and everything that walks a block agrees with a naive reader.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::entry::{self, Entries, Entry, EntryLimits, FIXED_LEN, Summary};
use sinew_wire::{DecodeError, Headers, Limit, MAX_HEADERS, MAX_ID, MAX_RUN_MESSAGES, encode_header};

/// One message that owns its parts.
#[derive(Debug, Clone, PartialEq)]
struct Message {
    id: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Message {
    fn entry(&self) -> Entry<'_> {
        Entry { id: &self.id, headers: &self.headers, payload: &self.payload }
    }
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    vec(("[a-zé]{1,8}", vec(any::<u8>(), 0..20)), 0..4).prop_map(|headers| {
        let mut out = BytesMut::new();
        for (key, value) in &headers {
            encode_header(key, value, &mut out).expect("a few short headers");
        }
        out.to_vec()
    })
}

fn message() -> impl Strategy<Value = Message> {
    (vec(any::<u8>(), 0..20), headers(), vec(any::<u8>(), 0..100)).prop_map(|(id, headers, payload)| Message {
        id,
        headers,
        payload,
    })
}

fn block_of(messages: &[Message]) -> BytesMut {
    let mut block = BytesMut::new();
    messages.iter().for_each(|message| message.entry().encode(&mut block));
    block
}

/// The format read by hand, as plainly as possible. `None` for whatever must be refused.
fn naive(block: &[u8], limits: &EntryLimits) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    let mut at = 0;
    let mut take = |len: usize| {
        let end = at + len;
        let bytes = block.get(at..end)?.to_vec();
        at = end;
        Some(bytes)
    };
    while let Some(fixed) = take(FIXED_LEN) {
        let payload = u32::from_le_bytes(fixed[..4].try_into().unwrap()) as usize;
        let headers = u16::from_le_bytes(fixed[4..6].try_into().unwrap()) as usize;
        if fixed[7] != 0 || payload > limits.payload || headers > limits.headers {
            return None;
        }
        let message = Message { id: take(fixed[6].into())?, headers: take(headers)?, payload: take(payload)? };
        if !naive_headers(&message.headers) {
            return None;
        }
        messages.push(message);
    }
    (at == block.len() && !messages.is_empty() && messages.len() <= MAX_RUN_MESSAGES).then_some(messages)
}

fn naive_headers(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if bytes.len() < 3 {
            return false;
        }
        let key = bytes[0] as usize;
        let value = bytes[1] as usize + bytes[2] as usize * 256;
        if key == 0 || bytes.len() < 3 + key + value || String::from_utf8(bytes[3..3 + key].to_vec()).is_err() {
            return false;
        }
        bytes = &bytes[3 + key + value..];
    }
    true
}

/// Everything that walks a block, against the naive reader.
fn agrees(block: &[u8], limits: &EntryLimits) {
    let expected = naive(block, limits);
    let summary = entry::validate(block, limits);
    assert_eq!(summary.is_ok(), expected.is_some(), "{summary:?} {block:?}");
    let walked = Entries::new(block).count();
    let (Ok(summary), Some(messages)) = (summary, expected) else { return };

    assert_eq!(walked, messages.len());
    let expected = Summary {
        messages: messages.len(),
        any_id: messages.iter().any(|m| !m.id.is_empty()),
        any_headers: messages.iter().any(|m| !m.headers.is_empty()),
    };
    assert_eq!(summary, expected);

    let mut offset = 0;
    for ((at, entry), message) in Entries::new(block).zip(&messages) {
        assert_eq!((at, entry), (offset, message.entry()));
        offset += entry.encoded_len();
        assert_eq!(Headers::decode(entry.headers).map(|h| h.as_bytes()), Ok(&message.headers[..]));
    }
    assert_eq!(offset, block.len());

    let mut ends = vec![0];
    ends.extend(messages.iter().scan(0, |end, message| {
        *end += message.entry().encoded_len();
        Some(*end)
    }));
    for (count, &end) in ends.iter().enumerate() {
        assert_eq!(entry::prefix_len(block, count), end);
        for bytes in [end.saturating_sub(1), end, end + 1] {
            let fit = ends.iter().filter(|&&end| end <= bytes).count() - 1;
            assert_eq!(entry::messages_within(block, bytes), fit);
        }
    }
    for more in [messages.len() + 1, usize::MAX] {
        assert_eq!(entry::prefix_len(block, more), block.len());
    }
}

proptest! {
    #[test]
    fn written_is_read(messages in vec(message(), 1..20)) {
        let block = block_of(&messages);
        let read = naive(&block, &EntryLimits::default());
        prop_assert_eq!(read, Some(messages));
        agrees(&block, &EntryLimits::default());
    }

    #[test]
    fn limits_are_kept(messages in vec(message(), 1..6), payload in 0..100_usize, headers in 0..60_usize) {
        agrees(&block_of(&messages), &EntryLimits { payload, headers });
    }

    #[test]
    fn damage_is_refused_or_harmless(
        messages in vec(message(), 1..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut block = block_of(&messages).to_vec();
        for (at, byte) in damage {
            let at = at.index(block.len());
            block[at] = byte;
        }
        agrees(&block, &EntryLimits::default());
        block.truncate(cut.index(block.len() + 1));
        agrees(&block, &EntryLimits::default());
    }

    #[test]
    fn arbitrary_bytes(block in vec(prop_oneof![3 => Just(0), 2 => 0..12_u8, 1 => any::<u8>()], 0..200)) {
        agrees(&block, &EntryLimits { payload: 64, headers: 64 });
        // Whatever the bytes, the two that trust a validated block stay inside of it.
        for n in [0, 1, 7, usize::MAX] {
            prop_assert!(entry::prefix_len(&block, n) <= block.len());
            prop_assert!(entry::messages_within(&block, n) <= block.len() / FIXED_LEN);
        }
    }
}

/// An entry that announces what isn't there.
fn announce(payload: u32, headers: u16, id: u8) -> Vec<u8> {
    [&payload.to_le_bytes()[..], &headers.to_le_bytes(), &[id, 0]].concat()
}

#[test]
fn cut_short_at_every_byte() {
    let message = Message { id: b"id".into(), headers: b"\x01\x01\x00kv".into(), payload: b"payload".into() };
    let block = block_of(&[message.clone(), message]);
    for len in 0..block.len() {
        let cut = entry::validate(&block[..len], &EntryLimits::default());
        match len {
            0 => assert_eq!(cut, Err(DecodeError::Invalid { field: "run", problem: "has no messages" })),
            _ if len == block.len() / 2 => assert_eq!(cut.map(|summary| summary.messages), Ok(1)),
            _ => assert_eq!(cut, Err(DecodeError::Truncated("entry")), "at {len}"),
        }
    }
}

#[test]
fn sizes_are_refused_by_the_name_of_their_limit() {
    let limits = EntryLimits { payload: 100, headers: 50 };
    let refused = |fixed: Vec<u8>| entry::validate(&fixed, &limits).unwrap_err();
    let too_large = |limit, actual, allowed| DecodeError::TooLarge { limit, actual, allowed };
    assert_eq!(refused(announce(101, 0, 0)), too_large(Limit::MessageBytes, 101, 100));
    assert_eq!(refused(announce(u32::MAX, u16::MAX, 255)), too_large(Limit::MessageBytes, u32::MAX.into(), 100));
    assert_eq!(refused(announce(100, 51, 0)), too_large(Limit::HeaderBytes, 51, 50));
    assert_eq!(refused(announce(100, 50, 255)), DecodeError::Truncated("entry"));
    assert_eq!(
        refused(vec![0, 0, 0, 0, 0, 0, 0, 1]),
        DecodeError::Invalid { field: "entry flags", problem: "are reserved" }
    );
}

#[test]
fn largest_parts_fit() {
    let message = Message { id: vec![1; MAX_ID], headers: Vec::new(), payload: vec![3; sinew_wire::MAX_PAYLOAD] };
    let mut headers = BytesMut::new();
    encode_header("k", &[2; MAX_HEADERS - 4], &mut headers).expect("exactly the limit");
    let message = Message { headers: headers.to_vec(), ..message };
    let block = block_of(std::slice::from_ref(&message));
    assert_eq!(entry::validate(&block, &EntryLimits::default()).map(|s| s.messages), Ok(1));
    assert_eq!(Entries::new(&block).next(), Some((0, message.entry())));
}

#[test]
fn no_more_messages_than_a_run_may_have() {
    let block = vec![0; FIXED_LEN * (MAX_RUN_MESSAGES + 1)];
    let limits = EntryLimits::default();
    let most = &block[FIXED_LEN..];
    assert_eq!(entry::validate(most, &limits).map(|summary| summary.messages), Ok(MAX_RUN_MESSAGES));
    let (actual, allowed) = (MAX_RUN_MESSAGES as u64 + 1, MAX_RUN_MESSAGES as u64);
    let refused = DecodeError::TooLarge { limit: Limit::RunMessages, actual, allowed };
    assert_eq!(entry::validate(&block, &limits), Err(refused));
}
