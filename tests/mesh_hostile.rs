//! Peers that lie to the mesh: refused, counted, and the mesh goes on.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use sinew_link::Identity;
use sinew_overlay::{Event, Overlay, OverlayConfig, Purpose, SendError, Started};
use sinew_tests::stranger::{Said, Stranger, hello};
use sinew_tests::{Cluster, Flow, Node, Site, soon};
use sinew_wire::{Announce, Control, Hello, Limit, Refusal, Role};

/// What a node may grow by, whatever is thrown at it.
const ROOM: u64 = 64 << 20;

/// Messages of no sense that have to be refused before it is enough.
const BOGUS: f64 = 100_000.0;

/// Messages the membership of a node has refused.
async fn refused(node: &Node) -> Result<f64> {
    node.metric_sum("sinew_membership_refused_total").await
}

/// Two nodes at sites that are known.
async fn pair() -> Result<(Vec<Site>, Cluster)> {
    let sites = Site::loopback(2);
    let cluster = Cluster::at(&sites, &[]).await?;
    cluster.join().await?;
    Ok((sites, cluster))
}

/// An overlay that speaks the realm's protocols and belongs to nobody, connected to a node.
async fn intruder(realm: &str, site: &Site, node: &Node) -> Result<Started> {
    let bootstrap = site.mesh().to_vec();
    let config = OverlayConfig { realm: realm.to_owned(), bootstrap, ..OverlayConfig::default() };
    let mut started = Overlay::start(&Identity::generate(), config).await?;
    let connected = async {
        while let Some(event) = started.events.recv().await {
            if matches!(&event, Event::Connected { peer, .. } if peer.to_string() == node.id()) {
                return Ok(());
            }
        }
        bail!("the overlay ended")
    };
    soon("a connection to the mesh", connected).await??;
    Ok(started)
}

/// Words without sense, of all sizes, the same ones each time.
fn nonsense(number: u64) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let size = (number * 37 % 700) as usize;
    let byte = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..size).map(byte).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_bogus_messages_are_refused_and_cost_nothing() -> Result<()> {
    let (sites, cluster) = pair().await?;
    let [first, second] = &cluster.nodes[..] else { bail!("two nodes") };
    let flow = Flow::start(first, second, "beside", 5_000, 500, "fire").await?;
    let mut started = intruder("default", &sites[0], first).await?;
    let (overlay, target) = (started.overlay.clone(), first.id().parse()?);
    // What the mesh asks it is not answered.
    let deaf = tokio::spawn(async move { while started.events.recv().await.is_some() {} });
    let before = first.resident()?;
    let throwing = async {
        // What it cannot send fast enough an overlay drops itself: it goes on until so many were refused over there.
        let mut number = 0;
        while refused(first).await? < BOGUS {
            for _ in 0..500 {
                number += 1;
                if let Err(error) = overlay.send(target, nonsense(number)) {
                    ensure!(error == SendError::Busy, "{error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for number in 0..200 {
            let request = overlay.request(target, Purpose::Membership, nonsense(number), Duration::from_secs(5));
            ensure!(request.await.is_err(), "nonsense was answered");
        }
        Ok(())
    };
    soon("the node to take it all", throwing).await??;
    let grown = first.resident()?.saturating_sub(before);
    println!("{} messages refused, {} KiB more", refused(first).await?, grown >> 10);
    ensure!(grown < ROOM, "the node grew by {grown} bytes");
    flow.whole().await?;
    cluster.join().await?;
    let peers = first.peers().await?;
    ensure!(peers.iter().filter(|peer| peer.is_up()).count() == 1, "{peers:?}");
    deaf.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overlay_of_another_realm_is_turned_away() -> Result<()> {
    let (sites, cluster) = pair().await?;
    let config =
        OverlayConfig { realm: "other".to_owned(), bootstrap: sites[0].mesh().to_vec(), ..OverlayConfig::default() };
    let mut started = Overlay::start(&Identity::generate(), config).await?;
    let first = &cluster.nodes[0];
    // It is never told of a peer, and whoever of the two hears first of which realm the other is counts it and hangs up.
    let there = first.metric_becomes(r#"sinew_overlay_total{count="refused_realm"}"#, |n| n >= 1.0);
    let overlay = started.overlay.clone();
    let here = soon("a refusal", async move {
        while overlay.status().counters.refused_realm == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::select! {
        event = started.events.recv() => bail!("it was let in: {event:?}"),
        refused = there => { refused?; }
        refused = here => refused?,
    }
    ensure!(first.peers().await?.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_a_node_that_is_no_member_is_refused() -> Result<()> {
    let (_, cluster) = pair().await?;
    let node = &cluster.nodes[0];
    for scheme in ["quic", "tls"] {
        let mut stranger = Stranger::dial(&node.url(scheme)).await?;
        let other = Hello { role: Role::Node, realm: "other".to_owned(), ..hello() };
        stranger.control(&Control::Hello(other)).await?;
        ensure!(stranger.goodbye().await? == Refusal::Realm("other".to_owned()), "{scheme}");

        let mut stranger = Stranger::dial(&node.url(scheme)).await?;
        stranger.control(&Control::Hello(Hello { role: Role::Node, ..hello() })).await?;
        let reason = stranger.goodbye().await?;
        ensure!(matches!(reason, Refusal::Denied(_)), "{scheme}: {reason:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_announcements_of_one_client_meet_the_quota() -> Result<()> {
    const ANNOUNCEMENTS: u32 = 100_000;
    const AT_ONCE: u32 = 100;
    let (_, cluster) = pair().await?;
    let node = &cluster.nodes[0];
    let mut greedy = Stranger::welcomed(&node.url("unix")).await?;
    let before = node.resident()?;
    let (mut granted, mut refused) = (0, 0);
    for first in (0..ANNOUNCEMENTS).step_by(AT_ONCE as usize) {
        for lease in first..first + AT_ONCE {
            greedy.control(&Control::Announce(announcement(lease, 60_000))).await?;
        }
        for _ in 0..AT_ONCE {
            match answer(&mut greedy).await? {
                None => granted += 1,
                Some(Refusal::Limit { limit: Limit::ServicesPerClient, allowed: 64 }) => refused += 1,
                Some(other) => bail!("{other:?}"),
            }
        }
    }
    ensure!((granted, refused) == (64, ANNOUNCEMENTS - 64), "{granted} granted, {refused} refused");
    let counted = node.metric(r#"sinew_limit_refused_total{limit="max_services_per_client"}"#).await?;
    ensure!((counted - f64::from(refused)).abs() < 0.5, "{counted} counted");
    let grown = node.resident()?.saturating_sub(before);
    ensure!(grown < ROOM, "the node grew by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn a_lease_for_ever_is_refused_by_name() -> Result<()> {
    let (_, cluster) = pair().await?;
    let mut greedy = Stranger::welcomed(&cluster.nodes[0].url("unix")).await?;
    for (lease, ttl_ms) in [(1, u64::MAX), (2, 3_600_001), (3, 9_999)] {
        greedy.control(&Control::Announce(announcement(lease, ttl_ms))).await?;
        let refusal = answer(&mut greedy).await?;
        ensure!(matches!(refusal, Some(Refusal::Limit { limit: Limit::LeaseTtl, .. })), "{ttl_ms}: {refusal:?}");
    }
    Ok(())
}

fn announcement(lease: u32, ttl_ms: u64) -> Announce {
    Announce { lease, name: format!("greedy.{lease}"), ttl_ms, metadata: Vec::new() }
}

/// The answer to an announcement: none, or why not.
async fn answer(stranger: &mut Stranger) -> Result<Option<Refusal>> {
    loop {
        match stranger.next().await? {
            Said::Control(Control::Announced { .. }) => return Ok(None),
            Said::Control(Control::LeaseEnded { refusal, .. }) => return Ok(Some(refusal.context("a reason")?)),
            Said::Control(Control::Goodbye(goodbye)) => bail!("{goodbye:?}"),
            Said::End => bail!("the link ended"),
            Said::Control(_) | Said::Run { .. } | Said::Call(_) => {}
        }
    }
}
