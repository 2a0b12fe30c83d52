//! Nodes that die and return under load: the others lose nothing, and everybody knows soon.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sinew_tests::{Cluster, Flow, Listener, Node, join, matches, publish};

/// How long the interest of a node that died may be believed in.
const GONE: Duration = Duration::from_secs(10);

/// How long a node may take from its start until it is part of the mesh again.
const BACK: Duration = Duration::from_secs(5);

/// How long after the end of a node that left the others may take to know.
const LEFT: Duration = Duration::from_secs(1);

/// What the others can tell of a node: a subscription on it, and whether it is up.
async fn forgotten(by: &[&Node], id: &str) -> Result<()> {
    for node in by {
        matches(*node, "on.it", 0).await?;
        let gone = |peers: &[sinew_tests::Peer]| peers.iter().all(|peer| peer.node != id || !peer.is_up());
        node.sees("a node go", gone).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_can_be_killed_under_load_and_comes_back() -> Result<()> {
    let mut cluster = Cluster::joined(3, &[]).await?;
    for victim in 0..3 {
        let node = cluster.nodes.remove(victim);
        let id = node.id().to_owned();
        let others: Vec<&Node> = cluster.nodes.iter().collect();
        let lost = Listener::start(&node, "on.it", &[]).await?;
        for other in &others {
            ensure!(publish(*other, "on.it", "?", &[]).await?["matched"] == 1);
        }
        let mut flows = Vec::new();
        for (from, to) in [(others[0], others[1]), (others[1], others[0])] {
            let topic = format!("beside.{}", flows.len());
            flows.push(Flow::start(from, to, &topic, 12_000, 1_000, "fire").await?);
        }
        // It is busy too when it dies: with both directions of its own.
        let dying = [
            Flow::start(&node, others[0], "dying.out", 1_000_000, 2_000, "fire").await?,
            Flow::start(others[0], &node, "dying.in", 1_000_000, 2_000, "fire").await?,
        ];
        let busy = node.metric_becomes("sinew_forwarded_total", |n| n > 1_000.0).await;
        ensure!(busy.is_ok(), "{busy:?}");

        let launch = node.kill().await?;
        let killed = Instant::now();
        drop((dying, lost));
        forgotten(&others, &id).await?;
        let took = killed.elapsed();
        println!("node {victim} was killed and forgotten after {:.2} s", took.as_secs_f64());
        ensure!(took <= GONE, "it took {took:?}, allowed are {GONE:?}");
        for flow in flows {
            flow.whole().await?;
        }

        let started = Instant::now();
        let node = launch.start().await?;
        ensure!(node.id() == id, "it came back as somebody else");
        join(&[&others[..], &[&node]].concat()).await?;
        let listener = Listener::start(&node, "on.it", &[]).await?;
        for other in &others {
            ensure!(publish(*other, "on.it", "again", &[]).await?["matched"] == 1);
        }
        listener.hears("messages after its return", |all| all.len() == 2).await?;
        let took = started.elapsed();
        println!("node {victim} came back and heard all others {:.2} s after its start", took.as_secs_f64());
        ensure!(took <= BACK, "it took {took:?}, allowed are {BACK:?}");
        drop(listener);
        for other in &others {
            matches(*other, "on.it", 0).await?;
        }
        cluster.nodes.insert(victim, node);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_forgotten_at_once_and_takes_nothing_with_it() -> Result<()> {
    let mut cluster = Cluster::joined(3, &[]).await?;
    let node = cluster.nodes.remove(1);
    let id = node.id().to_owned();
    let others: Vec<&Node> = cluster.nodes.iter().collect();
    let beside = Flow::start(others[0], others[1], "beside", 3_000, 1_000, "fire").await?;
    let lost = Listener::start(&node, "on.it", &[]).await?;
    let heard = Listener::start(others[0], "last.words", &[]).await?;
    // What it accepted before it was asked to go still arrives.
    let report = publish(&node, "last.words", "goodbye", &[]).await?;
    ensure!(report["matched"] == 1, "{report}");
    let (code, launch) = node.leave().await?;
    let left = Instant::now();
    ensure!(code == Some(0), "it ended with {code:?}");
    forgotten(&others, &id).await?;
    let took = left.elapsed();
    println!("a node that left was forgotten {:.2} s after its end", took.as_secs_f64());
    ensure!(took <= LEFT, "it took {took:?}, allowed are {LEFT:?}");
    heard.hears("its last words", |all| all.iter().any(|one| one.payload == "goodbye")).await?;
    beside.whole().await?;
    drop(lost);
    let node = launch.start().await?;
    ensure!(node.id() == id);
    join(&[&others[..], &[&node]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_of_a_killed_node_hears_again_when_it_returns() -> Result<()> {
    let mut cluster = Cluster::joined(2, &[]).await?;
    let node = cluster.nodes.remove(1);
    let other = &cluster.nodes[0];
    let listener = Listener::start(&node, "on.it", &[]).await?;
    let started = Instant::now();
    let node = node.kill().await?.start().await?;
    join(&[other, &node]).await?;
    matches(other, "on.it", 1).await?;
    listener.hears("a message after the return", |all| !all.is_empty()).await?;
    ensure!(started.elapsed() <= BACK * 2, "it took {:?}", started.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_back_before_it_was_missed_is_no_stranger() -> Result<()> {
    let mut cluster = Cluster::joined(3, &[]).await?;
    let node = cluster.nodes.remove(1);
    let started = Instant::now();
    let node = node.kill().await?.start().await?;
    cluster.nodes.insert(1, node);
    cluster.join().await?;
    let starting = cluster.nodes.iter().map(|node| Listener::start(node, "all", &[]));
    let listeners = futures::future::try_join_all(starting).await?;
    for node in &cluster.nodes {
        ensure!(publish(node, "all", "?", &[]).await?["matched"] == 3);
    }
    for listener in &listeners {
        listener.hears("a message of each", |all| all.len() == 3).await?;
    }
    let took = started.elapsed();
    println!("a node that was killed and back at once worked {:.2} s after its start", took.as_secs_f64());
    ensure!(took <= BACK, "it took {took:?}, allowed are {BACK:?}");
    Ok(())
}
