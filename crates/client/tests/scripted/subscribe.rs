use futures::StreamExt;
use sinew_client::{Event, Limit, Message, Policy, Refusal, RunEvent, SubscribeError, Subscription};
use sinew_wire::{Control, Welcome};

use crate::peer::{Delivery, Node, is_pending, soon};

async fn message(subscription: &mut Subscription) -> Message {
    match soon("a message", subscription.next()).await {
        Some(Event::Message(message)) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

#[tokio::test]
async fn subscribing_waits_for_the_node_and_asks_for_what_was_wanted() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let subscribe = client
        .subscription("jobs.*")
        .queue_group("workers")
        .policy(Policy::Latest)
        .buffer(100)
        .last_values()
        .window(4_096)
        .subscribe();
    let mut subscribe = Box::pin(subscribe);
    assert!(is_pending(&mut subscribe).await);
    let asked = peer.next_subscribe().await;
    assert_eq!((asked.pattern.as_str(), asked.group.as_deref()), ("jobs.*", Some("workers")));
    assert_eq!((asked.policy, asked.buffer, asked.last, asked.window), (Policy::Latest, 100, true, 4_096));
    peer.send(Control::Subscribed { subscription: asked.subscription }).await;
    let subscription = soon("the answer", subscribe).await.expect("is subscribed");
    assert_eq!(subscription.pattern().as_str(), "jobs.*");
    drop(subscription);
    assert_eq!(peer.next_control().await, Control::Unsubscribe { subscription: asked.subscription });
}

#[tokio::test]
async fn a_refused_subscription_names_the_limit() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let refusal = Refusal::Limit { limit: Limit::SubscriptionsPerClient, allowed: 1_000 };
    let (subscribed, ()) = tokio::join!(client.subscribe("a.>"), async {
        let subscription = peer.next_subscribe().await.subscription;
        peer.send(Control::Unsubscribed { subscription, refusal: Some(refusal.clone()) }).await;
    });
    let error = subscribed.expect_err("is refused");
    assert_eq!(error.to_string(), "limit max_subscriptions_per_client reached: at most 1000");
    assert_eq!(error, SubscribeError::Refused(refusal));
    assert!(matches!(client.subscribe("a.>.b").await, Err(SubscribeError::Pattern(_))));
    let group = client.subscription("a").queue_group("").subscribe().await;
    assert!(matches!(group, Err(SubscribeError::Group(_))));
}

#[tokio::test]
async fn a_cancelled_subscribe_leaves_nothing_behind() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    assert!(is_pending(client.subscribe("a")).await);
    let subscription = peer.next_subscribe().await.subscription;
    assert_eq!(peer.next_control().await, Control::Unsubscribe { subscription });
}

#[tokio::test]
async fn messages_and_gaps_come_in_order() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.*"), peer.confirm_next());
    let (mut subscription, number) = (subscribed.expect("is subscribed"), asked.subscription);
    peer.deliver(Delivery::to(number, 5, &[b"five", b"six"])).await;
    peer.send(Control::Lagged { subscription: number, missed: 3 }).await;
    peer.send(Control::Lagged { subscription: number, missed: 4 }).await;
    let retained = Delivery { retained: true, topic: "a.c", ..Delivery::to(number, 14, &[b"last"]) };
    peer.deliver(retained).await;

    let first = message(&mut subscription).await;
    assert_eq!((first.topic(), first.payload().as_ref(), first.seq()), ("a.b", b"five".as_slice(), 5));
    assert_eq!((first.publisher(), first.instance(), first.is_retained()), (peer.publisher, 1, false));
    assert!(first.headers().is_empty() && first.id().is_none());
    assert_eq!(message(&mut subscription).await.seq(), 6);
    let mut missed = 0;
    while missed < 7 {
        match soon("the gap", subscription.next()).await {
            Some(Event::Lagged(some)) => missed += some,
            other => panic!("expected the gap, got {other:?}"),
        }
    }
    assert_eq!(missed, 7);
    let last = message(&mut subscription).await;
    assert_eq!((last.topic(), last.seq(), last.is_retained()), ("a.c", 14, true));
}

#[tokio::test]
async fn it_is_a_stream_too() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    peer.deliver(Delivery::to(asked.subscription, 1, &[b"1", b"2", b"3"])).await;
    let texts = subscribed.expect("is subscribed").take(3).map(|event| match event {
        Event::Message(message) => message.into_payload(),
        other => panic!("expected a message, got {other:?}"),
    });
    assert_eq!(soon("messages", texts.collect::<Vec<_>>()).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn runs_can_be_taken_whole_and_in_rests() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    let number = asked.subscription;
    peer.deliver(Delivery { ack: 9, ..Delivery::to(number, 1, &[b"1", b"2", b"3"]) }).await;
    assert_eq!(message(&mut subscription).await.seq(), 1);
    let Some(RunEvent::Run(rest)) = soon("a run", subscription.next_run()).await else { panic!("expected a run") };
    assert_eq!((rest.len(), rest.first_seq(), rest.topic()), (2, 2, "a.b"));
    let lent: Vec<_> = rest.iter().map(|message| (message.seq(), message.payload())).collect();
    assert_eq!(lent, [(2, b"2".as_slice()), (3, b"3")]);
    let kept: Vec<_> = rest.into_iter().map(|message| (message.seq(), message.into_payload())).collect();
    assert_eq!(kept, [(2, "2".into()), (3, "3".into())]);
    assert_eq!(peer.next_control().await, Control::DeliverAck { token: 9 });
}

#[tokio::test]
async fn a_run_is_confirmed_with_its_last_message() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    peer.deliver(Delivery { ack: 42, ..Delivery::to(asked.subscription, 1, &[b"1", b"2"]) }).await;
    message(&mut subscription).await;
    assert!(is_pending(peer.next_control()).await);
    message(&mut subscription).await;
    assert_eq!(peer.next_control().await, Control::DeliverAck { token: 42 });
}

#[tokio::test]
async fn credit_returns_at_half_a_window_as_messages_are_taken() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscription("a.b").window(400).subscribe(), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    let number = asked.subscription;
    let payload = [0; 92];
    for seq in 1..=4 {
        peer.deliver(Delivery::to(number, seq, &[&payload])).await;
    }
    message(&mut subscription).await;
    assert!(is_pending(peer.next_control()).await);
    message(&mut subscription).await;
    assert_eq!(peer.next_control().await, Control::DeliverCredit { subscription: number, bytes: 200 });
    message(&mut subscription).await;
    message(&mut subscription).await;
    assert_eq!(peer.next_control().await, Control::DeliverCredit { subscription: number, bytes: 200 });
}

#[tokio::test]
async fn packed_runs_are_unpacked() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let payload = vec![b'x'; 5_000];
    peer.deliver(Delivery { packed: true, ..Delivery::to(asked.subscription, 1, &[&payload, &payload]) }).await;
    let mut subscription = subscribed.expect("is subscribed");
    for seq in 1..=2 {
        let message = message(&mut subscription).await;
        assert_eq!((message.seq(), message.payload().as_ref()), (seq, payload.as_slice()));
    }
}

#[tokio::test]
async fn a_subscription_that_is_not_read_does_not_stop_the_others() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (stalled, asked) = tokio::join!(client.subscription("a.b").window(1_000).subscribe(), peer.confirm_next());
    let stalled_number = asked.subscription;
    let (lively, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let (mut stalled, mut lively) = (stalled.expect("is subscribed"), lively.expect("is subscribed"));
    peer.deliver(Delivery::to(stalled_number, 1, &[&[0; 992]])).await;
    for seq in 1..=100 {
        peer.deliver(Delivery::to(asked.subscription, seq, &[b"x"])).await;
        assert_eq!(message(&mut lively).await.seq(), seq);
    }
    assert_eq!(message(&mut stalled).await.seq(), 1);
}

#[tokio::test]
async fn what_comes_for_a_dropped_subscription_is_nobodys_fault() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (dropped, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let number = asked.subscription;
    drop(dropped);
    assert_eq!(peer.next_control().await, Control::Unsubscribe { subscription: number });
    peer.deliver(Delivery::to(number, 1, &[b"late"])).await;
    peer.send(Control::Lagged { subscription: number, missed: 1 }).await;
    peer.send(Control::Unsubscribed { subscription: number, refusal: None }).await;
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
}

#[tokio::test]
async fn a_subscription_that_the_node_ends_says_why() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    peer.deliver(Delivery::to(asked.subscription, 1, &[b"last words"])).await;
    let refusal = Some(Refusal::Denied("not any more".to_owned()));
    peer.send(Control::Unsubscribed { subscription: asked.subscription, refusal: refusal.clone() }).await;
    assert_eq!(message(&mut subscription).await.payload().as_ref(), b"last words");
    assert!(soon("the end", subscription.next()).await.is_none());
    assert_eq!(subscription.end_reason(), refusal.map(SubscribeError::Refused));
}

#[tokio::test]
async fn streams_end_with_the_client() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, _asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    let (closed, ()) = tokio::join!(client.close(), async move {
        peer.pong_next().await;
        peer.expect_goodbye().await;
    });
    closed.expect("is closed");
    assert!(soon("the end", subscription.next()).await.is_none());
    assert_eq!(subscription.end_reason(), Some(SubscribeError::Closed));
    assert_eq!(client.subscribe("a").await.expect_err("is closed"), SubscribeError::Closed);
}

#[tokio::test]
async fn messages_larger_than_the_window_pass_one_by_one() {
    let mut node = Node::on_unix().await;
    let welcome = Welcome { ..node.welcome() };
    let (client, mut peer) = node.connected_by(node.builder(), welcome).await;
    let (subscribed, asked) = tokio::join!(client.subscription("a.b").window(1).subscribe(), peer.confirm_next());
    let mut subscription = subscribed.expect("is subscribed");
    let payload = vec![1; 100_000];
    for seq in 1..=3 {
        peer.deliver(Delivery::to(asked.subscription, seq, &[&payload])).await;
        assert_eq!(message(&mut subscription).await.seq(), seq);
        let credit = Control::DeliverCredit { subscription: asked.subscription, bytes: 100_008 };
        assert_eq!(peer.next_control().await, credit);
    }
}
