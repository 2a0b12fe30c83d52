//! Headers of deliver frames: never a panic, and what was decoded encodes to the same bytes. What follows the header is
//! the same as in a publish frame, which the target `publish` reads.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::HEADER_LEN;
use sinew_wire::deliver::DeliverHeader;

fuzz_target!(|body: &[u8]| {
    let Ok((header, entries)) = DeliverHeader::decode(body) else { return };
    assert!(header.first_seq.checked_add(header.messages.into()).is_some());
    let mut frame = BytesMut::new();
    header.encode(entries.len(), &mut frame);
    frame.extend_from_slice(entries);
    assert_eq!(&frame[HEADER_LEN..], body);
});
