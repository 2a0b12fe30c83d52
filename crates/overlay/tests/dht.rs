//! Who provides what.

mod common;

use std::time::Duration;

use common::{Node, PATIENCE, config, node, pair, start, until};
use futures::StreamExt;
use libp2p::kad::store::MemoryStore;
use libp2p::kad::{self, Quorum, Record, RecordKey};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use sinew_link::Identity;
use sinew_overlay::{DhtError, OverlayConfig};
use sinew_wire::PeerId;
use tokio::runtime::Builder;

const KEY: [u8; 32] = [7; 32];

/// Asks until the answer has so many.
async fn found(node: &Node, key: &[u8], many: usize) -> Vec<PeerId> {
    let search = async {
        loop {
            match node.overlay.providers(key, PATIENCE).await {
                Ok(mut found) if found.len() == many => {
                    found.sort_unstable();
                    return found;
                }
                Ok(_) | Err(DhtError::NoPeers | DhtError::TimedOut) => {
                    tokio::time::sleep(Duration::from_millis(20)).await
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("providers are found")
}

#[tokio::test]
async fn over_five_nodes() {
    let mut nodes = vec![node(&[]).await];
    let bootstrap = nodes[0].addresses();
    for _ in 0..4 {
        nodes.push(node(&bootstrap).await);
    }
    for other in 1..5 {
        let id = nodes[other].id();
        nodes[0].connected(id).await;
        let first = nodes[0].id();
        nodes[other].connected(first).await;
    }
    for provider in [1, 3] {
        nodes[provider].overlay.provide(&KEY).await.unwrap();
    }
    let mut expected = [nodes[1].id(), nodes[3].id()];
    expected.sort_unstable();
    for node in &nodes {
        assert_eq!(found(node, &KEY, 2).await, expected);
    }
    assert_eq!(nodes[2].overlay.providers(&[8; 32], PATIENCE).await, Ok(Vec::new()), "asked, and there is none");
    let status = nodes[1].overlay.status();
    assert_eq!(status.provided, 1);
    assert!(status.table >= 1 && status.counters.queries > 0, "{status:?}");
}

#[tokio::test]
async fn a_lonely_node() {
    let lonely = node(&[]).await;
    assert_eq!(lonely.overlay.providers(&KEY, PATIENCE).await, Err(DhtError::NoPeers));
    assert_eq!(lonely.overlay.provide(&KEY[..31]).await, Err(DhtError::Key(31)));
    assert_eq!(lonely.overlay.providers(b"", PATIENCE).await, Err(DhtError::Key(0)));
    lonely.overlay.provide(&KEY).await.unwrap();
    assert_eq!(lonely.overlay.providers(&KEY, PATIENCE).await, Ok(vec![lonely.id()]));
    // Who joins later finds it too.
    let joined = node(&lonely.addresses()).await;
    let third = node(&joined.addresses()).await;
    assert_eq!(found(&third, &KEY, 1).await, [lonely.id()]);
    assert_eq!(found(&joined, &KEY, 1).await, [lonely.id()]);
}

/// A node that is killed says no goodbye: for some seconds it is connected and in the tables, and every look-up asks it.
#[tokio::test]
async fn a_dead_node_is_not_waited_for() {
    let asker = node(&[]).await;
    let provider = node(&asker.addresses()).await;
    let third = node(&asker.addresses()).await;
    let doomed = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bootstrap = asker.addresses();
    let dead = doomed.spawn(async move { node(&bootstrap).await }).await.unwrap();
    for node in [&asker, &provider, &third] {
        until("all know each other", || node.overlay.status().table == 3).await;
    }
    provider.overlay.provide(&KEY).await.unwrap();
    assert_eq!(found(&asker, &KEY, 1).await, [provider.id()]);
    doomed.shutdown_background();
    // Less than it takes to find out that it is dead.
    let limit = Duration::from_secs(6);
    let [known, unknown] = [KEY, [9; 32]];
    let (known, unknown) =
        tokio::join!(asker.overlay.providers(&known, limit), asker.overlay.providers(&unknown, limit));
    assert_eq!(known, Ok(vec![provider.id()]));
    assert_eq!(unknown, Ok(Vec::new()), "those that are there were asked, and know of nobody");
    assert!(asker.overlay.status().counters.queries_cut >= 1);
    drop(dead);
}

#[tokio::test]
async fn published_again_until_it_is_taken_back() {
    let short = || OverlayConfig {
        provider_ttl: Duration::from_millis(1500),
        provider_interval: Duration::from_millis(400),
        ..config()
    };
    let keeper = start(&Identity::generate(), short()).await;
    let bootstrap = keeper.addresses();
    let mut provider = start(&Identity::generate(), OverlayConfig { bootstrap, ..short() }).await;
    provider.connected(keeper.id()).await;
    until("the keeper has it in its table", || keeper.overlay.status().table == 1).await;
    provider.overlay.provide(&KEY).await.unwrap();
    assert_eq!(found(&keeper, &KEY, 1).await, [provider.id()]);
    let queries = |node: &Node| node.overlay.status().counters.queries;
    let before = queries(&provider);
    until("it is published five times more, which is beyond its life", || queries(&provider) >= before + 5).await;
    assert_eq!(found(&keeper, &KEY, 1).await, [provider.id()]);
    provider.overlay.stop_providing(&KEY);
    assert_eq!(provider.overlay.status().provided, 0);
    assert!(found(&keeper, &KEY, 0).await.is_empty());
    assert!(found(&provider, &KEY, 0).await.is_empty());
}

#[derive(NetworkBehaviour)]
struct Hostile {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

#[tokio::test]
async fn a_flood_of_records_is_bounded() {
    let (victim, _other) = pair().await;
    let address: Multiaddr = victim.addresses().iter().find(|one| one.contains("/tcp/")).unwrap().parse().unwrap();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|keys| {
            let peer = keys.public().to_peer_id();
            let settings = kad::Config::new(StreamProtocol::new("/sinew/test/kad/1"));
            Hostile {
                kad: kad::Behaviour::with_config(peer, MemoryStore::new(peer), settings),
                identify: identify::Behaviour::new(identify::Config::new("/sinew/test/1".into(), keys.public())),
            }
        })
        .unwrap()
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let theirs: libp2p::PeerId = victim.id().to_string().parse().unwrap();
    swarm.behaviour_mut().kad.add_address(&theirs, address.clone());
    swarm.dial(address).unwrap();
    let flood = async {
        loop {
            if let SwarmEvent::Behaviour(HostileEvent::Identify(identify::Event::Received { .. })) =
                swarm.select_next_some().await
            {
                break;
            }
        }
        for number in 0..100_u8 {
            let kad = &mut swarm.behaviour_mut().kad;
            kad.put_record(Record::new(RecordKey::new(&[number; 32]), vec![number; 1000]), Quorum::One).unwrap();
            kad.start_providing(RecordKey::new(&[number; 32])).unwrap();
            kad.start_providing(RecordKey::new(&[number; 20])).unwrap();
        }
        loop {
            swarm.select_next_some().await;
        }
    };
    let counted = until("all are refused or kept", || {
        let status = victim.overlay.status();
        let counters = status.counters;
        counters.refused_records >= 100 && counters.refused_provider_key >= 100 && status.records >= 100
    });
    tokio::select! {
        () = flood => unreachable!("it never ends"),
        () = counted => {}
    }
    assert_eq!(victim.overlay.status().records, 100, "one for each key that is one");
    // The victim goes on, and does not hand out what it refused.
    victim.overlay.provide(&KEY).await.unwrap();
    assert!(victim.overlay.providers(&KEY, PATIENCE).await.unwrap().contains(&victim.id()));
}
