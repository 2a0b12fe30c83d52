//! The node's health under load, as its operator sees it.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sinew_tests::{Node, Running, signal, sinew};

/// Topics with a subscriber each that has stopped: a queue takes half of the memory that is left, so four make it full.
const STOPPED: usize = 6;

#[tokio::test]
async fn a_full_queue_turns_readiness_red_by_its_name_until_it_is_drained() -> Result<()> {
    let node = Node::start(&["--set", "limits.queue-memory=8MiB"]).await?;
    let server = node.url("unix");
    let mut stopped = Vec::new();
    for number in 0..STOPPED {
        let topic = format!("t.{number}");
        let arguments = ["bench", "sub", &topic, "--count", "60000", "--server", &server, "--json", "--quiet"];
        let listening = Running::start(&[&arguments[..], &["--policy", "drop-oldest"]].concat())?;
        node.metric_becomes("sinew_subscriptions", |now| now >= (number + 1) as f64).await?;
        signal(listening.pid(), Signal::STOP)?;
        stopped.push((topic, listening));
    }
    ensure!(node.admin("/readyz").await?.0 == 200, "nothing is queued yet");
    for (topic, _) in &stopped {
        let arguments = ["bench", "pub", topic, "--count", "60000", "--size", "256", "--server", &server, "--quiet"];
        let published = sinew(&arguments).await?;
        ensure!(published.code == Some(0), "bench pub: {}", published.stderr);
    }
    let red = r#"sinew_health{check="queue memory_bytes"}"#;
    node.metric_becomes(red, |passes| passes == 0.0).await?;
    let (status, body) = node.admin("/readyz").await?;
    let report: serde_json::Value = serde_json::from_str(&body)?;
    let failing = report["failing"].as_array().context("a list")?;
    ensure!(status == 503 && failing.len() == 1, "{status} {body}");
    ensure!(failing[0]["check"] == "queue memory_bytes", "{body}");
    ensure!(node.admin("/livez").await?.0 == 200, "a full queue is no reason for a restart");
    for (_, listening) in &stopped {
        signal(listening.pid(), Signal::CONT)?;
    }
    node.metric_becomes(red, |passes| passes == 1.0).await?;
    ensure!(node.admin("/readyz").await?.0 == 200, "it is drained");
    Ok(())
}
