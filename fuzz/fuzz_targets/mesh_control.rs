//! Mesh frames: never a panic, never a text beyond its limit, and what was decoded encodes to the same bytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::{HEADER_LEN, MAX_CONTROL, MAX_TOPIC, MeshControl, encode_mesh};

fuzz_target!(|body: &[u8]| {
    // The frame header has refused what is longer.
    if body.len() > MAX_CONTROL {
        return;
    }
    let Ok(control) = MeshControl::decode(body) else { return };
    if let MeshControl::Missed { topic, .. } = &control {
        assert!(topic.len() <= MAX_TOPIC);
    }
    let mut frame = BytesMut::new();
    encode_mesh(&control, &mut frame);
    assert_eq!(&frame[HEADER_LEN..], body);
});
