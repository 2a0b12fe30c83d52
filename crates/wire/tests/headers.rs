//! Headers of one message.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::{DecodeError, Headers, Limit, MAX_HEADERS, encode_header};

fn too_large(actual: usize) -> DecodeError {
    DecodeError::TooLarge { limit: Limit::HeaderBytes, actual: actual as u64, allowed: MAX_HEADERS as u64 }
}

proptest! {
    #[test]
    fn written_is_read(headers in vec(("\\PC{1,20}", vec(any::<u8>(), 0..50)), 0..10)) {
        let mut bytes = BytesMut::new();
        for (key, value) in &headers {
            encode_header(key, value, &mut bytes).expect("a few short headers");
        }
        let read = Headers::decode(&bytes).expect("just written");
        prop_assert_eq!(read.is_empty(), headers.is_empty());
        prop_assert_eq!(read.as_bytes(), &bytes[..]);
        let listed: Vec<_> = read.into_iter().map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
        prop_assert_eq!(&listed, &headers);
        for (key, _) in &headers {
            let first = headers.iter().find(|(k, _)| k == key).map(|(_, value)| &value[..]);
            prop_assert_eq!(read.get(key), first);
        }
        prop_assert_eq!(read.get(""), None);
    }

    /// What passes the check is read to its last byte.
    #[test]
    fn arbitrary_bytes(bytes in vec(prop_oneof![0..6_u8, any::<u8>()], 0..100)) {
        if let Ok(headers) = Headers::decode(&bytes) {
            let read: usize = headers.iter().map(|(key, value)| 3 + key.len() + value.len()).sum();
            prop_assert_eq!(read, bytes.len());
        }
    }
}

#[test]
fn cut_short_at_every_byte() {
    let mut bytes = BytesMut::new();
    encode_header("key", b"value", &mut bytes).expect("short");
    for len in 1..bytes.len() {
        assert_eq!(Headers::decode(&bytes[..len]), Err(DecodeError::Truncated("headers")), "at {len}");
    }
}

#[test]
fn bad_keys() {
    let invalid = |problem| DecodeError::Invalid { field: "header key", problem };
    assert_eq!(Headers::decode(&[0, 0, 0]), Err(invalid("is empty")));
    assert_eq!(Headers::decode(&[1, 0, 0, 0xff]), Err(invalid("is not UTF-8")));
    let mut out = BytesMut::new();
    assert_eq!(encode_header("", b"", &mut out), Err(invalid("is empty")));
    assert_eq!(encode_header(&"k".repeat(256), b"", &mut out), Err(invalid("is longer than 255 bytes")));
    assert!(out.is_empty(), "a refused header leaves nothing behind");
}

#[test]
fn bombs() {
    // As many headers as the limit has room for, and one more byte.
    let mut bytes = BytesMut::new();
    for _ in 0..MAX_HEADERS / 4 {
        encode_header("k", b"", &mut bytes).expect("up to the limit");
    }
    assert_eq!(Headers::decode(&bytes).map(|headers| headers.iter().count()), Ok(MAX_HEADERS / 4));
    assert_eq!(encode_header("k", b"", &mut bytes), Err(too_large(MAX_HEADERS + 4)));

    let one_more = vec![0; MAX_HEADERS + 1];
    assert_eq!(Headers::decode(&one_more), Err(too_large(MAX_HEADERS + 1)));

    // One large value, up to and beyond what its length field holds.
    for len in [MAX_HEADERS - 3, 65_535, 65_536, 1 << 20] {
        let mut out = BytesMut::new();
        assert_eq!(encode_header("k", &vec![0; len], &mut out), Err(too_large(4 + len)));
    }
}
