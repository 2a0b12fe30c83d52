//! The peers, from the side of the test: another process, so that what the node's side of a link takes can be measured.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sinew_link::Address;
use sinew_wire::PeerId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::player::ROLE;
use crate::support::eventually;

/// What the peers are told to do, by their numbers.
#[derive(Debug)]
pub(crate) enum Order {
    /// Publish a message each.
    Touch(Vec<usize>),
    /// Don't confirm any more what you take.
    Hold(Vec<usize>),
    /// Confirm it again.
    Release(Vec<usize>),
    /// Dial this node.
    Dial(Vec<usize>, Address, PeerId),
}

/// What they tell.
#[derive(Debug)]
pub(crate) enum Told {
    /// Who knows them all can be reached there.
    Ready(Vec<String>),
    /// A link is up.
    Opened(usize),
    /// From here on it confirms nothing.
    Holds(usize),
    /// A message came.
    Got(usize),
    /// It was asked for a sign of life.
    Pinged(usize),
    /// The link has ended.
    Closed(usize, Why),
}

/// What the node said when it closed a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Evicted,
    Idle,
    Other,
}

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) open: bool,
    /// It was told to hold, and does so. Stays so.
    pub(crate) holds: bool,
    pub(crate) opened: usize,
    pub(crate) got: usize,
    pub(crate) pinged: usize,
    pub(crate) closed: Vec<(Why, Instant)>,
}

#[derive(Debug, Default)]
struct Seen {
    ready: Option<Vec<String>>,
    peers: Vec<Peer>,
    most_open: usize,
    open: usize,
}

pub(crate) struct Crowd {
    process: Child,
    seen: Arc<Mutex<Seen>>,
    orders: OwnedWriteHalf,
}

impl Crowd {
    /// Starts the process with so many peers. `test` is the test that plays them when it is told so.
    pub(crate) async fn start(test: &str, realm: &str, peers: usize) -> Self {
        let director = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = director.local_addr().expect("it is bound");
        let process = Command::new(std::env::current_exe().expect("this test"))
            .args([test, "--exact", "--nocapture"])
            .env(ROLE, format!("{address} {realm} {peers}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started again");
        let (stream, _) = director.accept().await.expect("it comes");
        let (told, orders) = stream.into_split();
        let seen = Arc::new(Mutex::new(Seen { peers: vec![Peer::default(); peers], ..Seen::default() }));
        tokio::spawn(listen(told, Arc::clone(&seen)));
        let crowd = Self { process, seen, orders };
        eventually("the peers are there", || crowd.seen.lock().ready.is_some()).await;
        crowd
    }

    /// Where the one is that knows them all.
    pub(crate) fn courier(&self) -> Vec<String> {
        self.seen.lock().ready.clone().expect("it was waited for")
    }

    pub(crate) async fn order(&mut self, order: &Order) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("it is there");
    }

    pub(crate) fn peer(&self, number: usize) -> Peer {
        self.seen.lock().peers[number].clone()
    }

    /// Waits until this is so of all of these.
    pub(crate) async fn all(&self, what: &str, numbers: &[usize], is_so: impl Fn(&Peer) -> bool) {
        eventually(what, || {
            let seen = self.seen.lock();
            numbers.iter().all(|number| is_so(&seen.peers[*number]))
        })
        .await;
    }

    /// Links there are, and the most there ever were, as the peers see it.
    pub(crate) fn links(&self) -> (usize, usize) {
        let seen = self.seen.lock();
        (seen.open, seen.most_open)
    }

    /// What all of them saw, together.
    pub(crate) fn sum(&self, count: impl Fn(&Peer) -> usize) -> usize {
        self.seen.lock().peers.iter().map(count).sum()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _waited = self.process.wait();
    }
}

async fn listen(told: OwnedReadHalf, seen: Arc<Mutex<Seen>>) {
    let mut lines = BufReader::new(told).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        seen.lock().take(Told::parse(&line));
    }
}

impl Seen {
    fn take(&mut self, told: Told) {
        match told {
            Told::Ready(courier) => self.ready = Some(courier),
            Told::Opened(number) => {
                let peer = &mut self.peers[number];
                assert!(!peer.open, "a second link with {number}");
                (peer.open, peer.opened) = (true, peer.opened + 1);
                self.open += 1;
                self.most_open = self.most_open.max(self.open);
            }
            Told::Holds(number) => self.peers[number].holds = true,
            Told::Got(number) => self.peers[number].got += 1,
            Told::Pinged(number) => self.peers[number].pinged += 1,
            Told::Closed(number, why) => {
                let peer = &mut self.peers[number];
                peer.open = false;
                peer.closed.push((why, Instant::now()));
                self.open -= 1;
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Touch(numbers) => write!(f, "touch {}", list(numbers)),
            Self::Hold(numbers) => write!(f, "hold {}", list(numbers)),
            Self::Release(numbers) => write!(f, "release {}", list(numbers)),
            Self::Dial(numbers, address, node) => write!(f, "dial {} {address} {node}", list(numbers)),
        }
    }
}

impl Order {
    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let list = |text: &str| text.split(',').map(|number| number.parse().expect("a number")).collect();
        match words[..] {
            ["touch", numbers] => Self::Touch(list(numbers)),
            ["hold", numbers] => Self::Hold(list(numbers)),
            ["release", numbers] => Self::Release(list(numbers)),
            ["dial", numbers, address, node] => {
                Self::Dial(list(numbers), address.parse().expect("an address"), node.parse().expect("a peer"))
            }
            _ => panic!("{line}"),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(courier) => write!(f, "ready {}", courier.join(" ")),
            Self::Opened(number) => write!(f, "opened {number}"),
            Self::Holds(number) => write!(f, "holds {number}"),
            Self::Got(number) => write!(f, "got {number}"),
            Self::Pinged(number) => write!(f, "pinged {number}"),
            Self::Closed(number, why) => write!(f, "closed {number} {why:?}"),
        }
    }
}

impl Told {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse().expect("a number");
        match words[..] {
            ["ready", ..] => Self::Ready(words[1..].iter().map(|address| (*address).to_owned()).collect()),
            ["opened", peer] => Self::Opened(number(peer)),
            ["holds", peer] => Self::Holds(number(peer)),
            ["got", peer] => Self::Got(number(peer)),
            ["pinged", peer] => Self::Pinged(number(peer)),
            ["closed", peer, why] => {
                let why = match why {
                    "Evicted" => Why::Evicted,
                    "Idle" => Why::Idle,
                    _ => Why::Other,
                };
                Self::Closed(number(peer), why)
            }
            _ => panic!("{line}"),
        }
    }
}
