//! The bytes of the protocol, held by constants.
//!
//! A moved variant, a moved field or a changed integer fails here, before it breaks a link between an old and a new
//! program. Nothing in this file may be edited to make a test pass: what changes on the wire needs a new
//! [`crate::PROTOCOL_VERSION`]. New variants go to the end and get a line of their own.

use bytes::BytesMut;

use crate::call::{self, CallFrame, Data, DataFlags, GatheredItem, Reply, Request, Status, Strategy};
use crate::deliver::{self, DeliverHeader};
use crate::entry::{Entries, Entry};
use crate::forward::{self, ForwardHeader, GroupList};
use crate::publish::{self, PublishHeader};
use crate::{
    Announce, CachePolicy, Control, Features, FrameHeader, FrameKind, FrameLimits, Goodbye, HEADER_LEN, Headers, Hello,
    Limit, LookupOutcome, MeshControl, PeerId, Policy, Procedure, ProviderHealth, PublishResult, Refusal, RefusedRun,
    Role, Serve, ServiceInstance, ServiceSummaryRow, Subscribe, Welcome, codec, encode_control, encode_header,
    encode_mesh,
};

/// The bytes of a hex text; spaces are for the reader.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count(), "not hex: {text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `control` encodes to the frame `golden`, and its body decodes to `control`.
fn assert_control(control: &Control, golden: &str) {
    let mut frame = BytesMut::new();
    encode_control(control, &mut frame);
    assert_eq!(hex(&frame), hex(&unhex(golden)), "{control:?}");

    let frame = unhex(golden);
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("valid");
    assert_eq!(header, FrameHeader { kind: FrameKind::Control, len: body.len() });
    assert_eq!(Control::decode(body).as_ref(), Ok(control));
}

/// Where each variant stands. Without a wildcard: a new variant doesn't compile until it has a place, and the test
/// fails until it has golden bytes.
const fn place(control: &Control) -> usize {
    match control {
        Control::Hello(_) => 0,
        Control::Welcome(_) => 1,
        Control::Goodbye(_) => 2,
        Control::Ping { .. } => 3,
        Control::Pong { .. } => 4,
        Control::Subscribe(_) => 5,
        Control::Subscribed { .. } => 6,
        Control::Unsubscribe { .. } => 7,
        Control::Unsubscribed { .. } => 8,
        Control::PublishCredit { .. } => 9,
        Control::DeliverCredit { .. } => 10,
        Control::DeliverAck { .. } => 11,
        Control::PublishResult(_) => 12,
        Control::Lagged { .. } => 13,
        Control::Settle { .. } => 14,
        Control::Settled { .. } => 15,
        Control::Announce(_) => 16,
        Control::Announced { .. } => 17,
        Control::LeaseEnded { .. } => 18,
        Control::Renew { .. } => 19,
        Control::Withdraw { .. } => 20,
        Control::Lookup { .. } => 21,
        Control::LookupResult { .. } => 22,
        Control::ListServices { .. } => 23,
        Control::ServicePage { .. } => 24,
        Control::WatchServices { .. } => 25,
        Control::ServiceChanged { .. } => 26,
        Control::WatchEnded { .. } => 27,
        Control::Unwatch { .. } => 28,
        Control::Serve(_) => 29,
        Control::ServeHealth { .. } => 30,
    }
}
const CONTROLS: usize = 31;

fn controls() -> Vec<(Control, &'static str)> {
    let hello = Hello {
        version: 1,
        role: Role::Node,
        realm: "default".into(),
        instance: 0x1122_3344_5566_7788,
        name: "cam".into(),
        features: Features::LZ4,
    };
    let welcome = Welcome {
        version: 1,
        session: 2,
        node: PeerId::from_public_key([0xab; 32]),
        features: Features(3),
        publish_window: 4,
        max_message_bytes: 5,
        max_header_bytes: 6,
        keep_alive_ms: 7,
        idle_timeout_ms: 8,
    };
    let subscribe = Subscribe {
        subscription: 9,
        pattern: "a.>".into(),
        group: Some("g".into()),
        policy: Policy::Latest,
        buffer: 10,
        last: true,
        window: 11,
    };
    let result = PublishResult {
        first_seq: 1,
        messages: 2,
        matched: 3,
        delivered: 4,
        dropped: 5,
        unknown: 6,
        duplicates: 7,
        refusal: Some(RefusedRun::OpenAcks),
    };
    vec![
        (
            Control::Hello(hello),
            "34000000 01 00000000 0100 01000000 0700000000000000 64656661756c74 8877665544332211 0300000000000000 \
                63616d 0100000000000000",
        ),
        (
            Control::Welcome(welcome),
            "5e000000 01 01000000 0100 0200000000000000 \
                abababababababababababababababababababababababababababababababab 0300000000000000 0400000000000000 \
                0500000000000000 0600000000000000 0700000000000000 0800000000000000",
        ),
        (Control::Goodbye(Goodbye { reason: Refusal::Draining }), "08000000 01 02000000 08000000"),
        (Control::Ping { nonce: 0x0102_0304_0506_0708 }, "0c000000 01 03000000 0807060504030201"),
        (Control::Pong { nonce: 0x0102_0304_0506_0708 }, "0c000000 01 04000000 0807060504030201"),
        (
            Control::Subscribe(subscribe),
            "2e000000 01 05000000 09000000 0300000000000000 612e3e 01 0100000000000000 67 02000000 0a000000 01 \
                0b00000000000000",
        ),
        (Control::Subscribed { subscription: 9 }, "08000000 01 06000000 09000000"),
        (Control::Unsubscribe { subscription: 9 }, "08000000 01 07000000 09000000"),
        (Control::Unsubscribed { subscription: 9, refusal: None }, "09000000 01 08000000 09000000 00"),
        (
            Control::Unsubscribed { subscription: 9, refusal: Some(Refusal::Reserved) },
            "0d000000 01 08000000 09000000 01 05000000",
        ),
        (Control::PublishCredit { bytes: 65_536 }, "0c000000 01 09000000 0000010000000000"),
        (Control::DeliverCredit { subscription: 9, bytes: 65_536 }, "10000000 01 0a000000 09000000 0000010000000000"),
        (Control::DeliverAck { token: 12 }, "0c000000 01 0b000000 0c00000000000000"),
        (
            Control::PublishResult(result),
            "39000000 01 0c000000 0100000000000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
                0600000000000000 07000000 01 02000000",
        ),
        (
            Control::PublishResult(PublishResult { refusal: None, ..result }),
            "35000000 01 0c000000 0100000000000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
                0600000000000000 07000000 00",
        ),
        (Control::Lagged { subscription: 9, missed: 13 }, "10000000 01 0d000000 09000000 0d00000000000000"),
        (Control::Settle { nonce: 0x0102_0304_0506_0708 }, "0c000000 01 0e000000 0807060504030201"),
        (
            Control::Settled { nonce: 0x0102_0304_0506_0708, nodes: 2, missing: 1 },
            "14000000 01 0f000000 0807060504030201 02000000 01000000",
        ),
        (
            Control::Announce(Announce {
                lease: 9,
                name: "a.b".into(),
                ttl_ms: 60_000,
                metadata: vec![("k".into(), "v".into())],
            }),
            "35000000 01 10000000 09000000 0300000000000000 612e62 60ea000000000000 0100000000000000 0100000000000000 6b \
                0100000000000000 76",
        ),
        (Control::Announced { lease: 9, ttl_ms: 60_000 }, "10000000 01 11000000 09000000 60ea000000000000"),
        (Control::LeaseEnded { lease: 9, refusal: None }, "09000000 01 12000000 09000000 00"),
        (
            Control::LeaseEnded { lease: 9, refusal: Some(Refusal::Reserved) },
            "0d000000 01 12000000 09000000 01 05000000",
        ),
        (Control::Renew { lease: 9 }, "08000000 01 13000000 09000000"),
        (Control::Withdraw { lease: 9 }, "08000000 01 14000000 09000000"),
        (
            Control::Lookup { request: 7, name: "a.b".into(), deadline_ms: 1000 },
            "1b000000 01 15000000 07000000 0300000000000000 612e62 e803000000000000",
        ),
        (
            Control::LookupResult {
                request: 7,
                outcome: LookupOutcome::Found(vec![ServiceInstance {
                    name: "a".into(),
                    node: PeerId::from_public_key([0xab; 32]),
                    provider: PeerId::from_public_key([0xcd; 32]),
                    instance: 4,
                    metadata: vec![("k".into(), "v".into())],
                    ttl_ms: 5,
                    region: "eu".into(),
                }]),
            },
            "91000000 01 16000000 07000000 00000000 0100000000000000 0100000000000000 61 \
                abababababababababababababababababababababababababababababababab \
                cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 0400000000000000 \
                0100000000000000 0100000000000000 6b 0100000000000000 76 0500000000000000 0200000000000000 6575",
        ),
        (
            Control::LookupResult { request: 7, outcome: LookupOutcome::NotFound },
            "0c000000 01 16000000 07000000 01000000",
        ),
        (
            Control::LookupResult { request: 7, outcome: LookupOutcome::NoPeers },
            "0c000000 01 16000000 07000000 02000000",
        ),
        (
            Control::LookupResult { request: 7, outcome: LookupOutcome::TimedOut },
            "0c000000 01 16000000 07000000 03000000",
        ),
        (
            Control::LookupResult { request: 7, outcome: LookupOutcome::Refused(Refusal::Draining) },
            "10000000 01 16000000 07000000 04000000 08000000",
        ),
        (
            Control::ListServices { request: 7, after: Some("a".into()) },
            "12000000 01 17000000 07000000 01 0100000000000000 61",
        ),
        (
            Control::ServicePage {
                request: 7,
                services: vec![ServiceSummaryRow { name: "a".into(), instances: 2, nodes: 1 }],
                more: true,
            },
            "22000000 01 18000000 07000000 0100000000000000 0100000000000000 61 02000000 01000000 01",
        ),
        (
            Control::WatchServices { request: 7, prefix: "a".into() },
            "11000000 01 19000000 07000000 0100000000000000 61",
        ),
        (
            Control::ServiceChanged { request: 7, name: "a".into(), instances: 2 },
            "15000000 01 1a000000 07000000 0100000000000000 61 02000000",
        ),
        (Control::WatchEnded { request: 7, refusal: None }, "09000000 01 1b000000 07000000 00"),
        (Control::Unwatch { request: 7 }, "08000000 01 1c000000 07000000"),
        (
            Control::Serve(Serve {
                lease: 9,
                name: "a".into(),
                ttl_ms: 60_000,
                metadata: vec![("k".into(), "v".into())],
                procedure: Procedure {
                    concurrency: 4,
                    idempotent: true,
                    cache: Some(CachePolicy {
                        ttl_ms: 1_000,
                        negative_ttl_ms: 100,
                        max_bytes: 4_096,
                        vary: vec!["h".into()],
                    }),
                },
            }),
            "56000000 01 1d000000 09000000 0100000000000000 61 60ea000000000000 \
             0100000000000000 0100000000000000 6b 0100000000000000 76 \
             04000000 01 01 e8030000 64000000 00100000 0100000000000000 0100000000000000 68",
        ),
        (Control::ServeHealth { lease: 9, health: ProviderHealth::Down }, "0c000000 01 1e000000 09000000 02000000"),
    ]
}

/// Where each variant between nodes stands.
const fn mesh_place(control: &MeshControl) -> usize {
    match control {
        MeshControl::Accepted { .. } => 0,
        MeshControl::Resume { .. } => 1,
        MeshControl::ForwardAck { .. } => 2,
        MeshControl::ForwardResult { .. } => 3,
        MeshControl::Hold { .. } => 4,
        MeshControl::Release { .. } => 5,
        MeshControl::Missed { .. } => 6,
    }
}

#[test]
fn mesh_frames() {
    let publisher = PeerId::from_public_key([0xab; 32]);
    let golden = [
        (
            MeshControl::Accepted { instance: 1, received: 2, window: 3, features: Features::LZ4 },
            "24000000 05 00000000 0100000000000000 0200000000000000 0300000000000000 0100000000000000",
        ),
        (MeshControl::Resume { received: 2, window: 3 }, "14000000 05 01000000 0200000000000000 0300000000000000"),
        (MeshControl::ForwardAck { received: 2 }, "0c000000 05 02000000 0200000000000000"),
        (
            MeshControl::ForwardResult { token: 1, matched: 2, delivered: 3, dropped: 4, unknown: 5 },
            "2c000000 05 03000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000",
        ),
        (
            MeshControl::Hold { publisher, instance: 4 },
            "2c000000 05 04000000 abababababababababababababababababababababababababababababababab 0400000000000000",
        ),
        (
            MeshControl::Release { publisher, instance: 4 },
            "2c000000 05 05000000 abababababababababababababababababababababababababababababababab 0400000000000000",
        ),
        (
            MeshControl::Missed { topic: "a".into(), messages: 2, direct: true, groups: vec!["g".into()] },
            "27000000 05 06000000 0100000000000000 61 0200000000000000 01 0100000000000000 0100000000000000 67",
        ),
    ];
    for (place, (control, golden)) in golden.into_iter().enumerate() {
        assert_eq!(mesh_place(&control), place);
        let mut frame = BytesMut::new();
        encode_mesh(&control, &mut frame);
        assert_eq!(hex(&frame), hex(&unhex(golden)), "{control:?}");
        assert_eq!(MeshControl::decode(&frame[HEADER_LEN..]), Ok(control));
    }
    assert!(MeshControl::decode(&[7, 0, 0, 0]).is_err(), "a variant has no golden bytes");
}

#[test]
fn control_frames() {
    let mut places: Vec<usize> = Vec::new();
    for (control, golden) in controls() {
        assert_control(&control, golden);
        places.push(place(&control));
    }
    places.dedup();
    assert_eq!(places, (0..CONTROLS).collect::<Vec<_>>(), "every variant has golden bytes, in the order of the enum");
}

const fn refusal_place(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Limit { .. } => 0,
        Refusal::Protocol(_) => 1,
        Refusal::Version { .. } => 2,
        Refusal::Realm(_) => 3,
        Refusal::InvalidName(_) => 4,
        Refusal::Reserved => 5,
        Refusal::Subscription(..) => 6,
        Refusal::Denied(_) => 7,
        Refusal::Draining => 8,
        Refusal::Idle(_) => 9,
        Refusal::Closed => 10,
        Refusal::Lease(..) => 11,
        Refusal::Replaced => 12,
        Refusal::Unavailable(_) => 13,
    }
}
const REFUSALS: usize = 14;

#[test]
fn refusals() {
    let golden = [
        (
            Refusal::Limit { limit: Limit::Clients, allowed: 10_000 },
            "14000000 01 02000000 00000000 00000000 1027000000000000",
        ),
        (Refusal::Protocol("ab".into()), "12000000 01 02000000 01000000 0200000000000000 6162"),
        (Refusal::Version { node: 1 }, "0a000000 01 02000000 02000000 0100"),
        (Refusal::Realm("ab".into()), "12000000 01 02000000 03000000 0200000000000000 6162"),
        (Refusal::InvalidName("ab".into()), "12000000 01 02000000 04000000 0200000000000000 6162"),
        (Refusal::Reserved, "08000000 01 02000000 05000000"),
        (Refusal::Subscription(9, "ab".into()), "16000000 01 02000000 06000000 09000000 0200000000000000 6162"),
        (Refusal::Denied("ab".into()), "12000000 01 02000000 07000000 0200000000000000 6162"),
        (Refusal::Draining, "08000000 01 02000000 08000000"),
        (Refusal::Idle(60_000), "10000000 01 02000000 09000000 60ea000000000000"),
        (Refusal::Closed, "08000000 01 02000000 0a000000"),
        (Refusal::Lease(9, "ab".into()), "16000000 01 02000000 0b000000 09000000 0200000000000000 6162"),
        (Refusal::Replaced, "08000000 01 02000000 0c000000"),
        (Refusal::Unavailable("ab".into()), "12000000 01 02000000 0d000000 0200000000000000 6162"),
    ];
    assert_eq!(golden.len(), REFUSALS);
    for (place, (refusal, golden)) in golden.into_iter().enumerate() {
        assert_eq!(refusal_place(&refusal), place);
        assert_control(&Control::Goodbye(Goodbye { reason: refusal }), golden);
    }
}

const fn limit_place(limit: Limit) -> u8 {
    match limit {
        Limit::Clients => 0,
        Limit::SubscriptionsPerClient => 1,
        Limit::Subscriptions => 2,
        Limit::MessageBytes => 3,
        Limit::HeaderBytes => 4,
        Limit::FrameBytes => 5,
        Limit::RunMessages => 6,
        Limit::HandshakeTime => 7,
        Limit::IdleTime => 8,
        Limit::PendingHandshakes => 9,
        Limit::PublishCredit => 10,
        Limit::QueueMemory => 11,
        Limit::OpenAcks => 12,
        Limit::ControlQueue => 13,
        Limit::Services => 14,
        Limit::ServicesPerClient => 15,
        Limit::LeaseTtl => 16,
        Limit::MetadataBytes => 17,
        Limit::Lookups => 18,
        Limit::Watches => 19,
        Limit::Peers => 20,
        Limit::ForwardWindow => 21,
        Limit::CallsPerClient => 22,
        Limit::Calls => 23,
        Limit::CallBytes => 24,
        Limit::CallDeadline => 25,
        Limit::CallQueue => 26,
        Limit::CallCredit => 27,
    }
}

#[test]
fn limits() {
    for (place, limit) in Limit::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(limit_place(limit)), place, "Limit::ALL is in the order of the enum");
        let refusal = Refusal::Limit { limit, allowed: 258 };
        let golden = format!("14000000 01 02000000 00000000 {place:02x}000000 0201000000000000");
        assert_control(&Control::Goodbye(Goodbye { reason: refusal }), &golden);
    }
    assert!(codec::decode::<Limit>(&[Limit::ALL.len() as u8, 0, 0, 0]).is_err(), "a variant is missing in Limit::ALL");
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

#[test]
fn flags() {
    let bit = |flags: publish::Flags| {
        let header =
            PublishHeader { flags, topic: "", messages: 0, first_seq: 0, ttl_ms: 0, deadline_ms: 0, entries_len: 0 };
        let mut frame = BytesMut::new();
        header.encode(0, &mut frame);
        frame[HEADER_LEN]
    };
    let flags = [
        publish::Flags::ACKED,
        publish::Flags::REPORT,
        publish::Flags::RETAIN,
        publish::Flags::REQUIRE_SUBSCRIBERS,
        publish::Flags::PACKED,
    ];
    assert_eq!(flags.map(bit), [1, 2, 4, 8, 16]);
    // Those of deliver are in `deliver_frame`.
    let bit = |flags: forward::Flags| {
        let mut frame = BytesMut::new();
        ForwardHeader { flags, ..plain_forward() }.encode(0, &mut frame);
        frame[HEADER_LEN]
    };
    let flags = [forward::Flags::DIRECT, forward::Flags::ACKED, forward::Flags::REPORT, forward::Flags::PACKED];
    assert_eq!(flags.map(bit), [1, 2, 4, 8]);
}

const PUBLISH: &str = "28000000 02 05 00 0300 01000000 8877665544332211 02000000 03000000 09000000 612e62 01000000 0000 00 \
    00 21";

#[test]
fn publish_frame() {
    let header = PublishHeader {
        flags: publish::Flags::ACKED.with(publish::Flags::RETAIN),
        topic: "a.b",
        messages: 1,
        first_seq: 0x1122_3344_5566_7788,
        ttl_ms: 2,
        deadline_ms: 3,
        entries_len: 9,
    };
    let entry = Entry { id: b"", headers: b"", payload: b"!" };
    let mut frame = BytesMut::new();
    header.encode(entry.encoded_len(), &mut frame);
    entry.encode(&mut frame);
    assert_eq!(hex(&frame), hex(&unhex(PUBLISH)));

    let frame = unhex(PUBLISH);
    let (decoded, entries) = PublishHeader::decode(&frame[HEADER_LEN..]).expect("valid");
    assert_eq!(decoded, header);
    assert_eq!(Entries::new(entries).collect::<Vec<_>>(), [(0, entry)]);
}

const DELIVER: &str = "54000000 03 02 00 0300 01000000 8877665544332211 02000000 09000000 0300000000000000 0400000000000000 \
    abababababababababababababababababababababababababababababababab 612e62 01000000 0000 00 00 21";

#[test]
fn deliver_frame() {
    let header = DeliverHeader {
        flags: deliver::Flags::RETAINED,
        topic: "a.b",
        messages: 1,
        first_seq: 0x1122_3344_5566_7788,
        subscription: 2,
        entries_len: 9,
        ack: 3,
        instance: 4,
        publisher: PeerId::from_public_key([0xab; 32]),
    };
    let entry = Entry { id: b"", headers: b"", payload: b"!" };
    let mut frame = BytesMut::new();
    header.encode(entry.encoded_len(), &mut frame);
    entry.encode(&mut frame);
    assert_eq!(hex(&frame), hex(&unhex(DELIVER)));

    let frame = unhex(DELIVER);
    let (decoded, entries) = DeliverHeader::decode(&frame[HEADER_LEN..]).expect("valid");
    assert_eq!(decoded, header);
    assert_eq!(Entries::new(entries).collect::<Vec<_>>(), [(0, entry)]);

    let packed = DeliverHeader { flags: deliver::Flags::PACKED, ..header };
    let mut frame = BytesMut::new();
    packed.encode(0, &mut frame);
    assert_eq!(frame[HEADER_LEN], 1);
}

const FORWARD: &str = "5f000000 04 03 00 0300 01000000 8877665544332211 09000000 02000000 0300000000000000 05000000 \
    0400000000000000 abababababababababababababababababababababababababababababababab 02 612e62 01 67 03 776f72 \
    01000000 0000 00 00 21";

fn plain_forward() -> ForwardHeader<'static> {
    ForwardHeader {
        flags: forward::Flags::DIRECT,
        topic: "a.b",
        messages: 1,
        first_seq: 0x1122_3344_5566_7788,
        entries_len: 9,
        ttl_ms: 2,
        ack: 0,
        deadline_ms: 5,
        instance: 4,
        publisher: PeerId::from_public_key([0xab; 32]),
        groups: forward::Groups::NONE,
    }
}

#[test]
fn forward_frame() {
    let groups = GroupList::new(["g", "wor"]).expect("two short names");
    let header = ForwardHeader {
        flags: forward::Flags::DIRECT.with(forward::Flags::ACKED),
        ack: 3,
        groups: groups.as_groups(),
        ..plain_forward()
    };
    let entry = Entry { id: b"", headers: b"", payload: b"!" };
    let mut frame = BytesMut::new();
    header.encode(entry.encoded_len(), &mut frame);
    entry.encode(&mut frame);
    assert_eq!(hex(&frame), hex(&unhex(FORWARD)));

    let frame = unhex(FORWARD);
    let (decoded, entries) = ForwardHeader::decode(&frame[HEADER_LEN..]).expect("valid");
    assert_eq!(decoded, header);
    assert_eq!(decoded.groups.iter().collect::<Vec<_>>(), ["g", "wor"]);
    assert_eq!(Entries::new(entries).collect::<Vec<_>>(), [(0, entry)]);
}

const ENTRIES: &str = "04000000 1100 02 00 6931 03 0700 6b6579 6b69746368656e 01 0000 74 32312e35 00000000 0000 00 00";

#[test]
fn entries_and_headers() {
    let mut headers = BytesMut::new();
    encode_header("key", b"kitchen", &mut headers).expect("short");
    encode_header("t", b"", &mut headers).expect("short");
    let entries =
        [Entry { id: b"i1", headers: &headers, payload: b"21.5" }, Entry { id: b"", headers: b"", payload: b"" }];
    let mut block = BytesMut::new();
    entries.iter().for_each(|entry| entry.encode(&mut block));
    assert_eq!(hex(&block), hex(&unhex(ENTRIES)));

    let block = unhex(ENTRIES);
    let decoded: Vec<_> = Entries::new(&block).collect();
    assert_eq!(decoded, [(0, entries[0]), (31, entries[1])]);
    let headers = Headers::decode(decoded[0].1.headers).expect("valid");
    assert_eq!(headers.iter().collect::<Vec<_>>(), [("key", &b"kitchen"[..]), ("t", b"")]);
}

#[test]
fn call_frames() {
    let caller = PeerId::from_public_key([0xab; 32]);
    let frames = [
        (
            CallFrame::Request(Request {
                call: 1,
                flags: call::Flags::IDEMPOTENT,
                strategy: Strategy::Sticky,
                priority: 100,
                target: 2,
                caller,
                deadline_ms: 10_000,
                window: 65_536,
                answers: 3,
                name: "a.b",
                key: b"k",
                headers: Headers::decode(b"\x01\x01\x00hv").expect("valid"),
                body: b"xy",
            }),
            "4f000000 06 01 08 03 64 0100000000000000 0200000000000000 \
             abababababababababababababababababababababababababababababababab 10270000 00000100 0300 0300 0100 0500 \
             612e62 6b 0101006876 7879",
        ),
        (
            CallFrame::Reply(Reply {
                call: 1,
                status: Status::Overloaded,
                code: 2,
                load: 3,
                retry_after_ms: 4,
                health: ProviderHealth::Degraded,
                headers: Headers::decode(b"\x01\x01\x00hv").expect("valid"),
                body: b"xy",
            }),
            "1f000000 06 02 06 0200 0100000000000000 03000000 04000000 01 00 0500 0101006876 7879",
        ),
        (
            CallFrame::Data(Data { call: 1, flags: DataFlags::CALLER.with(DataFlags::END), body: b"xy" }),
            "0e000000 06 03 05 0000 0100000000000000 7879",
        ),
        (CallFrame::Credit { call: 1, caller: true, bytes: 258 }, "10000000 06 04 01 0000 0100000000000000 02010000"),
        (CallFrame::Cancel { call: 1 }, "0c000000 06 05 00 0000 0100000000000000"),
    ];
    for (frame, golden) in frames {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        assert_eq!(hex(&bytes), hex(&unhex(golden)), "{frame:?}");
        assert_eq!(CallFrame::decode(&bytes[HEADER_LEN..]), Ok(frame));
    }
}

#[test]
fn call_flags_and_enums() {
    use call::Flags;
    let flags = [Flags::MORE, Flags::ITEMS_IN, Flags::ITEMS_OUT, Flags::IDEMPOTENT, Flags::HEDGE, Flags::FRESH];
    for (bit, flag) in flags.into_iter().enumerate() {
        let mut bytes = BytesMut::new();
        Request { flags: flag.with(Flags::MORE), ..plain_request() }.encode(&mut bytes);
        assert_eq!(bytes[HEADER_LEN + 1], 1 << bit | 1, "{flag:?}");
    }
    let data = [DataFlags::CALLER, DataFlags::END_ITEM, DataFlags::END];
    for (bit, flag) in data.into_iter().enumerate() {
        let mut bytes = BytesMut::new();
        Data { call: 1, flags: flag, body: b"" }.encode(&mut bytes);
        assert_eq!(bytes[HEADER_LEN + 1], 1 << bit, "{flag:?}");
    }
    for (place, strategy) in Strategy::ALL.into_iter().enumerate() {
        assert_eq!(strategy as usize, place);
        assert_eq!(Strategy::try_from(place as u8), Ok(strategy));
    }
    for (place, status) in Status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, place);
        assert_eq!(Status::try_from(place as u8), Ok(status));
    }
    for health in [ProviderHealth::Good, ProviderHealth::Degraded, ProviderHealth::Down] {
        assert_eq!(ProviderHealth::try_from(health as u8), Ok(health));
    }
    assert_plain_enum(&[ProviderHealth::Good, ProviderHealth::Degraded, ProviderHealth::Down]);
}

fn plain_request() -> Request<'static> {
    Request {
        call: 1,
        flags: call::Flags::default(),
        strategy: Strategy::Balanced,
        priority: 0,
        target: 0,
        caller: PeerId::from_public_key([0; 32]),
        deadline_ms: 0,
        window: 0,
        answers: 0,
        name: "a",
        key: b"",
        headers: Headers::default(),
        body: b"",
    }
}

#[test]
fn gathered_item() {
    let (node, provider) = (PeerId::from_public_key([1; 32]), PeerId::from_public_key([2; 32]));
    let item = GatheredItem { node, provider, status: Status::Application, code: 7, body: b"xy" };
    let mut bytes = BytesMut::new();
    item.encode(&mut bytes);
    let golden = format!("{} {} 01 00 0700 7879", "01".repeat(32), "02".repeat(32));
    assert_eq!(hex(&bytes), hex(&unhex(&golden)));
    assert_eq!(GatheredItem::decode(&bytes), Ok(item));
}
