//! The live view over real processes: what a viewer of one node sees of the others, and who may be one.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use sinew_tests::stranger::{Stranger, block, publish};
use sinew_tests::{Cluster, Launch, Node, Running, Server, signal, sinew, soon};
use sinew_wire::{Policy, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most viewers of a node.
const MAX_VIEWERS: usize = 64;

/// Somebody who watches a node.
struct Viewer {
    stream: TcpStream,
    text: String,
}

impl Viewer {
    async fn open(node: &Node) -> Result<Self> {
        let address = node.admin_address()?;
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut viewer = Self { stream, text: String::new() };
        let head = viewer.until("\r\n\r\n").await?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Ok(viewer)
    }

    /// The text up to a mark.
    async fn until(&mut self, mark: &str) -> Result<String> {
        loop {
            if let Some((before, after)) = self.text.split_once(mark) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.text = after;
                return Ok(before);
            }
            let mut buffer = vec![0; 64 << 10];
            let n = soon("the next frame", self.stream.read(&mut buffer)).await??;
            ensure!(n > 0, "the stream ended");
            self.text.push_str(std::str::from_utf8(&buffer[..n])?);
        }
    }

    async fn frame(&mut self) -> Result<Value> {
        loop {
            // Chunks of the transfer begin and end at events.
            let event = self.until("\n\n").await?;
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Ok(serde_json::from_str(data)?);
            }
        }
    }

    /// The first frame that is as it should be.
    async fn sees(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            let frame = self.frame().await?;
            if wanted(&frame) {
                return Ok(frame);
            }
            if start.elapsed() > Duration::from_secs(30) {
                bail!("waited for {what} and saw {frame:#}");
            }
        }
    }

    /// Waits until all of these nodes tell how they are.
    async fn sees_up(&mut self, nodes: &[Node]) -> Result<()> {
        let all =
            |frame: &Value| nodes.iter().all(|node| row(frame, node.id()).is_some_and(|row| row["state"] == "up"));
        self.sees("all nodes", all).await.map(drop)
    }
}

/// What a frame says of a node.
fn row<'a>(frame: &'a Value, id: &str) -> Option<&'a Value> {
    frame["nodes"].as_array()?.iter().find(|node| node["node"] == id)
}

fn number(frame: &Value, path: &str) -> u64 {
    frame.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

async fn publish_to(node: &Node, topic: &str, count: u64) -> Result<()> {
    let (server, count) = (node.server(), count.to_string());
    sinew(&["pub", topic, "x", "--count", &count, "--server", &server, "--quiet"]).await?.ok().map(drop)
}

#[tokio::test]
async fn a_viewer_sees_exactly_what_other_nodes_route_and_they_say_nothing_without_one() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let [watched, first, second] = &cluster.nodes[..] else { bail!("three nodes") };
    let _provider = Running::start(&["serve", "echo", "--echo", "--server", &second.server(), "--quiet"])?;
    first.knows("echo", 1).await?;
    publish_to(first, "before", 10).await?;
    for node in &cluster.nodes {
        ensure!(
            node.metric("sinew_live_wanted").await? == 0.0 && node.metric("sinew_live_emitted_total").await? == 0.0
        );
    }

    let mut viewer = Viewer::open(watched).await?;
    viewer.sees_up(&cluster.nodes).await?;
    let listening = Running::start(&["sub", "a.>", "--server", &second.server(), "--quiet", "--count", "40"])?;
    second.metric_becomes("sinew_subscriptions", |n| n == 1.0).await?;
    publish_to(first, "a.b", 40).await?;
    publish_to(second, "nobody", 25).await?;
    let calls = ["bench", "call", "echo", "--count", "30", "--parallel", "3", "--size", "16", "--quiet", "--json"];
    sinew(&[&calls[..], &["--server", &first.server()]].concat()).await?.ok()?;
    sinew(&["call", "missing", "x", "--server", &second.server(), "--quiet"]).await?;

    let wanted = 40 + 25 + 30 + 1;
    let frame = viewer.sees("all messages and calls", |frame| number(frame, "/windows/60/messages") >= wanted).await?;
    // Nothing comes after that, and nothing came twice.
    let frame = viewer.sees("the frame after it", |later| later["time_ms"] != frame["time_ms"]).await?;
    ensure!(number(&frame, "/windows/60/messages") == wanted, "{frame:#}");
    ensure!(number(&frame, "/intake/messages") == wanted, "{frame:#}");
    ensure!(number(&frame, "/windows/60/calls") == 31 && number(&frame, "/windows/60/failed") == 1, "{frame:#}");
    for lost in ["duplicates", "dropped", "forged"] {
        ensure!(number(&frame, &format!("/intake/{lost}")) == 0, "{lost}: {frame:#}");
    }
    let emitted = first.metric("sinew_live_emitted_total").await? + second.metric("sinew_live_emitted_total").await?;
    ensure!(emitted == number(&frame, "/intake/events") as f64, "{emitted} {frame:#}");
    let by = |dimension: &str, key: &str| {
        let rows = frame["windows"]["60"][dimension].as_array().into_iter().flatten();
        rows.into_iter().find(|row| row["key"] == key).map_or(0, |row| number(row, "/messages"))
    };
    ensure!((by("by_topic", "a.b"), by("by_topic", "nobody")) == (40, 25), "{frame:#}");
    ensure!((by("by_procedure", "echo"), by("by_procedure", "missing")) == (30, 1), "{frame:#}");
    ensure!((by("by_node", first.id()), by("by_node", second.id())) == (70, 26), "{frame:#}");
    ensure!(by("by_provider", second.id()) == 30, "{frame:#}");
    ensure!(number(&frame, "/viewers") == 1);

    drop((viewer, listening));
    for node in &cluster.nodes {
        node.metric_becomes("sinew_live_wanted", |wanted| wanted == 0.0).await?;
    }
    let before = first.metric("sinew_live_emitted_total").await?;
    publish_to(first, "after", 10).await?;
    ensure!(first.metric("sinew_live_emitted_total").await? == before, "nobody watches any more");
    Ok(())
}

#[tokio::test]
async fn a_killed_node_is_lost_within_5_s_and_one_that_drains_leaves() -> Result<()> {
    let mut cluster = Cluster::joined(3, &[]).await?;
    let mut viewer = Viewer::open(&cluster.nodes[0]).await?;
    viewer.sees_up(&cluster.nodes).await?;
    let (killed, drained) = (cluster.nodes.remove(1), cluster.nodes.remove(1));
    let killed_id = killed.id().to_owned();
    let launch = killed.kill().await?;
    let since = Instant::now();
    let is = |id: &str, state: &str, frame: &Value| row(frame, id).is_some_and(|row| row["state"] == state);
    viewer.sees("a node that is lost", |frame| is(&killed_id, "lost", frame)).await?;
    ensure!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());

    let id = drained.id().to_owned();
    signal(drained.pid(), Signal::TERM)?;
    viewer.sees("a node that leaves", |frame| is(&id, "leaving", frame)).await?;
    viewer.sees("that it is gone", |frame| row(frame, &id).is_none()).await?;

    let back = launch.start().await?;
    ensure!(back.id() == killed_id, "the same node");
    viewer.sees("that it is back", |frame| is(&killed_id, "up", frame)).await?;
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_has_stopped_is_shown_as_slow() -> Result<()> {
    let node =
        Node::start(&["--set", "limits.max-queue-messages=1000", "--set", "limits.deliver-window=64KiB"]).await?;
    let server = node.server();
    let stopped =
        ["bench", "sub", "t.slow", "--count", "90000", "--server", &server, "--policy", "drop-oldest", "--quiet"];
    let listening = Running::start(&stopped)?;
    node.metric_becomes("sinew_subscriptions", |n| n == 1.0).await?;
    let mut viewer = Viewer::open(&node).await?;
    let frame = viewer.sees("the node", |frame| row(frame, node.id()).is_some()).await?;
    ensure!(row(&frame, node.id()).is_some_and(|row| row["slow"] == serde_json::json!([])), "{frame:#}");
    signal(listening.pid(), Signal::STOP)?;
    let flood =
        ["bench", "pub", "t.slow", "--count", "60000", "--size", "256", "--server", &server, "--quiet", "--json"];
    sinew(&flood).await?.ok()?;
    let is_slow = |frame: &Value| row(frame, node.id()).is_some_and(|row| row["slow"][0]["pattern"] == "t.slow");
    let frame = viewer.sees("a slow subscriber", is_slow).await?;
    let slow = &row(&frame, node.id()).context("the node")?["slow"][0];
    ensure!(number(slow, "/queued") > 0 && number(slow, "/capacity") <= 1000, "{slow}");
    let missed = |frame: &Value| row(frame, node.id()).is_some_and(|row| number(row, "/slow/0/missed") > 0);
    viewer.sees("what it missed", missed).await?;
    let clients = node.api("/api/v1/clients").await?;
    let client = clients.as_array().into_iter().flatten().find(|client| client["slow"][0]["pattern"] == "t.slow");
    ensure!(client.is_some_and(|client| number(client, "/missed") > 0), "{clients:#}");
    signal(listening.pid(), Signal::CONT)?;
    let is_well = |frame: &Value| row(frame, node.id()).is_some_and(|row| row["slow"] == serde_json::json!([]));
    viewer.sees("that it reads again", is_well).await?;
    Ok(())
}

#[tokio::test]
async fn clients_neither_forge_nor_overhear_what_nodes_tell_each_other() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let mut viewer = Viewer::open(&cluster.nodes[0]).await?;
    viewer.sees_up(&cluster.nodes).await?;
    for pattern in ["$live.>", "$live.events", "$live.*"] {
        let mut curious = Stranger::welcomed(&cluster.nodes[1].url("quic")).await?;
        let refused = curious.subscribe(1, pattern, Policy::DropOldest).await?;
        ensure!(refused == Some(Refusal::Reserved), "{pattern}: {refused:?}");
    }
    let server = cluster.nodes[0].server();
    let mut all = Running::start(&["sub", ">", "--count", "1", "--json", "--quiet", "--server", &server])?;
    cluster.nodes[0].metric_becomes("sinew_subscriptions", |n| n == 1.0).await?;
    let mut forger = Stranger::welcomed(&cluster.nodes[1].url("quic")).await?;
    forger.send(publish("$live.events", &block(&[], b"forged"), |_| {})).await?;
    ensure!(forger.goodbye().await? == Refusal::Reserved);
    publish_to(&cluster.nodes[1], "true", 1).await?;
    let frame = viewer.sees("what is true", |frame| number(frame, "/intake/messages") == 1).await?;
    ensure!(number(&frame, "/intake/forged") == 0, "it did not come so far: {frame:#}");
    // Of many messages of the live view it saw none.
    let first = all.json().await?;
    ensure!(first["topic"] == "true", "{first}");
    Ok(())
}

#[tokio::test]
async fn there_are_so_many_viewers_and_no_more_and_they_are_in_nobodys_way() -> Result<()> {
    let node = Node::start(&[]).await?;
    let mut viewers = Vec::new();
    for _ in 0..MAX_VIEWERS {
        viewers.push(Viewer::open(&node).await?);
    }
    let (status, body) = node.admin("/api/v1/live").await?;
    let refused: Value = serde_json::from_str(&body)?;
    ensure!(status == 503 && refused["detail"]["limit"] == "viewers", "{status} {body}");
    ensure!(node.metric("sinew_live_refused_total").await? == 1.0, "other pages are served");
    let last = viewers.last_mut().context("a viewer")?;
    last.sees("all of them", |frame| number(frame, "/viewers") == MAX_VIEWERS as u64).await?;
    drop(viewers.pop());
    node.metric_becomes("sinew_live_viewers", |n| n == (MAX_VIEWERS - 1) as f64).await?;
    Viewer::open(&node).await?.frame().await?;
    Ok(())
}

async fn ask(node: &Node, path: &str, head: &str) -> Result<(u16, String)> {
    let address = node.admin_address()?;
    let mut stream = TcpStream::connect(("127.0.0.1", address.port())).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{head}\r\n").as_bytes()).await?;
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await??;
    Ok((answer.split(' ').nth(1).context("a status")?.parse()?, answer))
}

#[tokio::test]
async fn a_page_from_elsewhere_needs_the_token_which_is_made_when_nobody_names_one() -> Result<()> {
    let mut launch = Launch::new(&["--open"])?;
    launch.admin = "0.0.0.0:0".to_owned();
    let node = launch.start().await?;
    let file = node.data_dir().join("admin-token");
    ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    let token = std::fs::read_to_string(&file)?;
    ensure!(token.len() >= 16, "{token}");
    let evil = "Host: evil.example\r\n";
    for path in ["/", "/api/v1/node", "/api/v1/live"] {
        ensure!(ask(&node, path, evil).await?.0 == 403, "{path}");
    }
    for path in ["/livez", "/metrics"] {
        ensure!(ask(&node, path, evil).await?.0 == 200, "{path}");
    }
    ensure!(ask(&node, "/api/v1/node", "Host: localhost\r\n").await?.0 == 200);
    ensure!(ask(&node, "/api/v1/node", &format!("{evil}Authorization: Bearer {token}\r\n")).await?.0 == 200);
    ensure!(ask(&node, "/api/v1/node", &format!("{evil}Authorization: Bearer {token}x\r\n")).await?.0 == 403);
    let (status, answer) = ask(&node, &format!("/?token={token}"), evil).await?;
    ensure!(status == 303 && answer.to_lowercase().contains("httponly; samesite=strict"), "{answer}");
    ensure!(ask(&node, "/", &format!("{evil}Cookie: sinew_token={token}\r\n")).await?.0 == 200);
    Ok(())
}

#[tokio::test]
async fn the_token_is_not_shown() -> Result<()> {
    let token = "a-token-that-nobody-sees";
    let shown = sinew(&["config", "show", "--json", "--set", &format!("admin-token={token}")]).await?;
    ensure!(shown.code == Some(0), "{shown:?}");
    ensure!(!shown.stdout.contains(token) && shown.stdout.contains("***"), "{}", shown.stdout);
    let short = sinew(&["config", "show", "--set", "admin-token=short"]).await?;
    ensure!(short.code != Some(0) && short.stderr.contains("admin_token"), "{short:?}");
    Ok(())
}
