//! Headers of one message: never a panic; what passes is read to its last byte and encodes to the same bytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::{Headers, MAX_HEADERS, TraceContext, encode_header};

fuzz_target!(|bytes: &[u8]| {
    let Ok(headers) = Headers::decode(bytes) else { return };
    assert!(bytes.len() <= MAX_HEADERS);
    let mut encoded = BytesMut::new();
    for (key, value) in headers {
        assert!(headers.get(key).is_some());
        encode_header(key, value, &mut encoded).expect("no larger than what was decoded");
    }
    assert_eq!(encoded, bytes);
    if let Some(context) = TraceContext::sampled(&headers) {
        assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
    }
});
