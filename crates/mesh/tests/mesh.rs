//! Nodes that find each other, tell what is subscribed where, and forward in one hop.

mod support;

use std::time::Duration;

use sinew_mesh::Path;
use sinew_wire::Policy;
use support::{PATIENCE, Seen, Setup, eventually, nodes, realm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_the_subscriber_on_another_node_and_no_node_without_one() {
    let [publishing, listening, idle] = nodes(|_| {}).await;
    let mut subscriber = listening.client(1);
    subscriber.subscribe(1, "greetings.*", Policy::DropOldest);
    listening.settled(2).await;

    // No sleep: whoever is settled is known to all.
    let mut publisher = publishing.client(1);
    publisher.publish("greetings.world", &["hello", "again"]).await;
    let Seen::Message { topic, publisher: from, seq, payload, .. } = subscriber.next(1).await else { panic!() };
    assert_eq!((topic.as_str(), seq, payload.as_str()), ("greetings.world", 1, "hello"));
    assert_eq!(from, publishing.peer(), "its publisher, not the node that forwarded it");
    assert_eq!(subscriber.payload(1).await, "again");

    let peer = publishing.sees(&listening).expect("it is up");
    assert_eq!((peer.interest, peer.dropped, peer.info.region.as_str()), (1, 0, "test"));
    assert_eq!((peer.sent_messages, peer.received_messages), (2, 0));
    assert!(peer.sent_bytes > "helloagain".len() as u64, "the link carried them: {}", peer.sent_bytes);
    assert_eq!(peer.link.expect("it was needed").path, Path::Quic, "the first of its addresses");
    let peer = publishing.sees(&idle).expect("it is up");
    assert_eq!((peer.sent_messages, peer.sent_bytes, peer.link), (0, 0, None), "nobody there listens");
    // What one has sent and what the other has taken are the same, message for message and byte for byte, whatever the
    // two links' ends still say to each other meanwhile.
    let is_same = || {
        let (sent, taken) = (publishing.sees(&listening), listening.sees(&publishing));
        let (sent, taken) = (sent.expect("it is up"), taken.expect("it is up"));
        (taken.received_messages, taken.sent_messages) == (2, 0) && sent.sent_bytes == taken.received_bytes
    };
    eventually("both count the same", is_same).await;
    let same = || publishing.metrics.peer_bytes_out.get() == listening.metrics.peer_bytes_in.get();
    eventually("and so do the metrics", same).await;
    assert!(publishing.metrics.peer_bytes_out.get() >= publishing.sees(&listening).expect("it is up").sent_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interest_comes_and_goes_with_the_subscriptions() {
    let [here, there] = nodes(|_| {}).await;
    let mut subscriber = there.client(1);
    for (number, pattern) in [(1, "a"), (2, "a"), (3, "b.>")] {
        subscriber.subscribe(number, pattern, Policy::DropOldest);
    }
    here.hears_of(&there, 2).await;
    subscriber.unsubscribe(1);
    subscriber.unsubscribe(3);
    here.hears_of(&there, 1).await;
    subscriber.unsubscribe(2);
    here.hears_of(&there, 0).await;
    there.settled(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_publish_counts_the_subscribers_of_all_nodes() {
    let [here, there, elsewhere] = nodes(|_| {}).await;
    let (mut near, mut far, mut farther) = (here.client(1), there.client(1), elsewhere.client(1));
    near.subscribe(1, "a", Policy::Block);
    far.subscribe(1, "a", Policy::Block);
    far.subscribe(2, "*", Policy::Block);
    farther.subscribe(1, ">", Policy::Block);
    for node in [&here, &there, &elsewhere] {
        node.settled(2).await;
    }
    let mut publisher = here.client(2);
    let reading = async {
        assert_eq!(near.payload(1).await, "x");
        assert_eq!(far.payload(1).await, "x");
        assert_eq!(far.payload(2).await, "x");
        assert_eq!(farther.payload(1).await, "x");
    };
    let (result, ()) = tokio::join!(publisher.confirmed("a", &["x"]), reading);
    assert_eq!((result.matched, result.delivered, result.dropped), (4, 4, 0), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_group_of_the_realm_takes_each_message_once() {
    let [here, there, elsewhere] = nodes(|_| {}).await;
    let (mut one, mut other) = (there.client(1), elsewhere.client(1));
    for client in [&mut one, &mut other] {
        client.subscribe_with(1, "jobs", |spec| spec.group = Some("workers".into()));
    }
    there.settled(2).await;
    elsewhere.settled(2).await;
    let mut publisher = here.client(2);
    for job in 0..100 {
        publisher.publish("jobs", &[&job.to_string()]).await;
    }
    let mut jobs = Vec::new();
    while jobs.len() < 100 {
        tokio::select! {
            job = one.payload(1) => jobs.push(job),
            job = other.payload(1) => jobs.push(job),
        }
    }
    jobs.sort_by_key(|job| job.parse::<u32>().expect("a number"));
    assert_eq!(jobs, (0..100).map(|job| job.to_string()).collect::<Vec<_>>());
    assert!(one.has_nothing(1) && other.has_nothing(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_gone_at_once() {
    let [staying, leaving] = nodes(|setup| {
        // Long enough that only a goodbye can be that fast.
        setup.mesh.membership.suspicion = Duration::from_secs(60);
    })
    .await;
    leaving.client(1).subscribe(1, "a", Policy::DropOldest);
    staying.hears_of(&leaving, 1).await;
    leaving.leave().await;
    tokio::time::timeout(Duration::from_secs(2), staying.meets(0)).await.expect("it said goodbye");
    assert!(staying.mesh.peers().is_empty() && staying.mesh.lost_peers().is_empty());
    staying.settled(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_goes_out_before_a_node_leaves() {
    let [leaving, staying] = nodes(|_| {}).await;
    let mut subscriber = staying.client(1);
    subscriber.subscribe(1, "a", Policy::Block);
    staying.settled(1).await;
    let mut publisher = leaving.client(1);
    let payloads: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    publisher.publish("a", &payloads).await;
    let reading = async {
        for payload in &payloads {
            assert_eq!(subscriber.payload(1).await, *payload);
        }
    };
    tokio::join!(leaving.leave(), reading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interest_of_a_crashed_node_is_gone_in_time_and_comes_back_with_it() {
    let realm = realm();
    let first = Setup::new(&realm).start().await;
    let setup = Setup::new(&realm).knows(&[&first]);
    let identity = setup.identity.clone();
    // In a runtime of its own, which ends as a process does: nothing of it says a word.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let second = runtime.spawn(setup.start()).await.expect("it starts");
    let peer = second.peer();
    let mut subscriber = second.client(1);
    subscriber.subscribe(1, "a", Policy::DropOldest);
    first.hears_of(&second, 1).await;
    let mut publisher = first.client(1);
    publisher.publish("a", &["x"]).await;
    assert_eq!(subscriber.payload(1).await, "x");

    assert!(first.sees(&second).is_some_and(|peer| !peer.suspect) && first.mesh.lost_peers().is_empty());
    runtime.shutdown_background();
    eventually("it does not answer", || first.sees(&second).is_some_and(|peer| peer.suspect)).await;
    let gone = tokio::time::timeout(Duration::from_secs(10), first.meets(0)).await;
    gone.expect("its interest is gone in time");
    let lost = || first.mesh.lost_peers().iter().map(|lost| lost.info.peer).collect::<Vec<_>>();
    eventually("it is shown as lost", || lost() == [peer]).await;
    drop((second, subscriber));
    let result = publisher.confirmed("a", &["nobody is there"]).await;
    assert_eq!((result.matched, result.delivered), (0, 0));

    let again = Setup::new(&realm).knows(&[&first]).with(|setup| setup.identity = identity).start().await;
    assert_eq!(again.peer(), peer);
    let mut subscriber = again.client(1);
    subscriber.subscribe(1, "a", Policy::DropOldest);
    again.meets(1).await;
    again.settled(1).await;
    publisher.publish("a", &["back"]).await;
    assert_eq!(subscriber.payload(1).await, "back");
    assert!(lost().is_empty() && first.sees(&again).is_some_and(|peer| !peer.suspect), "it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_other_nodes_are_told_and_untold() {
    let [here, there] = nodes(|_| {}).await;
    let owner = sinew_discovery::Owner { session: 1, peer: there.peer(), instance: 1 };
    let spec = sinew_discovery::AnnounceSpec {
        lease: 1,
        name: "clock".to_owned(),
        ttl: Duration::from_secs(30),
        metadata: Vec::new(),
        procedure: None,
    };
    there.discovery.announce(owner, spec).expect("is granted");
    let listed = |node: &support::Node| node.discovery.list(None, 10).0.iter().map(|row| row.nodes).collect::<Vec<_>>();
    eventually("it is listed elsewhere", || listed(&here) == [1]).await;
    there.leave().await;
    eventually("it is gone with its node", || listed(&here).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_settle() {
    let nodes: [support::Node; 6] = nodes(|_| {}).await;
    let mut clients: Vec<_> = nodes.iter().map(|node| node.client(1)).collect();
    for client in &mut clients {
        client.subscribe(1, "all", Policy::DropOldest);
    }
    for node in &nodes {
        node.settled(5).await;
    }
    clients.push(nodes[0].client(2));
    let publisher = clients.last_mut().expect("just pushed");
    publisher.publish("all", &["x"]).await;
    for client in &mut clients[..6] {
        assert_eq!(tokio::time::timeout(PATIENCE, client.payload(1)).await.expect("it comes"), "x");
    }
}
