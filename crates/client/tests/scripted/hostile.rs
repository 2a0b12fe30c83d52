//! What a node must not send ends the link with a reason, and the client makes another.

use bytes::{BufMut, Bytes, BytesMut};
use sinew_client::{ConnectionEvent, DisconnectReason, Limit, PeerId, Refusal};
use sinew_wire::deliver::{DeliverHeader, Flags};
use sinew_wire::entry::Entry;
use sinew_wire::{Control, FrameHeader, FrameKind, Hello, encode_control};

use crate::peer::{Delivery, Got, Node, soon};

/// A subscription with a window of 1,000 bytes gets `frame`; the client must say what is wrong and connect again.
async fn is_refused(what: &str, frame: impl FnOnce(u32, &Hello) -> Bytes) -> String {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    let (subscribed, asked) = tokio::join!(client.subscription("a").window(1_000).subscribe(), peer.confirm_next());
    let _subscription = subscribed.expect("is subscribed");
    let hello = peer.hello.clone().expect("was said");
    peer.send_raw(frame(asked.subscription, &hello)).await;
    let said = loop {
        match peer.next().await {
            Got::Control(Control::Goodbye(goodbye)) => break goodbye.reason,
            Got::End => panic!("{what}: no reason given"),
            _ => {}
        }
    };
    peer.expect_end().await;
    drop(peer);
    let reason = soon(what, async {
        loop {
            if let Some(ConnectionEvent::Disconnected { reason, .. }) = events.next().await {
                return reason;
            }
        }
    })
    .await;
    let DisconnectReason::Protocol(text) = reason else { panic!("{what}: {reason:?}") };
    assert_eq!(said, Refusal::Protocol(text.clone()), "{what}");
    node.accept().await.confirm_next().await;
    text
}

fn control(control: &Control) -> Bytes {
    let mut frame = BytesMut::new();
    encode_control(control, &mut frame);
    frame.freeze()
}

fn raw(kind: u8, len: usize, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32_le(len as u32);
    frame.put_u8(kind);
    frame.put_slice(body);
    frame.freeze()
}

fn deliver(subscription: u32, change: impl FnOnce(&mut DeliverHeader<'_>), entries: &[u8]) -> Bytes {
    let mut header = DeliverHeader {
        flags: Flags::default(),
        topic: "a",
        messages: 1,
        first_seq: 1,
        subscription,
        entries_len: entries.len() as u32,
        ack: 0,
        instance: 1,
        publisher: PeerId::from_public_key([1; 32]),
    };
    change(&mut header);
    let mut frame = BytesMut::new();
    header.encode(entries.len(), &mut frame);
    frame.put_slice(entries);
    frame.freeze()
}

fn entries(payloads: &[&[u8]]) -> BytesMut {
    let mut block = BytesMut::new();
    for payload in payloads {
        Entry { id: &[], headers: &[], payload }.encode(&mut block);
    }
    block
}

#[tokio::test]
async fn frames_that_are_none() {
    is_refused("an unknown kind", |_, _| raw(9, 0, &[])).await;
    is_refused("an oversize frame", |_, _| raw(3, 1 << 30, &[])).await;
    is_refused("control garbage", |_, _| raw(1, 3, &[0xff, 0xff, 0xff])).await;
    is_refused("a deliver frame cut short", |_, _| raw(3, 3, &[0, 0, 0])).await;
}

#[tokio::test]
async fn frames_that_only_a_client_sends() {
    is_refused("a publish frame", |_, _| {
        let mut frame = BytesMut::new();
        FrameHeader { kind: FrameKind::Publish, len: 0 }.encode(&mut frame);
        frame.freeze()
    })
    .await;
    is_refused("a hello", |_, hello| control(&Control::Hello(hello.clone()))).await;
    is_refused("an unsubscribe", |subscription, _| control(&Control::Unsubscribe { subscription })).await;
}

#[tokio::test]
async fn runs_that_lie() {
    let good = entries(&[b"x"]);
    let text = is_refused("a wrong count", |number, _| deliver(number, |header| header.messages = 2, &good)).await;
    assert!(text.contains("as many messages"), "{text}");
    is_refused("no messages", |number, _| deliver(number, |header| header.messages = 0, &[])).await;
    is_refused("an invalid topic", |number, _| deliver(number, |header| header.topic = "a..b", &good)).await;
    is_refused("an entry cut short", |number, _| deliver(number, |_| {}, &good[..good.len() - 1])).await;
    is_refused("a compression bomb", |number, _| {
        let bomb = |header: &mut DeliverHeader<'_>| {
            header.flags = Flags::PACKED;
            header.entries_len = u32::MAX;
        };
        deliver(number, bomb, &[0; 64])
    })
    .await;
    is_refused("a sequence number that overflows", |number, _| {
        deliver(number, |header| header.first_seq = u64::MAX, &good)
    })
    .await;
}

#[tokio::test]
async fn more_than_the_window_allows() {
    // One message may overdraw it, and only one.
    let text = is_refused("an overrun", |number, _| {
        let payload = vec![0; 1 << 20];
        let mut frames = BytesMut::new();
        for seq in 1..=3 {
            frames.extend_from_slice(&Delivery::to(number, seq, &[&payload]).encode(PeerId::from_public_key([1; 32])));
        }
        frames.freeze()
    })
    .await;
    assert!(text.contains("without credit"), "{text}");
}

#[tokio::test]
async fn credit_that_was_not_spent() {
    let text = is_refused("credit", |_, _| control(&Control::PublishCredit { bytes: 1 })).await;
    assert!(text.contains("outstanding"), "{text}");
}

#[tokio::test]
async fn a_goodbye_is_heard_by_a_client_that_finds_the_link_gone_while_it_writes() {
    for transport in ["unix", "quic", "tls"] {
        let mut node = match transport {
            "unix" => Node::on_unix().await,
            other => Node::on(&format!("{other}://127.0.0.1:0")).await,
        };
        let (client, peer) = node.connected().await;
        let mut events = client.events();
        let flood = tokio::spawn(async move { while client.publish("a", vec![0; 10_000]).await.is_ok() {} });
        let refusal = Refusal::Limit { limit: Limit::PublishCredit, allowed: 1 };
        let _reader = peer.goodbye(refusal.clone()).await;
        let reason = soon("the end", async {
            loop {
                if let Some(ConnectionEvent::Disconnected { reason, .. }) = events.next().await {
                    return reason;
                }
            }
        })
        .await;
        assert_eq!(reason, DisconnectReason::Goodbye(refusal), "{transport}");
        flood.abort();
    }
}

#[tokio::test]
async fn what_it_does_not_know_it_ignores() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    peer.deliver(Delivery::to(77, 1, &[b"x"])).await;
    peer.send(Control::Lagged { subscription: 77, missed: 1 }).await;
    peer.send(Control::Subscribed { subscription: 77 }).await;
    peer.send(Control::Unsubscribed { subscription: 77, refusal: None }).await;
    peer.send(Control::Pong { nonce: 77 }).await;
    peer.send(Control::Ping { nonce: 5 }).await;
    assert_eq!(peer.next_control().await, Control::Pong { nonce: 5 });
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
}
