//! Control frames: roundtrips, bounded texts, and what a stranger may send.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::{
    Announce, CachePolicy, Control, DecodeError, Features, FrameHeader, FrameKind, FrameLimits, Goodbye, HEADER_LEN,
    Hello, Limit, LookupOutcome, MAX_CONTROL, MAX_GROUP, MAX_METADATA, MAX_METADATA_BYTES, MAX_NAME, MAX_REALM,
    MAX_SERVICE, MAX_TEXT, PeerId, Policy, Procedure, ProviderHealth, PublishResult, Refusal, RefusedRun, Role, Serve,
    ServiceInstance, ServiceSummaryRow, Subscribe, Welcome, encode_control,
};

fn encoded(control: &Control) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_control(control, &mut frame);
    frame
}

fn body(control: &Control) -> Vec<u8> {
    encoded(control)[HEADER_LEN..].to_vec()
}

fn limit() -> impl Strategy<Value = Limit> {
    proptest::sample::select(&Limit::ALL[..])
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let text = || "\\PC{0,30}";
    prop_oneof![
        (limit(), any::<u64>()).prop_map(|(limit, allowed)| Refusal::Limit { limit, allowed }),
        text().prop_map(Refusal::Protocol),
        any::<u16>().prop_map(|node| Refusal::Version { node }),
        text().prop_map(Refusal::Realm),
        text().prop_map(Refusal::InvalidName),
        (any::<u32>(), text()).prop_map(|(subscription, why)| Refusal::Subscription(subscription, why)),
        text().prop_map(Refusal::Denied),
        any::<u64>().prop_map(Refusal::Idle),
        (any::<u32>(), text()).prop_map(|(lease, why)| Refusal::Lease(lease, why)),
        text().prop_map(Refusal::Unavailable),
        proptest::sample::select(vec![Refusal::Reserved, Refusal::Draining, Refusal::Closed, Refusal::Replaced]),
    ]
}

prop_compose! {
    fn hello()(
        version: u16, node: bool, realm in "[a-z0-9é]{1,30}", instance: u64, name in "[a-z ö]{0,60}", features: u64,
    ) -> Hello {
        let role = if node { Role::Node } else { Role::Client };
        Hello { version, role, realm, instance, name, features: Features(features) }
    }
}

prop_compose! {
    fn welcome()(
        version: u16, session: u64, key: [u8; 32], features: u64, publish_window: u64, max_open_acks: u64,
        max_message_bytes: u64, max_header_bytes: u64, keep_alive_ms: u64, idle_timeout_ms: u64,
    ) -> Welcome {
        let (node, features) = (PeerId::from_public_key(key), Features(features));
        Welcome {
            version, session, node, features, publish_window, max_open_acks, max_message_bytes, max_header_bytes,
            keep_alive_ms, idle_timeout_ms,
        }
    }
}

prop_compose! {
    fn subscribe()(
        subscription: u32, pattern in "[a-z.*>]{0,50}", group in prop::option::of("[a-z]{1,20}"), buffer: u32,
        policy in prop::sample::select(vec![Policy::DropOldest, Policy::DropNewest, Policy::Latest, Policy::Block]),
        last: bool, window: u64,
    ) -> Subscribe {
        Subscribe { subscription, pattern, group, policy, buffer, last, window }
    }
}

prop_compose! {
    fn publish_result()(
        first_seq: u64, messages: u32, matched: u64, delivered: u64, dropped: u64, unknown: u64, duplicates: u32,
        refusal in prop::option::of(prop::sample::select(vec![
            RefusedRun::NoSubscribers, RefusedRun::QueueMemory, RefusedRun::OpenAcks, RefusedRun::Draining,
        ])),
    ) -> PublishResult {
        PublishResult { first_seq, messages, matched, delivered, dropped, unknown, duplicates, refusal }
    }
}

fn metadata() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(("[a-z]{1,20}".prop_map(String::from), "[a-z ö]{0,40}".prop_map(String::from)), 0..5)
}

prop_compose! {
    fn instance()(
        name in "[a-z.]{1,50}", node: [u8; 32], provider: [u8; 32], instance: u64, metadata in metadata(), ttl_ms: u64,
        region in "[a-z-]{0,20}",
    ) -> ServiceInstance {
        let (node, provider) = (PeerId::from_public_key(node), PeerId::from_public_key(provider));
        ServiceInstance { name, node, provider, instance, metadata, ttl_ms, region }
    }
}

fn outcome() -> impl Strategy<Value = LookupOutcome> {
    prop_oneof![
        vec(instance(), 1..4).prop_map(LookupOutcome::Found),
        Just(LookupOutcome::NotFound),
        Just(LookupOutcome::NoPeers),
        Just(LookupOutcome::TimedOut),
        refusal().prop_map(LookupOutcome::Refused),
    ]
}

prop_compose! {
    fn procedure()(
        concurrency: u32,
        idempotent: bool,
        cache in prop::option::of((any::<[u32; 3]>(), vec("[a-z-]{1,20}", 0..8))),
    ) -> Procedure {
        let cache = cache.map(|([ttl_ms, negative_ttl_ms, max_bytes], vary)| {
            CachePolicy { ttl_ms, negative_ttl_ms, max_bytes, vary }
        });
        Procedure { concurrency, idempotent, cache }
    }
}

/// What came with the mesh.
fn service_control() -> impl Strategy<Value = Control> {
    let name = || "[a-z.]{1,50}".prop_map(String::from);
    let row = (name(), any::<(u32, u32)>()).prop_map(|(name, (instances, nodes))| ServiceSummaryRow {
        name,
        instances,
        nodes,
    });
    prop_oneof![
        any::<u64>().prop_map(|nonce| Control::Settle { nonce }),
        any::<(u64, u32, u32)>().prop_map(|(nonce, nodes, missing)| Control::Settled { nonce, nodes, missing }),
        (any::<u32>(), name(), any::<u64>(), metadata()).prop_map(|(lease, name, ttl_ms, metadata)| {
            Control::Announce(Announce { lease, name, ttl_ms, metadata })
        }),
        any::<(u32, u64)>().prop_map(|(lease, ttl_ms)| Control::Announced { lease, ttl_ms }),
        (any::<u32>(), prop::option::of(refusal())).prop_map(|(lease, refusal)| Control::LeaseEnded { lease, refusal }),
        any::<u32>().prop_map(|lease| Control::Renew { lease }),
        any::<u32>().prop_map(|lease| Control::Withdraw { lease }),
        (any::<u32>(), name(), any::<u64>()).prop_map(|(request, name, deadline_ms)| Control::Lookup {
            request,
            name,
            deadline_ms
        }),
        (any::<u32>(), outcome()).prop_map(|(request, outcome)| Control::LookupResult { request, outcome }),
        (any::<u32>(), prop::option::of(name())).prop_map(|(request, after)| Control::ListServices { request, after }),
        (any::<u32>(), vec(row, 0..5), any::<bool>()).prop_map(|(request, services, more)| Control::ServicePage {
            request,
            services,
            more
        }),
        (any::<u32>(), "[a-z.]{0,50}").prop_map(|(request, prefix)| Control::WatchServices { request, prefix }),
        (any::<u32>(), name(), any::<u32>()).prop_map(|(request, name, instances)| Control::ServiceChanged {
            request,
            name,
            instances
        }),
        (any::<u32>(), prop::option::of(refusal()))
            .prop_map(|(request, refusal)| Control::WatchEnded { request, refusal }),
        any::<u32>().prop_map(|request| Control::Unwatch { request }),
        (any::<u32>(), name(), any::<u64>(), metadata(), procedure()).prop_map(
            |(lease, name, ttl_ms, metadata, procedure)| Control::Serve(Serve {
                lease,
                name,
                ttl_ms,
                metadata,
                procedure
            })
        ),
        (any::<u32>(), 0..3_u8).prop_map(|(lease, health)| Control::ServeHealth {
            lease,
            health: ProviderHealth::try_from(health).expect("is one")
        }),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        12 => service_control(),
        12 => session_control(),
    ]
}

fn session_control() -> impl Strategy<Value = Control> {
    prop_oneof![
        hello().prop_map(Control::Hello),
        welcome().prop_map(Control::Welcome),
        refusal().prop_map(|reason| Control::Goodbye(Goodbye { reason })),
        any::<u64>().prop_map(|nonce| Control::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Control::Pong { nonce }),
        subscribe().prop_map(Control::Subscribe),
        any::<u32>().prop_map(|subscription| Control::Subscribed { subscription }),
        any::<u32>().prop_map(|subscription| Control::Unsubscribe { subscription }),
        (any::<u32>(), prop::option::of(refusal()))
            .prop_map(|(subscription, refusal)| Control::Unsubscribed { subscription, refusal }),
        any::<u64>().prop_map(|bytes| Control::PublishCredit { bytes }),
        any::<(u32, u64)>().prop_map(|(subscription, bytes)| Control::DeliverCredit { subscription, bytes }),
        any::<u64>().prop_map(|token| Control::DeliverAck { token }),
        publish_result().prop_map(Control::PublishResult),
        any::<(u32, u64)>().prop_map(|(subscription, missed)| Control::Lagged { subscription, missed }),
    ]
}

proptest! {
    #[test]
    fn roundtrip(control in control(), before in vec(any::<u8>(), 0..10)) {
        let mut out = BytesMut::from(&before[..]);
        encode_control(&control, &mut out);
        prop_assert_eq!(&out[..before.len()], &before[..]);
        let (header, body) = out[before.len()..].split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        let header = FrameHeader::decode(*header, &FrameLimits::default());
        prop_assert_eq!(header, Ok(FrameHeader { kind: FrameKind::Control, len: body.len() }));
        prop_assert_eq!(Control::decode(body), Ok(control));
    }

    #[test]
    fn cut_short_or_too_long(control in control(), extra in 1..10_usize) {
        let mut body = body(&control);
        for len in 0..body.len() {
            prop_assert!(matches!(Control::decode(&body[..len]), Err(DecodeError::Control(_))), "at {}", len);
        }
        body.resize(body.len() + extra, 0);
        prop_assert_eq!(Control::decode(&body), Err(DecodeError::Trailing(extra)));
    }

    /// Damaged frames are refused, or are the one encoding of something else.
    #[test]
    fn damage(control in control(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = body(&control);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(control) = Control::decode(&bytes) {
            prop_assert_eq!(body(&control), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes(variant in 0..35_u8, rest in vec(prop_oneof![2 => Just(0), 1 => any::<u8>()], 0..200)) {
        let bytes = [&[variant, 0, 0, 0], &rest[..]].concat();
        if let Ok(control) = Control::decode(&bytes) {
            prop_assert_eq!(body(&control), bytes);
        }
    }

    /// Whatever a refusal quotes, it fits into a frame, and what is cut is cut between characters.
    #[test]
    fn long_texts_are_cut(text in "\\PC{0,2000}") {
        for reason in [
            Refusal::Protocol(text.clone()),
            Refusal::Realm(text.clone()),
            Refusal::InvalidName(text.clone()),
            Refusal::Subscription(1, text.clone()),
            Refusal::Denied(text.clone()),
            Refusal::Lease(1, text.clone()),
            Refusal::Unavailable(text.clone()),
        ] {
            let decoded = Control::decode(&body(&Control::Goodbye(Goodbye { reason })));
            let Ok(Control::Goodbye(Goodbye { reason })) = decoded else { panic!("{decoded:?}") };
            let (Refusal::Protocol(sent)
            | Refusal::Realm(sent)
            | Refusal::InvalidName(sent)
            | Refusal::Subscription(_, sent)
            | Refusal::Lease(_, sent)
            | Refusal::Unavailable(sent)
            | Refusal::Denied(sent)) = reason
            else {
                panic!("{reason:?}")
            };
            prop_assert!(text.starts_with(&sent));
            prop_assert!(sent == text || (sent.len() <= MAX_TEXT && sent.len() > MAX_TEXT - 4));
        }
    }
}

const HELLO: u8 = 0;
const GOODBYE: u8 = 2;
const SUBSCRIBE: u8 = 5;

/// A length that isn't there costs nothing, however large.
#[test]
fn size_bombs() {
    let fixed: [(u8, &[u8]); 3] = [(HELLO, &[1, 0, 0, 0, 0, 0]), (GOODBYE, &[1, 0, 0, 0]), (SUBSCRIBE, &[9, 0, 0, 0])];
    for (variant, fields) in fixed {
        for len in [MAX_CONTROL as u64, MAX_CONTROL as u64 + 1, u64::from(u32::MAX), 1 << 62, u64::MAX] {
            for filling in [0, 100, MAX_CONTROL] {
                let mut bytes = [&[variant, 0, 0, 0], fields, &len.to_le_bytes()].concat();
                bytes.resize(bytes.len() + filling, b'a');
                let decoded = Control::decode(&bytes);
                assert!(matches!(decoded, Err(DecodeError::Control(_))), "{variant} {len} {filling}: {decoded:?}");
            }
        }
    }
}

#[test]
fn unknown_variants_and_bad_values() {
    let refused = |bytes: &[u8]| assert!(matches!(Control::decode(bytes), Err(DecodeError::Control(_))), "{bytes:?}");
    refused(&[]);
    refused(&[29, 0, 0, 0]);
    refused(&[0xff; 64]);
    // A goodbye for an unknown reason, an option that is neither there nor not there, a text that is none.
    refused(&[GOODBYE, 0, 0, 0, 14, 0, 0, 0]);
    refused(&[8, 0, 0, 0, 1, 0, 0, 0, 2]);
    refused(&[GOODBYE, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
}

fn plain_hello() -> Hello {
    let features = Features::default();
    Hello { version: 1, role: Role::Client, realm: "default".into(), instance: 1, name: String::new(), features }
}

fn plain_subscribe() -> Subscribe {
    let policy = Policy::default();
    Subscribe { subscription: 1, pattern: "a.>".into(), group: None, policy, buffer: 0, last: false, window: 1 }
}

/// What `validate` says to the sender is what `decode` says to the receiver.
fn check_hello(hello: Hello) -> Result<(), DecodeError> {
    let valid = hello.validate();
    assert_eq!(Control::decode(&body(&Control::Hello(hello))).map(drop), valid);
    valid
}

fn check_subscribe(subscribe: Subscribe) -> Result<(), DecodeError> {
    let valid = subscribe.validate();
    assert_eq!(Control::decode(&body(&Control::Subscribe(subscribe))).map(drop), valid);
    valid
}

#[test]
fn names_have_a_size_and_no_control_characters() {
    let too_long = |field, allowed| Err(DecodeError::TooLong { field, actual: allowed + 1, allowed });
    let invalid = |field, problem| Err(DecodeError::Invalid { field, problem });

    let realm = |realm: String| check_hello(Hello { realm, ..plain_hello() });
    assert_eq!(realm("r".repeat(MAX_REALM)), Ok(()));
    assert_eq!(realm("r".repeat(MAX_REALM + 1)), too_long("realm", MAX_REALM));
    assert_eq!(realm(String::new()), invalid("realm", "is empty"));
    assert_eq!(realm("a\nb".into()), invalid("realm", "has a control character"));

    let name = |name: String| check_hello(Hello { name, ..plain_hello() });
    assert_eq!(name(String::new()), Ok(()));
    assert_eq!(name("n".repeat(MAX_NAME)), Ok(()));
    assert_eq!(name("n".repeat(MAX_NAME + 1)), too_long("name", MAX_NAME));
    assert_eq!(name("\u{1b}[2J".into()), invalid("name", "has a control character"));

    let group = |group: &str| check_subscribe(Subscribe { group: Some(group.into()), ..plain_subscribe() });
    assert_eq!(check_subscribe(plain_subscribe()), Ok(()));
    assert_eq!(group(&"g".repeat(MAX_GROUP)), Ok(()));
    assert_eq!(group(&"g".repeat(MAX_GROUP + 1)), too_long("queue group", MAX_GROUP));
    assert_eq!(group(""), invalid("queue group", "is empty"));
    assert_eq!(group("\u{85}"), invalid("queue group", "has a control character"));

    // A pattern that is none is answered, not cut off: only the frame bounds it here.
    let pattern = "p".repeat(MAX_CONTROL - body(&Control::Subscribe(plain_subscribe())).len() + "a.>".len());
    assert_eq!(check_subscribe(Subscribe { pattern, ..plain_subscribe() }), Ok(()));
    assert_eq!(
        DecodeError::TooLong { field: "realm", actual: 65, allowed: 64 }.to_string(),
        "realm is 65 bytes long, the limit is 64"
    );
}

/// What `validate` says to the sender is what `decode` says to the receiver.
fn check(control: &Control) -> Result<(), DecodeError> {
    let valid = control.validate();
    assert_eq!(Control::decode(&body(control)).map(drop), valid);
    valid
}

#[test]
fn services_have_bounded_texts() {
    let announce = |name: String, metadata: Vec<(String, String)>| {
        check(&Control::Announce(Announce { lease: 1, name, ttl_ms: 0, metadata }))
    };
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let too_long = |field, allowed| Err(DecodeError::TooLong { field, actual: allowed + 1, allowed });
    let invalid = |field, problem| Err(DecodeError::Invalid { field, problem });
    assert_eq!(announce("s".repeat(MAX_SERVICE), vec![]), Ok(()));
    assert_eq!(announce("s".repeat(MAX_SERVICE + 1), vec![]), too_long("service name", MAX_SERVICE));
    assert_eq!(announce(String::new(), vec![]), invalid("service name", "is empty"));
    assert_eq!(announce("a".into(), pair("k", &"v".repeat(MAX_METADATA_BYTES - 1))), Ok(()));
    let (actual, allowed) = (MAX_METADATA_BYTES as u64 + 1, MAX_METADATA_BYTES as u64);
    let refused = Err(DecodeError::TooLarge { limit: Limit::MetadataBytes, actual, allowed });
    assert_eq!(announce("a".into(), pair("k", &"v".repeat(MAX_METADATA_BYTES))), refused);
    assert_eq!(announce("a".into(), vec![("k".into(), "v".into()); MAX_METADATA]), Ok(()));
    let many = announce("a".into(), vec![("k".into(), "v".into()); MAX_METADATA + 1]);
    assert_eq!(many, too_long("metadata pairs", MAX_METADATA));
    assert_eq!(announce("a".into(), pair("", "v")), invalid("metadata key", "is empty"));
    assert_eq!(announce("a".into(), pair("k", "\u{1b}[2J")), invalid("metadata value", "has a control character"));

    let name = "s".repeat(MAX_SERVICE + 1);
    let long = || too_long("service name", MAX_SERVICE);
    assert_eq!(check(&Control::Lookup { request: 1, name: name.clone(), deadline_ms: 1 }), long());
    assert_eq!(check(&Control::ListServices { request: 1, after: Some(name.clone()) }), long());
    assert_eq!(check(&Control::ServiceChanged { request: 1, name: name.clone(), instances: 1 }), long());
    let services = vec![ServiceSummaryRow { name: name.clone(), instances: 1, nodes: 1 }];
    assert_eq!(check(&Control::ServicePage { request: 1, services, more: false }), long());
    let prefix = check(&Control::WatchServices { request: 1, prefix: name });
    assert_eq!(prefix, too_long("service prefix", MAX_SERVICE));
}

fn largest_instance() -> ServiceInstance {
    let peer = PeerId::from_public_key([1; 32]);
    ServiceInstance {
        name: "s".repeat(MAX_SERVICE),
        node: peer,
        provider: peer,
        instance: 1,
        metadata: vec![("k".repeat(MAX_NAME), "v".repeat(MAX_METADATA_BYTES / MAX_METADATA - MAX_NAME)); MAX_METADATA],
        ttl_ms: 1,
        region: "r".repeat(MAX_NAME),
    }
}

/// Whatever was found, the answer is a frame that the client takes.
#[test]
fn answers_are_cut_to_one_frame() {
    for (most, instance) in
        [(3, largest_instance()), (100, ServiceInstance { metadata: vec![], name: "s".into(), ..largest_instance() })]
    {
        for count in [0, 1, 3, 4, 1000] {
            let outcome = LookupOutcome::found(vec![instance.clone(); count]);
            match &outcome {
                LookupOutcome::Found(found) => assert!(found.len() == count || found.len() >= most.min(60)),
                other => assert_eq!((other, count), (&LookupOutcome::NotFound, 0)),
            }
            let control = Control::LookupResult { request: 1, outcome };
            assert!(body(&control).len() <= MAX_CONTROL);
            assert_eq!(check(&control), Ok(()));
        }
    }
    for name in ["s".to_owned(), "s".repeat(MAX_SERVICE)] {
        let rows = vec![ServiceSummaryRow { name, instances: 1, nodes: 1 }; 5000];
        let page = Control::service_page(1, rows, false);
        assert!(body(&page).len() <= MAX_CONTROL);
        assert!(matches!(page, Control::ServicePage { services, more: true, .. } if services.len() >= 30));
    }
    let rows = vec![ServiceSummaryRow { name: "s".into(), instances: 1, nodes: 1 }];
    let page = Control::service_page(1, rows.clone(), false);
    assert_eq!(page, Control::ServicePage { request: 1, services: rows, more: false });
}

#[test]
fn frames_beyond_the_limit_never_reach_the_decoder() {
    let [a, b, c, d] = (MAX_CONTROL as u32 + 1).to_le_bytes();
    let refused = FrameHeader::decode([a, b, c, d, 1], &FrameLimits::default());
    let (actual, allowed) = (MAX_CONTROL as u64 + 1, MAX_CONTROL as u64);
    assert_eq!(refused, Err(DecodeError::TooLarge { limit: Limit::FrameBytes, actual, allowed }));
}
