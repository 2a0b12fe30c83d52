//! Messages, requests and links.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{PATIENCE, carries, node, pair, until};
use sinew_link::{Identity, Transport};
use sinew_overlay::{MAX_MESSAGE, MAX_REQUEST, OverlayError, Purpose, RequestError, SendError};
use tokio::time::timeout;

#[tokio::test]
async fn messages_arrive_in_order() {
    let (mut first, mut second) = pair().await;
    let sizes = [0, 1, 100, MAX_MESSAGE];
    for size in sizes {
        first.overlay.send(second.id(), vec![7; size].into()).unwrap();
    }
    for size in sizes {
        assert_eq!(second.message().await, (first.id(), vec![7; size].into()));
    }
    // The way back is its own.
    second.overlay.send(first.id(), "back".into()).unwrap();
    assert_eq!(first.message().await, (second.id(), "back".into()));
    for number in 0..200_u32 {
        first.overlay.send(second.id(), number.to_be_bytes().to_vec().into()).unwrap();
    }
    for number in 0..200_u32 {
        assert_eq!(second.message().await.1.as_ref(), number.to_be_bytes());
    }
    let counters = first.overlay.status().counters;
    assert_eq!((counters.messages_sent, counters.message_bytes_sent), (204, 800 + 101 + MAX_MESSAGE as u64));
    assert_eq!(second.overlay.status().counters.messages_received, 204);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let (first, second) = pair().await;
    let error = first.overlay.send(second.id(), vec![0; MAX_MESSAGE + 1].into()).unwrap_err();
    assert_eq!(error, SendError::TooLarge { size: MAX_MESSAGE + 1, limit: MAX_MESSAGE });
    let body = Bytes::from(vec![0; MAX_REQUEST + 1]);
    let error = first.overlay.request(second.id(), Purpose::Membership, body, PATIENCE).await.unwrap_err();
    assert_eq!(error, RequestError::TooLarge { size: MAX_REQUEST + 1, limit: MAX_REQUEST });
    assert_eq!(first.overlay.send(first.id(), Bytes::new()), Err(SendError::Ourselves));
}

#[tokio::test]
async fn a_peer_is_dialled_when_something_is_to_be_sent() {
    let (mut first, mut second) = (node(&[]).await, node(&[]).await);
    first.overlay.add_addresses(second.id(), &second.addresses());
    first.overlay.send(second.id(), "hello".into()).unwrap();
    assert_eq!(second.message().await, (first.id(), "hello".into()));
    assert!(first.connected(second.id()).await);
    assert_eq!(first.overlay.status().counters.dials, 1);
}

#[tokio::test]
async fn requests_are_answered() {
    let (mut first, mut second) = pair().await;
    let large = Bytes::from(vec![9; MAX_REQUEST]);
    let asking = first.overlay.request(second.id(), Purpose::Membership, large.clone(), PATIENCE);
    let asking = tokio::spawn(asking);
    let ask = second.ask().await;
    assert_eq!((ask.from, ask.body.len()), (first.id(), MAX_REQUEST));
    ask.reply(large.clone());
    assert_eq!(asking.await.unwrap(), Ok(large));

    // The two purposes have queues of their own.
    let asking = tokio::spawn(second.overlay.request(first.id(), Purpose::Discovery, "who".into(), PATIENCE));
    let ask = timeout(PATIENCE, first.asks.recv()).await.unwrap().unwrap();
    assert_eq!((ask.from, ask.body.as_ref()), (second.id(), &b"who"[..]));
    ask.reply("me".into());
    assert_eq!(asking.await.unwrap(), Ok("me".into()));
}

/// More than a peer is asked at a time: the others wait their turn, as many as there may be.
#[tokio::test]
async fn many_requests_at_once() {
    let (first, mut second) = pair().await;
    let to = second.id();
    let ask = |n: u32| first.overlay.request(to, Purpose::Membership, n.to_be_bytes().to_vec().into(), PATIENCE);
    let asking: Vec<_> = (0..1_000_u32).map(|n| tokio::spawn(ask(n))).collect();
    for _ in 0..1_000 {
        let ask = second.ask().await;
        let body = ask.body.clone();
        ask.reply(body);
    }
    for (n, asking) in (0..1_000_u32).zip(asking) {
        assert_eq!(asking.await.unwrap(), Ok(n.to_be_bytes().to_vec().into()));
    }
    // Nobody answers these: what is beyond the bound is refused at once.
    let asking: Vec<_> = (0..1_100_u32).map(|n| tokio::spawn(ask(n))).collect();
    let mut held = vec![second.ask().await];
    let mut refused = 0;
    for asking in asking.into_iter().skip(1_024) {
        refused += usize::from(asking.await.unwrap() == Err(RequestError::Busy));
    }
    assert_eq!(refused, 76);
    held.clear();
}

#[tokio::test]
async fn a_request_that_nobody_answers() {
    let (first, mut second) = pair().await;
    // Dropped.
    let asking = tokio::spawn(first.overlay.request(second.id(), Purpose::Membership, "a".into(), PATIENCE));
    drop(second.ask().await);
    assert_eq!(asking.await.unwrap(), Err(RequestError::Refused));
    // Too large.
    let asking = tokio::spawn(first.overlay.request(second.id(), Purpose::Membership, "b".into(), PATIENCE));
    second.ask().await.reply(vec![0; MAX_REQUEST + 1].into());
    assert_eq!(asking.await.unwrap(), Err(RequestError::Refused));
    // Kept.
    let short = Duration::from_millis(50);
    let asking = tokio::spawn(first.overlay.request(second.id(), Purpose::Membership, "c".into(), short));
    let kept = second.ask().await;
    assert_eq!(asking.await.unwrap(), Err(RequestError::TimedOut));
    kept.reply("too late".into());
    // Nobody takes requests at all.
    drop(second.asks);
    let asking = first.overlay.request(second.overlay.peer_id(), Purpose::Discovery, "d".into(), PATIENCE);
    assert_eq!(asking.await, Err(RequestError::Refused));
    // The asked one goes away.
    let asking =
        tokio::spawn(first.overlay.request(second.overlay.peer_id(), Purpose::Membership, "e".into(), PATIENCE));
    let _held = loop {
        if let sinew_overlay::Event::Request(ask) = second.events.recv().await.unwrap() {
            break ask;
        }
    };
    second.overlay.shutdown().await;
    assert!(matches!(asking.await.unwrap(), Err(RequestError::Lost | RequestError::Refused)));
}

#[tokio::test]
async fn unknown_and_dead_peers_fail_fast() {
    let first = node(&[]).await;
    let unknown = Identity::generate().peer_id();
    let start = Instant::now();
    let asked = first.overlay.request(unknown, Purpose::Membership, "a".into(), PATIENCE).await;
    assert_eq!(asked, Err(RequestError::Unreachable));
    assert!(
        matches!(first.overlay.open_link(unknown, PATIENCE).await, Err(OverlayError::Unreachable(peer)) if peer == unknown)
    );
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    first.overlay.send(unknown, "lost".into()).unwrap();
    until("it is counted", || first.overlay.status().counters.dropped_unreachable == 1).await;

    // One that is known and does not answer costs few dials, however much is wanted of it.
    first.overlay.add_addresses(unknown, &["/ip4/127.0.0.1/tcp/9".into()]);
    for _ in 0..50 {
        let asked = first.overlay.request(unknown, Purpose::Membership, "a".into(), PATIENCE).await;
        assert_eq!(asked, Err(RequestError::Unreachable));
    }
    let counters = first.overlay.status().counters;
    assert!((1..=5).contains(&counters.dials), "{counters:?}");
    assert!(counters.dials_held_back >= 40, "{counters:?}");
}

#[tokio::test]
async fn a_receiver_that_does_not_read_costs_the_oldest() {
    let (first, mut second) = pair().await;
    let size = 50 << 10;
    let mut sent = 0_u64;
    while first.overlay.status().counters.dropped_queue_full == 0 {
        let mut body = vec![0; size];
        body[..8].copy_from_slice(&sent.to_be_bytes());
        if first.overlay.send(second.id(), body.into()).is_ok() {
            sent += 1;
        }
        tokio::task::yield_now().await;
        assert!(sent < 100_000);
    }
    // Now it reads: in order, with a gap, and nothing unaccounted for.
    let (mut got, mut last) = (0, None);
    loop {
        let (_, body) = second.message().await;
        let number = u64::from_be_bytes(body[..8].try_into().unwrap());
        assert!(last < Some(number));
        last = Some(number);
        got += 1;
        if number + 1 == sent {
            break;
        }
    }
    assert_eq!(got + first.overlay.status().counters.dropped_queue_full, sent);
    until("memory is given back", || first.overlay.status().messages_queued_bytes == 0).await;
}

#[tokio::test]
async fn links_carry_frames() {
    let (first, mut second) = pair().await;
    let ours = first.overlay.open_link(second.id(), PATIENCE).await.unwrap();
    assert_eq!((ours.peer(), ours.transport()), (second.id(), Transport::Overlay));
    assert!(ours.remote().contains("127.0.0.1"), "{}", ours.remote());
    let theirs = second.link().await;
    assert_eq!((theirs.peer(), theirs.transport()), (first.id(), Transport::Overlay));
    assert_eq!((first.overlay.status().links, second.overlay.status().links), (1, 1));

    let (mut reader, mut writer) = ours.split();
    let (mut their_reader, mut their_writer) = theirs.split();
    carries(&mut writer, &mut their_reader, b"there").await;
    carries(&mut their_writer, &mut reader, b"back").await;
    drop((reader, writer, their_reader, their_writer));
    until("they are gone", || first.overlay.status().links + second.overlay.status().links == 0).await;
}
