//! Frames of remote calls.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use sinew_wire::call::{
    CallFrame, DATA_LEN, Data, DataFlags, Flags, GatheredItem, MAX_KEY, REPLY_LEN, REQUEST_LEN, Reply, Request, Status,
    Strategy as Choice, encode_cancel, encode_credit, refused_body,
};
use sinew_wire::{
    DecodeError, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, Headers, Limit, MAX_SERVICE, PeerId, ProviderHealth,
    Refusal, encode_header,
};

fn flags() -> impl Strategy<Value = Flags> {
    let all = [Flags::MORE, Flags::ITEMS_IN, Flags::ITEMS_OUT, Flags::IDEMPOTENT, Flags::HEDGE, Flags::FRESH];
    subsequence(all.to_vec(), 0..=all.len()).prop_map(|flags| {
        let flags = flags.into_iter().fold(Flags::default(), Flags::with);
        if flags.contains(Flags::ITEMS_IN) { flags.with(Flags::MORE) } else { flags }
    })
}

fn data_flags() -> impl Strategy<Value = DataFlags> {
    let all = [DataFlags::END_ITEM, DataFlags::END];
    (any::<bool>(), subsequence(all.to_vec(), 0..=all.len())).prop_map(|(caller, flags)| {
        let flags = flags.into_iter().fold(DataFlags::default(), DataFlags::with);
        if caller || flags.contains(DataFlags::END) { flags.with(DataFlags::CALLER) } else { flags }
    })
}

fn headers() -> impl Strategy<Value = BytesMut> {
    vec(("[a-zä-ü]{1,20}", vec(any::<u8>(), 0..40)), 0..8).prop_map(|pairs| {
        let mut out = BytesMut::new();
        pairs.iter().for_each(|(key, value)| encode_header(key, value, &mut out).expect("fits"));
        out
    })
}

prop_compose! {
    fn request_fields()(
        flags in flags(), strategy in select(Choice::ALL.to_vec()), priority: u8, call: u64, target: u64,
        caller: [u8; 32], deadline_ms: u32, window: u32, answers: u16,
    ) -> Request<'static> {
        let (caller, headers) = (PeerId::from_public_key(caller), Headers::default());
        Request {
            call, flags, strategy, priority, target, caller, deadline_ms, window, answers, name: "", key: &[], headers,
            body: &[],
        }
    }
}

prop_compose! {
    fn reply_fields()(
        status in select(Status::ALL.to_vec()), code: u16, call: u64, load: u32, retry_after_ms: u32, health in 0..3_u8,
    ) -> Reply<'static> {
        let health = ProviderHealth::try_from(health).expect("is one");
        Reply { call, status, code, load, retry_after_ms, health, headers: Headers::default(), body: &[] }
    }
}

/// Encodes a frame, and gives its body after a look at its header.
fn encoded(frame: &CallFrame<'_>) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    frame.encode(&mut out);
    let bytes = &out[b"before".len()..];
    let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().expect("has a header");
    let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("is within the limits");
    assert_eq!((header.kind, header.len), (FrameKind::Call, body.len()));
    body.to_vec()
}

/// What must be there of a frame so that it is one.
fn is_cut_short(body: &[u8], head: usize, at: Index) {
    let cut = at.index(head);
    let error = CallFrame::decode(&body[..cut]).expect_err("is cut short");
    assert!(matches!(error, DecodeError::Truncated(_)), "{error}");
}

proptest! {
    #[test]
    fn requests_come_back(
        fields in request_fields(), name in "[a-z.ß]{0,60}", key in vec(any::<u8>(), 0..=MAX_KEY),
        headers in headers(), body in vec(any::<u8>(), 0..300), at: Index,
    ) {
        let body = if fields.flags.contains(Flags::ITEMS_IN) { Vec::new() } else { body };
        let headers = Headers::decode(&headers).expect("are headers");
        let request = Request { name: &name, key: &key, headers, body: &body, ..fields };
        let frame = CallFrame::Request(request);
        let bytes = encoded(&frame);
        prop_assert_eq!(CallFrame::decode(&bytes), Ok(frame));
        prop_assert_eq!(frame.call(), fields.call);
        is_cut_short(&bytes, REQUEST_LEN + name.len() + key.len() + headers.as_bytes().len(), at);
        // The body may be appended by somebody else.
        let mut apart = BytesMut::new();
        request.encode_head(body.len(), &mut apart);
        apart.extend_from_slice(&body);
        prop_assert_eq!(&apart[HEADER_LEN..], &bytes[..]);
    }

    #[test]
    fn replies_come_back(fields in reply_fields(), headers in headers(), body in vec(any::<u8>(), 0..300), at: Index) {
        let headers = Headers::decode(&headers).expect("are headers");
        let reply = Reply { headers, body: &body, ..fields };
        let frame = CallFrame::Reply(reply);
        let bytes = encoded(&frame);
        prop_assert_eq!(CallFrame::decode(&bytes), Ok(frame));
        prop_assert_eq!(frame.call(), fields.call);
        is_cut_short(&bytes, REPLY_LEN + headers.as_bytes().len(), at);
        let mut apart = BytesMut::new();
        reply.encode_head(body.len(), &mut apart);
        apart.extend_from_slice(&body);
        prop_assert_eq!(&apart[HEADER_LEN..], &bytes[..]);
    }

    #[test]
    fn data_credit_and_cancels_come_back(
        call: u64, flags in data_flags(), body in vec(any::<u8>(), 0..300), caller: bool, bytes: u32, at: Index,
    ) {
        let data = Data { call, flags, body: &body };
        let encoded_data = encoded(&CallFrame::Data(data));
        prop_assert_eq!(CallFrame::decode(&encoded_data), Ok(CallFrame::Data(data)));
        is_cut_short(&encoded_data, DATA_LEN, at);
        let mut apart = BytesMut::new();
        data.encode_head(body.len(), &mut apart);
        apart.extend_from_slice(&body);
        prop_assert_eq!(&apart[HEADER_LEN..], &encoded_data[..]);

        for frame in [CallFrame::Credit { call, caller, bytes }, CallFrame::Cancel { call }] {
            let mut encoded = encoded(&frame);
            prop_assert_eq!(CallFrame::decode(&encoded), Ok(frame));
            prop_assert_eq!(frame.call(), call);
            is_cut_short(&encoded, encoded.len(), at);
            encoded.push(0);
            prop_assert_eq!(CallFrame::decode(&encoded), Err(DecodeError::Trailing(1)));
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(
        kind in 0..8_u8, mut bytes in vec(any::<u8>(), 0..400), zeros in 0..200_usize,
    ) {
        // Mostly zeros, so that lengths are small enough to come further.
        bytes.iter_mut().skip(1).take(zeros).for_each(|byte| *byte = 0);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(frame) = CallFrame::decode(&bytes) {
            prop_assert_eq!(encoded(&frame), bytes);
        }
    }

    #[test]
    fn gathered_answers_come_back(
        node: [u8; 32], provider: [u8; 32], status in select(Status::ALL.to_vec()), code: u16,
        body in vec(any::<u8>(), 0..100), at: Index,
    ) {
        let (node, provider) = (PeerId::from_public_key(node), PeerId::from_public_key(provider));
        let item = GatheredItem { node, provider, status, code, body: &body };
        let mut out = BytesMut::new();
        item.encode(&mut out);
        prop_assert_eq!(GatheredItem::decode(&out), Ok(item));
        prop_assert!(GatheredItem::decode(&out[..at.index(GatheredItem::HEAD_LEN)]).is_err());
    }

    #[test]
    fn flags_are_sets(some in flags(), more in flags()) {
        let both = some.with(more);
        prop_assert!(both.contains(some) && both.contains(more));
        prop_assert_eq!(both.without(more).with(more), both);
        prop_assert!(!both.without(Flags::MORE).contains(Flags::MORE));
    }
}

fn plain() -> Request<'static> {
    Request {
        call: 1,
        flags: Flags::default(),
        strategy: Choice::Balanced,
        priority: 0,
        target: 0,
        caller: PeerId::from_public_key([0; 32]),
        deadline_ms: 0,
        window: 0,
        answers: 0,
        name: "a",
        key: &[],
        headers: Headers::default(),
        body: b"x",
    }
}

#[test]
fn what_is_reserved_or_unknown_is_refused() {
    let request = encoded(&CallFrame::Request(plain()));
    let reply = encoded(&CallFrame::Reply(Reply::failure(1, Status::Ok, "")));
    let data = encoded(&CallFrame::Data(Data { call: 1, flags: DataFlags::default(), body: b"x" }));
    let (mut credit, mut cancel) = (BytesMut::new(), BytesMut::new());
    encode_credit(1, false, 7, &mut credit);
    encode_cancel(1, &mut cancel);
    let cases: [(&[u8], usize, u8); 14] = [
        (&request, 0, 0),
        (&request, 0, 6),
        (&request, 1, 1 << 6),
        (&request, 1, 1 << 7),
        (&request, 2, 5),
        (&reply, 1, 11),
        (&reply, 20, 3),
        (&reply, 21, 1),
        (&data, 1, 1 << 3),
        (&data, 2, 1),
        (&credit[HEADER_LEN..], 1, 2),
        (&credit[HEADER_LEN..], 3, 1),
        (&cancel[HEADER_LEN..], 1, 1),
        (&cancel[HEADER_LEN..], 2, 1),
    ];
    for (good, at, byte) in cases {
        assert!(CallFrame::decode(good).is_ok());
        let mut bad = good.to_vec();
        bad[at] = byte;
        let error = CallFrame::decode(&bad).expect_err("is refused");
        assert!(matches!(error, DecodeError::Invalid { .. }), "{error} of byte {at} = {byte}");
    }
    assert!(CallFrame::decode(&[]).is_err());
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let items = Request { flags: Flags::ITEMS_IN, body: &[], ..plain() };
    assert!(CallFrame::decode(&encoded(&CallFrame::Request(items))).is_err());
    let flags = Flags::ITEMS_IN.with(Flags::MORE);
    assert!(CallFrame::decode(&encoded(&CallFrame::Request(Request { flags, ..items }))).is_ok());
    assert!(CallFrame::decode(&encoded(&CallFrame::Request(Request { flags, ..plain() }))).is_err());
    let end = CallFrame::Data(Data { call: 1, flags: DataFlags::END, body: &[] });
    assert!(CallFrame::decode(&encoded(&end)).is_err());
}

#[test]
fn lengths_are_bounded_before_they_are_used() {
    let bytes = encoded(&CallFrame::Request(plain()));
    for (at, allowed, field) in [(62, MAX_SERVICE, "procedure name"), (64, MAX_KEY, "call key")] {
        let mut long = bytes.clone();
        long[at..at + 2].copy_from_slice(&((allowed + 1) as u16).to_le_bytes());
        let error = CallFrame::decode(&long).expect_err("is too long");
        assert_eq!(error, DecodeError::TooLong { field, actual: allowed + 1, allowed });
    }
}

#[test]
fn a_refusal_travels_in_a_reply() {
    let refusal = Refusal::Limit { limit: Limit::CallDeadline, allowed: 300_000 };
    let body = refused_body(&refusal);
    let reply = Reply { body: &body, ..Reply::failure(1, Status::Refused, "") };
    assert_eq!(reply.refusal(), Ok(refusal));
    assert!(Reply::failure(1, Status::Refused, "text").refusal().is_err());
}
