//! Overlays of a test: real ones, on loopback, in one process.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sinew_link::{Fill, Identity, LinkReader, LinkWriter};
use sinew_overlay::{Ask, Event, Overlay, OverlayConfig, Started};
use sinew_wire::{FrameHeader, FrameKind, PeerId};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Much longer than anything takes here, so that a slow machine does not fail a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) overlay: Overlay,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Events that were passed over while another one was waited for.
    pub(crate) passed: VecDeque<Event>,
}

pub(crate) fn config() -> OverlayConfig {
    OverlayConfig {
        realm: "test".into(),
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()],
        ..OverlayConfig::default()
    }
}

pub(crate) async fn node(bootstrap: &[String]) -> Node {
    start(&Identity::generate(), OverlayConfig { bootstrap: bootstrap.to_vec(), ..config() }).await
}

pub(crate) async fn start(identity: &Identity, config: OverlayConfig) -> Node {
    let Started { overlay, events, asks } = Overlay::start(identity, config).await.unwrap();
    Node { overlay, events, asks, passed: VecDeque::new() }
}

/// A node, and one that begins with its addresses; connected.
pub(crate) async fn pair() -> (Node, Node) {
    let mut first = node(&[]).await;
    let mut second = node(&first.addresses()).await;
    second.connected(first.id()).await;
    first.connected(second.id()).await;
    (first, second)
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Node {
    pub(crate) fn id(&self) -> PeerId {
        self.overlay.peer_id()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.overlay.listen_addresses()
    }

    /// Those of one transport, without `/p2p/ID`.
    pub(crate) fn bare(&self, transport: &str) -> Vec<String> {
        let bare = |address: String| address.split("/p2p/").next().unwrap().to_owned();
        self.addresses().into_iter().filter(|address| address.contains(transport)).map(bare).collect()
    }

    pub(crate) async fn event(&mut self) -> Event {
        if let Some(event) = self.passed.pop_front() {
            return event;
        }
        timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("the overlay runs")
    }

    /// The first event that fits. Others are kept for later.
    pub(crate) async fn find<T>(&mut self, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let known = self.passed.iter().enumerate().find_map(|(index, event)| Some((index, fits(event)?)));
        if let Some((index, found)) = known {
            self.passed.remove(index);
            return found;
        }
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("the event").expect("the overlay runs");
            match fits(&event) {
                Some(found) => return found,
                None => self.passed.push_back(event),
            }
        }
    }

    /// Waits for the connection, and says whether it is direct.
    pub(crate) async fn connected(&mut self, wanted: PeerId) -> bool {
        self.find(|event| match event {
            Event::Connected { peer, direct } if *peer == wanted => Some(*direct),
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnected(&mut self, wanted: PeerId) {
        self.find(|event| matches!(event, Event::Disconnected { peer } if *peer == wanted).then_some(())).await;
    }

    pub(crate) async fn message(&mut self) -> (PeerId, Bytes) {
        self.find(|event| match event {
            Event::Message { from, body } => Some((*from, body.clone())),
            _ => None,
        })
        .await
    }

    /// The next request of the membership.
    pub(crate) async fn ask(&mut self) -> Ask {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("a request").expect("the overlay runs");
            match event {
                Event::Request(ask) => return ask,
                other => self.passed.push_back(other),
            }
        }
    }

    /// The next link of somebody else.
    pub(crate) async fn link(&mut self) -> sinew_link::Link {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("a link").expect("the overlay runs");
            match event {
                Event::Link(link) => return link,
                other => self.passed.push_back(other),
            }
        }
    }
}

/// A whole frame.
pub(crate) fn frame(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    FrameHeader { kind: FrameKind::Control, len: body.len() }.encode(&mut bytes);
    bytes.extend_from_slice(body);
    bytes.freeze()
}

/// Sends a frame on one link and reads it from the other.
pub(crate) async fn carries(writer: &mut LinkWriter, reader: &mut LinkReader, body: &[u8]) {
    writer.send(&mut vec![frame(body)]).await.unwrap();
    assert_eq!(timeout(PATIENCE, reader.fill()).await.unwrap().unwrap(), Fill::Frames);
    assert_eq!(reader.next_frame().unwrap().unwrap().body, body);
}
