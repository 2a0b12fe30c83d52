use bytes::BytesMut;

use super::{hex, unhex};
use crate::{
    Announce, CachePolicy, Control, Features, FrameHeader, FrameKind, FrameLimits, Goodbye, HEADER_LEN, Hello, Limit,
    LookupOutcome, PeerId, Policy, Procedure, ProviderHealth, PublishResult, Refusal, RefusedRun, Role, Serve,
    ServiceInstance, ServiceSummaryRow, Subscribe, Welcome, codec, encode_control,
};

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
        max_open_acks: 9,
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
            "66000000 01 01000000 0100 0200000000000000 \
                abababababababababababababababababababababababababababababababab 0300000000000000 0400000000000000 \
                0900000000000000 0500000000000000 0600000000000000 0700000000000000 0800000000000000",
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
        Limit::CallsPerClient => 21,
        Limit::Calls => 22,
        Limit::CallBytes => 23,
        Limit::CallDeadline => 24,
        Limit::CallQueue => 25,
        Limit::CallCredit => 26,
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
