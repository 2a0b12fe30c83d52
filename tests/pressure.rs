//! Subscribers that stop and publishers that never do: what is lost is counted to the message, and costs nobody else.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use sinew_tests::{Node, Running, signal, sinew};

/// Starts `sinew bench sub` on a topic and waits until all its subscriptions are in place.
async fn listen(node: &Node, server: &str, topic: &str, count: u64, flags: &[&str]) -> Result<Running> {
    let before = node.metric("sinew_subscriptions").await?;
    let count = count.to_string();
    let arguments = ["bench", "sub", topic, "--count", &count, "--server", server, "--json", "--quiet"];
    let listening = Running::start(&[&arguments, flags].concat())?;
    let subscribers = flags.iter().position(|flag| *flag == "--subscribers").map_or("1", |at| flags[at + 1]);
    let expected = before + subscribers.parse::<f64>()?;
    node.metric_becomes("sinew_subscriptions", |now| now >= expected).await?;
    Ok(listening)
}

async fn publish(server: &str, topic: &str, count: u64, flags: &[&str]) -> Result<Value> {
    let count = count.to_string();
    let arguments =
        ["bench", "pub", topic, "--count", &count, "--size", "128", "--server", server, "--json", "--quiet"];
    let finished = sinew(&[&arguments, flags].concat()).await?;
    ensure!(finished.code == Some(0), "bench pub: {}", finished.stderr);
    finished.json()?.pop().context("a result")
}

fn number(report: &Value, key: &str) -> Result<u64> {
    report[key].as_u64().with_context(|| format!("{key} in {report}"))
}

#[tokio::test]
async fn a_stopped_subscriber_learns_the_exact_gap_and_the_others_lose_nothing() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let sent = 80_000;
    let drop_oldest = ["--policy", "drop-oldest"];
    let mut others = listen(&node, &server, "t", sent, &["--subscribers", "10"]).await?;
    let mut stopped = listen(&node, &server, "t", sent, &drop_oldest).await?;

    signal(stopped.pid(), Signal::STOP)?;
    publish(&server, "t", sent, &["--rate", "40000"]).await?;
    let report = others.json().await?;
    ensure!(number(&report, "received")? == 10 * sent && number(&report, "lost")? == 0, "the others: {report}");
    let dropped = node.metric(r#"sinew_dropped_total{reason="queue_full"}"#).await?;
    ensure!(dropped > 0.0, "the queue of the stopped one was never full");

    signal(stopped.pid(), Signal::CONT)?;
    let report = stopped.json().await?;
    let (received, missed) = (number(&report, "received")?, number(&report, "missed")?);
    ensure!(received + missed == sent, "received and missed are not what was sent: {report}");
    ensure!(number(&report, "lost")? == missed && number(&report, "duplicated")? == 0, "{report}");
    ensure!(number(&report, "reordered")? == 0, "{report}");
    ensure!((dropped - missed as f64).abs() < 0.5, "{dropped} dropped by the node, {missed} missed");
    ensure!(node.peak_resident()? < 256 << 20, "{} bytes", node.peak_resident()?);
    Ok(())
}

#[tokio::test]
async fn level_acked_slows_the_publisher_down_and_loses_nothing() -> Result<()> {
    let node = Node::start(&["--set", "limits.queue-memory=32MiB"]).await?;
    let server = node.url("unix");
    let sent = 100_000;
    let mut listening = listen(&node, &server, "t", sent, &["--policy", "drop-oldest"]).await?;
    // Stopped half of the time, it can take only a part of what a publisher could send.
    let pid = listening.pid();
    let brake = tokio::spawn(async move {
        for _ in 0..20 {
            signal(pid, Signal::STOP)?;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            signal(pid, Signal::CONT)?;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    });
    publish(&server, "t", sent, &["--level", "acked"]).await?;
    let report = listening.json().await?;
    ensure!(number(&report, "received")? == sent && number(&report, "lost")? == 0, "{report}");
    ensure!(number(&report, "duplicated")? == 0 && number(&report, "reordered")? == 0, "{report}");
    for reason in ["queue_full", "queue_memory", "block_timeout"] {
        let dropped = node.metric(&format!("sinew_dropped_total{{reason=\"{reason}\"}}")).await?;
        ensure!(dropped == 0.0, "{dropped} dropped: {reason}");
    }
    brake.abort();
    Ok(())
}

#[tokio::test]
async fn level_fire_drops_counted_and_stays_within_the_budget() -> Result<()> {
    let budget = 16 << 20;
    let node = Node::start(&["--set", "limits.queue-memory=16MiB"]).await?;
    let server = node.url("unix");
    let (subscribers, sent) = (8, 300_000);
    // Stopped subscribers of topics of their own: their queues could take 8 x 4 MiB.
    let mut stopped = Vec::new();
    for i in 0..subscribers {
        let topic = format!("t.{i}");
        let listening = listen(&node, &server, &topic, sent, &["--policy", "drop-oldest"]).await?;
        signal(listening.pid(), Signal::STOP)?;
        stopped.push((topic, listening));
    }
    let idle = node.resident()?;
    for (topic, _) in &stopped {
        publish(&server, topic, sent, &[]).await?;
        let queued = node.metric(r#"sinew_queue_depth{queue="memory_bytes"}"#).await?;
        ensure!(queued > 0.0 && queued <= f64::from(budget), "{queued} bytes in queues");
    }
    let grown = node.peak_resident()?.saturating_sub(idle);
    // What is beside the queues: buffers of nine links and of the allocator.
    ensure!(grown < (budget + (64 << 20)) as u64, "the node grew by {grown} bytes");

    let mut missed = 0;
    for (topic, mut listening) in stopped {
        signal(listening.pid(), Signal::CONT)?;
        let report = listening.json().await?;
        ensure!(number(&report, "received")? + number(&report, "missed")? == sent, "{topic}: {report}");
        missed += number(&report, "missed")?;
    }
    let mut dropped = 0.0;
    for reason in ["queue_full", "queue_memory"] {
        dropped += node.metric(&format!("sinew_dropped_total{{reason=\"{reason}\"}}")).await?;
    }
    ensure!((dropped - missed as f64).abs() < 0.5, "{dropped} dropped by the node, {missed} missed");
    Ok(())
}
