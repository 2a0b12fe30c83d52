//! Frames of calls: never a panic, bounded texts, and what was decoded encodes to the same bytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sinew_wire::call::{CallFrame, GatheredItem, MAX_KEY, Reply};
use sinew_wire::{HEADER_LEN, MAX_HEADERS, MAX_SERVICE};

fuzz_target!(|body: &[u8]| {
    let _item = GatheredItem::decode(body);
    let Ok(frame) = CallFrame::decode(body) else { return };
    match &frame {
        CallFrame::Request(request) => {
            assert!(request.name.len() <= MAX_SERVICE && request.key.len() <= MAX_KEY);
            assert!(request.headers.as_bytes().len() <= MAX_HEADERS);
            let mut traced = body.to_vec();
            request.set_parent(&mut traced, [1; 8]);
            let Ok(CallFrame::Request(traced)) = CallFrame::decode(&traced) else { panic!("it was a request") };
            assert_eq!(
                (traced.call, traced.name, traced.key, traced.body),
                (request.call, request.name, request.key, request.body)
            );
        }
        CallFrame::Reply(reply) => {
            let _refusal = Reply::refusal(reply);
        }
        _ => {}
    }
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    assert_eq!(&bytes[HEADER_LEN..], body);
});
