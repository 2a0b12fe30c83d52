//! The process that plays the peers: it does what it is told, line by line, and tells what happens to its links.

use std::net::SocketAddr;
use std::sync::Arc;

use sinew_link::Identity;
use sinew_membership::NodeInfo;
use sinew_overlay::{Overlay, OverlayConfig, Started};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;

use crate::courier;
use crate::crowd::{Order, Told};
use crate::fake::Fake;
use crate::support::Key;

/// Tells a process that it is to play, and for whom: `address realm peers`.
pub(crate) const ROLE: &str = "SINEW_TEST_CROWD";

/// What may wait to be told.
const TOLD: usize = 1 << 16;

pub(crate) struct Role {
    director: SocketAddr,
    realm: String,
    peers: usize,
}

impl Role {
    /// What this process was started for, if it was for that.
    pub(crate) fn of_this_process() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        let words: Vec<&str> = role.split(' ').collect();
        let [director, realm, peers] = words[..] else { panic!("{role}") };
        let director = director.parse().expect("an address");
        Some(Self { director, realm: realm.to_owned(), peers: peers.parse().expect("a number") })
    }

    /// Plays until the director hangs up.
    pub(crate) async fn play(self) {
        // Each peer has a socket of its own.
        rlimit::increase_nofile_limit(8_192).expect("the limit of open files can be raised");
        let (orders, director) = TcpStream::connect(self.director).await.expect("the director waits").into_split();
        let (told, telling) = mpsc::channel(TOLD);
        let (mut fakes, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..self.peers {
            let fake = Fake::new(number, told.clone());
            let listener = fake.listen().await;
            addresses.push(listener.address().to_string());
            tokio::spawn(Arc::clone(&fake).accept(listener));
            fakes.push(fake);
        }
        let overlay = start_courier(&self.realm, &fakes, addresses).await;
        told.try_send(Told::Ready(overlay.listen_addresses())).expect("has room");
        tokio::spawn(tell(telling, director));
        let mut orders = BufReader::new(orders).lines();
        while let Ok(Some(line)) = orders.next_line().await {
            obey(Order::parse(&line), &fakes, &self.realm);
        }
    }
}

async fn start_courier(realm: &str, fakes: &[Arc<Fake>], addresses: Vec<String>) -> Overlay {
    let identity = Identity::generate();
    let config = OverlayConfig {
        realm: realm.to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        ..OverlayConfig::default()
    };
    let Started { overlay, events, .. } = Overlay::start(&identity, config).await.expect("the overlay starts");
    let info = NodeInfo {
        peer: identity.peer_id(),
        epoch: 1,
        data: Vec::new(),
        mesh: overlay.listen_addresses(),
        region: String::new(),
        features: 0,
    };
    let known: Vec<(&Fake, String)> = fakes.iter().map(|fake| &**fake).zip(addresses).collect();
    let membership = courier::membership(realm, info, Key(identity), &known);
    tokio::spawn(courier::run(membership, overlay.clone(), events));
    overlay
}

fn obey(order: Order, fakes: &[Arc<Fake>], realm: &str) {
    match order {
        Order::Touch(numbers) => numbers.into_iter().for_each(|number| fakes[number].touch()),
        Order::Hold(numbers) => numbers.into_iter().for_each(|number| fakes[number].hold()),
        Order::Release(numbers) => numbers.into_iter().for_each(|number| fakes[number].release()),
        Order::Dial(numbers, address, node) => {
            for number in numbers {
                tokio::spawn(Arc::clone(&fakes[number]).dial(realm.to_owned(), address.clone(), node));
            }
        }
    }
}

async fn tell(mut told: mpsc::Receiver<Told>, mut director: OwnedWriteHalf) {
    let mut lines = Vec::new();
    while told.recv_many(&mut lines, TOLD).await > 0 {
        let text: String = lines.drain(..).map(|told| format!("{told}\n")).collect();
        if director.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
