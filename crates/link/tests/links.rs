//! Real links over loopback: who is on the other end, what arrives, and how they end.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{TRANSPORTS, frame, pair, read_frame};
use sinew_link::{Fill, LinkError, Transport};
use sinew_wire::FrameKind;

#[tokio::test]
async fn frames_of_all_sizes_arrive_both_ways() {
    for scheme in TRANSPORTS {
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
    for scheme in TRANSPORTS {
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
