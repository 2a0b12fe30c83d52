//! How nodes find each other.

mod common;

use std::net::UdpSocket;

use common::{Node, PATIENCE, config, node, pair, start, until};
use sinew_link::Identity;
use sinew_overlay::{OverlayConfig, OverlayError};

/// One that is free, and stays so with some luck.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn meets(addresses: &[String]) -> impl AsyncFnOnce(Node) + use<> {
    let mut second = node(addresses).await;
    async move |mut first: Node| {
        assert!(second.connected(first.id()).await);
        assert!(first.connected(second.id()).await);
        let status = second.overlay.status();
        assert!(status.bootstrap.iter().any(|one| one.peer == Some(first.id())), "{status:?}");
    }
}

#[tokio::test]
async fn by_address_with_and_without_id() {
    for transport in ["quic-v1", "tcp"] {
        let first = node(&[]).await;
        let with: Vec<String> = first.addresses().into_iter().filter(|one| one.contains(transport)).collect();
        assert_eq!(with.len(), 1, "{with:?}");
        assert!(with[0].ends_with(&format!("/p2p/{}", first.id())));
        meets(&with).await(first).await;

        let first = node(&[]).await;
        meets(&first.bare(transport)).await(first).await;
    }
}

#[tokio::test]
async fn by_name() {
    let first = node(&[]).await;
    let named: Vec<String> =
        first.bare("quic-v1").iter().map(|one| one.replace("/ip4/127.0.0.1", "/dns4/localhost")).collect();
    meets(&named).await(first).await;
}

#[tokio::test]
async fn one_that_is_started_later() {
    let port = free_port();
    // TCP says at once that nobody is there; QUIC does not.
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let mut early = node(std::slice::from_ref(&address)).await;
    until("a dial fails", || early.overlay.status().bootstrap[0].failures > 0).await;
    let status = early.overlay.status();
    assert!(status.bootstrap[0].problem.is_some() && status.counters.dials_failed > 0, "{status:?}");
    let mut late = start(&Identity::generate(), OverlayConfig { listen: vec![address], ..config() }).await;
    early.connected(late.id()).await;
    late.connected(early.id()).await;
    let status = early.overlay.status();
    assert_eq!((status.bootstrap[0].failures, status.bootstrap[0].peer), (0, Some(late.id())));

    let address = format!("/ip4/127.0.0.1/udp/{}/quic-v1", free_port());
    let mut early = node(std::slice::from_ref(&address)).await;
    until("it is dialled again beside the first dial", || early.overlay.status().counters.dials == 2).await;
    assert_eq!(early.overlay.status().counters.dials_failed, 0);
    let late = start(&Identity::generate(), OverlayConfig { listen: vec![address], ..config() }).await;
    early.connected(late.id()).await;
}

#[tokio::test]
async fn ourselves_and_nobody() {
    let port = free_port();
    let address = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    let bootstrap = vec![address.clone(), format!("/dns4/localhost/udp/{port}/quic-v1")];
    let alone = start(&Identity::generate(), OverlayConfig { listen: vec![address], bootstrap, ..config() }).await;
    until("both are known to be ourselves", || {
        alone.overlay.status().bootstrap.iter().all(|one| one.ourselves && one.failures == 0)
    })
    .await;
    assert!(alone.overlay.peers().is_empty());
}

#[tokio::test]
async fn another_realm_is_refused() {
    let first = node(&[]).await;
    let bootstrap = first.addresses();
    let foreign = OverlayConfig { realm: "other".into(), bootstrap, ..config() };
    let second = start(&Identity::generate(), foreign).await;
    // The one that is faster hangs up, and turns the other one away from then on.
    let counters = |node: &Node| node.overlay.status().counters;
    until("one refuses", || counters(&first).refused_realm + counters(&second).refused_realm > 0).await;
    until("and remembers", || counters(&first).refused_remembered + counters(&second).refused_remembered > 0).await;
    until("they part", || first.overlay.status().connections == 0 && second.overlay.status().connections == 0).await;
    assert!(first.overlay.peers().is_empty() && second.overlay.peers().is_empty());
    until("the reason is shown", || second.overlay.status().bootstrap.iter().any(|one| one.problem.is_some())).await;
}

#[tokio::test]
async fn the_same_node_at_the_same_place_is_found_again() {
    let identity = Identity::generate();
    let first = start(&identity, config()).await;
    let id = first.id();
    let (listen, bootstrap) = (first.bare("/"), first.addresses());
    let mut second = node(&bootstrap).await;
    second.connected(id).await;
    first.overlay.shutdown().await;
    second.disconnected(id).await;
    let mut again = start(&identity, OverlayConfig { listen, ..config() }).await;
    second.connected(id).await;
    again.connected(second.id()).await;
}

#[tokio::test]
async fn two_that_dial_each_other_keep_one_connection() {
    let port = free_port();
    let address = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    let mut first = node(std::slice::from_ref(&address)).await;
    let bootstrap = first.addresses();
    let mut second = start(&Identity::generate(), OverlayConfig { listen: vec![address], bootstrap, ..config() }).await;
    first.connected(second.id()).await;
    second.connected(first.id()).await;
    until("one is left", || first.overlay.status().connections == 1 && second.overlay.status().connections == 1).await;
    // The one that is left works, both ways.
    first.overlay.send(second.id(), "there".into()).unwrap();
    assert_eq!(second.message().await, (first.id(), "there".into()));
    second.overlay.send(first.id(), "back".into()).unwrap();
    assert_eq!(first.message().await, (second.id(), "back".into()));
    assert_eq!(first.overlay.peers().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_the_start() {
    let identity = Identity::generate();
    let start = async |config: OverlayConfig| sinew_overlay::Overlay::start(&identity, config).await.unwrap_err();
    assert!(matches!(start(OverlayConfig { realm: "a b".into(), ..config() }).await, OverlayError::Realm(_)));
    for address in ["nonsense", "/ip4/127.0.0.1/sctp/1", "/dns4/localhost/tcp/0"] {
        let error = start(OverlayConfig { listen: vec![address.into()], ..config() }).await;
        assert!(matches!(error, OverlayError::Address { .. }), "{error}");
    }
    let error = start(OverlayConfig { bootstrap: vec!["/ip4/1.2.3.4".into()], ..config() }).await;
    assert!(matches!(error, OverlayError::Address { .. }), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let error = start(OverlayConfig { listen: vec![address.clone()], ..config() }).await;
    assert!(matches!(&error, OverlayError::Listen { address: of, .. } if *of == address), "{error}");
}

#[tokio::test]
async fn shutdown_leaves_nothing_behind() {
    let (first, mut second) = pair().await;
    let (id, addresses) = (first.id(), first.bare("/"));
    first.overlay.send(second.id(), "last words".into()).unwrap();
    let kept = first.overlay.clone();
    tokio::time::timeout(PATIENCE, first.overlay.shutdown()).await.unwrap();
    assert_eq!(second.message().await, (id, "last words".into()));
    second.disconnected(id).await;
    assert!(kept.send(second.id(), "more".into()).is_err());
    // Its ports are free.
    for address in addresses {
        let port: u16 = address.split('/').nth(4).unwrap().parse().unwrap();
        if address.contains("udp") {
            UdpSocket::bind(("127.0.0.1", port)).unwrap();
        } else {
            std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
