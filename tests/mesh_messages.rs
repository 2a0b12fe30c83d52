//! A message published on any node reaches a subscriber on any other, and nobody has to wait for a while first.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sinew_tests::{
    Cluster, Flow, Listener, Place, Running, Server, Site, binary, matches, publish, read_peers, sinew, soon,
};
use tokio::io::{AsyncBufReadExt, BufReader};

const NODES: usize = 5;

/// How long after the last ready line a message from any node must reach any other.
const JOINED: Duration = Duration::from_secs(2);

/// A message from each of these to each.
async fn messages_go_everywhere(servers: &[impl Server], topic: &str) -> Result<()> {
    let starting = servers.iter().map(|server| Listener::start(server, topic, &[]));
    let listeners = futures::future::try_join_all(starting).await?;
    for (i, server) in servers.iter().enumerate() {
        let report = publish(server, topic, &i.to_string(), &[]).await?;
        ensure!(report["matched"] == servers.len(), "node {i}: {report}");
    }
    for (to, listener) in listeners.iter().enumerate() {
        for from in 0..servers.len() {
            let from = from.to_string();
            listener.hears("a message of each", |all| all.iter().any(|one| one.payload == from)).await?;
        }
        ensure!(listener.heard().len() == servers.len(), "node {to} heard {:?}", listener.heard());
    }
    Ok(())
}

fn in_time(ready: Instant) -> Result<()> {
    let took = ready.elapsed();
    println!("a message went from any node to any other {:.2} s after the last ready line", took.as_secs_f64());
    ensure!(took <= JOINED, "it took {took:?}, allowed are {JOINED:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_are_a_mesh_two_seconds_after_the_last_is_ready() -> Result<()> {
    let cluster = Cluster::start(NODES, &["--set", "mesh.region=lab"]).await?;
    cluster.join().await?;
    messages_go_everywhere(&cluster.nodes, "hello").await?;
    in_time(cluster.ready_at())?;

    for node in &cluster.nodes {
        let admin = node.admin_address()?.to_string();
        let rows = sinew(&["peers", "--json", "--admin", &admin]).await?.ok()?;
        let peers = read_peers(&rows)?;
        ensure!(peers.len() == NODES - 1 && peers.iter().all(|peer| peer.is_up()), "{peers:?}");
        ensure!(peers.iter().all(|peer| peer.region == "lab" && !peer.client.is_empty()), "{peers:?}");
        let words = sinew(&["peers", "--admin", &admin]).await?;
        ensure!(peers.iter().all(|peer| words.stdout.contains(&peer.node)), "{}", words.stdout);
    }
    for node in cluster.nodes {
        ensure!(node.terminate().await? == Some(0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_in_one_process_are_a_mesh_too() -> Result<()> {
    let data = tempfile::tempdir()?;
    let [site] = &Site::loopback(1)[..] else { anyhow::bail!("one site") };
    let mut up = several(site, data.path());
    let mut child = up.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let (mut servers, mut admins, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..NODES {
        let line = soon("a ready line", lines.next_line()).await??.context("the process ended")?;
        let ready: Value = serde_json::from_str(&line)?;
        ensure!(ready["event"] == "ready", "{line}");
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| line.clone());
        servers.push(text(&ready["client"][0])?);
        admins.push(text(&ready["admin"])?);
        ids.push(text(&ready["node"])?);
    }
    let ready = Instant::now();
    for (admin, own) in admins.iter().zip(&ids) {
        loop {
            let peers = read_peers(&sinew(&["peers", "--json", "--admin", admin]).await?.ok()?)?;
            let up = |id: &String| id == own || peers.iter().any(|peer| peer.node == *id && peer.is_up());
            if ids.iter().all(up) {
                break;
            }
            ensure!(ready.elapsed() < sinew_tests::PATIENCE, "{own} still sees {peers:?}");
        }
    }
    messages_go_everywhere(&servers, "hello").await?;
    in_time(ready)?;

    sinew_tests::signal(child.id().context("it runs")?, rustix::process::Signal::TERM)?;
    ensure!(soon("the end", child.wait()).await??.code() == Some(0));
    Ok(())
}

/// `sinew up --nodes 5`, from other addresses than the usual ones.
fn several(site: &Site, data: &Path) -> tokio::process::Command {
    let (ip, [quic, tcp]) = (site.address, site.mesh());
    let mut up = Place::Host.command(&binary());
    up.args(["up", "--json", "--nodes", &NODES.to_string(), "--data-dir"]).arg(data);
    up.args(["--listen", &format!("quic://{ip}:4400"), "--mesh", &quic, "--mesh", &tcp]);
    up.args(["--admin", &format!("{ip}:4600"), "--set", "mesh.mdns=false"]);
    up
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_over_each_pair_of_nodes_and_nothing_is_lost() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let mut flows = Vec::new();
    for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0)] {
        let topic = format!("order.{from}.{to}");
        flows.push(Flow::start(&cluster.nodes[from], &cluster.nodes[to], &topic, 20_000, 10_000, "fire").await?);
    }
    for flow in flows {
        flow.whole().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_group_of_three_nodes_gets_each_message_once() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let mut members = Vec::new();
    for node in &cluster.nodes {
        members.push(Listener::start(node, "jobs", &["--queue", "workers"]).await?);
    }
    let server = cluster.nodes[0].server();
    let sent = sinew(&["pub", "--server", &server, "--json", "--count", "300", "jobs", "work"]).await?.ok()?;
    ensure!(sent.first().context("a result")?["matched"] == json!(300), "one member each: {sent:?}");
    // A message that came after all others: from the same publisher it would overtake nobody.
    let whole = async {
        loop {
            let mut all: Vec<u64> = members.iter().flat_map(|member| member.heard()).map(|one| one.seq).collect();
            if all.len() >= 300 {
                all.sort_unstable();
                all.dedup();
                return all.len();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    ensure!(soon("all jobs", whole).await? == 300, "a job was done twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publish_matches_is_counted_over_the_whole_realm() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let [one, two, three] = &cluster.nodes[..] else { anyhow::bail!("three nodes") };
    let literal = Listener::start(one, "sensors.kitchen.temp", &[]).await?;
    let wide = Listener::start(two, "sensors.>", &[]).await?;
    let narrow = Listener::start(two, "sensors.*.temp", &[]).await?;
    let report = publish(three, "sensors.kitchen.temp", "21.5", &["--level", "acked"]).await?;
    ensure!(report["matched"] == 3 && report["delivered"] == 3 && report["dropped"] == 0, "{report}");
    for listener in [&literal, &wide, &narrow] {
        listener.hears("the message", |all| all.len() == 1).await?;
    }
    drop(literal);
    matches(three, "sensors.kitchen.temp", 2).await?;
    publish(three, "nobody.listens", "?", &[]).await?;
    let admin = three.admin_address()?.to_string();
    let unheard = sinew(&["topics", "--unheard", "--json", "--admin", &admin]).await?.ok()?;
    let topics: Vec<_> = unheard.iter().map(|row| row["topic"].clone()).collect();
    ensure!(topics == [json!("nobody.listens")], "{unheard:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_later_learns_everything_there_is() -> Result<()> {
    let sites = Site::loopback(2);
    let first = sites[0].launch(&sites, &[])?.start().await?;
    let listener = Listener::start(&first, "early.>", &[]).await?;
    let second = sites[1].launch(&sites, &[])?.start().await?;
    matches(&second, "early.bird", 1).await?;
    listener.hears("a message of the new one", |all| !all.is_empty()).await?;
    let took = second.ready_at().elapsed();
    ensure!(took <= JOINED, "it took {took:?} from its ready line");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_stopped_on_another_node_costs_only_itself() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let [near, far] = &cluster.nodes[..] else { anyhow::bail!("two nodes") };
    let (server, count) = (far.server(), 60_000);
    let number = count.to_string();
    let arguments = ["bench", "sub", "busy", "--count", &number, "--json", "--server", &server];
    let mut stopped = Running::start(&[&arguments[..], &["--policy", "drop-oldest", "--quiet"]].concat())?;
    stopped.ready().await?;
    sinew_tests::signal(stopped.pid(), rustix::process::Signal::STOP)?;
    let other = Flow::start(near, far, "busy", count, 15_000, "fire").await?;
    other.whole().await?;
    sinew_tests::signal(stopped.pid(), rustix::process::Signal::CONT)?;
    let report = stopped.json().await?;
    let number = |key: &str| report[key].as_u64().with_context(|| format!("{key} in {report}"));
    ensure!(number("received")? + number("missed")? == count, "what it missed is not what it was told: {report}");
    ensure!(number("duplicated")? == 0 && number("reordered")? == 0, "{report}");
    Ok(())
}
