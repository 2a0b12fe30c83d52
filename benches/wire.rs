//! What the wire crate costs per message and per frame.
//!
//! The groups named `run` work on one run of 480 messages of 128 bytes, about what fits into 64 KiB; their throughput
//! is given in messages, so that the time per element is the time per message.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sinew_wire::deliver::{self, DeliverHeader};
use sinew_wire::entry::{self, Entries, Entry, EntryLimits};
use sinew_wire::publish::{self, PublishHeader};
use sinew_wire::{Control, FrameHeader, FrameLimits, HEADER_LEN, PeerId, encode_control, encode_header, pack};

const MESSAGES: usize = 480;
const PAYLOAD: usize = 128;
const TOPIC: &str = "sensors.kitchen.temperature";

/// One run: `MESSAGES` records with what the caller wants in each.
fn run(id: &[u8], headers: &[u8], payload: &[u8]) -> BytesMut {
    let mut block = BytesMut::new();
    for _ in 0..MESSAGES {
        Entry { id, headers, payload }.encode(&mut block);
    }
    block
}

fn two_headers() -> BytesMut {
    let mut headers = BytesMut::new();
    encode_header("key", b"kitchen", &mut headers).expect("short");
    encode_header("content-type", b"application/json", &mut headers).expect("short");
    headers
}

/// A run of JSON readings that differ from message to message, which compress about as well as such data does.
fn readings() -> BytesMut {
    let mut block = BytesMut::new();
    for n in 0..MESSAGES as u64 {
        let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut text = format!(
            "{{\"sensor\":\"kitchen-{}\",\"at\":{},\"celsius\":{}.{},\"trace\":\"{noise:016x}\"}}",
            noise % 64,
            1_700_000_000_000 + n * 13,
            noise % 30,
            noise % 97,
        );
        text.extend(std::iter::repeat_n(' ', PAYLOAD.saturating_sub(text.len())));
        Entry { id: b"", headers: b"", payload: text.as_bytes() }.encode(&mut block);
    }
    block
}

fn entries(c: &mut Criterion) {
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let payload = [7; PAYLOAD];
    let limits = EntryLimits::default();
    let headers = two_headers();

    for (name, id, headers) in
        [("plain", &b""[..], &b""[..]), ("id", b"0123456789abcdef", b""), ("headers", b"", &headers)]
    {
        let block = run(id, headers, &payload);
        group.bench_function(format!("encode/{name}"), |b| {
            let mut out = BytesMut::with_capacity(block.len());
            b.iter(|| {
                out.clear();
                for _ in 0..MESSAGES {
                    black_box(Entry { id, headers, payload: &payload }).encode(&mut out);
                }
                black_box(out.len())
            });
        });
        group.bench_function(format!("validate/{name}"), |b| {
            b.iter(|| entry::validate(black_box(&block), &limits).expect("valid"));
        });
        group.bench_function(format!("iterate/{name}"), |b| {
            b.iter(|| Entries::new(black_box(&block)).map(|(at, entry)| at ^ entry.payload.len()).sum::<usize>());
        });
    }

    let block = run(b"", b"", &payload);
    group.bench_function("prefix_len", |b| b.iter(|| entry::prefix_len(black_box(&block), MESSAGES - 1)));
    group.bench_function("messages_within", |b| {
        b.iter(|| entry::messages_within(black_box(&block), block.len() - 1));
    });
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    let limits = FrameLimits::default();

    let publish = PublishHeader {
        flags: publish::Flags::default(),
        topic: TOPIC,
        messages: 1,
        first_seq: 1,
        ttl_ms: 0,
        deadline_ms: 0,
        entries_len: 0,
    };
    let mut frame = BytesMut::new();
    publish.encode(0, &mut frame);
    group.bench_function("frame/decode", |b| {
        let bytes = *frame.first_chunk::<HEADER_LEN>().expect("a frame has a header");
        b.iter(|| FrameHeader::decode(black_box(bytes), &limits).expect("valid"));
    });
    group.bench_function("publish/decode", |b| {
        b.iter(|| PublishHeader::decode(black_box(&frame[HEADER_LEN..])).expect("valid"));
    });

    let deliver = DeliverHeader {
        flags: deliver::Flags::default(),
        topic: TOPIC,
        messages: 1,
        first_seq: 1,
        subscription: 1,
        entries_len: 0,
        ack: 0,
        instance: 1,
        publisher: PeerId::from_public_key([7; PeerId::LEN]),
    };
    let mut frame = BytesMut::new();
    deliver.encode(0, &mut frame);
    group.bench_function("deliver/decode", |b| {
        b.iter(|| DeliverHeader::decode(black_box(&frame[HEADER_LEN..])).expect("valid"));
    });
    group.bench_function("deliver/encode", |b| {
        let mut out = BytesMut::with_capacity(256);
        b.iter(|| {
            out.clear();
            black_box(&deliver).encode(0, &mut out);
        });
    });
    group.finish();
}

fn control(c: &mut Criterion) {
    let mut group = c.benchmark_group("control");
    for (name, control) in [
        ("credit", Control::DeliverCredit { subscription: 1, bytes: 65_536 }),
        ("lagged", Control::Lagged { subscription: 1, missed: 17 }),
    ] {
        let mut out = BytesMut::with_capacity(256);
        group.bench_function(format!("{name}/encode"), |b| {
            b.iter(|| {
                out.clear();
                encode_control(black_box(&control), &mut out);
            });
        });
        let mut frame = BytesMut::new();
        encode_control(&control, &mut frame);
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| Control::decode(black_box(&frame[HEADER_LEN..])).expect("valid"));
        });
    }
    group.finish();
}

fn packing(c: &mut Criterion) {
    let block = readings();
    let packed = pack::pack(&block).expect("readings shrink");
    let limits = FrameLimits::default();
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("pack", |b| b.iter(|| pack::pack(black_box(&block))));
    group.bench_function("unpack", |b| {
        b.iter(|| pack::unpack(black_box(&packed), block.len() as u32, &limits).expect("just packed"));
    });
    group.finish();
}

criterion_group!(benches, entries, headers, control, packing);
criterion_main!(benches);
