//! What a publisher hears of its messages on other nodes.

use std::time::Duration;

use sinew_observe::DropReason;

use crate::support::Options;
use crate::support::mesh::Mesh;
use crate::{acked, confirm_all, results};

#[tokio::test]
async fn acknowledgements_cross_nodes_and_correct_what_was_expected() {
    let mut mesh = Mesh::new(2);
    let mut publisher = mesh.nodes[0].service.client(1);
    let (here, there) = (mesh.nodes[0].service.client(2), mesh.nodes[1].service.client(3));
    here.subscribe(1, "a");
    there.subscribe(1, "a");
    mesh.join();
    // Nobody here knows of these two yet.
    there.subscribe(2, "*");
    there.subscribe(3, ">");
    publisher.publish_with("a", &["1", "2"], acked());
    mesh.settle();
    assert_eq!(confirm_all(&here), 2);
    assert!(results(&publisher).is_empty(), "the other node has not answered");
    assert_eq!(confirm_all(&there), 6);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.dropped, result.unknown), (8, 8, 0, 0));

    // Somebody there never confirms: the deadline of the publisher holds on both nodes.
    publisher.publish_with("a", &["3"], Options { deadline: Some(Duration::from_secs(1)), ..acked() });
    mesh.settle();
    confirm_all(&here);
    there.read();
    mesh.now += Duration::from_secs(2);
    let now = mesh.now;
    mesh.inbound(1, 0).advance(now);
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.unknown), (4, 1, 3));
}

#[tokio::test]
async fn a_member_that_left_meanwhile_is_a_drop_and_not_silence() {
    let mut mesh = Mesh::new(2);
    let there = mesh.nodes[1].service.client(3);
    let group = there.subscribe_with(1, "a", |spec| spec.group = Some("g".into()));
    let direct = there.subscribe(2, "a");
    mesh.join();
    mesh.nodes[1].service.hub.unsubscribe(&group);
    mesh.nodes[1].service.hub.unsubscribe(&direct);
    let mut publisher = mesh.nodes[0].service.client(1);
    publisher.publish_with("a", &["1", "2"], acked());
    mesh.settle();
    let result = results(&publisher)[0];
    assert_eq!((result.matched, result.delivered, result.dropped), (2, 0, 2), "the group was due, the other not");
    assert_eq!(mesh.nodes[1].service.dropped(DropReason::SubscriberGone), 2);
}
