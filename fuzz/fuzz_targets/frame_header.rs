//! The five bytes in front of every body: never a panic, never a length above the limit of its kind, and what was
//! decoded encodes to the same bytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::{FrameHeader, FrameLimits, HEADER_LEN};

fuzz_target!(|bytes: [u8; HEADER_LEN]| {
    let limits = FrameLimits::default();
    let Ok(header) = FrameHeader::decode(bytes, &limits) else { return };
    assert!(header.len <= limits.of(header.kind));

    let mut encoded = BytesMut::new();
    header.encode(&mut encoded);
    assert_eq!(encoded[..], bytes);
});
