//! Several nodes that know of each other.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::Value;

use crate::{Launch, Node, Place};

/// How often the members are looked at while a test waits for them.
const LOOK: Duration = Duration::from_millis(20);

/// Where a node of a cluster is to run.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where its process runs.
    pub place: Place,
    /// Its address there.
    pub address: Ipv4Addr,
}

impl Site {
    /// Loopback addresses that no other test has: all of 127.0.0.0/8 is this host, so that every node can have the
    /// ports it has in real life, and keep them when it starts again.
    pub fn loopback(count: usize) -> Vec<Self> {
        static USED: AtomicU8 = AtomicU8::new(0);
        let [.., high, low] = std::process::id().to_be_bytes();
        let site = |_| {
            let number = USED.fetch_add(1, Ordering::Relaxed);
            assert!(number < 250, "one test program uses too many addresses");
            Self { place: Place::Host, address: Ipv4Addr::new(127, high, low, number + 1) }
        };
        (0..count).map(site).collect()
    }

    /// The mesh addresses of a node there.
    pub fn mesh(&self) -> [String; 2] {
        let ip = self.address;
        [format!("/ip4/{ip}/udp/4500/quic-v1"), format!("/ip4/{ip}/tcp/4500")]
    }

    /// A node there that begins with these others, and these flags beside.
    pub fn launch(&self, seeds: &[Self], flags: &[&str]) -> Result<Launch> {
        let ip = self.address;
        let mut launch = Launch::new(flags)?;
        launch.place = self.place.clone();
        launch.listen = vec![format!("quic://{ip}:4400"), format!("tls://{ip}:4400")];
        launch.admin = format!("{ip}:4600");
        launch.flags.extend(self.mesh().into_iter().flat_map(|address| ["--mesh".to_owned(), address]));
        let seeds = seeds.iter().filter(|seed| seed.address != ip).flat_map(Self::mesh);
        launch.flags.extend(seeds.flat_map(|address| ["--bootstrap".to_owned(), address]));
        if !ip.is_loopback() {
            launch.flags.push("--open".to_owned());
        }
        Ok(launch)
    }
}

/// Several nodes, each with all others as seeds.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order of their sites.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// So many nodes on loopback, started at the same time, ready but not yet joined.
    pub async fn start(count: usize, flags: &[&str]) -> Result<Self> {
        Self::at(&Site::loopback(count), flags).await
    }

    /// The same, and every one knows all others.
    pub async fn joined(count: usize, flags: &[&str]) -> Result<Self> {
        let cluster = Self::start(count, flags).await?;
        cluster.join().await?;
        Ok(cluster)
    }

    /// A node at each of these sites, ready but not yet joined.
    pub async fn at(sites: &[Site], flags: &[&str]) -> Result<Self> {
        let launches = sites.iter().map(|site| site.launch(sites, flags)).collect::<Result<Vec<_>>>()?;
        let nodes = try_join_all(launches.into_iter().map(Launch::start)).await?;
        Ok(Self { nodes })
    }

    /// Waits until every node knows that all others are up.
    pub async fn join(&self) -> Result<()> {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        join(&nodes).await
    }

    /// When the last ready line was read.
    pub fn ready_at(&self) -> Instant {
        self.nodes.iter().map(Node::ready_at).max().expect("a cluster has nodes")
    }
}

/// Waits until each of these nodes knows that all others of them are up.
pub async fn join(nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        let others: Vec<&str> = nodes.iter().map(|other| other.id()).filter(|id| *id != node.id()).collect();
        node.sees(&format!("{} others that are up", others.len()), |peers| {
            others.iter().all(|id| peers.iter().any(|peer| peer.node == *id && peer.is_up()))
        })
        .await?;
    }
    Ok(())
}

/// What a node says of another one.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its id.
    pub node: String,
    /// `up`, `suspect` or `down`.
    pub state: String,
    /// `quic`, `tls`, `overlay direct`, `relayed` or `none`.
    pub path: String,
    /// Its region label.
    pub region: String,
    /// Where clients and nodes connect to it.
    pub client: Vec<String>,
}

impl Peer {
    /// Whether it is a member now: who is under suspicion still is.
    pub fn is_up(&self) -> bool {
        self.state != "down"
    }

    fn read(value: &Value) -> Result<Self> {
        let text = |key: &str| {
            Ok::<_, anyhow::Error>(value[key].as_str().with_context(|| format!("{key} in {value}"))?.to_owned())
        };
        let client = value["client"].as_array().with_context(|| format!("client in {value}"))?;
        let client = client.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self { node: text("node")?, state: text("state")?, path: text("path")?, region: text("region")?, client })
    }
}

/// The peers in rows as `/api/v1/peers` and `sinew peers --json` give them.
pub fn read_peers(rows: &[Value]) -> Result<Vec<Peer>> {
    rows.iter().map(Peer::read).collect()
}

impl Node {
    /// The other nodes it knows.
    pub async fn peers(&self) -> Result<Vec<Peer>> {
        let peers = self.api("/api/v1/peers").await?;
        read_peers(peers.as_array().context("an array of peers")?)
    }

    /// What it says of one other node, if it knows it.
    pub async fn peer(&self, id: &str) -> Result<Option<Peer>> {
        Ok(self.peers().await?.into_iter().find(|peer| peer.node == id))
    }

    /// Waits until its peers satisfy a condition. Returns how long that took.
    pub async fn sees(&self, what: &str, wanted: impl Fn(&[Peer]) -> bool) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let peers = self.peers().await?;
            if wanted(&peers) {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < crate::PATIENCE, "{} does not see {what} but {peers:?}", self.id());
            tokio::time::sleep(LOOK).await;
        }
    }
}
