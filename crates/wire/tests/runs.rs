//! Frame headers and the headers of publish and deliver frames.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::deliver::{self, DeliverHeader};
use sinew_wire::entry::{Entry, EntryLimits};
use sinew_wire::publish::{self, PublishHeader};
use sinew_wire::{
    DecodeError, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, Limit, MAX_CONTROL, MAX_PAYLOAD, PeerId,
};

const KINDS: [FrameKind; 3] = [FrameKind::Control, FrameKind::Publish, FrameKind::Deliver];

fn publish_flags() -> impl Strategy<Value = publish::Flags> {
    use publish::Flags;
    let all = [Flags::ACKED, Flags::REPORT, Flags::RETAIN, Flags::REQUIRE_SUBSCRIBERS];
    proptest::sample::subsequence(all.to_vec(), 0..=all.len())
        .prop_map(|flags| flags.into_iter().fold(Flags::default(), Flags::with))
}

prop_compose! {
    fn publish_fields()(
        flags in publish_flags(), messages: u32, first_seq in 0..=u64::MAX - u64::from(u32::MAX), ttl_ms: u32,
        deadline_ms: u32,
    ) -> PublishHeader<'static> {
        PublishHeader { flags, topic: "", messages, first_seq, ttl_ms, deadline_ms, entries_len: 0 }
    }
}

prop_compose! {
    fn deliver_fields()(
        retained: bool, messages: u32, first_seq in 0..=u64::MAX - u64::from(u32::MAX), subscription: u32, ack: u64,
        instance: u64, key: [u8; 32],
    ) -> DeliverHeader<'static> {
        let flags = if retained { deliver::Flags::RETAINED } else { deliver::Flags::default() };
        let publisher = PeerId::from_public_key(key);
        DeliverHeader { flags, topic: "", messages, first_seq, subscription, entries_len: 0, ack, instance, publisher }
    }
}

/// The frame header in front of `frame` is right, and this is the body.
fn body(frame: &[u8], kind: FrameKind) -> &[u8] {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("within the limits");
    assert_eq!(header, FrameHeader { kind, len: body.len() });
    body
}

proptest! {
    #[test]
    fn frame_header_from_arbitrary_bytes(bytes: [u8; HEADER_LEN], small: bool) {
        let limits = if small { FrameLimits { control: 10, run: 1000 } } else { FrameLimits::default() };
        let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        match FrameHeader::decode(bytes, &limits) {
            Ok(header) => {
                prop_assert_eq!(header.len, len);
                prop_assert!(len <= limits.of(header.kind));
                let mut encoded = BytesMut::new();
                header.encode(&mut encoded);
                prop_assert_eq!(&encoded[..], bytes);
            }
            Err(DecodeError::UnknownKind(kind)) => prop_assert!(kind == bytes[4] && !(1..=3).contains(&kind)),
            Err(error) => {
                let allowed = if bytes[4] == 1 { limits.control } else { limits.run } as u64;
                let refused = DecodeError::TooLarge { limit: Limit::FrameBytes, actual: len as u64, allowed };
                prop_assert_eq!(error, refused);
                prop_assert!(len as u64 > allowed);
            }
        }
    }

    #[test]
    fn publish_roundtrip(header in publish_fields(), topic in "\\PC{0,40}", entries in vec(any::<u8>(), 0..50)) {
        let header = PublishHeader { topic: &topic, entries_len: entries.len() as u32, ..header };
        let mut frame = BytesMut::new();
        header.encode(entries.len(), &mut frame);
        frame.extend_from_slice(&entries);
        prop_assert_eq!(PublishHeader::decode(body(&frame, FrameKind::Publish)), Ok((header, &entries[..])));
    }

    #[test]
    fn deliver_roundtrip(header in deliver_fields(), topic in "\\PC{0,40}", entries in vec(any::<u8>(), 0..50)) {
        let header = DeliverHeader { topic: &topic, entries_len: entries.len() as u32, ..header };
        let mut frame = BytesMut::new();
        header.encode(entries.len(), &mut frame);
        frame.extend_from_slice(&entries);
        prop_assert_eq!(DeliverHeader::decode(body(&frame, FrameKind::Deliver)), Ok((header, &entries[..])));
    }

    #[test]
    fn publish_from_arbitrary_bytes(
        mut bytes in vec(any::<u8>(), 0..100),
        flags in 0..40_u8,
        topic_len in prop::option::of(0..80_u8),
    ) {
        steer(&mut bytes, flags, topic_len);
        if let Ok((header, entries)) = PublishHeader::decode(&bytes) {
            prop_assert_eq!(publish::FIXED_LEN + header.topic.len() + entries.len(), bytes.len());
            let mut frame = BytesMut::new();
            header.encode(entries.len(), &mut frame);
            frame.extend_from_slice(entries);
            prop_assert_eq!(&frame[HEADER_LEN..], &bytes[..]);
        }
    }

    #[test]
    fn deliver_from_arbitrary_bytes(
        mut bytes in vec(any::<u8>(), 0..150),
        flags in 0..10_u8,
        topic_len in prop::option::of(0..80_u8),
    ) {
        steer(&mut bytes, flags, topic_len);
        if let Ok((header, entries)) = DeliverHeader::decode(&bytes) {
            prop_assert_eq!(deliver::FIXED_LEN + header.topic.len() + entries.len(), bytes.len());
            let mut frame = BytesMut::new();
            header.encode(entries.len(), &mut frame);
            frame.extend_from_slice(entries);
            prop_assert_eq!(&frame[HEADER_LEN..], &bytes[..]);
        }
    }
}

/// Makes random bytes plausible enough to pass the first checks now and then.
fn steer(bytes: &mut [u8], flags: u8, topic_len: Option<u8>) {
    if let (Some(front), Some(topic_len)) = (bytes.first_chunk_mut::<4>(), topic_len) {
        *front = [flags, 0, topic_len, 0];
        bytes[4..].iter_mut().for_each(|byte| *byte &= 0x7f);
    }
}

#[test]
fn oversize_is_refused_on_the_header() {
    let limits = FrameLimits::default();
    for kind in KINDS {
        let allowed = limits.of(kind);
        let header = |len: u32| {
            let [a, b, c, d] = len.to_le_bytes();
            FrameHeader::decode([a, b, c, d, kind as u8], &limits)
        };
        assert_eq!(header(allowed as u32), Ok(FrameHeader { kind, len: allowed }));
        for len in [allowed as u32 + 1, u32::MAX] {
            let refused =
                DecodeError::TooLarge { limit: Limit::FrameBytes, actual: len.into(), allowed: allowed as u64 };
            assert_eq!(header(len), Err(refused));
        }
    }
    for kind in [0, 4, 0xff] {
        assert_eq!(FrameHeader::decode([0, 0, 0, 0, kind], &limits), Err(DecodeError::UnknownKind(kind)));
    }
}

#[test]
fn limits_hold_what_they_must() {
    let EntryLimits { payload, headers } = EntryLimits::default();
    for max_payload in [0, 1000, MAX_PAYLOAD, 64 << 20] {
        let limits = FrameLimits::for_payload(max_payload);
        assert_eq!(limits.control, MAX_CONTROL);
        // The longest topic is 512 bytes.
        assert!(limits.run >= deliver::FIXED_LEN + 512 + sinew_wire::entry::FIXED_LEN + 255 + headers + max_payload);
        assert!(limits.run >= deliver::FIXED_LEN + 512 + sinew_wire::MAX_RUN_BYTES);
    }
    assert_eq!(FrameLimits::for_payload(payload), FrameLimits::default());
    assert_eq!(FrameLimits::for_payload(usize::MAX).run, usize::MAX);
}

fn publish_body() -> BytesMut {
    let header = PublishHeader {
        flags: publish::Flags::REPORT,
        topic: "grüße",
        messages: 1,
        first_seq: 1,
        ttl_ms: 0,
        deadline_ms: 0,
        entries_len: 9,
    };
    let mut frame = BytesMut::new();
    header.encode(9, &mut frame);
    Entry { id: b"", headers: b"", payload: b"!" }.encode(&mut frame);
    frame.split_off(HEADER_LEN)
}

fn deliver_body() -> BytesMut {
    let header = DeliverHeader {
        flags: deliver::Flags::default(),
        topic: "grüße",
        messages: 1,
        first_seq: 1,
        subscription: 1,
        entries_len: 9,
        ack: 0,
        instance: 1,
        publisher: PeerId::from_public_key([1; 32]),
    };
    let mut frame = BytesMut::new();
    header.encode(9, &mut frame);
    Entry { id: b"", headers: b"", payload: b"!" }.encode(&mut frame);
    frame.split_off(HEADER_LEN)
}

#[test]
fn cut_short_at_every_byte() {
    let wrong_length = DecodeError::Invalid { field: "entries length", problem: "is not what the frame holds" };
    let expected = |len: usize, fixed: usize, what| match len {
        _ if len < fixed => DecodeError::Truncated(what),
        _ if len < fixed + "grüße".len() => DecodeError::Truncated("topic"),
        _ => wrong_length.clone(),
    };
    let publish = publish_body();
    for len in 0..publish.len() {
        let error = PublishHeader::decode(&publish[..len]).unwrap_err();
        assert_eq!(error, expected(len, publish::FIXED_LEN, "publish header"), "at {len}");
    }
    let deliver = deliver_body();
    for len in 0..deliver.len() {
        let error = DeliverHeader::decode(&deliver[..len]).unwrap_err();
        assert_eq!(error, expected(len, deliver::FIXED_LEN, "deliver header"), "at {len}");
    }
}

/// Both headers begin alike: flags, reserved, topic length, messages, first sequence number.
fn both(damage: impl Fn(&mut [u8])) -> [Result<(), DecodeError>; 2] {
    let (mut publish, mut deliver) = (publish_body(), deliver_body());
    damage(&mut publish);
    damage(&mut deliver);
    [PublishHeader::decode(&publish).map(drop), DeliverHeader::decode(&deliver).map(drop)]
}

#[test]
fn damaged_headers() {
    let invalid = |field, problem| Err(DecodeError::Invalid { field, problem });
    let reserved = [invalid("publish flags", "are reserved"), invalid("deliver flags", "are reserved")];
    assert_eq!(both(|_| ()), [Ok(()), Ok(())]);
    for bit in 5..8 {
        assert_eq!(both(|body| body[0] = 1 << bit), reserved);
    }
    assert_eq!(both(|body| body[1] = 1), reserved);
    let not_text = || invalid("topic", "is not UTF-8");
    assert_eq!(both(|body| body[2] = 3), [not_text(), not_text()], "the topic ends inside of a character");
    let cut = || Err(DecodeError::Truncated("topic"));
    assert_eq!(both(|body| body[2..4].fill(0xff)), [cut(), cut()]);
}

#[test]
fn sequence_numbers_do_not_overflow() {
    let overflow = || Err(DecodeError::Invalid { field: "sequence number", problem: "overflows" });
    let first_seq = |seq: u64| both(move |body| body[8..16].copy_from_slice(&seq.to_le_bytes()));
    assert_eq!(first_seq(u64::MAX - 1), [Ok(()), Ok(())]);
    assert_eq!(first_seq(u64::MAX), [overflow(), overflow()]);
    let most = both(|body| body[4..16].fill(0xff));
    assert_eq!(most, [overflow(), overflow()]);
}

#[test]
fn packed_entries_may_have_another_length() {
    let cut = |mut body: BytesMut, packed: u8| {
        body[0] = packed;
        body.truncate(body.len() - 1);
        body
    };
    // Their announced length is checked while unpacking.
    let publish = cut(publish_body(), 1 << 4);
    let (header, entries) = PublishHeader::decode(&publish).expect("valid");
    assert_eq!((header.entries_len, entries.len()), (9, 8));
    let deliver = cut(deliver_body(), 1);
    let (header, entries) = DeliverHeader::decode(&deliver).expect("valid");
    assert_eq!((header.entries_len, entries.len()), (9, 8));
}
