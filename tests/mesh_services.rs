//! Services announced on one node are known on all, for as long as there is a provider.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sinew_tests::{Cluster, Node, PATIENCE, Running, Server, Site, sinew};

const NODES: usize = 5;
const SERVICES: usize = 100;

/// How long after the last announcement every node must list all.
const LISTED: Duration = Duration::from_secs(2);

/// How long after a goodbye the others may take to know.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The names of the services a node lists.
async fn listed(node: &Node) -> Result<Vec<String>> {
    let rows = sinew(&["svc", "ls", "--server", &node.server(), "--json"]).await?.ok()?;
    rows.iter().map(|row| Ok(row["name"].as_str().with_context(|| format!("name in {row}"))?.to_owned())).collect()
}

/// Waits until a node lists so many services.
async fn lists(node: &Node, wanted: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let names = listed(node).await?;
        if names.len() == wanted {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{} lists {} services, not {wanted}", node.id(), names.len());
    }
}

/// Announces services in a process of its own, and waits until it has a lease for each.
async fn announce(node: &Node, names: &[String], flags: &[&str]) -> Result<Running> {
    let server = node.server();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let arguments = ["svc", "announce", "--server", &server, "--json"];
    let mut provider = Running::start(&[&arguments[..], flags, &names].concat())?;
    for _ in names {
        let line = provider.json().await?;
        ensure!(line["event"] == "announced", "{line}");
    }
    Ok(provider)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_services_are_listed_everywhere_and_gone_with_their_providers() -> Result<()> {
    let mut cluster = Cluster::joined(NODES, &[]).await?;
    let mut providers = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        let names: Vec<_> = (0..SERVICES / NODES).map(|n| format!("service.{i}.{n}")).collect();
        providers.push(announce(node, &names, &["--ttl", "10s", "--metadata", "version=2"]).await?);
    }
    let announced = Instant::now();
    for node in &cluster.nodes {
        lists(node, SERVICES).await?;
    }
    let took = announced.elapsed();
    println!("{SERVICES} services on {NODES} nodes are listed everywhere after {:.2} s", took.as_secs_f64());
    ensure!(took <= LISTED, "it took {took:?}, allowed are {LISTED:?}");

    for node in &cluster.nodes {
        let found = sinew(&["svc", "get", "service.3.7", "--server", &node.server(), "--json"]).await?.ok()?;
        let instance = found.first().context("an instance")?;
        ensure!(instance["node"] == cluster.nodes[3].id(), "{instance}");
        ensure!(instance["metadata"]["version"] == "2", "{instance}");
    }

    // A provider that dies takes its leases with it: its session is lost.
    drop(providers.remove(0));
    let killed = Instant::now();
    for node in &cluster.nodes {
        lists(node, SERVICES - 20).await?;
    }
    let took = killed.elapsed();
    println!("the services of a killed provider are gone everywhere after {:.2} s", took.as_secs_f64());
    ensure!(took <= LISTED, "it took {took:?}, allowed are {LISTED:?}");

    // One that leaves says so.
    let mut leaving = providers.remove(0);
    sinew_tests::signal(leaving.pid(), rustix::process::Signal::INT)?;
    ensure!(leaving.end().await? == Some(0));
    let left = Instant::now();
    for node in &cluster.nodes {
        lists(node, SERVICES - 40).await?;
    }
    ensure!(left.elapsed() <= AT_ONCE, "it took {:?}", left.elapsed());

    // A node that dies can say nothing.
    drop(cluster.nodes.remove(4).kill().await?);
    let killed = Instant::now();
    for node in &cluster.nodes {
        lists(node, SERVICES - 60).await?;
    }
    let took = killed.elapsed();
    println!("the services of a killed node are gone everywhere after {:.2} s", took.as_secs_f64());
    ensure!(took <= Duration::from_secs(11), "it took {took:?}, allowed are the TTL of 10 s and 1 s");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_and_not_found_are_different_answers() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let get = async |node: &Node| sinew(&["svc", "get", "nobody.provides", "--server", &node.server()]).await;
    let in_company = get(&cluster.nodes[0]).await?;
    ensure!(in_company.code == Some(4), "{in_company:?}");
    // It was told of a seed, so that it knows that it is not all of its realm.
    let sites = Site::loopback(2);
    let alone = sites[0].launch(&sites, &[])?.start().await?;
    let answer = get(&alone).await?;
    ensure!(answer.code == Some(4), "{answer:?}");
    ensure!(answer.stderr != in_company.stderr, "both say {}", answer.stderr);
    ensure!(answer.stderr.contains("peer"), "{}", answer.stderr);
    Ok(())
}
