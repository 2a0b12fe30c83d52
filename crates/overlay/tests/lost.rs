//! Peers that vanish.

mod common;

use std::time::{Duration, Instant};

use common::{config, node, start};
use sinew_link::Identity;
use sinew_overlay::OverlayConfig;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A peer whose process is killed says no goodbye. Here its runtime is dropped: sockets close, and no packet leaves.
#[tokio::test]
async fn a_peer_that_is_killed_shows_within_seconds() {
    for transport in ["quic-v1", "tcp"] {
        let mut first = node(&[]).await;
        let bootstrap = first.addresses().into_iter().filter(|address| address.contains(transport)).collect();
        let doomed = runtime();
        let config = OverlayConfig { bootstrap, listen: Vec::new(), ..config() };
        let second = doomed.spawn(async move { start(&Identity::generate(), config).await }).await.unwrap();
        let id = second.id();
        first.connected(id).await;
        let killed = Instant::now();
        doomed.shutdown_background();
        first.disconnected(id).await;
        // 8 s of silence, the next sweep, and a machine with other work to do.
        assert!(killed.elapsed() < Duration::from_secs(12), "{transport}: {:?}", killed.elapsed());
        drop(second);
    }
}

/// Connections that nothing uses close, and both sides agree on it.
#[tokio::test]
async fn idle_connections_close() {
    let idle = || OverlayConfig { idle_timeout: Duration::from_millis(500), ..config() };
    let (mut first, mut second) =
        (start(&Identity::generate(), idle()).await, start(&Identity::generate(), idle()).await);
    first.overlay.add_addresses(second.id(), &second.addresses());
    first.overlay.send(second.id(), "hello".into()).unwrap();
    first.connected(second.id()).await;
    second.message().await;
    first.disconnected(second.id()).await;
    second.disconnected(first.id()).await;
    let closed = first.overlay.status().counters.closed_idle + second.overlay.status().counters.closed_idle;
    assert!(closed >= 1);
    // It is dialled again when it is needed.
    first.overlay.send(second.id(), "again".into()).unwrap();
    assert_eq!(second.message().await.1.as_ref(), b"again");
}

/// A peer that was killed and is back at once has connections that nobody told to be dead. What goes to it goes to its new
/// process, not there.
#[tokio::test]
async fn a_peer_that_is_killed_and_back_is_spoken_to_at_once() {
    let mut first = node(&[]).await;
    let identity = Identity::generate();
    let again = || OverlayConfig { bootstrap: first.addresses(), ..config() };
    let (doomed, before, former) = (runtime(), again(), identity.clone());
    let second = doomed.spawn(async move { start(&former, before).await }).await.unwrap();
    let (id, config) = (second.id(), again());
    first.connected(id).await;
    first.overlay.send(id, "opens the stream of messages".into()).unwrap();
    doomed.shutdown_background();

    let mut second = start(&identity, config).await;
    second.connected(first.id()).await;
    let back = Instant::now();
    while let Err(_lost) = tokio::time::timeout(Duration::from_millis(100), async {
        first.overlay.send(id, "are you back?".into()).unwrap();
        second.message().await
    })
    .await
    {
        assert!(back.elapsed() < Duration::from_secs(3), "messages go to the former process");
    }
    drop(first);
}
