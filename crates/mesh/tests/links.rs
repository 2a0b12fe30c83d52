//! How links between nodes come and go.

mod support;

use std::time::{Duration, Instant};

use sinew_link::pool::Closed;
use sinew_mesh::Path;
use sinew_wire::Policy;
use support::{Client, Gate, Node, PATIENCE, Seen, Setup, eventually, nodes, realm};

/// Publishes numbers, as runs of one, two or three messages.
async fn publish_numbers(publisher: &mut Client, topic: &str, count: u32) {
    let mut next = 0;
    while next < count {
        let run: Vec<String> = (next..(next + 1 + next % 3).min(count)).map(|n| n.to_string()).collect();
        next += run.len() as u32;
        publisher.publish(topic, &run.iter().map(String::as_str).collect::<Vec<_>>()).await;
        tokio::task::yield_now().await;
    }
}

/// Expects these numbers in their order, each once.
async fn expect_numbers(subscriber: &mut Client, number: u32, count: u32) {
    for expected in 0..count {
        match subscriber.next(number).await {
            Seen::Message { seq, payload, .. } => {
                assert_eq!((seq, payload), (u64::from(expected) + 1, expected.to_string()));
            }
            Seen::Control(control) => panic!("after {expected}: {control:?}"),
        }
    }
    assert!(subscriber.has_nothing(number), "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_repeated_or_reordered_when_links_are_cut() {
    const MESSAGES: u32 = 100_000;
    let [one, other] = nodes(|setup| {
        setup.schemes = &["tls"];
        setup.proxied = true;
        // A link is lost with each cut: don't wait for the next one as long as in the field.
        setup.mesh.pool.backoff_min = Duration::from_millis(5);
        setup.mesh.pool.backoff_max = Duration::from_millis(20);
    })
    .await;
    let (mut here, mut there) = (one.client(1), other.client(1));
    here.subscribe(1, "to.one", Policy::Block);
    there.subscribe(1, "to.other", Policy::Block);
    one.settled(1).await;
    other.settled(1).await;

    let (mut to_other, mut to_one) = (one.client(2), other.client(2));
    let traffic = async {
        tokio::join!(
            publish_numbers(&mut to_other, "to.other", MESSAGES),
            publish_numbers(&mut to_one, "to.one", MESSAGES),
            expect_numbers(&mut here, 1, MESSAGES),
            expect_numbers(&mut there, 1, MESSAGES),
        );
    };
    let cutting = async {
        let mut cuts = 0;
        loop {
            // At any place of a handshake or a frame.
            tokio::time::sleep(Duration::from_millis(7 + (cuts * 13) % 60)).await;
            one.proxies.iter().chain(&other.proxies).for_each(|proxy| proxy.cut());
            cuts += 1;
        }
    };
    tokio::select! {
        () = traffic => {}
        () = cutting => {}
    }
    let lost = one.mesh.pool().await.counters.closed(Closed::Lost);
    assert!(lost > 0, "links were cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_come_to_one_link() {
    for _ in 0..5 {
        let [one, other] = nodes(|_| {}).await;
        let (mut here, mut there) = (one.client(1), other.client(1));
        here.subscribe(1, "a", Policy::Block);
        there.subscribe(1, "a", Policy::Block);
        one.settled(1).await;
        other.settled(1).await;
        let (mut to_other, mut to_one) = (one.client(2), other.client(2));
        tokio::join!(to_other.publish("a", &["from one"]), to_one.publish("a", &["from the other"]));
        let mut got = [Vec::new(), Vec::new()];
        for (client, got) in [&mut here, &mut there].into_iter().zip(&mut got) {
            got.push(client.payload(1).await);
            got.push(client.payload(1).await);
            got.sort();
        }
        assert_eq!(got[0], ["from one", "from the other"]);
        assert_eq!(got[0], got[1]);

        // One link, and both mean the same.
        eventually("there is one link", || agree(&one, &other)).await;
        let pools = [one.mesh.pool().await, other.mesh.pool().await];
        assert_eq!(pools.map(|pool| pool.links), [1, 1]);
        let failed = pools.map(|pool| (pool.counters.failed, pool.counters.closed(Closed::Lost)));
        assert_eq!(failed, [(0, 0), (0, 0)], "who yields has not failed");
    }
}

fn agree(one: &Node, other: &Node) -> bool {
    let link = |from: &Node, to: &Node| from.sees(to).and_then(|peer| peer.link);
    match (link(one, other), link(other, one)) {
        (Some(here), Some(there)) => here.dialled != there.dialled,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_link_is_reaped_and_dialled_again_when_it_is_needed() {
    let [one, other] = nodes(|setup| {
        setup.mesh.pool.idle = Duration::from_millis(200);
        setup.mesh.pool.sweep = Duration::from_millis(50);
    })
    .await;
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    other.settled(1).await;
    let mut publisher = one.client(1);
    for round in 0..3 {
        publisher.publish("a", &[&round.to_string()]).await;
        assert_eq!(subscriber.payload(1).await, round.to_string());
        let gone = || [(&one, &other), (&other, &one)].iter().all(|(a, b)| a.sees(b).is_some_and(|p| p.link.is_none()));
        eventually("the idle link is closed", gone).await;
    }
    let counters = one.mesh.pool().await.counters;
    assert_eq!(counters.opened, 3);
    assert_eq!(counters.closed(Closed::Idle) + counters.closed(Closed::Peer), 3, "{counters:?}");
    assert_eq!(one.metrics.pool_opened.get(), 3);
    assert_eq!(one.metrics.pool_links.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_keeps_its_bound_and_serves_everybody_in_turn() {
    const OTHERS: usize = 6;
    let realm = realm();
    let hub = Setup::new(&realm).with(|setup| setup.mesh.pool.max = 3).start().await;
    let mut others = Vec::new();
    for n in 0..OTHERS {
        let node = Setup::new(&realm).knows(&[&hub]).start().await;
        let mut client = node.client(1);
        client.subscribe(1, &format!("to.{n}"), Policy::Block);
        others.push((node, client));
    }
    hub.meets(OTHERS).await;
    for (node, _) in &others {
        node.meets(OTHERS).await;
        node.settled(OTHERS as u32).await;
    }
    let mut publisher = hub.client(1);
    for round in 0..3 {
        for (n, (_, client)) in others.iter_mut().enumerate() {
            let payload = format!("{round}.{n}");
            publisher.publish(&format!("to.{n}"), &[&payload]).await;
            assert_eq!(client.payload(1).await, payload);
            assert!(hub.mesh.pool().await.links <= 3);
        }
    }
    let counters = hub.mesh.pool().await.counters;
    assert!(counters.closed(Closed::Evicted) > 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_carries_nothing_any_more_is_noticed_and_replaced() {
    let [one, other] = nodes(|setup| {
        setup.schemes = &["tls", "tls"];
        setup.proxied = true;
        setup.mesh.ping_after = Duration::from_millis(200);
        setup.mesh.dead_after = Duration::from_millis(500);
        setup.mesh.stagger = Duration::from_millis(50);
        setup.mesh.pool.backoff_min = Duration::from_millis(10);
    })
    .await;
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    other.settled(1).await;
    let mut publisher = one.client(1);
    publisher.publish("a", &["before"]).await;
    assert_eq!(subscriber.payload(1).await, "before");

    // The path dies without a word; the node has another address.
    other.proxies[0].mute();
    let started = Instant::now();
    publisher.publish("a", &["after"]).await;
    assert_eq!(subscriber.payload(1).await, "after");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(one.mesh.pool().await.counters.closed(Closed::Lost), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_way_to_its_listeners_the_overlay_carries_the_frames() {
    const MESSAGES: u32 = 5_000;
    let [one, other] = nodes(|setup| setup.schemes = &[]).await;
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    other.settled(1).await;
    let mut publisher = one.client(1);
    tokio::join!(publish_numbers(&mut publisher, "a", MESSAGES), expect_numbers(&mut subscriber, 1, MESSAGES));
    let link = one.sees(&other).and_then(|peer| peer.link).expect("it is in use");
    assert_eq!(link.path, Path::Overlay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_relay_is_reached_through_it() {
    let realm = realm();
    let relay = Setup::new(&realm).with(|setup| setup.overlay.relay_server = true).start().await;
    // Neither listens on anything that the other could dial.
    let hidden = |setup: &mut Setup| {
        setup.schemes = &[];
        setup.overlay.listen =
            relay.overlay.listen_addresses().iter().map(|address| format!("{address}/p2p-circuit")).collect();
    };
    let one = Setup::new(&realm).knows(&[&relay]).with(hidden).start().await;
    let other = Setup::new(&realm).knows(&[&relay]).with(hidden).start().await;
    for node in [&relay, &one, &other] {
        node.meets(2).await;
    }
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    other.settled(2).await;
    let mut publisher = one.client(1);
    tokio::join!(publish_numbers(&mut publisher, "a", 500), expect_numbers(&mut subscriber, 1, 500));
    let link = one.sees(&other).and_then(|peer| peer.link).expect("it is in use");
    assert_eq!(link.path, Path::Relayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_better_path_takes_the_place_of_the_overlay_without_a_gap() {
    let [one, other] = nodes(|setup| {
        setup.schemes = &["tls"];
        setup.proxied = true;
        setup.mesh.direct_first = Duration::from_millis(50);
        setup.mesh.upgrade_interval = Duration::from_millis(100);
    })
    .await;
    // At first only the overlay works.
    one.proxies[0].mute();
    other.proxies[0].mute();
    let open = || {
        one.proxies[0].open();
        other.proxies[0].open();
    };
    changes_path(&one, &other, [Path::Overlay, Path::Tls], open).await;
}

/// Where datagrams do not pass, or just the first ones got lost, links are made over TLS. They are not to stay there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_takes_the_place_of_tls_without_a_gap_once_datagrams_pass() {
    let [one, other] = nodes(|setup| {
        setup.gated = true;
        setup.mesh.stagger = Duration::from_millis(50);
        setup.mesh.upgrade_interval = Duration::from_millis(100);
    })
    .await;
    let open = || one.gates.iter().chain(&other.gates).for_each(Gate::open);
    changes_path(&one, &other, [Path::Tls, Path::Quic], open).await;
    let taken = other.sees(&one).expect("it is up").received_messages;
    assert_eq!(taken, u64::from(MESSAGES), "each was counted once, over both links");
}

/// Messages while a link goes over to a better path.
const MESSAGES: u32 = 3_000;

/// Messages from one to the other begin on the first path; then the better one is opened, and is taken while they go on.
/// None is lost, repeated or overtaken.
async fn changes_path(one: &Node, other: &Node, [at_first, better]: [Path; 2], open: impl FnOnce()) {
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    other.settled(1).await;
    let mut publisher = one.client(1);
    let path = || one.sees(other).and_then(|peer| peer.link).map(|link| link.path);
    let publishing = async {
        let mut open = Some(open);
        for n in 0..MESSAGES {
            publisher.publish("a", &[&n.to_string()]).await;
            if n == MESSAGES / 3 {
                eventually("the first path carries it", || path() == Some(at_first)).await;
                open.take().expect("it is opened once")();
            }
            if n == MESSAGES * 2 / 3 {
                eventually("the better path is found", || path() == Some(better)).await;
            }
            if n % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::join!(publishing, expect_numbers(&mut subscriber, 1, MESSAGES));
    assert_eq!(one.mesh.pool().await.counters.closed(Closed::Lost), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_reached_costs_few_dials() {
    let [one, other] = nodes(|setup| {
        setup.schemes = &["tls"];
        setup.proxied = true;
        setup.mesh.pool.backoff_min = Duration::from_millis(100);
    })
    .await;
    let mut subscriber = other.client(1);
    subscriber.subscribe(1, "a", Policy::DropOldest);
    other.settled(1).await;
    let mut publisher = one.client(1);
    // Every link is cut as soon as it is there.
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        publisher.publish("a", &["x"]).await;
        one.proxies.iter().chain(&other.proxies).for_each(|proxy| proxy.cut());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dials = other.proxies[0].accepted();
    assert!(dials <= 12, "{dials} dials in 1.5 s, with pauses from 50 ms on that double");
    tokio::time::timeout(PATIENCE, subscriber.payload(1)).await.expect("it goes on when the cuts end");
}
