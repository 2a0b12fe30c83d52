//! Real links over loopback: who is on the other end, what arrives, and how they end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{STREAMS, TRANSPORTS, frame, pair, read_frame};
use sinew_link::{Fill, LinkConfig, LinkError, Transport};
use sinew_wire::FrameKind;

#[tokio::test]
async fn frames_of_all_sizes_arrive_both_ways() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((mut from_server, mut to_server), (mut from_client, mut to_client)) = (pair.client, pair.server);
        for size in [0, 1, 5, 1000, 4091, 4096, 16_384, 65_536, 300_000, 1 << 20] {
            let body = vec![size as u8; size];
            tokio::join!(
                async {
                    to_server.send(&mut vec![frame(FrameKind::Publish, &body)]).await.unwrap();
                    to_client.send(&mut vec![frame(FrameKind::Deliver, &body)]).await.unwrap();
                },
                async {
                    assert_eq!(read_frame(&mut from_client).await, (FrameKind::Publish, body.clone()));
                    assert_eq!(read_frame(&mut from_server).await, (FrameKind::Deliver, body.clone()));
                }
            );
        }
    }
}

#[tokio::test]
async fn what_was_written_before_the_end_arrives() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((from_server, mut to_server), (mut from_client, to_client)) = (pair.client, pair.server);
        let body = vec![7; 1 << 20];
        let writing = async {
            let mut chunks: Vec<Bytes> = (0..8).map(|_| frame(FrameKind::Publish, &body)).collect();
            chunks.push(frame(FrameKind::Control, b"goodbye"));
            to_server.send(&mut chunks).await.unwrap();
            drop(from_server);
            to_server.finish().await.unwrap();
        };
        let reading = async {
            for _ in 0..8 {
                assert_eq!(read_frame(&mut from_client).await.1, body);
            }
            assert_eq!(read_frame(&mut from_client).await, (FrameKind::Control, b"goodbye".to_vec()));
            assert_eq!(from_client.fill().await.unwrap(), Fill::End);
            assert_eq!(from_client.fill().await.unwrap(), Fill::End);
            drop((from_client, to_client));
        };
        tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(writing, reading) }).await.unwrap();
    }
}

#[tokio::test]
async fn an_abort_is_an_error_at_the_peer() {
    for scheme in TRANSPORTS {
        let pair = pair(scheme).await;
        let transport = pair.transport;
        let ((_from_server, mut to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
        to_server.send(&mut vec![frame(FrameKind::Control, b"x")]).await.unwrap();
        read_frame(&mut from_client).await;
        to_server.abort();
        match (transport, from_client.fill().await) {
            (Transport::Quic, Err(LinkError::Closed(reason))) => assert_eq!(reason, "the peer gave the link up"),
            (Transport::Tls, Err(LinkError::Reset)) | (Transport::Unix, Ok(Fill::End)) => {}
            (_, other) => panic!("{scheme}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn batches_of_thousands_of_frames_arrive_in_order() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((_from_server, mut to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
        const FRAMES: u32 = 20_000;
        let writing = async {
            let mut chunks = Vec::new();
            for batch in 0..4 {
                for number in batch * FRAMES / 4..(batch + 1) * FRAMES / 4 {
                    // Headers and payloads as chunks of their own, of sizes below and above what is coalesced.
                    let size = if number % 1000 == 0 { 30_000 } else { number as usize % 90 };
                    let mut body = number.to_le_bytes().to_vec();
                    body.resize(4 + size, number as u8);
                    let mut whole = frame(FrameKind::Publish, &body);
                    chunks.push(whole.split_to(5));
                    chunks.push(whole);
                    chunks.push(Bytes::new());
                }
                to_server.send(&mut chunks).await.unwrap();
                assert!(chunks.is_empty() && chunks.capacity() > 0);
            }
            to_server
        };
        let reading = async {
            let mut expected = 0;
            while expected < FRAMES {
                assert_eq!(from_client.fill().await.unwrap(), Fill::Frames);
                while let Some(frame) = from_client.next_frame().unwrap() {
                    let (number, rest) = frame.body.split_first_chunk::<4>().unwrap();
                    assert_eq!(u32::from_le_bytes(*number), expected);
                    assert!(rest.iter().all(|byte| *byte == expected as u8));
                    expected += 1;
                }
            }
        };
        tokio::join!(writing, reading);
    }
}

#[tokio::test]
async fn half_a_frame_and_the_end_is_an_error() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((from_server, mut to_server), (mut from_client, to_client)) = (pair.client, pair.server);
        let whole = frame(FrameKind::Publish, &[1; 100]);
        to_server.send(&mut vec![whole.clone(), whole.slice(..50)]).await.unwrap();
        drop(from_server);
        let reading = async {
            assert_eq!(read_frame(&mut from_client).await.1, [1; 100]);
            assert!(matches!(from_client.fill().await, Err(LinkError::CutShort(50))));
            drop((from_client, to_client));
        };
        let (finished, ()) = tokio::join!(to_server.finish(), reading);
        finished.unwrap();
    }
}

#[tokio::test]
async fn a_frame_is_refused_by_its_header() {
    for scheme in STREAMS {
        for header in [[0xff, 0xff, 0xff, 0x7f, 2], [0, 0, 1, 0, 1], [1, 0, 0, 0, 77]] {
            let pair = pair(scheme).await;
            let ((_from_server, mut to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
            let good = frame(FrameKind::Control, b"good");
            to_server.send(&mut vec![good, Bytes::copy_from_slice(&header)]).await.unwrap();
            assert_eq!(read_frame(&mut from_client).await.1, b"good");
            for _ in 0..2 {
                assert!(matches!(from_client.fill().await, Err(LinkError::Frame(_))), "{scheme} {header:?}");
                assert!(matches!(from_client.next_frame(), Err(LinkError::Frame(_))));
            }
        }
    }
}

#[tokio::test]
async fn fill_may_be_dropped_at_any_time() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((_from_server, mut to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
        let writing = tokio::spawn(async move {
            for number in 0..200u32 {
                let whole = frame(FrameKind::Publish, &number.to_le_bytes().repeat(500));
                for piece in [whole.slice(..3), whole.slice(3..700), whole.slice(700..)] {
                    to_server.send(&mut vec![piece]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            to_server
        });
        let mut dropped = 0;
        for number in 0..200u32 {
            loop {
                tokio::select! {
                    biased;
                    filled = from_client.fill() => break assert_eq!(filled.unwrap(), Fill::Frames),
                    () = tokio::task::yield_now() => dropped += 1,
                }
            }
            let frame = from_client.next_frame().unwrap().unwrap();
            assert_eq!(frame.body, number.to_le_bytes().repeat(500));
        }
        assert!(dropped > 0, "{scheme}");
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_writer_back() {
    for scheme in STREAMS {
        let config = LinkConfig { send_window: 256 << 10, receive_window: 256 << 10, ..LinkConfig::default() };
        let pair = common::pair_with(scheme, config).await;
        let ((_from_server, mut to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
        const FRAMES: usize = 1000;
        let written = Arc::new(AtomicUsize::new(0));
        let writing = tokio::spawn({
            let written = Arc::clone(&written);
            async move {
                let body = vec![3; 64 << 10];
                for _ in 0..FRAMES {
                    to_server.send(&mut vec![frame(FrameKind::Publish, &body)]).await.unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
                to_server
            }
        });
        // Until nothing moves any more.
        let mut before = usize::MAX;
        while before != written.load(Ordering::Relaxed) {
            before = written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(before < FRAMES, "{scheme}: {before} frames went out");
        let mut read = 0;
        while read < FRAMES {
            assert_eq!(from_client.fill().await.unwrap(), Fill::Frames);
            while from_client.next_frame().unwrap().is_some() {
                read += 1;
            }
            from_client.shrink();
        }
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn a_send_that_was_dropped_poisons_the_link() {
    for scheme in STREAMS {
        let pair = pair(scheme).await;
        let ((_from_server, mut to_server), _server) = (pair.client, pair.server);
        let body = vec![0; 64 << 20];
        let mut chunks = vec![Bytes::from(body)];
        assert!(
            tokio::time::timeout(Duration::from_millis(50), to_server.send(&mut chunks)).await.is_err(),
            "{scheme}"
        );
        assert!(matches!(to_server.send(&mut vec![]).await, Err(LinkError::Poisoned)));
        assert!(matches!(to_server.finish().await, Err(LinkError::Poisoned)));
    }
}

#[tokio::test]
async fn a_dropped_link_is_an_error_at_the_peer() {
    for scheme in ["quic", "tls"] {
        let pair = pair(scheme).await;
        drop(pair.client);
        let (mut from_client, mut to_client) = pair.server;
        match from_client.fill().await {
            Err(LinkError::Closed(reason)) => assert_eq!(reason, "the peer dropped the link"),
            Err(LinkError::Reset) => {}
            other => panic!("{scheme}: {other:?}"),
        }
        let mut failed = false;
        for _ in 0..100 {
            failed |= to_client.send(&mut vec![frame(FrameKind::Control, b"hello?")]).await.is_err();
        }
        assert!(failed, "{scheme}");
    }
}

#[tokio::test]
async fn finish_does_not_wait_for_ever() {
    let config = LinkConfig { finish_timeout: Duration::from_millis(200), ..LinkConfig::default() };
    let pair = common::pair_with("tls", config).await;
    let (from_server, mut to_server) = pair.client;
    to_server.send(&mut vec![frame(FrameKind::Publish, &[0; 100_000])]).await.unwrap();
    drop(from_server);
    // The peer neither reads nor ends its side.
    assert!(matches!(to_server.finish().await, Err(LinkError::FinishTimeout(_))));
    drop(pair.server);
}

#[tokio::test]
async fn an_abort_ends_the_reader_of_a_foreign_stream_and_then_the_peer() {
    let pair = pair("overlay").await;
    let ((mut from_server, to_server), (mut from_client, _to_client)) = (pair.client, pair.server);
    let reading = tokio::spawn(async move { from_server.fill().await });
    tokio::task::yield_now().await;
    to_server.abort();
    assert!(matches!(reading.await.unwrap(), Err(LinkError::ClosedHere)));
    assert_eq!(from_client.fill().await.unwrap(), Fill::End);
}
