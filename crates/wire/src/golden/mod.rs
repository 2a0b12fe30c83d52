//! The bytes of the protocol, held by constants.
//!
//! A moved variant, a moved field or a changed integer fails here, before it breaks a link between an old and a new
//! program. Nothing in these files may be edited to make a test pass: what changes on the wire needs a new
//! [`crate::PROTOCOL_VERSION`]. New variants go to the end and get a line of their own.

mod calls;
mod control;
mod mesh;
mod runs;

use bytes::BytesMut;

use crate::{FrameHeader, FrameKind, FrameLimits, Policy, RefusedRun, Role, codec};

/// The bytes of a hex text; spaces are for the reader.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count(), "not hex: {text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `values` are all variants of an enum without fields, in order.
fn assert_plain_enum<T>(values: &[T])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    for (place, value) in values.iter().enumerate() {
        let golden = [place as u8, 0, 0, 0];
        let mut bytes = BytesMut::new();
        codec::encode_into(value, &mut bytes);
        assert_eq!(bytes[..], golden, "{value:?}");
        assert_eq!(codec::decode::<T>(&golden).as_ref(), Ok(value));
    }
    let next = [values.len() as u8, 0, 0, 0];
    assert!(codec::decode::<T>(&next).is_err(), "a variant has no golden bytes");
}

#[test]
fn enums_without_fields() {
    assert_plain_enum(&[Role::Client, Role::Node]);
    assert_plain_enum(&[Policy::DropOldest, Policy::DropNewest, Policy::Latest, Policy::Block]);
    let refused = [RefusedRun::NoSubscribers, RefusedRun::QueueMemory, RefusedRun::OpenAcks, RefusedRun::Draining];
    assert_plain_enum(&refused);
}

#[test]
fn frame_headers() {
    let limits = FrameLimits::default();
    for (kind, golden) in [
        (FrameKind::Control, [0x34, 0x12, 0, 0, 1]),
        (FrameKind::Publish, [0x34, 0x12, 0, 0, 2]),
        (FrameKind::Deliver, [0x34, 0x12, 0, 0, 3]),
        (FrameKind::Forward, [0x34, 0x12, 0, 0, 4]),
        (FrameKind::Mesh, [0x34, 0x12, 0, 0, 5]),
        (FrameKind::Call, [0x34, 0x12, 0, 0, 6]),
    ] {
        let header = FrameHeader { kind, len: 0x1234 };
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes);
        assert_eq!(bytes[..], golden);
        assert_eq!(FrameHeader::decode(golden, &limits), Ok(header));
    }
}
