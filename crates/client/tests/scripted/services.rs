use std::time::{Duration, Instant};

use futures::StreamExt;
use sinew_client::{
    AnnounceError, Announcement, ConnectionEvent, Limit, ListError, LookupError, PeerId, Refusal, Service,
    ServiceEvent, ServiceInstance, ServiceSummaryRow, ServiceWatch, SettleError, WatchError,
};
use sinew_wire::{Announce, Control, LookupOutcome};

use crate::peer::{Node, Peer, is_pending, soon};

const DEADLINE: Duration = Duration::from_secs(5);

impl Peer {
    async fn next_announce(&mut self) -> Announce {
        match self.next_control().await {
            Control::Announce(announce) => announce,
            other => panic!("expected an announcement, got {other:?}"),
        }
    }

    /// Grants the next lease for so long.
    async fn grant_next(&mut self, ttl_ms: u64) -> Announce {
        let announce = self.next_announce().await;
        self.send(Control::Announced { lease: announce.lease, ttl_ms }).await;
        announce
    }

    async fn end_lease(&mut self, lease: u32, refusal: Refusal) {
        self.send(Control::LeaseEnded { lease, refusal: Some(refusal) }).await;
    }

    async fn next_lookup(&mut self) -> (u32, String, u64) {
        match self.next_control().await {
            Control::Lookup { request, name, deadline_ms } => (request, name, deadline_ms),
            other => panic!("expected a look-up, got {other:?}"),
        }
    }

    async fn answer_lookup(&mut self, outcome: LookupOutcome) {
        let (request, ..) = self.next_lookup().await;
        self.send(Control::LookupResult { request, outcome }).await;
    }

    async fn next_watch(&mut self) -> (u32, String) {
        match self.next_control().await {
            Control::WatchServices { request, prefix } => (request, prefix),
            other => panic!("expected a watch, got {other:?}"),
        }
    }

    async fn change(&mut self, request: u32, name: &str, instances: u32) {
        self.send(Control::ServiceChanged { request, name: name.to_owned(), instances }).await;
    }

    async fn next_settle(&mut self) -> u64 {
        match self.next_control().await {
            Control::Settle { nonce } => nonce,
            other => panic!("expected a settle, got {other:?}"),
        }
    }
}

async fn announced(node: &mut Node, ttl_ms: u64) -> (sinew_client::Client, Peer, Announcement, u32) {
    let (client, mut peer) = node.connected().await;
    let (announced, asked) = tokio::join!(client.announce("echo"), peer.grant_next(ttl_ms));
    (client, peer, announced.expect("is announced"), asked.lease)
}

#[tokio::test]
async fn announcing_waits_for_the_node_and_says_what_was_wanted() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let service = Service::new("images.resize").ttl(Duration::from_secs(20)).metadata("version", "2");
    let mut announce = Box::pin(client.announce(service));
    assert!(is_pending(&mut announce).await);
    let asked = peer.next_announce().await;
    assert_eq!((&*asked.name, asked.ttl_ms), ("images.resize", 20_000));
    assert_eq!(asked.metadata, [("version".to_owned(), "2".to_owned())]);
    peer.send(Control::Announced { lease: asked.lease, ttl_ms: 15_000 }).await;
    let announcement = soon("the answer", announce).await.expect("is announced");
    assert_eq!((announcement.name(), announcement.ttl()), ("images.resize", Duration::from_secs(15)));
    assert!(announcement.is_announced() && announcement.end_reason().is_none());
    drop(announcement);
    assert_eq!(peer.next_control().await, Control::Withdraw { lease: asked.lease });
    // The answer finds nobody, and nobody minds.
    peer.send(Control::LeaseEnded { lease: asked.lease, refusal: None }).await;
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
}

#[tokio::test]
async fn what_is_no_service_is_refused_at_once_and_limits_are_named() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    assert!(matches!(client.announce("a.*").await, Err(AnnounceError::Name(_))));
    assert_eq!(client.announce("$sys").await.expect_err("is refused"), AnnounceError::Reserved);
    let service = Service::new("a").metadata("k", "line\nbreak");
    assert!(matches!(client.announce(service).await, Err(AnnounceError::Metadata(_))));
    let service = (0..17).fold(Service::new("a"), |service, n| service.metadata(n.to_string(), ""));
    assert!(matches!(client.announce(service).await, Err(AnnounceError::Metadata(_))));
    let refusal = Refusal::Limit { limit: Limit::LeaseTtl, allowed: 10_000 };
    let (announced, ()) = tokio::join!(client.announce(Service::new("a").ttl(Duration::from_nanos(1))), async {
        let asked = peer.next_announce().await;
        assert_eq!(asked.ttl_ms, 1, "is no wish for the default");
        peer.end_lease(asked.lease, refusal.clone()).await;
    });
    let error = announced.expect_err("is refused");
    assert_eq!(error, AnnounceError::Refused(refusal));
    assert_eq!(error.to_string(), "limit lease_ttl reached: at most 10000");
}

#[tokio::test]
async fn a_lease_is_renewed_at_a_third_of_its_time() {
    let mut node = Node::on_unix().await;
    let (_client, mut peer, announcement, lease) = announced(&mut node, 300).await;
    for _ in 0..4 {
        let begun = Instant::now();
        assert_eq!(peer.next_control().await, Control::Renew { lease });
        assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
        peer.send(Control::Announced { lease, ttl_ms: 300 }).await;
    }
    // A node that does not answer is asked again.
    assert_eq!(peer.next_control().await, Control::Renew { lease });
    assert_eq!(peer.next_control().await, Control::Renew { lease });
    drop(announcement);
    while peer.next_control().await != (Control::Withdraw { lease }) {}
    assert!(is_pending(peer.next_control()).await, "nothing is renewed any more");
}

#[tokio::test]
async fn times_to_live_that_are_nonsense_do_no_harm() {
    let mut node = Node::on_unix().await;
    for ttl_ms in [0, u64::MAX] {
        let (client, mut peer, announcement, _) = announced(&mut node, ttl_ms).await;
        assert!(announcement.is_announced());
        drop(announcement);
        let closing = tokio::spawn(async move { client.close().await });
        let mut frames = 0;
        loop {
            match peer.next_control().await {
                Control::Ping { nonce } => peer.send(Control::Pong { nonce }).await,
                Control::Goodbye(_) => break,
                _ => frames += 1,
            }
        }
        assert!(frames < 10, "{frames}");
        drop(peer);
        closing.await.expect("no panic").expect("is closed");
    }
}

#[tokio::test]
async fn withdrawing_waits_for_the_node() {
    let mut node = Node::on_unix().await;
    let (_client, mut peer, announcement, lease) = announced(&mut node, 60_000).await;
    let mut withdraw = Box::pin(announcement.withdraw());
    assert!(is_pending(&mut withdraw).await);
    assert_eq!(peer.next_control().await, Control::Withdraw { lease });
    peer.send(Control::LeaseEnded { lease, refusal: None }).await;
    assert_eq!(soon("the answer", withdraw).await, Ok(()));
    assert!(is_pending(peer.next_control()).await, "it is withdrawn once");
}

#[tokio::test]
async fn what_is_lost_with_the_link_is_withdrawn_too() {
    let mut node = Node::on_unix().await;
    let (_client, mut peer, announcement, lease) = announced(&mut node, 60_000).await;
    let withdraw = tokio::spawn(announcement.withdraw());
    assert_eq!(peer.next_control().await, Control::Withdraw { lease });
    drop(peer);
    assert_eq!(soon("the end", withdraw).await.expect("no panic"), Ok(()));
    let mut peer = node.accept().await;
    assert!(is_pending(peer.next_control()).await, "it is not announced again");
}

#[tokio::test]
async fn a_cancelled_announce_leaves_nothing_behind() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    assert!(is_pending(client.announce("a")).await);
    let lease = peer.next_announce().await.lease;
    assert_eq!(peer.next_control().await, Control::Withdraw { lease });
    peer.send(Control::Announced { lease, ttl_ms: 300 }).await;
    assert!(is_pending(peer.next_control()).await, "it is not renewed");
}

#[tokio::test]
async fn services_are_announced_again_after_a_reconnect() {
    let mut node = Node::on_unix().await;
    let (client, peer, announcement, lease) = announced(&mut node, 60_000).await;
    let mut events = client.events();
    drop(peer);
    while !matches!(soon("the end", events.next()).await, Some(ConnectionEvent::Disconnected { .. })) {}
    assert!(!announcement.is_announced());
    let mut peer = node.accept().await;
    let again = peer.grant_next(60_000).await;
    assert_eq!((again.lease, &*again.name), (lease, "echo"));
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert!(flushed.is_ok() && announcement.is_announced());

    // One that is asked for while the link breaks is asked for again.
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.announce("late").await }
    });
    assert_eq!(peer.next_announce().await.name, "late");
    drop(peer);
    let mut peer = node.accept().await;
    let mut names = [peer.grant_next(60_000).await.name, peer.grant_next(60_000).await.name];
    names.sort();
    assert_eq!(names, ["echo", "late"]);
    let late = soon("the answer", asking).await.expect("no panic").expect("is announced");
    assert!(late.is_announced());
}

#[tokio::test]
async fn a_node_that_refuses_after_a_reconnect_for_good_ends_it() {
    let mut node = Node::on_unix().await;
    let (client, peer, announcement, lease) = announced(&mut node, 60_000).await;
    let mut events = client.events();
    drop(peer);
    let mut peer = node.accept().await;
    peer.next_announce().await;
    let refusal = Refusal::Denied("not here".to_owned());
    peer.end_lease(lease, refusal.clone()).await;
    assert_eq!(soon("the end", announcement.ended()).await, AnnounceError::Refused(refusal.clone()));
    assert_eq!(announcement.end_reason(), Some(AnnounceError::Refused(refusal.clone())));
    loop {
        let event = soon("an event", events.next()).await.expect("goes on");
        if let ConnectionEvent::ServiceLost { name, reason } = event {
            assert_eq!((&*name, reason), ("echo", refusal));
            break;
        }
    }
    assert_eq!(announcement.withdraw().await, Ok(()));
}

#[tokio::test]
async fn a_node_without_room_is_asked_again_later() {
    let mut node = Node::on_unix().await;
    let (_client, peer, announcement, lease) = announced(&mut node, 300).await;
    drop(peer);
    let mut peer = node.accept().await;
    peer.next_announce().await;
    peer.end_lease(lease, Refusal::Limit { limit: Limit::Services, allowed: 1 }).await;
    assert!(is_pending(peer.next_control()).await, "not at once");
    assert!(!announcement.is_announced() && announcement.end_reason().is_none());
    assert_eq!(peer.grant_next(60_000).await.lease, lease);
    soon("it", async {
        while !announcement.is_announced() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_the_node_has_forgotten_is_announced_again() {
    let mut node = Node::on_unix().await;
    let (_client, mut peer, announcement, lease) = announced(&mut node, 300).await;
    assert_eq!(peer.next_control().await, Control::Renew { lease });
    peer.end_lease(lease, Refusal::Lease(lease, "has ended".to_owned())).await;
    assert_eq!(peer.grant_next(60_000).await.lease, lease);
    assert!(announcement.end_reason().is_none());
}

fn instance(n: u8) -> ServiceInstance {
    let peer = PeerId::from_public_key([n; 32]);
    let (name, metadata) = ("echo".to_owned(), vec![("k".to_owned(), "v".to_owned())]);
    ServiceInstance { name, node: peer, provider: peer, instance: 1, metadata, ttl_ms: 1_000, region: "eu".to_owned() }
}

#[tokio::test]
async fn each_answer_to_a_lookup_is_another() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let found = vec![instance(1), instance(2)];
    let full = Refusal::Limit { limit: Limit::Lookups, allowed: 7 };
    for (outcome, expected) in [
        (LookupOutcome::Found(found.clone()), Ok(found)),
        (LookupOutcome::Found(Vec::new()), Err(LookupError::NotFound)),
        (LookupOutcome::NotFound, Err(LookupError::NotFound)),
        (LookupOutcome::NoPeers, Err(LookupError::NoPeers)),
        (LookupOutcome::TimedOut, Err(LookupError::TimedOut(DEADLINE))),
        (LookupOutcome::Refused(full.clone()), Err(LookupError::Refused(full))),
    ] {
        let (result, ()) = tokio::join!(client.lookup_within("echo", DEADLINE), peer.answer_lookup(outcome));
        assert_eq!(result, expected);
    }
    assert!(matches!(client.lookup("a.>").await, Err(LookupError::Name(_))));
    let (result, (_, name, deadline_ms)) =
        tokio::join!(client.lookup_within("echo", Duration::from_millis(50)), peer.next_lookup());
    assert_eq!(result, Err(LookupError::TimedOut(Duration::from_millis(50))), "a silent node is not waited for");
    assert!(name == "echo" && (1..=50).contains(&deadline_ms));
}

#[tokio::test]
async fn a_lookup_is_asked_again_when_the_link_is_lost() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let looking = tokio::spawn({
        let client = client.clone();
        async move { client.lookup_within("echo", Duration::MAX).await }
    });
    peer.next_lookup().await;
    drop(peer);
    let mut peer = node.accept().await;
    peer.answer_lookup(LookupOutcome::Found(vec![instance(1)])).await;
    assert_eq!(soon("the answer", looking).await.expect("no panic"), Ok(vec![instance(1)]));
    // Answers that nobody waits for, and of another kind.
    peer.send(Control::LookupResult { request: 77, outcome: LookupOutcome::NotFound }).await;
    peer.send(Control::Settled { nonce: u64::MAX, nodes: 1, missing: 1 }).await;
    assert!(is_pending(client.lookup("echo")).await);
    let (cancelled, ..) = peer.next_lookup().await;
    peer.send(Control::LookupResult { request: cancelled, outcome: LookupOutcome::NotFound }).await;
    let (result, ()) = tokio::join!(client.lookup("echo"), peer.answer_lookup(LookupOutcome::NoPeers));
    assert_eq!(result, Err(LookupError::NoPeers));
}

#[tokio::test]
async fn lookups_wait_in_line_beyond_what_a_node_allows() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let looking: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.lookup("echo").await })
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(peer.next_lookup().await.0);
    }
    assert!(is_pending(peer.next_lookup()).await);
    for request in open {
        peer.send(Control::LookupResult { request, outcome: LookupOutcome::NotFound }).await;
    }
    for _ in 64..100 {
        peer.answer_lookup(LookupOutcome::NotFound).await;
    }
    for looking in looking {
        assert_eq!(looking.await.expect("no panic"), Err(LookupError::NotFound));
    }
}

fn row(name: &str) -> ServiceSummaryRow {
    ServiceSummaryRow { name: name.to_owned(), instances: 2, nodes: 1 }
}

async fn page(peer: &mut Peer, expected: Option<&str>, names: &[&str], more: bool) {
    match peer.next_control().await {
        Control::ListServices { request, after } => {
            assert_eq!(after.as_deref(), expected);
            let services = names.iter().map(|name| row(name)).collect();
            peer.send(Control::ServicePage { request, services, more }).await;
        }
        other => panic!("expected a question for a page, got {other:?}"),
    }
}

#[tokio::test]
async fn services_come_page_by_page() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut services = client.services();
    let (first, ()) = tokio::join!(services.next(), page(&mut peer, None, &["a", "b"], true));
    assert_eq!(first, Ok(Some(row("a"))));
    assert!(is_pending(peer.next_control()).await, "the next page is asked for when this one is taken");
    assert_eq!(services.next().await, Ok(Some(row("b"))));
    let rest = tokio::spawn(services.all());
    page(&mut peer, Some("b"), &["c"], true).await;
    // The link breaks: it goes on where it was.
    assert!(matches!(peer.next_control().await, Control::ListServices { .. }));
    drop(peer);
    let mut peer = node.accept().await;
    page(&mut peer, Some("c"), &["d"], false).await;
    assert_eq!(soon("the rest", rest).await.expect("no panic"), Ok(vec![row("c"), row("d")]));
    // A node that never comes to an end.
    let (all, ()) = tokio::join!(client.services().collect::<Vec<_>>(), async {
        page(&mut peer, None, &["a"], true).await;
        page(&mut peer, Some("a"), &["a"], true).await;
    });
    assert_eq!(all, [Ok(row("a")), Ok(row("a"))]);
}

async fn next(watch: &mut ServiceWatch) -> Option<(String, u32)> {
    match soon("an event", watch.next()).await.expect("goes on") {
        ServiceEvent::Changed { name, instances } => Some((name, instances)),
        ServiceEvent::Resync => None,
        other => panic!("unexpected {other:?}"),
    }
}

fn changed(name: &str, instances: u32) -> Option<(String, u32)> {
    Some((name.to_owned(), instances))
}

#[tokio::test]
async fn a_watch_tells_changes_once_and_begins_anew_after_a_reconnect() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (watch, (request, prefix)) = tokio::join!(client.watch_services("images."), peer.next_watch());
    let mut watch = watch.expect("is begun");
    assert_eq!((prefix.as_str(), watch.prefix()), ("images.", "images."));
    for (name, instances) in [("images.a", 1), ("images.b", 1), ("images.a", 3)] {
        peer.change(request, name, instances).await;
    }
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
    assert_eq!([next(&mut watch).await, next(&mut watch).await], [changed("images.a", 3), changed("images.b", 1)]);
    peer.change(request, "images.c", 1).await;
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
    drop(peer);

    let mut peer = node.accept().await;
    let (request, _) = peer.next_watch().await;
    peer.change(request, "images.b", 1).await;
    assert_eq!([next(&mut watch).await, next(&mut watch).await], [None, changed("images.b", 1)]);
    // Of another watch: nobody's.
    peer.change(request + 1, "images.x", 1).await;
    drop(watch);
    assert_eq!(peer.next_control().await, Control::Unwatch { request });
}

#[tokio::test]
async fn a_watch_that_is_outpaced_begins_anew_and_one_that_is_refused_ends() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (watch, (first, _)) = tokio::join!(client.watch_services(""), peer.next_watch());
    let mut watch = watch.expect("is begun");
    peer.change(first, "a", 1).await;
    let slow = Refusal::Unavailable("more services changed than were taken".to_owned());
    peer.send(Control::WatchEnded { request: first, refusal: Some(slow) }).await;
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
    assert_eq!(next(&mut watch).await, None);
    let (second, _) = peer.next_watch().await;
    assert_ne!(first, second);
    peer.change(first, "of before", 1).await;

    // More than this side holds.
    for n in 0..20_000 {
        peer.change(second, &format!("n{n}"), 1).await;
    }
    assert_eq!(peer.next_control().await, Control::Unwatch { request: second });
    assert_eq!(next(&mut watch).await, None);
    let (third, _) = peer.next_watch().await;
    peer.change(third, "b", 2).await;
    assert_eq!(next(&mut watch).await, changed("b", 2));

    let refusal = Refusal::Limit { limit: Limit::Watches, allowed: 1 };
    peer.send(Control::WatchEnded { request: third, refusal: Some(refusal.clone()) }).await;
    assert_eq!(soon("the end", watch.next()).await, None);
    assert_eq!(watch.end_reason(), Some(WatchError::Refused(refusal)));
    assert!(matches!(client.watch_services("\u{7}").await, Err(WatchError::Prefix(_))));
}

#[tokio::test]
async fn settling_asks_until_all_know() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (subscribed, _) = tokio::join!(client.subscribe("a.>"), peer.confirm_next());
    let subscription = subscribed.expect("is subscribed");
    let (settled, ()) = tokio::join!(subscription.ready(DEADLINE), async {
        for missing in (0..3).rev() {
            let nonce = peer.next_settle().await;
            peer.send(Control::Settled { nonce, nodes: 4 - missing, missing }).await;
        }
    });
    let settled = settled.expect("is known");
    assert_eq!((settled.nodes, settled.missing, settled.is_complete()), (4, 0, true));

    // Some never confirm: that is an answer. None at all is not.
    let (settled, ()) = tokio::join!(client.settle(Duration::from_millis(100)), async {
        let nonce = peer.next_settle().await;
        peer.send(Control::Settled { nonce, nodes: 1, missing: 2 }).await;
    });
    let settled = settled.expect("is known");
    assert_eq!((settled.nodes, settled.missing), (1, 2));
    while !is_pending(peer.next_settle()).await {}
    let limit = Duration::from_millis(50);
    assert_eq!(client.settle(limit).await, Err(SettleError::TimedOut(limit)));
}

#[tokio::test]
async fn everything_ends_with_the_client() {
    let mut node = Node::on_unix().await;
    let (client, mut peer, announcement, _lease) = announced(&mut node, 60_000).await;
    let (watch, _) = tokio::join!(client.watch_services(""), peer.next_watch());
    let mut watch = watch.expect("is begun");
    let looking = tokio::spawn({
        let client = client.clone();
        async move { client.lookup("echo").await }
    });
    peer.next_lookup().await;
    let (closed, ()) = tokio::join!(client.close(), async move {
        peer.pong_next().await;
        peer.expect_goodbye().await;
    });
    closed.expect("is closed");
    assert_eq!(soon("the end", announcement.ended()).await, AnnounceError::Closed);
    assert_eq!(soon("the end", watch.next()).await, None);
    assert_eq!(watch.end_reason(), Some(WatchError::Closed));
    assert_eq!(soon("the end", looking).await.expect("no panic"), Err(LookupError::Closed));
    assert_eq!(client.announce("a").await.expect_err("is closed"), AnnounceError::Closed);
    assert_eq!(client.lookup("a").await, Err(LookupError::Closed));
    assert_eq!(client.services().next().await, Err(ListError::Closed));
    assert_eq!(client.settle(DEADLINE).await, Err(SettleError::Closed));
    assert_eq!(client.watch_services("").await.expect_err("is closed"), WatchError::Closed);
}
