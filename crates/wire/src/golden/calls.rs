use bytes::BytesMut;

use super::{assert_plain_enum, hex, unhex};
use crate::call::{self, CallFrame, Data, DataFlags, GatheredItem, Reply, Request, Status, Strategy};
use crate::{HEADER_LEN, Headers, PeerId, ProviderHealth};

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
