use std::time::Duration;

use sinew_client::{
    Client, ConnectionEvent, DisconnectReason, Event, Events, FlushError, Limit, PublishError, Reconnect, Refusal,
    SubscribeError,
};
use sinew_wire::{Control, Welcome};

use crate::peer::{Delivery, Node, is_pending, soon};

/// Events until the one that `wanted` accepts, which is returned.
async fn event<T>(events: &mut Events, wanted: impl Fn(&ConnectionEvent) -> Option<T>) -> T {
    soon("an event", async {
        loop {
            let event = events.next().await.expect("goes on");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    })
    .await
}

async fn disconnected(events: &mut Events) -> (DisconnectReason, u64) {
    event(events, |event| match event {
        ConnectionEvent::Disconnected { reason, unconfirmed } => Some((reason.clone(), *unconfirmed)),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn streams_outlive_the_link() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    let (subscribed, asked) = tokio::join!(client.subscribe("a.>"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    peer.deliver(Delivery { ack: 5, ..Delivery::to(asked.subscription, 1, &[b"before"]) }).await;
    let instance = peer.hello.as_ref().map(|hello| hello.instance);
    // So that it has arrived before the link breaks.
    let (_, ()) = tokio::join!(client.flush(), peer.pong_next());
    drop(peer);

    let mut peer = node.accept().await;
    assert_eq!(peer.hello.as_ref().map(|hello| hello.instance), instance, "is the same publisher");
    let again = peer.confirm_next().await;
    assert_eq!(again, asked);
    peer.deliver(Delivery::to(again.subscription, 9, &[b"after"])).await;
    event(&mut events, |event| matches!(event, ConnectionEvent::Resubscribed { subscriptions: 1 }).then_some(())).await;

    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match soon("an event", subscription.next()).await {
            Some(Event::Message(message)) => String::from_utf8(message.payload().to_vec()).expect("is text"),
            Some(Event::Resumed) => "resumed".to_owned(),
            other => panic!("unexpected {other:?}"),
        });
    }
    assert_eq!(seen, ["before", "resumed", "after"]);
    // What came over the old link is not confirmed on the new one.
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
}

#[tokio::test]
async fn what_was_published_waits_and_what_was_lost_is_counted() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { publish_window: 1_000, ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    let mut events = client.events();
    for _ in 0..4 {
        client.publish("a", [0; 92]).await.expect("is published");
    }
    // The first four are confirmed by a flush, two more by nobody.
    let (flushed, ()) = tokio::join!(client.flush(), async {
        peer.next_publish().await;
        peer.pong_next().await;
    });
    assert_eq!(flushed, Ok(()));
    for _ in 0..2 {
        client.publish("a", [0; 92]).await.expect("is published");
    }
    let acked = tokio::spawn(client.message("a").payload("x").acked(Duration::from_secs(5)));
    peer.next_publish().await;
    peer.next_publish().await;
    drop(peer);

    let (reason, unconfirmed) = disconnected(&mut events).await;
    assert!(matches!(reason, DisconnectReason::Broken(_)), "{reason}");
    assert_eq!(unconfirmed, 2, "the acknowledged one has a result of its own");
    assert_eq!(acked.await.expect("no panic"), Err(PublishError::Disconnected));
    assert_eq!(client.flush().await, Err(FlushError::Disconnected { unconfirmed: 2 }));

    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish("a", "after").await }
    });
    let mut peer = node.accept().await;
    soon("room", waiting).await.expect("no panic").expect("is published");
    let run = peer.next_publish().await;
    assert_eq!((run.first_seq, run.messages.len()), (8, 1), "numbers go on");
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()), "what was lost is told once");
}

#[tokio::test]
async fn credit_tells_what_has_arrived() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    client.publish("a", [0; 92]).await.expect("is published");
    peer.next_publish().await;
    client.publish("a", [0; 92]).await.expect("is published");
    peer.next_publish().await;
    peer.send(Control::PublishCredit { bytes: 200 }).await;
    peer.goodbye(Refusal::Draining).await;
    assert_eq!(disconnected(&mut events).await, (DisconnectReason::Goodbye(Refusal::Draining), 0));
}

#[tokio::test]
async fn nothing_is_published_without_a_link() {
    let mut node = Node::on_unix().await;
    let (client, peer) = node.connected().await;
    let mut events = client.events();
    drop(peer);
    disconnected(&mut events).await;
    let publisher = client.publisher("a").expect("is a topic");
    assert_eq!(publisher.try_publish("x"), Err(PublishError::Full));
    assert!(is_pending(publisher.publish("x")).await);
    let limit = Duration::from_millis(20);
    assert_eq!(publisher.publish_acked("x", limit).await, Err(PublishError::NotSent(limit)));
    assert_eq!(client.connection(), None);
    // What is wrong is wrong at once.
    assert!(matches!(client.publish("a..b", "").await, Err(PublishError::Topic(_))));
}

#[tokio::test]
async fn subscribing_waits_for_a_link() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    // Asked on the first link, answered on the second.
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.subscribe("a").await }
    });
    peer.next_subscribe().await;
    drop(peer);
    disconnected(&mut events).await;
    let later = tokio::spawn({
        let client = client.clone();
        async move { client.subscribe("b").await }
    });
    let mut peer = node.accept().await;
    let mut patterns = [peer.confirm_next().await.pattern, peer.confirm_next().await.pattern];
    patterns.sort();
    assert_eq!(patterns, ["a", "b"]);
    asking.await.expect("no panic").expect("is subscribed");
    later.await.expect("no panic").expect("is subscribed");
}

#[tokio::test]
async fn a_draining_node_gets_the_rest_and_another_is_tried() {
    let mut old = Node::on_unix().await;
    let mut new = Node::on_unix().await;
    let builder = old.builder().server(&new.url);
    let welcome = old.welcome();
    let (client, peer) = old.connected_by(builder, welcome).await;
    let mut events = client.events();
    client.publish("a", "on its way").await.expect("is published");
    let mut rest = peer.goodbye(Refusal::Draining).await;
    soon("what was on its way", rest.fill()).await.expect("arrives");
    assert!(rest.next_frame().expect("is a frame").is_some());
    assert_eq!(disconnected(&mut events).await.0, DisconnectReason::Goodbye(Refusal::Draining));
    let _peer = new.accept().await;
    let server = event(&mut events, |event| match event {
        ConnectionEvent::Connected { server, .. } => Some(server.to_string()),
        _ => None,
    });
    assert_eq!(server.await, new.url);
}

#[tokio::test]
async fn a_full_node_is_tried_again_and_a_wrong_realm_is_not() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    let (subscribed, _) = tokio::join!(client.subscribe("a"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    drop(peer);
    node.refuse_next(Refusal::Limit { limit: Limit::Clients, allowed: 1 }).await;
    node.refuse_next(Refusal::Realm("default".to_owned())).await;
    let error = event(&mut events, |event| match event {
        ConnectionEvent::Lost { error } => Some(std::sync::Arc::clone(error)),
        _ => None,
    })
    .await;
    assert_eq!(error.refusal(), Some(&Refusal::Realm("default".to_owned())));
    assert!(soon("the end", subscription.next()).await.is_none());
    assert_eq!(subscription.end_reason(), Some(SubscribeError::Closed));
    assert_eq!(client.publish("a", "").await, Err(PublishError::Closed));
    // It is over: closing has nothing to do.
    assert_eq!(client.close().await, Err(FlushError::Closed));
}

#[tokio::test]
async fn gives_up_after_as_many_attempts_as_it_may() {
    let mut node = Node::on_unix().await;
    let reconnect = Reconnect { max_attempts: Some(2), ..Reconnect::default() };
    let builder = Client::builder().server(&node.url).reconnect(Reconnect {
        min_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        ..reconnect
    });
    let welcome = node.welcome();
    let (client, peer) = node.connected_by(builder, welcome).await;
    let mut events = client.events();
    drop((peer, node));
    let mut attempts = 0;
    soon("the end", async {
        loop {
            match events.next().await.expect("goes on") {
                ConnectionEvent::Reconnecting { attempt, delay } => {
                    attempts = attempt;
                    assert!(delay < Duration::from_millis(3));
                }
                ConnectionEvent::Lost { .. } => return,
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(attempts, 2);
    assert!(soon("the end", events.next()).await.is_none());
    assert!(client.events().next().await.is_none());
}

#[tokio::test]
async fn closing_does_not_wait_for_a_link() {
    let mut node = Node::on_unix().await;
    let (client, peer) = node.connected().await;
    let mut events = client.events();
    drop((peer, node));
    disconnected(&mut events).await;
    assert_eq!(soon("close", client.close()).await, Ok(()));
}

#[tokio::test]
async fn a_link_that_is_silent_is_given_up_and_one_that_is_idle_kept() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { keep_alive_ms: 60, idle_timeout_ms: 300, ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    let mut events = client.events();
    for _ in 0..10 {
        peer.pong_next().await;
    }
    // From here on the node says nothing.
    let (reason, _) = disconnected(&mut events).await;
    assert_eq!(reason, DisconnectReason::Silent(Duration::from_millis(300)));
    node.accept().await;
}

#[tokio::test]
async fn what_is_not_taken_over_many_links_stays_bounded() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscription("a").window(300).subscribe(), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    let mut seq = 1;
    for _ in 0..5 {
        for _ in 0..3 {
            peer.deliver(Delivery::to(asked.subscription, seq, &[&[0; 92]])).await;
            seq += 1;
        }
        let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
        assert_eq!(flushed, Ok(()));
        drop(peer);
        peer = node.accept().await;
        peer.confirm_next().await;
    }
    let (mut taken, mut missed) = (0, 0);
    while taken + missed < seq - 1 {
        match soon("an event", subscription.next()).await {
            Some(Event::Message(_)) => taken += 1,
            Some(Event::Lagged(some)) => missed += some,
            Some(Event::Resumed) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((taken, missed), (3, 12), "received and missed is sent");
}
