//! Peers that do not keep to the rules.

mod common;

use std::time::Duration;

use common::{Node, PATIENCE, node, until};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, identify, noise, swarm, tcp, yamux};
use libp2p_stream::Control;
use sinew_overlay::{Counters, MAX_REQUEST};

#[derive(NetworkBehaviour)]
struct Hostile {
    identify: swarm::behaviour::toggle::Toggle<identify::Behaviour>,
    stream: libp2p_stream::Behaviour,
}

/// A peer that says the right realm, or nothing, and then whatever it likes.
async fn hostile(victim: &Node, says_who: bool) -> (PeerId, Control) {
    let address: Multiaddr = victim.addresses().iter().find(|one| one.contains("/tcp/")).unwrap().parse().unwrap();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|keys| Hostile {
            identify: says_who
                .then(|| identify::Behaviour::new(identify::Config::new("/sinew/test/1".into(), keys.public())))
                .into(),
            stream: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    swarm.dial(address).unwrap();
    let control = swarm.behaviour().stream.new_control();
    loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
            tokio::spawn(async move {
                loop {
                    swarm.select_next_some().await;
                }
            });
            return (peer_id, control);
        }
    }
}

async fn open(control: &mut Control, victim: PeerId, protocol: &'static str) -> Stream {
    control.open_stream(victim, StreamProtocol::new(protocol)).await.unwrap()
}

/// The victim hangs up without an answer.
async fn is_ended(mut stream: Stream) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the stream ends");
    assert!(ended.is_err() || rest.is_empty());
}

#[tokio::test]
async fn announced_lengths_are_checked() {
    let mut victim = node(&[]).await;
    let (id, mut control) = hostile(&victim, true).await;
    let counters = |victim: &Node| -> Counters { victim.overlay.status().counters };

    let mut stream = open(&mut control, id, "/sinew/test/message/1").await;
    stream.write_all(&[0, 5]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.write_all(&u16::MAX.to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(victim.message().await.1.as_ref(), b"hello", "what came before is good");
    is_ended(stream).await;
    assert_eq!(counters(&victim).refused_message_size, 1);

    for (protocol, refused) in [("/sinew/test/membership/1", 1), ("/sinew/test/discovery/1", 2)] {
        let mut stream = open(&mut control, id, protocol).await;
        stream.write_all(&u32::try_from(MAX_REQUEST + 1).unwrap().to_be_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        is_ended(stream).await;
        assert_eq!(counters(&victim).refused_request_size, refused);
    }

    // Less than it said.
    let mut stream = open(&mut control, id, "/sinew/test/membership/1").await;
    stream.write_all(&[0, 0, 0, 200, 1, 2, 3]).await.unwrap();
    stream.close().await.unwrap();
    is_ended(stream).await;
    assert_eq!(counters(&victim).requests_received, 0);
}

#[tokio::test]
async fn streams_are_counted() {
    let victim = node(&[]).await;
    let (id, mut control) = hostile(&victim, true).await;
    let mut kept = Vec::new();
    for _ in 0..50 {
        kept.push(open(&mut control, id, "/sinew/test/message/1").await);
    }
    until("all but a few are refused", || victim.overlay.status().counters.refused_streams >= 40).await;
    let mut links = Vec::new();
    for _ in 0..100 {
        links.push(open(&mut control, id, "/sinew/test/link/1").await);
    }
    until("all but some are refused", || victim.overlay.status().counters.refused_links_busy >= 36).await;
    assert!(victim.overlay.status().links <= 64);
    drop((kept, links));
}

#[tokio::test]
async fn a_peer_that_does_not_say_who_it_is() {
    let victim = node(&[]).await;
    let (id, mut control) = hostile(&victim, false).await;
    let mut stream = open(&mut control, id, "/sinew/test/message/1").await;
    stream.write_all(&[0, 5]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    until("it is disconnected", || victim.overlay.status().counters.refused_unidentified == 1).await;
    is_ended(stream).await;
    assert_eq!(victim.overlay.status().counters.messages_received, 0, "nothing of it was passed on");
    assert!(victim.overlay.peers().is_empty());
}
