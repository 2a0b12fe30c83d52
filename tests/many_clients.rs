//! Many clients at once: the limit, and a node that dies under them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sinew_client::{Client, ConnectError, Event};
use sinew_tests::{Node, PATIENCE, soon};
use tokio::task::JoinSet;

/// Connects so many clients, some at a time: the node bounds handshakes under way.
async fn connect(server: &str, count: usize) -> Result<Vec<Client>> {
    const AT_ONCE: usize = 64;
    let mut clients = Vec::with_capacity(count);
    let mut connecting = JoinSet::new();
    for started in 0..count {
        let server = server.to_owned();
        connecting.spawn(async move { sinew_client::connect(server).await });
        if started >= AT_ONCE {
            clients.push(connecting.join_next().await.context("some are under way")???);
        }
    }
    while let Some(client) = connecting.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn client_10_001_is_refused_by_name_while_10_000_stay_served() -> Result<()> {
    rlimit::increase_nofile_limit(30_000)?;
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let idle = node.resident()?;
    let clients = connect(&server, 10_000).await?;
    node.metric_becomes("sinew_clients", |n| n >= 10_000.0).await?;
    let each = node.resident()?.saturating_sub(idle) / 10_000;
    println!("an idle client costs the node {each} bytes");
    ensure!(each <= 20 << 10, "an idle client costs {each} bytes");

    let refused = sinew_client::connect(&server).await;
    let Err(error) = refused else { bail!("client 10,001 was let in") };
    ensure!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.contains("max_clients") && text.contains("10000"), "{text}");

    let (first, last) = (&clients[0], &clients[9_999]);
    let mut heard = last.subscribe("a").await?;
    first.publish("a", "still served").await?;
    let event = soon("the message", heard.next()).await?;
    ensure!(matches!(&event, Some(Event::Message(message)) if message.payload() == "still served"), "{event:?}");
    ensure!(node.metric("sinew_clients").await? >= 10_000.0);
    ensure!(node.metric(r#"sinew_limit_refused_total{limit="max_clients"}"#).await? >= 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_come_back_with_their_subscriptions() -> Result<()> {
    rlimit::increase_nofile_limit(10_000)?;
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let clients = connect(&server, 1_000).await?;
    let mut subscriptions = Vec::new();
    for (i, client) in clients.iter().enumerate() {
        subscriptions.push(client.subscribe(format!("mine.{i}")).await?);
    }
    let node = node.kill_and_restart(&[]).await?;
    node.metric_becomes("sinew_subscriptions", |n| n >= 1_000.0).await?;

    let publisher = sinew_client::connect(&server).await?;
    for i in 0..1_000 {
        publisher.publish(format!("mine.{i}"), i.to_string()).await?;
    }
    let everyone = async {
        for (i, subscription) in subscriptions.iter_mut().enumerate() {
            loop {
                match subscription.next().await.context("the subscription lives on")? {
                    Event::Message(message) if message.payload() == i.to_string().as_bytes() => break,
                    Event::Message(message) => bail!("{i} got {message:?}"),
                    _ => {}
                }
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, everyone).await.context("somebody got nothing")??;
    Ok(())
}

#[tokio::test]
async fn a_drained_node_says_goodbye_after_what_was_queued() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("tls");
    let (publisher, subscriber) = (sinew_client::connect(&server).await?, sinew_client::connect(&server).await?);
    let mut heard = subscriber.subscribe("a").await?;
    for i in 0..1_000 {
        publisher.publish("a", i.to_string()).await?;
    }
    publisher.flush().await?;
    let ended = tokio::spawn(node.terminate());
    for i in 0..1_000 {
        let event = soon("the rest", heard.next()).await?;
        ensure!(matches!(&event, Some(Event::Message(m)) if m.payload() == i.to_string().as_bytes()), "{i}: {event:?}");
    }
    ensure!(tokio::time::timeout(Duration::from_secs(30), ended).await??? == Some(0));
    Ok(())
}
