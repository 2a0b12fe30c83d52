//! Links and nodes that are lost, and come back.

use std::sync::Arc;

use sinew_observe::DropReason;
use sinew_wire::PublishResult;

use crate::support::Client;
use crate::support::mesh::Mesh;
use crate::{acked, confirm_all, direct, pattern, report, results};

#[tokio::test]
async fn a_lost_node_settles_everything() {
    let mut mesh = Mesh::new(3);
    let group = |spec: &mut sinew_pubsub::SubscriptionSpec| spec.group = Some("g".into());
    let dead = mesh.nodes[1].service.client(2);
    dead.subscribe(1, "a");
    dead.subscribe_with(2, "jobs", group);
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(1);
    // One is taken and not confirmed, one on its way, one queued.
    publisher.publish_with("a", &["1"], acked());
    mesh.settle();
    publisher.publish_with("a", &["2"], acked());
    mesh.write(0, 1, 1 << 20);
    publisher.publish("a", &["in flight"]);
    mesh.write(0, 1, 1 << 20);
    mesh.disconnect(0, 1);
    publisher.publish_with("a", &["3"], acked());
    publisher.publish("a", &["queued"]);
    publisher.publish_with("jobs", &["job"], acked());
    assert!(!mesh.remote(0, 1).is_idle());
    let remote = Arc::clone(mesh.remote(0, 1));

    // Somebody else of the group turns up in time.
    let heir = mesh.nodes[2].service.client(3);
    heir.subscribe_with(1, "jobs", group);
    mesh.share_interest();
    mesh.remove(1);
    let outcomes = |client: &Client| -> Vec<_> {
        let counts = |r: PublishResult| (r.first_seq, r.matched, r.delivered, r.dropped, r.unknown);
        let mut all: Vec<_> = results(client).into_iter().map(counts).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(outcomes(&publisher), [(1, 1, 0, 0, 1), (2, 1, 0, 0, 1), (4, 1, 0, 1, 0)]);
    mesh.settle();
    assert_eq!(confirm_all(&heir), 1, "the job went to the other member");
    mesh.settle();
    assert_eq!(outcomes(&publisher), [(6, 1, 1, 0, 0)]);
    // Two in flight, and two queued; that taken before is not known to be lost.
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::NodeGone), 4);
    assert!(remote.is_idle());
    assert_eq!(remote.stats().patterns, 0);
    publisher.publish_with("a", &["4"], report());
    assert_eq!(results(&publisher)[0].matched, 0);
    assert!(!mesh.nodes[0].service.hub.set_remote_interest(&remote, &pattern("a"), Some(direct(1))));
}

#[tokio::test]
async fn a_node_that_started_anew_loses_what_was_in_flight_and_gets_the_rest() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.join();
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    mesh.settle();
    publisher.publish_with("a", &["2"], acked());
    mesh.write(0, 1, 1 << 20);
    mesh.disconnect(0, 1);
    publisher.publish("a", &["3"]);
    // Its new life remembers nothing of ours.
    mesh.meet(1, 0);
    mesh.connect(0, 1);
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.unknown), (1, 1));
    assert_eq!(mesh.nodes[0].service.dropped(DropReason::NodeGone), 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["1", "3"]);
    publisher.publish("a", &["4"]);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["4"]);
}

/// Also where nothing was ever acknowledged, and the counts alone would not tell.
#[tokio::test]
async fn a_node_that_knows_us_anew_is_told_apart_from_the_first_frame_on() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.share_interest();
    mesh.connect(0, 1);
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish_with("a", &["1"], acked());
    mesh.write(0, 1, 1 << 20);
    mesh.read(0, 1, usize::MAX);
    // The other node takes us for gone, and meets us again.
    mesh.meet(1, 0);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(confirm_all(&there), 1, "once");
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.unknown), (1, 0, 1));
    publisher.publish_with("a", &["2"], acked());
    mesh.settle();
    assert_eq!(confirm_all(&there), 1);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered), (1, 1));
}

#[tokio::test]
async fn an_older_link_takes_nothing_any_more() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(2);
    there.subscribe(1, "a");
    mesh.join();
    let remote = Arc::clone(mesh.remote(0, 1));
    let old = remote.outbox().expect("is up");
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    // The former link stands in line with it, and its writer has not noticed that another one is up.
    let (received, window) = (mesh.inbound(1, 0).received(), mesh.inbound(1, 0).window());
    let new = remote.link_up(received, window, sinew_wire::Features::LZ4);
    let mut batch = sinew_pubsub::WriteBatch::default();
    assert_eq!(old.collect(mesh.now, &mut batch, 1 << 20), sinew_pubsub::Next::Wait);
    assert_eq!(batch.bytes(), 0);
    // Its end comes late, and does not end the new one.
    remote.link_down(&old);
    assert!(remote.stats().up);
    assert_eq!(new.collect(mesh.now, &mut batch, 1 << 20), sinew_pubsub::Next::Write);
    remote.link_down(&new);
    mesh.connect(0, 1);
    mesh.settle();
    assert_eq!(there.payloads(1), ["1"]);
}

#[tokio::test]
async fn work_for_a_node_without_a_link_asks_for_one() {
    let mut mesh = Mesh::new(2);
    mesh.nodes[1].service.client(2).subscribe(1, "a");
    mesh.share_interest();
    let remote = Arc::clone(mesh.remote(0, 1));
    let mut waiting = Box::pin(remote.has_work());
    assert!(futures_poll(&mut waiting).is_none());
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish("a", &["1"]);
    assert!(futures_poll(&mut waiting).is_some());
    mesh.join();
    let mut waiting = Box::pin(remote.has_work());
    assert!(futures_poll(&mut waiting).is_none(), "all was taken");
    publisher.publish("a", &["2"]);
    mesh.write(0, 1, 1 << 20);
    assert!(futures_poll(&mut waiting).is_none(), "a link is up");
    mesh.disconnect(0, 1);
    assert!(futures_poll(&mut waiting).is_some(), "what became of it is not known");
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
