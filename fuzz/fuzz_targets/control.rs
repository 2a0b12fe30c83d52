//! Control frames: never a panic, never a text beyond its limit, and what was decoded encodes to the same bytes, unless
//! a text of a refusal was so long that it is cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::{Control, HEADER_LEN, MAX_CONTROL, MAX_REALM, MAX_TEXT, encode_control};

fuzz_target!(|body: &[u8]| {
    // The frame header has refused what is longer.
    if body.len() > MAX_CONTROL {
        return;
    }
    let Ok(control) = Control::decode(body) else { return };
    if let Control::Hello(hello) = &control {
        assert!(hello.realm.len() <= MAX_REALM);
    }
    let mut frame = BytesMut::new();
    encode_control(&control, &mut frame);
    let encoded = &frame[HEADER_LEN..];
    if body.len() <= MAX_TEXT {
        assert_eq!(encoded, body);
    } else {
        assert!(encoded.len() <= body.len());
        assert!(Control::decode(encoded).is_ok());
    }
});
