//! A network that fails: parted, deaf in one direction, flapping, losing packets. Each node has an address of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sinew_system_tests::Network;
use sinew_tests::{Cluster, Flow, Listener, Node, Running, Site, chatter, join, matches};

/// How long after healing everything must be as before.
const CONVERGED: Duration = Duration::from_secs(5);

/// How long until nodes that are not heard of are taken for gone.
const NOTICED: Duration = Duration::from_secs(10);

/// What a node may use of a core while it does little more than look for somebody, in a build of the tests.
const CALM: f64 = 0.25;

/// Dials per second of one node to one that cannot be reached, at most: what a back-off leaves of them.
const DIALS: f64 = 4.0;

/// How long the partition lasts: `SINEW_PARTITION_SECS`, 30 s without it.
fn partition() -> Duration {
    let secs = std::env::var("SINEW_PARTITION_SECS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(secs.unwrap_or(30))
}

/// What nodes used and dialled since the beginning of a measurement.
struct Effort {
    begin: Instant,
    nodes: Vec<(Duration, f64)>,
}

impl Effort {
    async fn begin(nodes: &[Node]) -> Result<Self> {
        let mut now = Vec::new();
        for node in nodes {
            now.push((node.cpu()?, dials(node).await?));
        }
        Ok(Self { begin: Instant::now(), nodes: now })
    }

    /// Prints it, and fails when it was too much.
    async fn was_bounded(&self, what: &str, nodes: &[Node]) -> Result<()> {
        let secs = self.begin.elapsed().as_secs_f64();
        for (i, (node, (cpu, dialled))) in nodes.iter().zip(&self.nodes).enumerate() {
            let cpu = (node.cpu()? - *cpu).as_secs_f64() / secs;
            let rate = (dials(node).await? - dialled) / secs;
            println!("{what}: node {} used {:.1} % of a core and dialled {rate:.2} times a second", i + 1, cpu * 100.0);
            ensure!(cpu < CALM, "{what}: node {} used {:.0} % of a core for {secs:.0} s", i + 1, cpu * 100.0);
            ensure!(rate < DIALS, "{what}: node {} dialled {rate:.1} times a second for {secs:.0} s", i + 1);
        }
        Ok(())
    }
}

/// Links to others that a node opened, took, or failed to open, and dials of its overlay.
async fn dials(node: &Node) -> Result<f64> {
    let links =
        node.metric_sum("sinew_pool_opened_total").await? + node.metric_sum("sinew_pool_dials_failed_total").await?;
    Ok(links + node.metric(r#"sinew_overlay_total{count="dials"}"#).await?)
}

/// Fails unless it was reached in time.
fn within(limit: Duration, what: &str, took: Duration) -> Result<()> {
    println!("{what} after {:.2} s", took.as_secs_f64());
    ensure!(took <= limit, "{what} took {took:?}, allowed are {limit:?}");
    Ok(())
}

async fn rest(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_partition_work_and_are_one_soon_after_it_heals() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(5)?;
    let cluster = Cluster::at(&sites, &[]).await?;
    cluster.join().await?;
    let nodes = &cluster.nodes;
    let mut listeners = Vec::new();
    for node in nodes {
        listeners.push(Listener::start(node, "news.>", &["--policy", "block"]).await?);
    }
    let _left = chatter(&nodes[0], "news.left", 100)?;
    let _right = chatter(&nodes[4], "news.right", 100)?;
    for listener in &listeners {
        listener.hears_more("news.left").await?;
        listener.hears_more("news.right").await?;
    }

    let (left, right) = (&sites[..3], &sites[3..]);
    network.part(left, right)?;
    let parted = Instant::now();
    let effort = Effort::begin(nodes).await?;
    for (here, there) in [(&nodes[..3], &nodes[3..]), (&nodes[3..], &nodes[..3])] {
        for node in here {
            let gone = |peers: &[sinew_tests::Peer]| {
                there.iter().all(|other| peers.iter().all(|peer| peer.node != other.id() || !peer.is_up()))
            };
            node.sees("the other side go", gone).await?;
        }
    }
    within(NOTICED, "both sides noticed the partition", parted.elapsed())?;
    for (i, topic) in ["news.left", "news.left", "news.left", "news.right", "news.right"].iter().enumerate() {
        listeners[i].hears_more(topic).await?;
    }
    // Each side is a mesh of its own: whoever subscribes now is known to its side.
    let side = Listener::start(&nodes[1], "side", &[]).await?;
    ensure!(matches(&nodes[2], "side", 1).await? < CONVERGED);
    ensure!(matches(&nodes[3], "side", 0).await? < CONVERGED);
    rest(partition().saturating_sub(parted.elapsed())).await;
    effort.was_bounded("parted", nodes).await?;

    network.heal(&sites)?;
    let healed = Instant::now();
    join(&nodes.iter().collect::<Vec<_>>()).await?;
    within(CONVERGED, "all nodes are members again", healed.elapsed())?;
    for node in nodes {
        matches(node, "side", 1).await?;
        matches(node, "news.both", 5).await?;
    }
    for listener in &listeners {
        listener.hears_more("news.left").await?;
        listener.hears_more("news.right").await?;
    }
    within(CONVERGED, "messages go everywhere again", healed.elapsed())?;
    side.hears("a message from the other side", |all| !all.is_empty()).await?;

    let topics = ["news.left", "news.left", "news.left", "news.right", "news.right"];
    for (i, (listener, topic)) in listeners.iter().zip(topics).enumerate() {
        let gaps = listener.gaps().with_context(|| format!("the subscriber of node {}", i + 1))?;
        println!("node {}: {} messages of the other side did not come", i + 1, gaps);
        let heard = listener.heard();
        let near: Vec<u64> = heard.iter().filter(|one| one.topic == topic).map(|one| one.seq).collect();
        let lost = near.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        ensure!(lost == 0, "node {} lost messages of its own side", i + 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_cut_costs_nobody_else_anything_and_heals() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(3)?;
    let cluster = Cluster::at(&sites, &[]).await?;
    cluster.join().await?;
    let nodes = &cluster.nodes;
    let flows = [
        Flow::start(&nodes[0], &nodes[2], "first-to-third", 4_000, 200, "fire").await?,
        Flow::start(&nodes[2], &nodes[1], "third-to-second", 4_000, 200, "fire").await?,
    ];
    let listener = Listener::start(&nodes[1], "over-the-cut", &[]).await?;
    network.cut(&sites[0], &sites[1])?;
    let effort = Effort::begin(nodes).await?;
    let _chatter = chatter(&nodes[0], "over-the-cut", 100)?;
    for flow in flows {
        flow.whole().await?;
    }
    effort.was_bounded("one-way cut", nodes).await?;
    network.heal(&sites)?;
    let healed = Instant::now();
    cluster.join().await?;
    listener.hears_more("over-the-cut").await?;
    within(CONVERGED, "messages go over the mended way", healed.elapsed())?;
    listener.gaps()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_path_costs_nobody_else_anything_and_heals() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(3)?;
    let cluster = Cluster::at(&sites, &[]).await?;
    cluster.join().await?;
    let nodes = &cluster.nodes;
    let flow = Flow::start(&nodes[0], &nodes[2], "beside", 3_600, 200, "fire").await?;
    let listener = Listener::start(&nodes[1], "flapping", &[]).await?;
    let _chatter = chatter(&nodes[0], "flapping", 100)?;
    let effort = Effort::begin(nodes).await?;
    for _ in 0..6 {
        network.part(&sites[..1], &sites[1..2])?;
        rest(Duration::from_millis(1500)).await;
        network.heal(&sites)?;
        rest(Duration::from_millis(1500)).await;
    }
    let healed = Instant::now();
    effort.was_bounded("flapping", nodes).await?;
    flow.whole().await?;
    cluster.join().await?;
    listener.hears_more("flapping").await?;
    within(CONVERGED, "messages go over the path that flapped", healed.elapsed())?;
    listener.gaps()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn level_acked_loses_nothing_where_every_fifth_packet_is_lost() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(2)?;
    let cluster = Cluster::at(&sites, &["--set", "link.segmentation_offload=false"]).await?;
    cluster.join().await?;
    network.lose(&sites, 20)?;
    everything_arrives(&network, &sites, &cluster).await
}

/// The same where TCP is all there is, for links and for the overlay. Its pauses double with every try that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn level_acked_loses_nothing_over_tcp_alone_where_every_tenth_packet_is_lost() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(2)?;
    network.only_tcp(&sites)?;
    let cluster = Cluster::at(&sites, &[]).await?;
    cluster.join().await?;
    network.lose(&sites, 10)?;
    everything_arrives(&network, &sites, &cluster).await
}

/// Publishes for ten seconds from the first node to the second, and fails unless every message came once, in order, the
/// publisher was told so of each, and neither node was taken for gone meanwhile.
async fn everything_arrives(network: &Network, sites: &[Site], cluster: &Cluster) -> Result<()> {
    const COUNT: u64 = 2_000;
    let [first, second] = &cluster.nodes[..] else { anyhow::bail!("two nodes") };
    // Not `bench sub`: it takes two seconds of silence for the end, and TCP may be silent for longer.
    let listener = Listener::start(second, "lossy", &["--policy", "block"]).await?;
    let (count, server) = (COUNT.to_string(), first.url("unix"));
    let pace = ["--rate", "200", "--level", "acked", "--size", "128", "--timeout", "30s", "--json", "--quiet"];
    let publisher = [&["bench", "pub", "lossy", "--server", &server, "--count", &count][..], &pace].concat();
    let mut publisher = Running::start(&publisher)?;
    let (sent, lasting) = tokio::join!(publisher.json(), stays_up(cluster, &listener, COUNT));
    let (sent, ()) = (sent?, lasting?);
    ensure!(sent["delivered"] == COUNT && sent["dropped"] == 0 && sent["unknown"] == 0, "{sent}");
    ensure!(listener.gaps()? == 0 && listener.missed() == 0, "messages are missing");
    ensure!(listener.heard().len() as u64 == COUNT, "{} messages came, {COUNT} were sent", listener.heard().len());
    let lost = sites.iter().map(|site| network.lost(site)).sum::<Result<u64>>()?;
    println!("{lost} packets were lost on the way, and no message");
    ensure!(lost > 100, "only {lost} packets were lost: this shows nothing");
    Ok(())
}

/// Waits until so many messages have come. Fails when one of the nodes is taken for gone by the other meanwhile.
async fn stays_up(cluster: &Cluster, listener: &Listener, count: u64) -> Result<()> {
    let mut since = Vec::new();
    for node in &cluster.nodes {
        since.push(up_for(node).await?);
    }
    let watched = Instant::now();
    listener.hears("all messages", |all| all.len() as u64 >= count).await?;
    for (node, before) in cluster.nodes.iter().zip(since) {
        let (now, lasted) = (up_for(node).await?, watched.elapsed().as_secs());
        // It counts whole seconds, and begins anew with each time that the other comes back.
        ensure!(now + 2 >= before + lasted, "{} took the other for gone: up for {now} s of {lasted} s", node.id());
    }
    Ok(())
}

/// For how many seconds the one other node is up, as this one sees it.
async fn up_for(node: &Node) -> Result<u64> {
    let peers = node.api("/api/v1/peers").await?;
    let [peer] = peers.as_array().context("an array of peers")?.as_slice() else {
        anyhow::bail!("{} has not one peer but {peers}", node.id());
    };
    peer["since_seconds"].as_u64().context("since_seconds")
}
