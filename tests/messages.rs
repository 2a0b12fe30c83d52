//! Publishing and subscribing by the command line, as a person would.

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;
use sinew_tests::{Node, Running, sinew};

/// Starts `sinew sub` and waits until the node has its subscription.
async fn subscribe(node: &Node, server: &str, arguments: &[&str]) -> Result<Running> {
    let before = node.metric("sinew_subscriptions").await?;
    let subscriber = Running::start(&[&["sub", "--server", server, "--json"], arguments].concat())?;
    node.metric_becomes("sinew_subscriptions", |now| now > before).await?;
    Ok(subscriber)
}

#[tokio::test]
async fn a_message_arrives_over_each_transport() -> Result<()> {
    let node = Node::start(&[]).await?;
    for scheme in ["quic", "tls", "unix"] {
        let server = node.url(scheme);
        let mut subscriber = subscribe(&node, &server, &["sensors.>", "--count", "1"]).await?;
        let published = sinew(&["pub", "--server", &server, "--json", "sensors.kitchen.temp", "21.5"]).await?;
        assert_eq!(published.code, Some(0), "{scheme}: {}", published.stderr);
        let [result] = &published.json()?[..] else { panic!("one result: {}", published.stdout) };
        assert_eq!((&result["topic"], &result["matched"]), (&json!("sensors.kitchen.temp"), &json!(1)), "{scheme}");
        let message = subscriber.json().await?;
        assert_eq!(
            (&message["topic"], &message["payload"]),
            (&json!("sensors.kitchen.temp"), &json!("21.5")),
            "{scheme}"
        );
        assert_eq!(message["seq"], json!(1), "{scheme}");
        assert!(message["publisher"].as_str().is_some_and(|id| id.starts_with("12D3KooW")), "{scheme}: {message}");
        assert_eq!(subscriber.end().await?, Some(0));
    }
    assert_eq!(node.terminate().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_is_told_to_end_says_goodbye() -> Result<()> {
    let node = Node::start(&[]).await?;
    for signal in [Signal::TERM, Signal::INT] {
        let mut subscriber = subscribe(&node, &node.url("quic"), &["sensors.>"]).await?;
        sinew_tests::signal(subscriber.child.id().context("it runs")?, signal)?;
        assert_eq!(subscriber.end().await?, Some(0));
        // Sooner than the node would miss it.
        node.metric_becomes("sinew_subscriptions", |now| now == 0.0).await?;
    }
    let mut subscriber = subscribe(&node, &node.url("quic"), &["sensors.>", "--count", "1"]).await?;
    sinew_tests::signal(subscriber.child.id().context("it runs")?, Signal::TERM)?;
    assert_eq!(subscriber.end().await?, Some(1), "it did not get what it was to get");
    Ok(())
}

#[tokio::test]
async fn headers_and_bytes_arrive_as_they_were_sent() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let mut subscriber = subscribe(&node, &server, &["a", "--count", "2"]).await?;
    let file = node.data_dir().join("payload");
    std::fs::write(&file, [0xff, 0x00, 0xfe])?;
    let file = file.to_string_lossy();
    let headers = ["--header", "unit=C", "--header", "note=a=b"];
    sinew(&[&["pub", "--server", &server, "a", "21.5"], &headers[..]].concat()).await?;
    sinew(&["pub", "--server", &server, "a", "--file", &file]).await?;
    let message = subscriber.json().await?;
    assert_eq!(message["headers"], json!({"unit": "C", "note": "a=b"}));
    let message = subscriber.json().await?;
    assert_eq!((&message["payload_b64"], message.get("payload")), (&json!("/wD+"), None), "{message}");
    Ok(())
}

#[tokio::test]
async fn nobody_there_and_nothing_to_connect_to_have_exit_codes_of_their_own() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let alone = sinew(&["pub", "--server", &server, "--require-subscribers", "a", "1"]).await?;
    assert_eq!(alone.code, Some(4), "{}", alone.stderr);
    let unheard = sinew(&["pub", "--server", &server, "--json", "a", "1"]).await?;
    assert_eq!((unheard.code, &unheard.json()?[0]["matched"]), (Some(0), &json!(0)));
    let invalid = sinew(&["pub", "--server", &server, "a..b", "1"]).await?;
    assert_eq!(invalid.code, Some(2), "{}", invalid.stderr);
    assert!(invalid.stderr.contains("empty"), "names the rule: {}", invalid.stderr);
    let nowhere = sinew(&["pub", "--server", "unix:///nonexistent/sinew.sock", "--timeout", "1s", "a", "1"]).await?;
    assert_eq!(nowhere.code, Some(5), "{}", nowhere.stderr);
    let realm = sinew(&["pub", "--server", &server, "--realm", "other", "a", "1"]).await?;
    assert_eq!(realm.code, Some(6), "{}", realm.stderr);
    Ok(())
}

#[tokio::test]
async fn a_retained_value_an_id_and_an_acknowledgement() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let publish = |arguments: &[&str]| {
        let arguments = [&["pub", "--server", &server, "--json"], arguments].concat().join("\u{1f}");
        async move { sinew(&arguments.split('\u{1f}').collect::<Vec<_>>()).await }
    };
    publish(&["state.door", "open", "--retain"]).await?;
    let mut subscriber = subscribe(&node, &server, &["state.>", "--last"]).await?;
    assert_eq!(subscriber.json().await?["payload"], json!("open"));

    let acked = publish(&["state.door", "shut", "--level", "acked"]).await?;
    assert_eq!(acked.code, Some(0), "{}", acked.stderr);
    let result = &acked.json()?[0];
    assert_eq!((&result["matched"], &result["delivered"], &result["dropped"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(subscriber.json().await?["payload"], json!("shut"));

    for payload in ["once", "twice"] {
        publish(&["state.door", payload, "--id", "x1"]).await?;
    }
    publish(&["state.door", "end"]).await?;
    assert_eq!(subscriber.json().await?["payload"], json!("once"));
    assert_eq!(subscriber.json().await?["payload"], json!("end"));
    Ok(())
}

#[tokio::test]
async fn a_queue_group_shares_the_messages() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let group = ["jobs", "--queue", "workers"];
    let mut members = [subscribe(&node, &server, &group).await?, subscribe(&node, &server, &group).await?];
    let published = sinew(&["pub", "--server", &server, "--json", "--count", "100", "jobs", "work"]).await?;
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let mut seen = Vec::new();
    let [one, two] = &mut members;
    while seen.len() < 100 {
        let message = tokio::select! {
            message = one.json() => message?,
            message = two.json() => message?,
        };
        seen.push(message["seq"].as_u64().expect("a sequence number"));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 100, "each went to one member");
    Ok(())
}
