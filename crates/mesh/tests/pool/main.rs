//! The pool among more peers than it may have links with.
//!
//! The peers are played by a process of their own: each has its identity, its signed record, its listener and a real QUIC
//! link, and no node behind it. So what is measured here is the node's side of a link alone.

mod courier;
mod crowd;
mod fake;
mod player;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crowd::{Crowd, Order, Why};
use fake::{ROW, TOUCHED};
use player::Role;
use sinew_link::pool::Closed;
use sinew_mesh::Mesh;
use sinew_wire::Policy;
use support::{Client, Node, PATIENCE, Setup, eventually, realm};
use tokio::task::JoinHandle;

const PEERS: usize = 1_200;
const LINKS: usize = 1_000;

/// Links whose last traffic was at the same time.
const GENERATIONS: usize = 10;

/// Peers that take a message and don't confirm it.
const BUSY: usize = 10;

#[test]
fn many_peers_share_the_links_there_may_be() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match Role::of_this_process() {
        Some(role) => runtime.block_on(role.play()),
        None => runtime.block_on(async {
            let realm = realm();
            let mut crowd = Crowd::start("many_peers_share_the_links_there_may_be", &realm, PEERS).await;
            the_least_recently_used_make_room(&mut crowd, &realm).await;
            idle_links_are_closed(&mut crowd, &realm).await;
        }),
    }
}

/// A node that knows all of them.
async fn start(crowd: &Crowd, realm: &str, change: impl FnOnce(&mut Setup)) -> Node {
    let setup = Setup::new(realm).with(|setup| {
        setup.mesh.membership = courier::unprobed(realm);
        setup.overlay.bootstrap = crowd.courier();
        setup.schemes = &["quic"];
        setup.mesh.pool.max = LINKS;
        // What is tested is who holds a link, not how soon a slow machine has done a hundred handshakes.
        setup.link.handshake_timeout = PATIENCE;
        setup.mesh.handshake_timeout = PATIENCE;
        setup.mesh.dial_timeout = PATIENCE;
    });
    let node = setup.with(change).start().await;
    // And the one that knows them all.
    node.meets(PEERS + 1).await;
    node
}

async fn the_least_recently_used_make_room(crowd: &mut Crowd, realm: &str) {
    let node = start(crowd, realm, |_| {}).await;
    let bound = Bound::watch(&node.mesh);
    let mut client = node.client(1);
    client.subscribe(1, TOUCHED, Policy::Block);

    for (made, per_link) in fill(crowd, &node, &mut client).await {
        println!("an idle link that was {made} takes {per_link} bytes of the node's memory");
        assert!(per_link <= MOST_PER_LINK, "{per_link} bytes for an idle link that was {made}");
    }

    let generations = generations();
    let busy: Vec<usize> = generations[0][..BUSY].to_vec();
    make_busy(crowd, &mut client, &busy).await;
    touch(crowd, &mut client, &generations).await;

    // One half of the newcomers is dialled, because there is something for them; the other half dials.
    let (dialled, dialling): (Vec<usize>, Vec<usize>) = (LINKS..PEERS).partition(|number| *number < LINKS + ROW);
    client.publish(&format!("row.{}", LINKS / ROW), &["x"]).await;
    crowd.order(&Order::Dial(dialling.clone(), node.listening[0].clone(), node.peer())).await;
    crowd.all("those who are dialled get their message", &dialled, |peer| peer.got == 1).await;
    crowd.all("those who dial get their link", &dialling, |peer| peer.open).await;
    let evicted = || crowd.sum(|peer| peer.closed.len());
    eventually("as many have made room", || evicted() == PEERS - LINKS).await;

    check_evicted(crowd, &generations, &busy);
    crowd.all("no link with something in flight is closed", &busy, |peer| peer.open).await;
    check_counted(crowd, &node).await;

    crowd.order(&Order::Release(busy)).await;
    eventually("all is confirmed", || node.mesh.peers().iter().all(|peer| peer.in_flight == 0)).await;
    // Who has made room gets a link again when there is something for it.
    let evicted = generations[0][BUSY];
    client.publish(&format!("to.{evicted}"), &["again"]).await;
    crowd.all("a message after the eviction", &[evicted], |peer| peer.open && peer.got == 1).await;
    assert_eq!(bound.most().await, LINKS, "the links there may be were all in use");
    let (_, most_open) = crowd.links();
    println!("the peers saw at most {most_open} links at once, with those that were just saying goodbye");
    node.leave().await;
    eventually("every link is gone", || crowd.links().0 == 0).await;
}

/// More than an idle link may take of a node's memory, in bytes: the aim of 50 KiB, and what the allocator may keep for itself.
const MOST_PER_LINK: usize = 64 << 10;

/// Makes all the links there may be, and says what an idle one takes: the peers dial for the first half, the node for the
/// second one, because it has something for them. Of each half, links after the first row count, so that what is there once
/// does not.
async fn fill(crowd: &mut Crowd, node: &Node, client: &mut Client) -> [(&'static str, usize); 2] {
    const ROWS: usize = LINKS / ROW;
    let mut measured = [0; ROWS];
    for (row, measured) in measured.iter_mut().enumerate() {
        let numbers: Vec<usize> = (row * ROW..(row + 1) * ROW).collect();
        if row < ROWS / 2 {
            crowd.order(&Order::Dial(numbers.clone(), node.listening[0].clone(), node.peer())).await;
        } else {
            client.publish(&format!("row.{row}"), &["x"]).await;
        }
        crowd.all("a link for each of the row", &numbers, |peer| peer.open).await;
        // The first sign of life is asked for after a while.
        let answered = || node.mesh.peers().iter().filter(|peer| peer.link.is_some() && peer.rtt.is_some()).count();
        eventually("all links are quiet", || answered() == (row + 1) * ROW).await;
        *measured = resident();
    }
    assert_eq!(node.mesh.pool().await.links, LINKS);
    let per_link = |from: usize, to: usize| measured[to].saturating_sub(measured[from]) / ((to - from) * ROW);
    [("accepted", per_link(0, ROWS / 2 - 1)), ("dialled", per_link(ROWS / 2, ROWS - 1))]
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<usize> = row.and_then(|row| row.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0) << 10
}

/// The linked peers in another order than they were linked, from the one that shall be the oldest on.
fn generations() -> Vec<Vec<usize>> {
    let of = |generation: usize| (0..LINKS).filter(move |number| number % GENERATIONS == generation * 7 % GENERATIONS);
    (0..GENERATIONS).map(|generation| of(generation).collect()).collect()
}

/// Something is on its way to these from here on, and has been for longer than anything else.
async fn make_busy(crowd: &mut Crowd, client: &mut Client, busy: &[usize]) {
    crowd.order(&Order::Hold(busy.to_vec())).await;
    crowd.all("they confirm nothing", busy, |peer| peer.holds).await;
    for number in busy {
        client.publish(&format!("to.{number}"), &["held"]).await;
    }
    crowd.all("they have it", busy, |peer| peer.got == 1).await;
    // The link has taken note of the traffic when it next asks for a sign of life.
    let pinged: Vec<usize> = busy.iter().map(|number| crowd.peer(*number).pinged).collect();
    for (number, before) in busy.iter().zip(pinged) {
        crowd.all("a silent peer is asked", &[*number], |peer| peer.pinged > before).await;
    }
}

/// Traffic from one generation after the other, except from those that are busy.
async fn touch(crowd: &mut Crowd, client: &mut Client, generations: &[Vec<usize>]) {
    for (age, generation) in generations.iter().enumerate() {
        let numbers = if age == 0 { &generation[BUSY..] } else { &generation[..] };
        crowd.order(&Order::Touch(numbers.to_vec())).await;
        let mut heard = BTreeSet::new();
        for _ in numbers {
            heard.insert(client.payload(1).await.parse::<usize>().expect("a number"));
        }
        assert!(heard.iter().eq(numbers), "each is heard once");
        // The time of the last traffic is kept in milliseconds.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Those that were used least recently had to go, and nobody else.
fn check_evicted(crowd: &Crowd, generations: &[Vec<usize>], busy: &[usize]) {
    for number in 0..PEERS {
        assert!(crowd.peer(number).closed.iter().all(|(why, _)| *why == Why::Evicted), "{number}");
    }
    let mut left = PEERS - LINKS;
    for generation in generations {
        let idle = generation.iter().filter(|number| !busy.contains(number));
        let gone = idle.clone().filter(|number| !crowd.peer(**number).open).count();
        assert_eq!(gone, left.min(idle.count()), "an older link is left, or a younger one has gone");
        left -= gone;
    }
    assert_eq!(left, 0);
}

/// What the node counts is what the peers saw.
async fn check_counted(crowd: &Crowd, node: &Node) {
    let pool = node.mesh.pool().await;
    assert_eq!((pool.links, pool.dialling, pool.max), (LINKS, 0, LINKS));
    assert_eq!(pool.links, crowd.links().0);
    assert_eq!(pool.links, node.mesh.peers().iter().filter(|peer| peer.link.is_some()).count());
    let opened = crowd.sum(|peer| peer.opened) as u64;
    assert_eq!((pool.counters.opened, pool.counters.failed, pool.counters.full), (opened, 0, 0));
    for reason in Closed::ALL {
        let count = if reason == Closed::Evicted { (PEERS - LINKS) as u64 } else { 0 };
        assert_eq!(pool.counters.closed(reason), count, "{reason}");
        assert_eq!(node.metrics.pool_closed(reason.as_str()).get(), count, "{reason}");
    }
    let metrics = &node.metrics;
    assert_eq!((metrics.pool_links.get(), metrics.pool_opened.get()), (LINKS as i64, opened));
    assert_eq!(metrics.pool_dials_failed.get(), 0);
}

/// Looks again and again whether there are more links than there may be.
struct Bound {
    most: Arc<AtomicUsize>,
    looking: JoinHandle<()>,
}

impl Bound {
    fn watch(mesh: &Mesh) -> Self {
        let (mesh, most) = (mesh.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let looking = tokio::spawn(async move {
            loop {
                let pool = mesh.pool().await;
                assert!(pool.links + pool.dialling <= LINKS, "{pool:?}");
                seen.fetch_max(pool.links, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        });
        Self { most, looking }
    }

    /// The most links there were, if there were never too many.
    async fn most(self) -> usize {
        self.looking.abort();
        let ended = self.looking.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "there were too many");
        self.most.load(Ordering::Relaxed)
    }
}

async fn idle_links_are_closed(crowd: &mut Crowd, realm: &str) {
    const IDLE: Duration = Duration::from_millis(1_500);
    const ROWS: usize = 2;
    let node = start(crowd, realm, |setup| {
        setup.mesh.pool.idle = IDLE;
        setup.mesh.pool.sweep = Duration::from_millis(250);
    })
    .await;
    let before: Vec<usize> = (0..PEERS).map(|number| crowd.peer(number).closed.len()).collect();
    let (busy, mut client) = (vec![7], node.client(1));
    crowd.order(&Order::Hold(busy.clone())).await;
    crowd.all("it confirms nothing", &busy, |peer| peer.holds).await;
    let published = Instant::now();
    for row in 0..ROWS {
        client.publish(&format!("row.{row}"), &["x"]).await;
    }
    let idle: Vec<usize> = (0..ROWS * ROW).filter(|number| !busy.contains(number)).collect();
    for number in &idle {
        crowd.all("an idle link is closed", &[*number], |peer| peer.closed.len() > before[*number]).await;
        let (why, at) = crowd.peer(*number).closed.last().copied().expect("it was closed");
        assert_eq!(why, Why::Idle);
        // Its last message was sent after that.
        assert!(at - published >= IDLE, "{number} was closed {:?} after the message was published", at - published);
    }
    crowd.all("a busy link is left", &busy, |peer| peer.open).await;
    crowd.order(&Order::Release(busy.clone())).await;
    crowd.all("and is closed when it is idle", &busy, |peer| !peer.open).await;
    eventually("none is left", || node.metrics.pool_links.get() == 0).await;
    let counters = node.mesh.pool().await.counters;
    assert_eq!((counters.opened, counters.closed(Closed::Idle)), ((ROWS * ROW) as u64, (ROWS * ROW) as u64));
    assert_eq!(node.metrics.pool_closed(Closed::Idle.as_str()).get(), (ROWS * ROW) as u64);
    node.leave().await;
}
