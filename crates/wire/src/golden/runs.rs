use bytes::BytesMut;

use super::{hex, unhex};
use crate::deliver::{self, DeliverHeader};
use crate::entry::{Entries, Entry};
use crate::forward::{self, ForwardHeader, GroupList};
use crate::publish::{self, PublishHeader};
use crate::{HEADER_LEN, Headers, PeerId, encode_header};

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
