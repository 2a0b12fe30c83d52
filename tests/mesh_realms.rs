//! Realms share a network and nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use sinew_tests::{Listener, Node, Running, Site, join, publish, sinew};

/// Long enough for two strangers to have tried each other.
const TRIED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_crosses_from_one_realm_to_another() -> Result<()> {
    // Everybody has everybody as a seed.
    let sites = Site::loopback(4);
    let mut nodes = Vec::new();
    for (i, site) in sites.iter().enumerate() {
        let realm = if i < 2 { "red" } else { "blue" };
        nodes.push(site.launch(&sites, &["--realm", realm])?.start().await?);
    }
    let [red1, red2, blue1, blue2] = &nodes[..] else { anyhow::bail!("four nodes") };
    join(&[red1, red2]).await?;
    join(&[blue1, blue2]).await?;

    let red = Listener::start(red2, "news", &["--realm", "red"]).await?;
    let blue = Listener::start(blue2, "news", &["--realm", "blue"]).await?;
    let server = red1.url("unix");
    let mut provider =
        Running::start(&["svc", "announce", "red.service", "--realm", "red", "--server", &server, "--json"])?;
    provider.line().await?;
    let report = publish(red1, "news", "red", &["--realm", "red"]).await?;
    ensure!(report["matched"] == 1, "{report}");
    let report = publish(blue1, "news", "blue", &["--realm", "blue"]).await?;
    ensure!(report["matched"] == 1, "{report}");
    red.hears("its own", |all| all.len() == 1).await?;
    blue.hears("its own", |all| all.len() == 1).await?;
    let services = svc(red2, "red", "ls").await?;
    ensure!(services.contains("red.service"), "{services}");

    // They went on trying to find each other all the while.
    let tried = tokio::time::Instant::now() + TRIED;
    while tokio::time::Instant::now() < tried {
        for (node, own) in [(red1, red2), (red2, red1), (blue1, blue2), (blue2, blue1)] {
            let peers = node.peers().await?;
            ensure!(peers.len() == 1 && peers[0].node == own.id(), "{peers:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let services = svc(blue1, "blue", "ls").await?;
    ensure!(!services.contains("red.service"), "{services}");
    ensure!(red.heard().len() == 1 && blue.heard().len() == 1);
    Ok(())
}

async fn svc(node: &Node, realm: &str, what: &str) -> Result<String> {
    let finished = sinew(&["svc", what, "--realm", realm, "--server", &node.url("unix"), "--json"]).await?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(finished.stdout)
}
