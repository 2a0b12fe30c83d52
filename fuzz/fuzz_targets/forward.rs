//! Headers of forward frames: never a panic, bounded groups, and what was decoded encodes to the same bytes. What follows
//! the header is the same as in a publish frame, which the target `publish` reads.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::forward::{ForwardHeader, GroupList, MAX_GROUPS};
use sinew_wire::{HEADER_LEN, MAX_GROUP};

fuzz_target!(|body: &[u8]| {
    let Ok((header, entries)) = ForwardHeader::decode(body) else { return };
    assert!(header.first_seq.checked_add(header.messages.into()).is_some());
    assert!(header.groups.len() <= MAX_GROUPS);
    assert_eq!(header.groups.iter().count(), header.groups.len());
    assert!(header.groups.iter().all(|name| !name.is_empty() && name.len() <= MAX_GROUP));
    let again = GroupList::new(header.groups.iter()).expect("names that were decoded are names");
    assert_eq!(again.as_groups(), header.groups);
    let mut frame = BytesMut::new();
    header.encode(entries.len(), &mut frame);
    frame.extend_from_slice(entries);
    assert_eq!(&frame[HEADER_LEN..], body);
});
