//! Frame headers and the headers of publish and deliver frames.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::deliver::{self, DeliverHeader};
use sinew_wire::entry::{Entry, EntryLimits};
use sinew_wire::forward::{self, ForwardHeader, GroupList, Groups};
use sinew_wire::publish::{self, PublishHeader};
use sinew_wire::{
    DecodeError, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, Limit, MAX_CONTROL, MAX_GROUP, MAX_PAYLOAD, PeerId,
};

const KINDS: [FrameKind; 6] =
    [FrameKind::Control, FrameKind::Publish, FrameKind::Deliver, FrameKind::Forward, FrameKind::Mesh, FrameKind::Call];

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

fn group_list() -> impl Strategy<Value = GroupList> {
    vec("[a-zä-ü]{1,20}", 0..=forward::MAX_GROUPS)
        .prop_map(|names| GroupList::new(names.iter().map(String::as_str)).expect("within the bounds"))
}

prop_compose! {
    fn forward_fields()(
        direct: bool, wants in 0..3_u8, messages: u32, first_seq in 0..=u64::MAX - u64::from(u32::MAX), ttl_ms: u32,
        token in 1..=u64::MAX, deadline_ms: u32, instance: u64, key: [u8; 32],
    ) -> ForwardHeader<'static> {
        use forward::Flags;
        let wanted = [Flags::default(), Flags::ACKED, Flags::REPORT][usize::from(wants)];
        let flags = if direct { wanted.with(Flags::DIRECT) } else { wanted };
        let ack = if wants == 0 { 0 } else { token };
        let publisher = PeerId::from_public_key(key);
        ForwardHeader {
            flags, topic: "", messages, first_seq, entries_len: 0, ttl_ms, ack, deadline_ms, instance, publisher,
            groups: Groups::NONE,
        }
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
        let limits = if small { FrameLimits { control: 10, run: 1000, call: 500 } } else { FrameLimits::default() };
        let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        match FrameHeader::decode(bytes, &limits) {
            Ok(header) => {
                prop_assert_eq!(header.len, len);
                prop_assert!(len <= limits.of(header.kind));
                let mut encoded = BytesMut::new();
                header.encode(&mut encoded);
                prop_assert_eq!(&encoded[..], bytes);
            }
            Err(DecodeError::UnknownKind(kind)) => prop_assert!(kind == bytes[4] && !(1..=6).contains(&kind)),
            Err(error) => {
                let kind = FrameKind::try_from(bytes[4]).expect("was known");
                let allowed = limits.of(kind) as u64;
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
    fn forward_roundtrip(
        header in forward_fields(), topic in "\\PC{0,40}", list in group_list(), entries in vec(any::<u8>(), 0..50),
    ) {
        let header =
            ForwardHeader { topic: &topic, entries_len: entries.len() as u32, groups: list.as_groups(), ..header };
        let mut frame = BytesMut::new();
        header.encode(entries.len(), &mut frame);
        frame.extend_from_slice(&entries);
        let decoded = ForwardHeader::decode(body(&frame, FrameKind::Forward));
        if header.flags.contains(forward::Flags::DIRECT) || !header.groups.is_empty() {
            prop_assert_eq!(decoded, Ok((header, &entries[..])));
        } else {
            prop_assert_eq!(decoded, Err(DecodeError::Invalid { field: "forward flags", problem: "name nobody" }));
        }
        prop_assert_eq!(GroupList::new(header.groups.iter()), Ok(list.clone()));
        prop_assert_eq!(header.groups.iter().count(), header.groups.len());
    }

    #[test]
    fn forward_from_arbitrary_bytes(
        mut bytes in vec(any::<u8>(), 0..150),
        flags in 0..20_u8,
        topic_len in prop::option::of(0..80_u8),
        groups in 0..4_u8,
    ) {
        steer(&mut bytes, flags, topic_len);
        if let Some(count) = bytes.get_mut(forward::FIXED_LEN - 1) {
            *count = groups;
        }
        if let Ok((header, entries)) = ForwardHeader::decode(&bytes) {
            let names: usize = header.groups.iter().map(|name| 1 + name.len()).sum();
            prop_assert_eq!(forward::FIXED_LEN + header.topic.len() + names + entries.len(), bytes.len());
            let mut frame = BytesMut::new();
            header.encode(entries.len(), &mut frame);
            frame.extend_from_slice(entries);
            prop_assert_eq!(&frame[HEADER_LEN..], &bytes[..]);
        }
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
    for kind in [0, 7, 0xff] {
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
        // Whatever was published can be forwarded, to the most groups with the longest names.
        let names = forward::MAX_GROUPS * (1 + MAX_GROUP);
        assert!(limits.of(FrameKind::Forward) >= limits.run - publish::FIXED_LEN + forward::FIXED_LEN + names);
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

fn forward_body(list: &GroupList) -> BytesMut {
    let header = ForwardHeader {
        flags: forward::Flags::DIRECT.with(forward::Flags::REPORT),
        topic: "grüße",
        messages: 1,
        first_seq: 1,
        entries_len: 9,
        ttl_ms: 0,
        ack: 1,
        deadline_ms: 0,
        instance: 1,
        publisher: PeerId::from_public_key([1; 32]),
        groups: list.as_groups(),
    };
    let mut frame = BytesMut::new();
    header.encode(9, &mut frame);
    Entry { id: b"", headers: b"", payload: b"!" }.encode(&mut frame);
    frame.split_off(HEADER_LEN)
}

#[test]
fn forward_cut_short_at_every_byte() {
    let whole = forward_body(&GroupList::new(["ä", "workers"]).expect("short"));
    let (topic, names) = ("grüße".len(), 1 + "ä".len() + 1 + "workers".len());
    for len in 0..whole.len() {
        let error = ForwardHeader::decode(&whole[..len]).unwrap_err();
        let expected = match len {
            _ if len < forward::FIXED_LEN => DecodeError::Truncated("forward header"),
            _ if len < forward::FIXED_LEN + topic => DecodeError::Truncated("topic"),
            _ if len < forward::FIXED_LEN + topic + names => DecodeError::Truncated("queue group"),
            _ => DecodeError::Invalid { field: "entries length", problem: "is not what the frame holds" },
        };
        assert_eq!(error, expected, "at {len}");
    }
}

#[test]
fn damaged_forward_headers() {
    let invalid = |field, problem| Err(DecodeError::Invalid { field, problem });
    let list = GroupList::new(["g"]).expect("short");
    let decode = |at: usize, value: u8| {
        let mut body = forward_body(&list);
        body[at] = value;
        ForwardHeader::decode(&body).map(drop)
    };
    assert_eq!(decode(1, 0), Ok(()));
    assert_eq!(decode(0, 1 << 4), invalid("forward flags", "are reserved"));
    assert_eq!(decode(1, 1), invalid("forward flags", "are reserved"));
    assert_eq!(decode(0, 1), invalid("forward token", "does not fit the flags"));
    let token = forward::FIXED_LEN - 1 - PeerId::LEN - 8 - 4 - 8;
    assert_eq!(decode(token, 0), invalid("forward token", "does not fit the flags"));
    let count = forward::FIXED_LEN - 1;
    let too_many = DecodeError::TooLong { field: "queue groups", actual: 33, allowed: forward::MAX_GROUPS };
    assert_eq!(decode(count, 33), Err(too_many.clone()));
    let name = forward::FIXED_LEN + "grüße".len();
    assert_eq!(decode(name, 0), invalid("queue group", "is empty"));
    assert_eq!(decode(name + 1, 7), invalid("queue group", "has a control character"));
    assert_eq!(decode(name + 1, 0xff), invalid("queue group", "is not UTF-8"));

    assert_eq!(GroupList::new(["g"; 33]), Err(too_many));
    assert!(GroupList::new([""]).is_err());
    assert!(GroupList::new([&*"g".repeat(MAX_GROUP + 1)]).is_err());
    let longest = "g".repeat(MAX_GROUP);
    let list = GroupList::new([&*longest; forward::MAX_GROUPS]).expect("the most there may be");
    assert_eq!(list.as_groups().iter().filter(|name| *name == longest).count(), forward::MAX_GROUPS);
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
