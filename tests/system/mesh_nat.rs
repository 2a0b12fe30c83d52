//! Two nodes that nobody can reach, each behind a NAT of its own, and one public node that relays.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sinew_system_tests::{Nat, Network};
use sinew_tests::{Listener, Node, Peer, Running, Site, chatter, join, matches, publish, sinew};

/// A public relay, and two nodes behind NATs of this kind that know nobody but the relay.
struct Scene {
    relay: Node,
    hidden: [Node; 2],
    // Goes last: the processes of the nodes are in it.
    _network: Network,
}

impl Scene {
    async fn new(nat: Nat) -> Result<Self> {
        let mut network = Network::new()?;
        let public = network.host()?;
        let seeds = [public.clone()];
        let relay = public.launch(&[], &["--set", "mesh.relay_server=true"])?.start().await?;
        let behind = |site: Site| site.launch(&seeds, &[]);
        let first = behind(network.host_behind(nat)?)?.start().await?;
        let second = behind(network.host_behind(nat)?)?.start().await?;
        join(&[&relay, &first, &second]).await?;
        // Until they know that they are hidden, they know of each other, but have no way.
        for (from, to) in [(&first, &second), (&second, &first)] {
            let way = |peers: &[Peer]| peers.iter().any(|peer| peer.node == to.id() && peer.path != "none");
            from.sees("a way to the other hidden node", way).await?;
        }
        println!("there is a way {:.2} s after the last ready line", second.ready_at().elapsed().as_secs_f64());
        Ok(Self { relay, hidden: [first, second], _network: network })
    }

    /// Messages and services from everywhere to everywhere.
    async fn works(&self) -> Result<()> {
        let [first, second] = &self.hidden;
        let begin = Instant::now();
        for (from, to) in [(first, second), (second, first), (&self.relay, first), (second, &self.relay)] {
            let listener = Listener::start(to, "hello", &[]).await?;
            let report = publish(from, "hello", "there", &["--level", "acked"]).await?;
            ensure!(report["delivered"] == 1, "{report}");
            listener.hears("the message", |all| all.iter().any(|one| one.payload == "there")).await?;
            drop(listener);
            matches(from, "hello", 0).await?;
        }
        println!("messages went all ways after {:.2} s", begin.elapsed().as_secs_f64());
        let server = first.url("unix");
        let mut provider = Running::start(&["svc", "announce", "hidden.service", "--server", &server, "--json"])?;
        provider.line().await?.context("the announcement")?;
        let found = found(second, "hidden.service").await?;
        ensure!(found["node"] == first.id(), "{found}");
        Ok(())
    }

    /// Waits until one hidden node reaches the other by this path, while messages go that way.
    async fn path_becomes(&self, wanted: &str) -> Result<()> {
        let [first, second] = &self.hidden;
        let listener = Listener::start(second, "on-the-way", &[]).await?;
        let _chatter = chatter(first, "on-the-way", 20)?;
        let begin = Instant::now();
        let there = |peers: &[Peer]| peers.iter().any(|peer| peer.node == second.id() && peer.path == wanted);
        first.sees(&format!("the path {wanted}"), there).await?;
        println!("{wanted} after {:.2} s", begin.elapsed().as_secs_f64());
        listener.hears_more("on-the-way").await?;
        ensure!(listener.gaps()? == 0, "messages were lost on the way");
        Ok(())
    }
}

/// The first instance of a service, as soon as a node finds one.
async fn found(node: &Node, name: &str) -> Result<Value> {
    let server = node.url("unix");
    let begin = Instant::now();
    loop {
        let looked = sinew(&["svc", "get", name, "--server", &server, "--json"]).await?;
        if looked.code == Some(0) {
            return looked.json()?.into_iter().next().context("an instance");
        }
        ensure!(looked.code == Some(4), "{looked:?}");
        ensure!(begin.elapsed() < sinew_tests::PATIENCE, "{name} is not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_symmetric_nats_work_through_the_relay() -> Result<()> {
    let scene = Scene::new(Nat::Symmetric).await?;
    scene.works().await?;
    scene.path_becomes("relayed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_punchable_nats_find_a_direct_path() -> Result<()> {
    let scene = Scene::new(Nat::Punchable).await?;
    scene.works().await?;
    scene.path_becomes("overlay direct").await
}
