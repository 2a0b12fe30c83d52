//! The network of these tests does what they take for granted.

use anyhow::{Result, ensure};
use sinew_system_tests::{Nat, Network};
use sinew_tests::{Node, Site, sinew_at};

/// Exit code of a publish from one host on the node of another.
async fn publish(from: &Site, to: &Node, scheme: &str) -> Result<Option<i32>> {
    let server = to.url(scheme);
    Ok(sinew_at(&from.place, &["pub", "a", "1", "--server", &server, "--timeout", "1s"]).await?.code)
}

const REACHED: Option<i32> = Some(0);

#[tokio::test]
async fn what_is_cut_hears_nothing_and_what_is_healed_does() -> Result<()> {
    let mut network = Network::new()?;
    let sites = network.hosts(2)?;
    let node = sites[0].launch(&[], &[])?.start().await?;
    for scheme in ["quic", "tls"] {
        ensure!(publish(&sites[1], &node, scheme).await? == REACHED, "{scheme}");
        for (from, to) in [(0, 1), (1, 0)] {
            network.cut(&sites[from], &sites[to])?;
            ensure!(publish(&sites[1], &node, scheme).await? != REACHED, "{scheme}: {from} reaches {to}");
            network.heal(&sites)?;
        }
    }
    ensure!(network.lost(&sites[0])? == 0);
    network.lose(&sites, 20)?;
    while network.lost(&sites[0])? == 0 {
        publish(&sites[1], &node, "quic").await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_is_behind_a_nat_gets_out_and_nobody_gets_in() -> Result<()> {
    let mut network = Network::new()?;
    let public = network.host()?;
    let node = public.launch(&[], &[])?.start().await?;
    for nat in [Nat::Punchable, Nat::Symmetric] {
        let hidden = network.host_behind(nat)?;
        ensure!(publish(&hidden, &node, "quic").await? == REACHED, "{nat:?}");
        let within = hidden.launch(&[], &[])?.start().await?;
        ensure!(publish(&public, &within, "tls").await? != REACHED, "{nat:?}");
    }
    Ok(())
}
