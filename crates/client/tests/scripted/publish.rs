use std::time::Duration;

use sinew_client::{FlushError, Limit, PublishError, RefusedRun};
use sinew_wire::publish::Flags;
use sinew_wire::{Control, Headers, PublishResult, Welcome};

use crate::peer::{Got, Node, is_pending, soon};

#[tokio::test]
async fn a_message_arrives_as_it_was_published() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    client
        .message("orders.new")
        .header("tenant", "acme")
        .header("trace", [0xff, 0x00])
        .id("order-1")
        .ttl(Duration::from_secs(3))
        .retain()
        .payload("seven")
        .publish()
        .await
        .expect("is published");
    let run = peer.next_publish().await;
    assert_eq!((run.topic.as_str(), run.first_seq, run.ttl_ms), ("orders.new", 1, 3_000));
    assert_eq!(run.flags, Flags::RETAIN);
    let message = &run.messages[0];
    assert_eq!((message.id.as_slice(), message.payload.as_slice()), (b"order-1".as_slice(), b"seven".as_slice()));
    let headers: Vec<_> = Headers::decode(&message.headers).expect("are valid").iter().collect();
    assert_eq!(headers, [("tenant", b"acme".as_slice()), ("trace", &[0xff, 0x00])]);
}

#[tokio::test]
async fn what_is_published_at_once_travels_in_runs_and_is_numbered_over_all_topics() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    // No await is pending in between: the writer has no turn before all are in the batch.
    for (topic, payload) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("a", "5")] {
        client.publish(topic, payload).await.expect("is published");
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let run = peer.next_publish().await;
        seen.push((run.topic, run.first_seq, run.messages.len()));
    }
    assert_eq!(seen, [("a".to_owned(), 1, 2), ("b".to_owned(), 3, 1), ("a".to_owned(), 4, 2)]);
}

#[tokio::test]
async fn what_no_node_would_take_is_refused_here() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { max_message_bytes: 10, max_header_bytes: 20, ..node.welcome() };
    let (client, _peer) = node.connected_by(node.builder(), welcome).await;
    assert!(matches!(client.publish("a..b", "").await, Err(PublishError::Topic(_))));
    assert!(matches!(client.publish("a.*", "").await, Err(PublishError::Topic(_))));
    assert!(matches!(client.publisher("a b"), Err(PublishError::Topic(_))));
    assert_eq!(client.publish("$node.load", "").await, Err(PublishError::Reserved));
    let large = client.publish("a", [0; 11]).await;
    assert_eq!(large, Err(PublishError::TooLarge { limit: Limit::MessageBytes, actual: 11, allowed: 10 }));
    assert_eq!(large.expect_err("is refused").to_string(), "max_message_bytes is 11, the limit is 10");
    let headers = client.message("a").header("k", [0; 40]).publish().await;
    assert!(matches!(headers, Err(PublishError::TooLarge { limit: Limit::HeaderBytes, actual: 44, allowed: 20 })));
    assert!(matches!(client.message("a").header("", "v").publish().await, Err(PublishError::Header(_))));
    assert_eq!(client.message("a").id([0; 256]).publish().await, Err(PublishError::IdTooLong { actual: 256 }));
}

#[tokio::test]
async fn the_publish_window_holds_publishers_back_in_their_order() {
    let mut node = Node::on_unix().await;
    // Room for two messages of 8 + 42 bytes.
    let welcome = Welcome { publish_window: 100, ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    let publisher = client.publisher("a").expect("is a topic");
    publisher.publish([1; 42]).await.expect("has room");
    publisher.publish([2; 42]).await.expect("has room");
    assert_eq!(publisher.try_publish([0; 42]), Err(PublishError::Full));

    let waiting: Vec<_> = [3_u8, 4]
        .map(|number| {
            let publisher = publisher.clone();
            tokio::spawn(async move { publisher.publish([number; 42]).await })
        })
        .into();
    // One that gives up has published nothing.
    assert!(is_pending(publisher.publish([9; 42])).await);
    assert_eq!(peer.next_publish().await.messages.len(), 2);

    peer.send(Control::PublishCredit { bytes: 100 }).await;
    for waiting in waiting {
        soon("room", waiting).await.expect("no panic").expect("is published");
    }
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        numbers.extend(peer.next_publish().await.messages.iter().map(|message| message.payload[0]));
    }
    assert_eq!(numbers, [3, 4]);
    assert_eq!(publisher.try_publish([0; 42]), Err(PublishError::Full), "those two have used it up again");
}

#[tokio::test]
async fn nobody_waits_for_ever_beside_one_who_never_pauses() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { publish_window: 10_000, ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    let flood = tokio::spawn({
        let publisher = client.publisher("flood").expect("is a topic");
        async move { while publisher.publish([0; 92]).await.is_ok() {} }
    });
    let node = tokio::spawn(async move {
        loop {
            match peer.next().await {
                Got::Publish(run) => peer.send(Control::PublishCredit { bytes: run.entries_len.into() }).await,
                Got::Control(Control::Ping { nonce }) => peer.send(Control::Pong { nonce }).await,
                Got::Control(_) => {}
                Got::End => return,
                Got::Call(frame) => panic!("no call was made: {frame:?}"),
            }
        }
    });
    for _ in 0..100 {
        soon("a turn", client.publish("drop", "x")).await.expect("is published");
        soon("a turn", client.flush()).await.expect("is processed");
    }
    client.close().await.expect("is closed");
    flood.await.expect("ends with the client");
    node.await.expect("ends with the client");
}

#[tokio::test]
async fn a_message_larger_than_the_window_passes() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { publish_window: 100, ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    client.publish("a", vec![7; 100_000]).await.expect("overdraws");
    assert_eq!(peer.next_publish().await.messages[0].payload.len(), 100_000);
    assert!(is_pending(client.publish("a", "x")).await);
    peer.send(Control::PublishCredit { bytes: 100_008 }).await;
    soon("credit", client.publish("a", "x")).await.expect("has room");
}

#[tokio::test]
async fn a_batch_is_cut_into_runs_and_loses_nothing() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let publisher = client.publisher("a").expect("is a topic").ttl(Duration::from_secs(9));
    let payloads: Vec<_> = (0..2_000_u32).map(|n| n.to_le_bytes().repeat(16)).collect();
    let publish = tokio::spawn(async move { publisher.publish_batch(&payloads).await });
    let mut next = 1;
    while next <= 2_000 {
        let run = peer.next_publish().await;
        assert_eq!((run.first_seq, run.ttl_ms), (next, 9_000));
        assert!(run.entries_len <= 64 << 10);
        for message in &run.messages {
            assert_eq!(message.payload[..4], (next as u32 - 1).to_le_bytes());
            next += 1;
        }
    }
    publish.await.expect("no panic").expect("is published");
}

#[tokio::test]
async fn acked_messages_get_the_report_of_their_own() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let deadline = Duration::from_secs(2);
    let publisher = client.publisher("a").expect("is a topic");
    let (first, second, ()) =
        tokio::join!(publisher.publish_acked("1", deadline), client.message("a").payload("2").acked(deadline), async {
            let one = peer.next_publish().await;
            let two = peer.next_publish().await;
            assert_eq!((one.messages.len(), one.flags, one.deadline_ms), (1, Flags::ACKED, 2_000));
            // In the order of their confirmations, not of their numbers.
            peer.result(&two, 3, 2).await;
            peer.result(&one, 1, 1).await;
        },);
    let (first, second) = (first.expect("is delivered"), second.expect("is delivered"));
    assert_eq!((first.seq, first.matched, first.delivered), (1, 1, 1));
    assert!(first.is_complete());
    assert_eq!((second.seq, second.matched, second.delivered, second.unknown), (2, 3, 2, 1));
    assert!(!second.is_complete());
}

#[tokio::test]
async fn an_acked_batch_is_one_run() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let publisher = client.publisher("a").expect("is a topic");
    let payloads = vec![[1; 200]; 1_000];
    let (report, ()) = tokio::join!(publisher.publish_batch_acked(&payloads, Duration::from_secs(1)), async {
        let run = peer.next_publish().await;
        assert_eq!(run.messages.len(), 1_000);
        peer.result(&run, 2_000, 2_000).await;
    });
    assert_eq!(report.expect("is delivered").delivered, 2_000);
    let too_many = publisher.publish_batch_acked(&vec![[1; 200]; 2_000], Duration::from_secs(1)).await;
    assert!(matches!(too_many, Err(PublishError::TooLarge { limit: Limit::FrameBytes, .. })));
}

#[tokio::test]
async fn a_refused_run_is_an_error_with_its_reason() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let publish = client.message("nobody.there").require_subscribers().payload("x").publish();
    let (published, ()) = tokio::join!(publish, async {
        let run = peer.next_publish().await;
        assert!(run.flags.contains(Flags::REQUIRE_SUBSCRIBERS));
        let result = PublishResult {
            first_seq: run.first_seq,
            messages: 1,
            matched: 0,
            delivered: 0,
            dropped: 0,
            unknown: 0,
            duplicates: 0,
            refusal: Some(RefusedRun::NoSubscribers),
        };
        peer.send(Control::PublishResult(result)).await;
    });
    assert_eq!(published, Err(PublishError::Refused(RefusedRun::NoSubscribers)));
}

#[tokio::test]
async fn results_that_are_awaited_are_bounded() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected_by(node.builder().max_in_flight(1), node.welcome()).await;
    let publisher = client.publisher("a").expect("is a topic");
    let first = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_acked("1", Duration::from_secs(5)).await }
    });
    let run = peer.next_publish().await;
    // Whose turn does not come within the deadline has sent nothing.
    let second = publisher.publish_acked("2", Duration::from_millis(50)).await;
    assert_eq!(second, Err(PublishError::NotSent(Duration::from_millis(50))));
    peer.result(&run, 0, 0).await;
    first.await.expect("no panic").expect("has a result");
    client.publish("a", "3").await.expect("is published");
    let run = peer.next_publish().await;
    assert_eq!((run.first_seq, run.messages[0].payload.as_slice()), (2, b"3".as_slice()));
}

/// And whoever was in line for one node waits in the line of the next.
#[tokio::test]
async fn each_node_says_how_many_results_may_be_awaited() {
    const LATER: Duration = Duration::from_secs(20);
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected_by(node.builder(), Welcome { max_open_acks: 2, ..node.welcome() }).await;
    assert_eq!(client.connection().expect("is connected").max_in_flight, 2);
    let publisher = client.publisher("a").expect("is a topic");
    let publish = |payload: &'static str| {
        let publisher = publisher.clone();
        tokio::spawn(async move { publisher.publish_acked(payload, LATER).await })
    };
    let open = [publish("1"), publish("2")];
    let runs = [peer.next_publish().await, peer.next_publish().await];
    let waiting = [publish("3"), publish("4"), publish("5")];
    for _ in 0..10 {
        // Each comes as far as it may.
        tokio::task::yield_now().await;
    }
    client.publish("b", "not awaited").await.expect("is published");
    assert_eq!(peer.next_publish().await.messages[0].payload, b"not awaited");
    // One result, one more run.
    peer.result(&runs[0], 0, 0).await;
    peer.next_publish().await;
    drop(peer);

    let welcome = Welcome { max_open_acks: 1, ..node.welcome() };
    let mut peer = node.accept_with(welcome).await;
    let mut answered = 0;
    for _ in 0..2 {
        let run = peer.next_publish().await;
        client.publish("b", "not awaited").await.expect("is published");
        assert_eq!(peer.next_publish().await.messages[0].payload, b"not awaited", "and no other run");
        peer.result(&run, 0, 0).await;
    }
    for published in open.into_iter().chain(waiting) {
        match soon("a result", published).await.expect("no panic") {
            Ok(_) => answered += 1,
            Err(error) => assert_eq!(error, PublishError::Disconnected),
        }
    }
    assert_eq!(answered, 3, "one by the first node, two by the second");
}

#[tokio::test]
async fn a_flush_comes_after_everything_before_it() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    client.publish("a", "1").await.expect("is published");
    let flush = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    assert!(matches!(peer.next().await, Got::Publish(_)));
    let Got::Control(Control::Ping { nonce }) = peer.next().await else { panic!("expected a ping") };
    assert!(!flush.is_finished());
    // One that was not asked for does not count.
    peer.send(Control::Pong { nonce: nonce + 1 }).await;
    peer.send(Control::Pong { nonce }).await;
    assert_eq!(soon("the flush", flush).await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn close_flushes_and_says_goodbye() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    client.publish("a", "1").await.expect("is published");
    let (closed, ()) = tokio::join!(client.close(), async move {
        assert!(matches!(peer.next().await, Got::Publish(_)));
        peer.pong_next().await;
        assert_eq!(peer.expect_goodbye().await, sinew_client::Refusal::Closed);
        peer.expect_end().await;
    });
    assert_eq!(closed, Ok(()));
    assert_eq!(client.publish("a", "2").await, Err(PublishError::Closed));
    assert_eq!(client.flush().await, Err(FlushError::Closed));
    assert_eq!(client.close().await, Err(FlushError::Closed));
}

#[tokio::test]
async fn a_node_that_does_not_answer_holds_up_close_no_longer_than_allowed() {
    let mut node = Node::on_unix().await;
    let limit = Duration::from_millis(100);
    let (client, _peer) = node.connected_by(node.builder().close_timeout(limit), node.welcome()).await;
    assert_eq!(soon("close", client.close()).await, Err(FlushError::Timeout(limit)));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_link() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let publisher = client.publisher("a").expect("is a topic");
    drop(client);
    publisher.publish("still here").await.expect("is published");
    assert!(matches!(peer.next().await, Got::Publish(_)));
    drop(publisher);
    peer.expect_end().await;
}

#[tokio::test]
async fn compression_packs_what_gains_by_it() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected_by(node.builder().compression(true), node.welcome()).await;
    client.publish("a", vec![b'x'; 10_000]).await.expect("is published");
    client.publish("b", "short").await.expect("is published");
    let packed = peer.next_publish().await;
    assert!(packed.flags.contains(Flags::PACKED));
    assert_eq!(packed.messages[0].payload, vec![b'x'; 10_000]);
    let plain = peer.next_publish().await;
    assert!(!plain.flags.contains(Flags::PACKED));

    let welcome = Welcome { features: sinew_wire::Features(0), ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder().compression(true), welcome).await;
    client.publish("a", vec![b'x'; 10_000]).await.expect("is published");
    assert!(!peer.next_publish().await.flags.contains(Flags::PACKED), "the node cannot read it");
}
