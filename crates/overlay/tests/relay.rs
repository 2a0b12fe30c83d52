//! Nodes that only reach each other through a third one.

mod common;

use common::{Node, PATIENCE, carries, config, start, until};
use sinew_link::Identity;
use sinew_overlay::{Event, Nat, OverlayConfig, Reserve};

async fn relay() -> Node {
    start(&Identity::generate(), OverlayConfig { relay_server: true, ..config() }).await
}

fn circuits(node: &Node) -> Vec<String> {
    node.addresses().into_iter().filter(|address| address.contains("/p2p-circuit/")).collect()
}

#[tokio::test]
async fn a_node_that_listens_at_a_relay_only() {
    for transport in ["quic-v1", "tcp"] {
        let relay = relay().await;
        let at = relay.addresses().into_iter().find(|address| address.contains(transport)).unwrap();
        let hidden = OverlayConfig { listen: vec![format!("{at}/p2p-circuit")], reserve: Reserve::Never, ..config() };
        let mut hidden = start(&Identity::generate(), hidden).await;
        until("the relay keeps an address", || !circuits(&hidden).is_empty()).await;
        assert_eq!(hidden.overlay.status().relays, [relay.id()]);
        assert_eq!(relay.overlay.status().reservations, 1);

        let mut dialler = start(&Identity::generate(), OverlayConfig { listen: Vec::new(), ..config() }).await;
        dialler.overlay.add_addresses(hidden.id(), &circuits(&hidden));
        let ours = dialler.overlay.open_link(hidden.id(), PATIENCE).await.unwrap();
        assert!(ours.remote().contains("/p2p-circuit"), "{}", ours.remote());
        assert!(!dialler.connected(hidden.id()).await, "not directly");
        assert!(!hidden.connected(dialler.id()).await, "not directly");
        let theirs = hidden.link().await;
        let ((mut reader, mut writer), (mut their_reader, mut their_writer)) = (ours.split(), theirs.split());
        carries(&mut writer, &mut their_reader, b"there").await;
        carries(&mut their_writer, &mut reader, b"back").await;
        // More than a public relay would carry.
        let large = vec![7; 16_000];
        for _ in 0..20 {
            carries(&mut writer, &mut their_reader, &large).await;
        }
        dialler.overlay.send(hidden.id(), "hello".into()).unwrap();
        assert_eq!(hidden.message().await, (dialler.id(), "hello".into()));
        let peers = dialler.overlay.peers();
        let seen = peers.iter().find(|peer| peer.peer == hidden.id()).unwrap();
        assert!(!seen.direct && seen.addresses[0].contains("/p2p-circuit"), "{seen:?}");
    }
}

#[tokio::test]
async fn the_path_becomes_direct_where_it_can() {
    let relay = relay().await;
    let hidden = OverlayConfig { bootstrap: relay.addresses(), reserve: Reserve::Always, ..config() };
    let mut hidden = start(&Identity::generate(), hidden).await;
    until("the relay keeps an address", || !circuits(&hidden).is_empty()).await;
    let mut dialler = start(&Identity::generate(), OverlayConfig { bootstrap: relay.addresses(), ..config() }).await;
    dialler.connected(relay.id()).await;
    // The dialler is told of nothing but the address at the relay, and so dials that first.
    dialler.overlay.add_addresses(hidden.id(), &circuits(&hidden));
    dialler.overlay.send(hidden.id(), "hello".into()).unwrap();
    let relayed = dialler.connected(hidden.id()).await;
    assert_eq!(hidden.message().await, (dialler.id(), "hello".into()));
    if !relayed {
        let id = hidden.id();
        dialler.find(|event| matches!(event, Event::Path { peer, direct: true } if *peer == id).then_some(())).await;
    }
    until("the relayed connection is closed, the direct one stays", || {
        dialler.overlay.peers().iter().any(|peer| peer.peer == hidden.id() && peer.direct && peer.addresses.len() == 1)
    })
    .await;
    // Links run over the direct one from now on.
    let link = dialler.overlay.open_link(hidden.id(), PATIENCE).await.unwrap();
    assert!(!link.remote().contains("/p2p-circuit"), "{}", link.remote());
    assert_eq!(hidden.link().await.peer(), dialler.id());
}

#[tokio::test]
async fn a_relay_that_comes_back_is_asked_again() {
    let identity = Identity::generate();
    let first = start(&identity, OverlayConfig { relay_server: true, ..config() }).await;
    let listen = first.bare("/");
    let at = first.addresses().remove(0);
    let hidden = OverlayConfig { listen: vec![format!("{at}/p2p-circuit")], ..config() };
    let hidden = start(&Identity::generate(), hidden).await;
    until("the relay keeps an address", || !circuits(&hidden).is_empty()).await;
    first.overlay.shutdown().await;
    until("it is lost", || circuits(&hidden).is_empty()).await;
    assert!(hidden.overlay.status().relays.is_empty());
    let _again = start(&identity, OverlayConfig { relay_server: true, listen, ..config() }).await;
    until("it keeps one again", || !circuits(&hidden).is_empty()).await;
    assert!(hidden.overlay.status().counters.reservations_granted >= 2);
}

#[tokio::test]
async fn a_node_learns_that_it_can_be_dialled() {
    let first = start(&Identity::generate(), config()).await;
    let bootstrap = first.addresses();
    let second = start(&Identity::generate(), OverlayConfig { bootstrap, ..config() }).await;
    assert_eq!(second.overlay.status().nat, Nat::Unknown);
    until("the first one tried", || second.overlay.status().nat == Nat::Public).await;
    let known = start(
        &Identity::generate(),
        OverlayConfig { external: vec!["/dns4/node.example/tcp/4500".into()], ..config() },
    )
    .await;
    assert_eq!(known.overlay.status().nat, Nat::Public);
    assert!(known.addresses().iter().any(|address| address.starts_with("/dns4/node.example/tcp/4500/p2p/")));
}
