use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::quic;

/// How long the network may take to say that a port is closed, in round trips, and at least and at most.
const ANSWER: u32 = 10;
const MIN_ANSWER: Duration = Duration::from_millis(20);
const MAX_ANSWER: Duration = Duration::from_secs(1);

/// How often it is asked again; a datagram may be lost, and systems limit how often they answer.
const AGAIN: Duration = Duration::from_millis(250);

/// Finds out that the process at the other end of a QUIC link is dead, which the link itself learns from its silence
/// only: asks the port with a datagram that an endpoint throws away, and listens whether the network says that it is
/// closed.
///
/// Networks that translate addresses may say so of a port that is open. So it is asked first while the peer is known to
/// be alive ([`Probe::learn`]); if the port is closed even then, the network is not believed any more.
pub struct Probe {
    /// Where the peer is now: it may move to another network.
    remote: Box<dyn Fn() -> SocketAddr + Send + Sync>,
    state: Arc<State>,
    learning: Option<JoinHandle<()>>,
    asking: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The address of which the network does not say that the port is closed while it is open.
    trusted: OnceLock<SocketAddr>,
    closed: Notify,
}

impl Probe {
    pub(crate) fn new(remote: impl Fn() -> SocketAddr + Send + Sync + 'static) -> Self {
        Self { remote: Box::new(remote), state: Arc::default(), learning: None, asking: None }
    }

    /// The peer is known to be alive: learns by the time of some round trips
    /// whether the network is to be believed. Once is enough; further calls
    /// do nothing. Must be called in a tokio runtime.
    pub fn learn(&mut self, rtt: Duration) {
        if self.learning.is_some() {
            return;
        }
        let (remote, state) = ((self.remote)(), Arc::clone(&self.state));
        self.learning = Some(tokio::spawn(async move {
            let answer = rtt.saturating_mul(ANSWER).clamp(MIN_ANSWER, MAX_ANSWER);
            if tokio::time::timeout(answer, quic::unreachable(remote)).await.is_err() {
                let _only_this_task_sets_it = state.trusted.set(remote);
            }
        }));
    }

    /// The peer is silent: asks until the port is said to be closed, or [`Probe::heard`]. Does nothing while it is
    /// asking, and when the network is not believed. Must be called in a tokio runtime.
    pub fn ask(&mut self) {
        let remote = (self.remote)();
        if self.asking.is_some() || self.state.trusted.get() != Some(&remote) {
            return;
        }
        let state = Arc::clone(&self.state);
        self.asking = Some(tokio::spawn(async move {
            loop {
                let asked = tokio::time::timeout(AGAIN, quic::unreachable(remote)).await;
                if asked.is_ok_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                    break;
                }
                tokio::time::sleep(AGAIN / 4).await;
            }
            state.closed.notify_one();
        }));
    }

    /// The peer is there: asks no longer.
    pub fn heard(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }

    /// Waits until the port is said to be closed. Cancel safe. What was heard of the peer meanwhile counts more.
    pub async fn closed(&self) {
        self.state.closed.notified().await;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for task in [self.learning.take(), self.asking.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("remote", &(self.remote)()).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_port_that_closes_is_found_out() {
        let peer = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let address = peer.local_addr().expect("is bound");
        let mut probe = Probe::new(move || address);
        probe.ask();
        assert!(probe.asking.is_none(), "nothing is known of the network yet");
        probe.learn(Duration::from_secs(1));
        probe.learning.as_mut().expect("is learning").await.expect("no panic");
        probe.ask();
        // It is open: the question reaches it, and nobody says a word.
        peer.recv(&mut [0; 8]).await.expect("is asked");
        probe.heard();
        probe.ask();
        drop(peer);
        tokio::time::timeout(Duration::from_secs(20), probe.closed()).await.expect("the port is closed");
    }

    #[tokio::test]
    async fn a_network_that_says_so_of_the_living_is_not_believed() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let address = closed.local_addr().expect("is bound");
        drop(closed);
        let mut probe = Probe::new(move || address);
        probe.learn(Duration::from_secs(1));
        probe.learning.as_mut().expect("is learning").await.expect("no panic");
        probe.ask();
        assert!(probe.asking.is_none());
    }
}
