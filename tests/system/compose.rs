//! The cluster of `docker-compose.yml`, in containers of nothing but the binary.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use sinew_system_tests::Compose;
use sinew_tests::{Peer, Running, signal, sinew};

const NODES: usize = 5;

/// How long after the last ready line a message from any node must reach any other.
const JOINED: Duration = Duration::from_secs(2);

/// How long a node that was killed may take until it works again, from the moment Docker has started it.
const BACK: Duration = Duration::from_secs(5);

fn up(peers: &[Peer]) -> usize {
    peers.iter().filter(|peer| peer.is_up()).count()
}

/// A message from each of these nodes to each.
async fn messages_go_everywhere(from: &[usize], to: &[usize], topic: &str) -> Result<()> {
    let count = from.len().to_string();
    let mut subscribers = Vec::new();
    for &number in to {
        let server = Compose::server(number);
        let arguments = ["sub", topic, "--settle", "--count", &count, "--json", "--server", &server];
        subscribers.push(Running::start(&arguments)?);
    }
    for subscriber in &mut subscribers {
        subscriber.ready().await?;
    }
    for &number in from {
        let server = Compose::server(number);
        let published = sinew(&["pub", topic, &number.to_string(), "--json", "--server", &server]).await?.ok()?;
        let matched = published.first().context("a result")?["matched"].as_u64();
        ensure!(matched == Some(to.len() as u64), "node {number} knows {matched:?} subscribers of {}", to.len());
    }
    for subscriber in &mut subscribers {
        let mut heard = Vec::new();
        for _ in from {
            let payload = subscriber.json().await?["payload"].as_str().context("a payload")?.parse::<usize>()?;
            heard.push(payload);
        }
        heard.sort_unstable();
        ensure!(heard == from, "{heard:?} arrived, {from:?} were sent");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_containers_are_a_mesh_that_mends_itself_and_grows() -> Result<()> {
    let all: Vec<usize> = (1..=NODES).collect();
    let mut compose = Compose::up()?;
    let begun = Instant::now();
    let mut ready = begun;
    for number in &all {
        let since = compose.ready_since(&format!("node{number}")).await?;
        ready = ready.max(Instant::now() - since);
    }
    for &number in &all {
        Compose::sees(number, |peers| up(peers) == NODES - 1).await?;
    }
    messages_go_everywhere(&all, &all, "fresh").await?;
    let took = ready.elapsed();
    println!("a message went from any node to any other {:.2} s after the last ready line", took.as_secs_f64());
    ensure!(took <= JOINED, "it took {took:?}, allowed are {JOINED:?}");
    compose.started()?;
    let containers =
        all.iter().map(|number| compose.container(&format!("node{number}"))).collect::<Result<Vec<_>>>()?;
    for container in &containers {
        compose.becomes(container, "{{.State.Health.Status}}", |status| status == "healthy").await?;
    }
    let listed = compose.inside("node3", &["peers", "--json"])?;
    ensure!(listed.lines().count() == NODES - 1, "{listed}");

    // A crash: Docker starts it again, and its volume says who it is.
    let identity = Compose::api(2, "/api/v1/node").await?;
    let pid = compose.inspect(&containers[1], "{{.State.Pid}}")?;
    let begun = compose.inspect(&containers[1], "{{.State.StartedAt}}")?;
    signal(pid.parse()?, Signal::KILL)?;
    compose.becomes(&containers[1], "{{.State.StartedAt}}", |now| now != begun).await?;
    let restarted = Instant::now();
    Compose::sees(2, |peers| up(peers) == NODES - 1).await?;
    messages_go_everywhere(&all, &all, "back").await?;
    let took = restarted.elapsed();
    println!("a killed container works again {:.2} s after its restart", took.as_secs_f64());
    ensure!(took <= BACK, "it took {took:?}, allowed are {BACK:?}");
    let same = |view: &Value| view["node"].clone();
    ensure!(same(&Compose::api(2, "/api/v1/node").await?) == same(&identity), "it came back as somebody else");

    // A stop: the others know at once, and the container ends well.
    compose.run(&["stop", "node4"])?;
    for number in [1, 2, 3, 5] {
        Compose::sees(number, |peers| up(peers) == NODES - 2).await?;
    }
    ensure!(compose.inspect(&containers[3], "{{.State.ExitCode}}")? == "0");
    messages_go_everywhere(&[1, 2, 3, 5], &[1, 2, 3, 5], "without").await?;
    compose.run(&["start", "node4"])?;

    // Three more.
    compose.run(&["up", "--detach", "--no-build", "--scale", "more=3"])?;
    ensure!(compose.containers("more")?.len() == 3);
    for &number in &all {
        Compose::sees(number, |peers| up(peers) == NODES - 1 + 3).await?;
    }
    messages_go_everywhere(&all, &all, "grown").await
}
