//! Publish frames, header and entries: never a panic; what was decoded encodes to the same bytes; a validated block is
//! walked to its last byte.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::entry::{self, Entries, EntryLimits};
use sinew_wire::publish::PublishHeader;
use sinew_wire::{HEADER_LEN, Headers};

fuzz_target!(|body: &[u8]| {
    let Ok((header, entries)) = PublishHeader::decode(body) else { return };
    let mut frame = BytesMut::new();
    header.encode(entries.len(), &mut frame);
    frame.extend_from_slice(entries);
    assert_eq!(&frame[HEADER_LEN..], body);

    // Whatever the bytes, they stay inside of the block.
    let messages = header.messages as usize;
    assert!(entry::prefix_len(entries, messages) <= entries.len());
    assert!(entry::messages_within(entries, messages) <= messages);
    let walked = Entries::new(entries).count();

    let Ok(summary) = entry::validate(entries, &EntryLimits::default()) else { return };
    assert_eq!(summary.messages, walked);
    let mut rewritten = BytesMut::new();
    let (mut any_id, mut any_headers) = (false, false);
    for (at, entry) in Entries::new(entries) {
        assert_eq!(at, rewritten.len());
        assert_eq!(entry::prefix_len(entries, entry::messages_within(entries, at)), at);
        any_id |= !entry.id.is_empty();
        any_headers |= !entry.headers.is_empty();
        Headers::decode(entry.headers).expect("validated");
        entry.encode(&mut rewritten);
    }
    assert_eq!(rewritten, entries);
    assert_eq!((summary.any_id, summary.any_headers), (any_id, any_headers));
});
