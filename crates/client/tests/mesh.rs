//! Services and settling, with real nodes that know each other.

use std::collections::HashMap;
use std::time::Duration;

use sinew_client::{
    AnnounceError, Announcement, Client, Event, Limit, LookupError, Reconnect, Refusal, Service, ServiceEvent,
    ServiceWatch, WatchError,
};
use sinew_node::{Config, Mesh, Node};
use tempfile::TempDir;

/// Much longer than anything takes here, so that a slow machine does not fail a test.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// A node on a socket and any mesh port, and a client of it.
struct Place {
    dir: TempDir,
    node: Node,
    client: Client,
}

fn config(dir: &TempDir, listen: Vec<String>, bootstrap: Vec<String>) -> Config {
    let socket = format!("unix://{}", dir.path().join("node.sock").display());
    Config {
        listen: Some(vec![socket.parse().expect("is an address")]),
        data_dir: Some(dir.path().to_owned()),
        admin: None,
        drain_timeout: Duration::from_secs(2),
        mesh: Mesh { listen: Some(listen), bootstrap, region: "eu".to_owned(), ..Mesh::default() },
        ..Config::default()
    }
}

async fn connect(node: &Node) -> Client {
    let reconnect =
        Reconnect { min_delay: Duration::from_millis(5), max_delay: Duration::from_millis(50), max_attempts: None };
    let server = node.client_addresses()[0].to_string();
    Client::builder().server(server).reconnect(reconnect).connect().await.expect("connects")
}

impl Place {
    async fn with(listen: Vec<String>, bootstrap: Vec<String>) -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        let node = Node::start(config(&dir, listen, bootstrap)).await.expect("starts");
        let client = connect(&node).await;
        Self { dir, node, client }
    }

    async fn start(bootstrap: Vec<String>) -> Self {
        Self::with(vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()], bootstrap).await
    }

    async fn alone() -> Self {
        Self::with(Vec::new(), Vec::new()).await
    }

    /// Until the node knows so many others.
    async fn met(&self, others: u32) {
        soon("the other nodes", async {
            loop {
                let settled = self.client.settle(PATIENCE).await.expect("is known");
                if settled.is_complete() && settled.nodes >= others {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Until so many instances are found.
    async fn finds(&self, name: &str, instances: usize) {
        soon("the service", async {
            loop {
                match self.client.lookup(name).await {
                    Ok(found) if found.len() == instances => return,
                    Err(LookupError::NotFound) if instances == 0 => return,
                    Ok(_) | Err(LookupError::NotFound) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("unexpected {error}"),
                }
            }
        })
        .await;
    }
}

async fn three() -> [Place; 3] {
    let first = Place::start(Vec::new()).await;
    let second = Place::start(first.node.mesh_addresses()).await;
    let third = Place::start(first.node.mesh_addresses()).await;
    for place in [&first, &second, &third] {
        place.met(2).await;
    }
    [first, second, third]
}

/// What a watcher knows, once it knows so many services.
async fn known(watch: &mut ServiceWatch, known: &mut HashMap<String, u32>, services: usize) {
    soon("the services", async {
        while known.len() != services {
            match watch.next().await.expect("goes on") {
                ServiceEvent::Changed { name, instances: 0 } => _ = known.remove(&name),
                ServiceEvent::Changed { name, instances } => _ = known.insert(name, instances),
                ServiceEvent::Resync => known.clear(),
                other => panic!("unexpected {other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_at_one_node_is_known_at_all() {
    let places = three().await;
    let mut watches = Vec::new();
    for place in &places {
        watches.push((place.client.watch_services("image.").await.expect("is begun"), HashMap::new()));
    }
    let service = Service::new("image.resize").ttl(Duration::from_secs(20)).metadata("version", "2");
    let announcement = places[1].client.announce(service).await.expect("is announced");
    assert_eq!(announcement.ttl(), Duration::from_secs(20));
    let _other = places[0].client.announce("other").await.expect("is announced");
    for (watch, services) in &mut watches {
        known(watch, services, 1).await;
        assert_eq!(services.get("image.resize"), Some(&1));
    }
    for place in &places {
        let found = place.client.lookup("image.resize").await.expect("is found");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].node, found[0].provider), (places[1].node.peer_id(), places[1].client.peer_id()));
        assert_eq!((&*found[0].region, &*found[0].metadata), ("eu", &[("version".to_owned(), "2".to_owned())][..]));
        assert!(found[0].ttl_ms <= 20_000);
        soon("both", async {
            while place.client.services().all().await.expect("lists").len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(place.client.lookup("not.there").await, Err(LookupError::NotFound));
    }
    announcement.withdraw().await.expect("is withdrawn");
    for (watch, services) in &mut watches {
        known(watch, services, 0).await;
    }
    for place in &places {
        place.finds("image.resize", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_client_or_its_node_a_service_goes() {
    let [first, second, third] = three().await;
    let one = second.client.announce("echo").await.expect("is announced");
    let two = third.client.announce("echo").await.expect("is announced");
    first.finds("echo", 2).await;
    // A client that ends without a word.
    drop(second.client);
    let reason = one.end_reason();
    drop(one);
    assert_eq!(reason, None);
    first.finds("echo", 1).await;
    // A node that leaves.
    third.node.shutdown().await;
    first.finds("echo", 0).await;
    assert!(!two.is_announced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_settled_hears_what_others_publish() {
    let [first, second, third] = three().await;
    for round in 0..20 {
        let topic = format!("round.{round}");
        let mut subscription = first.client.subscribe(&topic).await.expect("is subscribed");
        let settled = subscription.ready(PATIENCE).await.expect("is known");
        assert_eq!((settled.nodes, settled.missing), (2, 0));
        for publisher in [&second, &third] {
            let report = publisher.client.message(&topic).payload("x").report().await.expect("has a result");
            assert_eq!(report.matched, 1);
            assert!(matches!(soon("it", subscription.next()).await, Some(Event::Message(_))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lonely_node_says_so_if_it_should_not_be() {
    let alone = Place::alone().await;
    assert_eq!(alone.client.lookup("echo").await, Err(LookupError::NotFound));
    let settled = alone.client.settle(PATIENCE).await.expect("is known");
    assert_eq!((settled.nodes, settled.missing), (0, 0));
    let _echo = alone.client.announce("echo").await.expect("is announced");
    assert_eq!(alone.client.lookup("echo").await.map(|found| found.len()), Ok(1));
    let lost = Place::start(vec!["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()]).await;
    assert_eq!(lost.client.lookup("echo").await, Err(LookupError::NoPeers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_named_and_hold() {
    let place = Place::alone().await;
    let refused = place.client.announce(Service::new("a").ttl(Duration::from_secs(9))).await;
    let limit = |limit, allowed| Refusal::Limit { limit, allowed };
    assert_eq!(refused.expect_err("is refused"), AnnounceError::Refused(limit(Limit::LeaseTtl, 10_000)));
    let refused = place.client.announce(Service::new("a").ttl(Duration::MAX)).await;
    assert_eq!(refused.expect_err("is refused"), AnnounceError::Refused(limit(Limit::LeaseTtl, 3_600_000)));
    let mut held = Vec::new();
    for n in 0..64 {
        held.push(place.client.announce(format!("n{n}")).await.expect("has room"));
    }
    let full = AnnounceError::Refused(limit(Limit::ServicesPerClient, 64));
    assert_eq!(place.client.announce("one.more").await.expect_err("is refused"), full);
    held.pop();
    let _one_more = place.client.announce("one.more").await.expect("has room again");
    let names: Vec<_> = place.client.services().all().await.expect("lists").into_iter().map(|row| row.name).collect();
    assert!(names.len() == 64 && names.is_sorted());

    let mut watches = Vec::new();
    for _ in 0..16 {
        watches.push(place.client.watch_services("").await.expect("is begun"));
    }
    let mut refused = place.client.watch_services("").await.expect("is begun");
    assert_eq!(soon("the end", refused.next()).await, None);
    assert_eq!(refused.end_reason(), Some(WatchError::Refused(limit(Limit::Watches, 16))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_come_back_with_their_node() {
    let place = Place::alone().await;
    let mut announcements: Vec<Announcement> = Vec::new();
    for n in 0..64 {
        announcements.push(place.client.announce(format!("n{n}")).await.expect("is announced"));
    }
    let mut watch = place.client.watch_services("n").await.expect("is begun");
    let mut services = HashMap::new();
    known(&mut watch, &mut services, 64).await;
    let Place { dir, node, client } = place;
    node.shutdown().await;
    let node = Node::start(config(&dir, Vec::new(), Vec::new())).await.expect("starts again");
    while soon("an event", watch.next()).await.expect("goes on") != ServiceEvent::Resync {}
    services.clear();
    known(&mut watch, &mut services, 64).await;
    soon("all", async {
        while !announcements.iter().all(Announcement::is_announced) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(client.lookup("n7").await.map(|found| found.len()), Ok(1));
    node.shutdown().await;
}
