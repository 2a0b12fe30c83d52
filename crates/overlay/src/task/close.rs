//! The end.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use futures::StreamExt;
use libp2p::PeerId as Theirs;
use tokio::time::{self, timeout};

use super::Task;
use super::peer::Peer;
use crate::address;

/// How long waiting messages may still be written when the overlay shuts down.
const FLUSH: Duration = Duration::from_millis(500);

/// How long connections may take to close.
const CLOSE: Duration = Duration::from_secs(1);

impl Task {
    /// Closes everything, and returns when it is gone.
    pub(super) async fn end(mut self) {
        self.close().await;
        let sockets: Vec<SocketAddr> = self.swarm.listeners().filter_map(address::quic_socket).collect();
        drop(self);
        freed(&sockets).await;
    }

    /// Lets messages out that wait for connected peers, then closes everything.
    async fn close(&mut self) {
        let flushed = async {
            let mut look = time::interval(Duration::from_millis(5));
            while self.peers.values().any(|peer| peer.is_member() && !peer.lane.is_empty()) {
                tokio::select! {
                    event = self.swarm.select_next_some() => self.on_swarm(event),
                    Some(Ok(note)) = self.tasks.join_next() => self.on_note(note),
                    _ = look.tick() => {}
                }
            }
        };
        let _in_time = timeout(FLUSH, flushed).await;
        self.stop_lanes();
        let stopped = async {
            while !self.tasks.is_empty() && self.peers.values().any(Peer::is_writing) {
                tokio::select! {
                    event = self.swarm.select_next_some() => self.on_swarm(event),
                    Some(Ok(note)) = self.tasks.join_next() => self.on_note(note),
                }
            }
        };
        let _in_time = timeout(FLUSH, stopped).await;
        let connected: Vec<Theirs> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            let _was_connected = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                let _ends = self.swarm.select_next_some().await;
            }
        };
        let _in_time = timeout(CLOSE, closed).await;
        self.tasks.shutdown().await;
    }
}

/// Waits until the sockets of QUIC are closed. Their own task does it, when the last packets are out, and cannot be asked:
/// so it is tried whether the ports are free, for a second at most.
async fn freed(sockets: &[SocketAddr]) {
    let free = async {
        let mut look = time::interval(Duration::from_millis(10));
        while !sockets.iter().all(|socket| UdpSocket::bind(socket).is_ok()) {
            look.tick().await;
        }
    };
    let _in_time = timeout(CLOSE, free).await;
}
