use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sinew_link::Address;
use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, JoinSet};

/// Stands before a QUIC listener: a firewall that drops all datagrams until it is opened.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) address: Address,
    is_open: Arc<AtomicBool>,
    passing: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn start(real: &Address) -> Self {
        let Address::Quic { host, port } = real.clone() else { panic!("only QUIC is gated") };
        let real = format!("{host}:{port}").parse().expect("a socket address");
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
        let address = format!("quic://{}", outside.local_addr().expect("it is bound")).parse().expect("an address");
        let is_open = Arc::<AtomicBool>::default();
        let passing = tokio::spawn(pass(outside, real, Arc::clone(&is_open)));
        Self { address, is_open, passing }
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass(outside: Arc<UdpSocket>, real: SocketAddr, is_open: Arc<AtomicBool>) {
    let (mut clients, mut answers) = (HashMap::new(), JoinSet::new());
    let mut datagram = vec![0; 1 << 16];
    while let Ok((length, client)) = outside.recv_from(&mut datagram).await {
        if !is_open.load(Ordering::Relaxed) {
            continue;
        }
        if let Entry::Vacant(place) = clients.entry(client) {
            let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
            inside.connect(real).await.expect("an address of this host");
            place.insert(Arc::clone(&inside));
            answers.spawn(answer(Arc::clone(&outside), inside, client));
        }
        // What is lost is sent again.
        let _lost = clients[&client].send(&datagram[..length]).await;
    }
}

async fn answer(outside: Arc<UdpSocket>, inside: Arc<UdpSocket>, client: SocketAddr) {
    let mut datagram = vec![0; 1 << 16];
    loop {
        if let Ok(length) = inside.recv(&mut datagram).await {
            let _lost = outside.send_to(&datagram[..length], client).await;
        }
    }
}
