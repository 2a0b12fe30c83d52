//! Unary calls: on one node, and across two.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_rpc::CallsConfig;
use sinew_wire::call::{CallFrame, Flags, Reply, Request, Status, Strategy};
use sinew_wire::{Limit, Procedure, ProviderHealth, Refusal, Serve};
use support::{Frame, PATIENCE, World, idempotent, peer, request, soon};

fn config() -> CallsConfig {
    CallsConfig::default()
}

fn refusal(reply: &Reply<'_>) -> Refusal {
    assert_eq!(reply.status, Status::Refused);
    reply.refusal().expect("is one")
}

/// A realm where the caller's node and the provider's are one, or two.
fn both(test: impl AsyncFn(World, usize)) {
    for nodes in [1, 2] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { test(World::new(nodes, &config()), usize::from(nodes) - 1).await });
    }
}

#[test]
fn a_call_is_answered() {
    both(async |mut world, at| {
        let provider = world.provider(at, "math.square", Procedure::default());
        let caller = world.client(0);
        world.call(caller, 7, "math.square", b"12");
        let got = world.got(provider).await;
        let [asked] = got.as_slice() else { panic!("one request: {got:?}") };
        let asked = asked.request();
        assert_eq!((asked.name, asked.body, asked.target), ("math.square", &b"12"[..], 1));
        assert_eq!(asked.caller, world.clients[caller].owner.peer);
        assert!((9_000..=10_000).contains(&asked.deadline_ms), "{}", asked.deadline_ms);
        world.send(
            provider,
            &CallFrame::Reply(Reply { code: 3, body: b"144", ..Reply::failure(asked.call, Status::Ok, "") }),
        );
        let got = world.got(caller).await;
        let [answer] = got.as_slice() else { panic!("one answer: {got:?}") };
        let answer = answer.reply();
        assert_eq!((answer.call, answer.status, answer.code, answer.body), (7, Status::Ok, 3, &b"144"[..]));
        assert_eq!(answer.load, 1);
        world.assert_clean();
        assert_eq!(world.nodes[0].metrics.calls(Status::Ok).get(), 1);
        assert_eq!(world.nodes[0].metrics.call_seconds.count(), 1);
    });
}

#[test]
fn what_is_answered_twice_or_not_asked_is_ignored() {
    both(async |mut world, at| {
        let provider = world.provider(at, "a", Procedure::default());
        let other = world.client(at);
        let caller = world.client(0);
        world.call(caller, 1, "a", b"");
        let asked = world.next(provider).await.request().call;
        // Not by who was asked.
        world.answer(other, asked, Status::Ok, b"forged");
        world.answer(provider, asked.wrapping_add(1), Status::Ok, b"never asked");
        assert!(world.got(caller).await.is_empty());
        world.answer(provider, asked, Status::Ok, b"right");
        world.answer(provider, asked, Status::Ok, b"again");
        let got = world.got(caller).await;
        assert_eq!(got.iter().map(|frame| frame.reply().body).collect::<Vec<_>>(), [b"right"]);
        world.assert_clean();
    });
}

#[test]
fn errors_of_the_application_come_through() {
    both(async |mut world, at| {
        let provider = world.provider(at, "a", idempotent());
        let caller = world.client(0);
        for (number, status) in [(1, Status::Application), (2, Status::Panicked), (3, Status::Ok)] {
            world.call(caller, number, "a", b"");
            let asked = world.next(provider).await.request().call;
            world.answer(provider, asked, status, b"why");
            let answer = world.next(caller).await;
            assert_eq!(
                (answer.reply().call, answer.reply().status, answer.reply().body),
                (number, status, &b"why"[..])
            );
        }
        world.assert_clean();
    });
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let mut world = World::new(2, &config());
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    assert_eq!(world.next(caller).await.reply().status, Status::NoProvider);
    let provider = world.provider(1, "a", Procedure::default());
    world.call(caller, 2, "a", b"");
    let asked = world.next(provider).await.request().call;
    world.answer(provider, asked, Status::Ok, b"");
    assert_eq!(world.next(caller).await.reply().status, Status::Ok);
    // The provider is killed: with a call at hand it is unknown, and afterwards there is nobody.
    world.call(caller, 3, "a", b"");
    world.next(provider).await;
    world.leave(provider);
    assert_eq!(world.next(caller).await.reply().status, Status::Unknown);
    world.call(caller, 4, "a", b"");
    assert_eq!(world.next(caller).await.reply().status, Status::NoProvider);
    world.assert_clean();
}

#[tokio::test]
async fn who_has_gone_without_anybody_hearing_is_passed_over() {
    let mut world = World::new(3, &config());
    let gone = world.provider(1, "a", Procedure::default());
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    let asked = world.next(gone).await.request().call;
    world.answer(gone, asked, Status::Ok, b"");
    world.next(caller).await;
    world.realm.freeze();
    world.leave(gone);
    let there = world.provider(2, "a", Procedure::default());
    // The caller's node asks who is not there any more, hears that, and looks again.
    world.call(caller, 2, "a", b"x");
    let asked = world.next(there).await;
    assert_eq!(asked.request().body, b"x");
    world.answer(there, asked.request().call, Status::Ok, b"");
    assert_eq!(world.next(caller).await.reply().status, Status::Ok);
    assert_eq!(world.realm.forgotten(), 1);
    world.leave(there);
    world.realm.freeze();
    world.call(caller, 3, "a", b"");
    assert_eq!(world.next(caller).await.reply().status, Status::NoProvider);
    world.assert_clean();
}

#[test]
fn what_may_have_been_executed_is_tried_again_only_if_that_does_no_harm() {
    both(async |mut world, at| {
        let caller = world.client(0);
        for (name, procedure, flags, again) in [
            ("once", Procedure::default(), Flags::default(), false),
            ("by.provider", idempotent(), Flags::default(), true),
            ("by.caller", Procedure::default(), Flags::IDEMPOTENT, true),
        ] {
            let providers = [world.provider(at, name, procedure.clone()), world.provider(at, name, procedure)];
            world.send(caller, &CallFrame::Request(Request { flags, body: b"x", ..request(1, name) }));
            world.calm().await;
            let counts = [world.got(providers[0]).await.len(), world.got(providers[1]).await.len()];
            let first = usize::from(counts[0] == 0);
            assert_eq!(counts[first], 1);
            world.leave(providers[first]);
            let second = world.got(providers[1 - first]).await;
            if again {
                assert_eq!(second[0].request().body, b"x");
                world.answer(providers[1 - first], second[0].request().call, Status::Ok, b"");
                assert_eq!(world.next(caller).await.reply().status, Status::Ok);
            } else {
                assert!(second.is_empty());
                assert_eq!(world.next(caller).await.reply().status, Status::Unknown);
            }
        }
        world.assert_clean();
    });
}

#[tokio::test]
async fn overloaded_is_tried_elsewhere_at_most_three_times() {
    let mut world = World::new(1, &config());
    let providers: Vec<usize> = (0..5).map(|_| world.provider(0, "a", Procedure::default())).collect();
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    let mut asked = Vec::new();
    loop {
        let mut found = None;
        for provider in &providers {
            for frame in world.got(*provider).await {
                found = Some((*provider, frame.request().call));
            }
        }
        let Some((provider, call)) = found else { break };
        asked.push(provider);
        let reply = Reply { retry_after_ms: 77, ..Reply::failure(call, Status::Overloaded, "busy") };
        world.send(provider, &CallFrame::Reply(reply));
    }
    assert_eq!(asked.len(), 3);
    asked.dedup();
    assert_eq!(asked.len(), 3, "another one each time");
    let answer = world.next(caller).await;
    assert_eq!((answer.reply().status, answer.reply().retry_after_ms), (Status::Overloaded, 77));
    world.assert_clean();
}

#[test]
fn deadlines_end_calls_wherever_they_are() {
    both(async |mut world, at| {
        let provider = world.provider(at, "a", Procedure { concurrency: 1, ..Procedure::default() });
        let caller = world.client(0);
        let with_deadline = |number| CallFrame::Request(Request { deadline_ms: 30, ..request(number, "a") });
        world.send(caller, &with_deadline(1));
        world.send(caller, &with_deadline(2));
        let asked = world.next(provider).await.request().call;
        assert_eq!(world.nodes[at].calls.view().queued, 1);
        let begun = Instant::now();
        let mut codes = Vec::new();
        while codes.len() < 2 {
            assert!(begun.elapsed() < PATIENCE);
            for answer in world.got(caller).await {
                assert_eq!(answer.reply().status, Status::TimedOut);
                codes.push((answer.reply().call, answer.reply().code));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        codes.sort_unstable();
        // Another node can't be sure that the second one was not begun.
        assert_eq!(codes, [(1, 1), (2, u16::from(at == 1))]);
        let got = world.got(provider).await;
        assert_eq!(got[0].frame(), CallFrame::Cancel { call: asked });
        world.answer(provider, asked, Status::Ok, b"late");
        assert!(world.got(caller).await.is_empty());
        world.assert_clean();
    });
}

#[tokio::test]
async fn deadlines_beyond_the_longest_are_refused() {
    let mut world = World::new(1, &config());
    let provider = world.provider(0, "a", Procedure::default());
    let caller = world.client(0);
    world.send(caller, &CallFrame::Request(Request { deadline_ms: 300_001, ..request(1, "a") }));
    let answer = world.next(caller).await;
    assert_eq!(refusal(&answer.reply()), Refusal::Limit { limit: Limit::CallDeadline, allowed: 300_000 });
    world.send(caller, &CallFrame::Request(Request { deadline_ms: 300_000, ..request(1, "a") }));
    assert!(world.next(provider).await.request().deadline_ms > 299_000);
}

#[test]
fn a_cancel_reaches_the_provider() {
    both(async |mut world, at| {
        let provider = world.provider(at, "a", Procedure { concurrency: 1, ..Procedure::default() });
        let caller = world.client(0);
        for number in 1..=3 {
            world.call(caller, number, "a", &[number as u8]);
        }
        let first = world.next(provider).await.request().call;
        // One that waits, and then the one at hand: the third takes its place.
        world.send(caller, &CallFrame::Cancel { call: 2 });
        world.send(caller, &CallFrame::Cancel { call: 1 });
        let got = world.got(provider).await;
        let [cancelled, next] = got.as_slice() else { panic!("two frames: {got:?}") };
        assert_eq!(cancelled.frame(), CallFrame::Cancel { call: first });
        assert_eq!(next.request().body, [3]);
        world.answer(provider, first, Status::Ok, b"crossed the cancel");
        world.answer(provider, next.request().call, Status::Ok, b"3");
        assert_eq!(world.next(caller).await.reply().call, 3);
        assert_eq!(world.nodes[0].metrics.calls(Status::Cancelled).get(), 2);
        // A caller that is gone cancels all.
        world.call(caller, 4, "a", b"");
        let fourth = world.next(provider).await.request().call;
        world.leave(caller);
        assert_eq!(world.next(provider).await.frame(), CallFrame::Cancel { call: fourth });
        world.assert_clean();
    });
}

#[tokio::test]
async fn concurrency_and_queue_hold() {
    let mut world = World::new(1, &CallsConfig { queue: 2, overflow: 2, ..config() });
    let provider = world.provider(0, "a", Procedure { concurrency: 2, ..Procedure::default() });
    let caller = world.client(0);
    let call = |number: u64, priority| CallFrame::Request(Request { priority, body: b"", ..request(number, "a") });
    for (number, priority) in [(1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 0)] {
        world.send(caller, &call(number, priority));
    }
    assert_eq!(world.got(provider).await.len(), 2);
    assert!(world.got(caller).await.is_empty());
    // Beyond the queue the lowest priority goes, then the oldest.
    world.send(caller, &call(7, 1));
    let answer = world.next(caller).await;
    assert_eq!((answer.reply().call, answer.reply().status), (6, Status::Overloaded));
    assert!(answer.reply().retry_after_ms > 0);
    world.send(caller, &call(8, 1));
    assert_eq!(world.next(caller).await.reply().call, 5);
    world.send(caller, &call(9, 0));
    assert_eq!(world.next(caller).await.reply().call, 9);
    world.leave(provider);
    // Those at hand are unknown, those that waited were not sent, and there is nobody else.
    let mut ends: Vec<_> = world.got(caller).await.iter().map(|end| (end.reply().call, end.reply().status)).collect();
    ends.sort_unstable_by_key(|(call, _)| *call);
    let expected = [1, 2, 3, 4, 7, 8].map(|call| (call, if call < 3 { Status::Unknown } else { Status::NoProvider }));
    assert_eq!(ends, expected);
    world.assert_clean();
}

#[tokio::test]
async fn who_would_wait_beyond_its_deadline_hears_so_at_once() {
    let mut world = World::new(1, &config());
    let provider = world.provider(0, "a", Procedure { concurrency: 1, ..Procedure::default() });
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    let asked = world.next(provider).await.request().call;
    tokio::time::sleep(Duration::from_millis(60)).await;
    world.answer(provider, asked, Status::Ok, b"");
    assert_eq!(world.next(caller).await.reply().status, Status::Ok);
    world.call(caller, 2, "a", b"");
    world.next(provider).await;
    world.send(caller, &CallFrame::Request(Request { deadline_ms: 30, ..request(3, "a") }));
    let answer = world.next(caller).await;
    assert_eq!((answer.reply().call, answer.reply().status), (3, Status::Overloaded));
    assert!(answer.reply().retry_after_ms >= 60);
}

#[tokio::test]
async fn limits_hold_and_are_named() {
    let mut world = World::new(1, &CallsConfig { max_calls_per_client: 2, max_calls: 3, ..config() });
    let _provider = world.provider(0, "a", Procedure::default());
    let (one, other) = (world.client(0), world.client(0));
    for number in 1..=2 {
        world.call(one, number, "a", b"");
    }
    world.call(one, 3, "a", b"");
    let answer = world.next(one).await;
    assert_eq!(refusal(&answer.reply()), Refusal::Limit { limit: Limit::CallsPerClient, allowed: 2 });
    world.call(other, 1, "a", b"");
    world.call(other, 2, "a", b"");
    let answer = world.next(other).await;
    assert_eq!(refusal(&answer.reply()), Refusal::Limit { limit: Limit::Calls, allowed: 3 });
    assert_eq!(world.nodes[0].metrics.limit_refused(Limit::CallsPerClient).get(), 1);
    assert_eq!(world.nodes[0].metrics.limit_refused(Limit::Calls).get(), 1);
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let mut world = World::new(1, &config());
    let _provider = world.provider(0, "a", Procedure::default());
    let caller = world.client(0);
    world.call(caller, 1, "a..b", b"");
    assert!(matches!(refusal(&world.next(caller).await.reply()), Refusal::InvalidName(_)));
    world.call(caller, 1, "a.*", b"");
    assert!(matches!(refusal(&world.next(caller).await.reply()), Refusal::InvalidName(_)));
    let forged = CallFrame::Request(Request { caller: peer(99), ..request(1, "a") });
    assert!(matches!(world.try_send(caller, &forged), Err(Refusal::Denied(_))));
    world.call(caller, 1, "a", b"");
    let again = CallFrame::Request(request(1, "a"));
    assert!(matches!(world.try_send(caller, &again), Err(Refusal::Protocol(_))));
    let port = world.clients[caller].port.as_mut().expect("is connected");
    assert!(matches!(port.frame(&[9, 9, 9], Instant::now()), Err(Refusal::Protocol(_))));
}

#[tokio::test]
async fn a_draining_node_takes_nothing_new_and_ends_what_it_has() {
    let mut world = World::new(2, &config());
    let provider = world.provider(1, "a", Procedure::default());
    let (here, there) = (world.client(1), world.client(0));
    world.call(there, 1, "a", b"");
    let asked = world.next(provider).await.request().call;
    world.nodes[1].calls.drain();
    world.call(here, 1, "a", b"");
    assert_eq!(refusal(&world.next(here).await.reply()), Refusal::Draining);
    world.call(there, 2, "a", b"");
    assert_eq!(world.next(there).await.reply().status, Status::NotSent);
    world.answer(provider, asked, Status::Ok, b"");
    assert_eq!(world.next(there).await.reply().status, Status::Ok);
    world.assert_clean();
}

#[tokio::test]
async fn withdrawn_gracefully() {
    let mut world = World::new(1, &config());
    let provider = world.provider(0, "a", Procedure { concurrency: 1, ..Procedure::default() });
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    let asked = world.next(provider).await.request().call;
    world.call(caller, 2, "a", b"2");
    let other = world.provider(0, "a", Procedure::default());
    world.nodes[0].calls.withdraw(world.clients[provider].session, 1).expect("is held");
    let moved = world.next(other).await;
    assert_eq!(moved.request().body, b"2");
    world.answer(provider, asked, Status::Ok, b"1");
    assert_eq!(world.next(caller).await.reply().body, b"1");
    world.answer(other, moved.request().call, Status::Ok, b"");
    world.next(caller).await;
    world.assert_clean();
}

#[tokio::test]
async fn health_and_concurrency_of_a_provider_change() {
    let mut world = World::new(1, &config());
    let provider = world.provider(0, "a", Procedure { concurrency: 1, ..Procedure::default() });
    let session = world.clients[provider].session;
    let calls = world.nodes[0].calls.clone();
    calls.health(session, 1, ProviderHealth::Degraded).expect("is held");
    world.serve(provider, "a", Procedure { concurrency: 7, ..Procedure::default() });
    let view = calls.view();
    assert_eq!((view.providers[0].health, view.providers[0].concurrency), (ProviderHealth::Degraded, 7));
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    let asked = world.next(provider).await.request().call;
    world.answer(provider, asked, Status::Ok, b"");
    assert_eq!(world.next(caller).await.reply().health, ProviderHealth::Degraded);
    let owner = world.clients[provider].owner;
    world.leave(provider);
    let serve = Serve { lease: 2, name: "a".into(), ttl_ms: 0, metadata: Vec::new(), procedure: Procedure::default() };
    assert!(matches!(calls.serve(owner, serve), Err(Refusal::Unavailable(_))));
}

#[tokio::test]
async fn calls_wait_for_a_link_to_the_node() {
    let mut world = World::new(0, &config());
    world.add_node(200, config());
    world.add_node(201, CallsConfig { waiting_per_node: 2, ..config() });
    let provider = world.provider(0, "a", Procedure::default());
    let caller = world.client(1);
    let calls = world.nodes[1].calls.clone();
    for number in 1..=3 {
        world.call(caller, number, "a", b"");
    }
    assert_eq!(world.next(caller).await.reply().status, Status::Overloaded);
    assert!(calls.busy_with(&peer(200)));
    assert_eq!(soon("a node that is wanted", calls.wanted()).await, peer(200));
    world.send(caller, &CallFrame::Cancel { call: 1 });
    world.connect(1, 0);
    let asked = world.next(provider).await.request().call;
    world.answer(provider, asked, Status::Ok, b"");
    assert_eq!(world.next(caller).await.reply().call, 2);
    assert!(!calls.busy_with(&peer(200)));
    world.disconnect(0, 1);
    world.call(caller, 4, "a", b"");
    assert_eq!(soon("a node that is wanted", calls.wanted()).await, peer(200));
    calls.unreachable(peer(200));
    assert_eq!(world.next(caller).await.reply().status, Status::NotSent);
    assert!(!calls.busy_with(&peer(200)));
    world.assert_clean();
}

#[tokio::test]
async fn a_link_that_is_lost_ends_its_calls_on_both_sides() {
    let mut world = World::new(2, &config());
    let provider = world.provider(1, "a", Procedure { concurrency: 1, ..Procedure::default() });
    let caller = world.client(0);
    world.call(caller, 1, "a", b"");
    world.call(caller, 2, "a", b"");
    let asked = world.next(provider).await.request().call;
    world.disconnect(0, 1);
    let got = world.got(caller).await;
    assert!(got.iter().all(|end| end.reply().status == Status::Unknown) && got.len() == 2, "{got:?}");
    assert_eq!(world.next(provider).await.frame(), CallFrame::Cancel { call: asked });
    world.assert_clean();
}

#[tokio::test]
async fn sticky_calls_go_to_the_same_provider() {
    let mut world = World::new(1, &config());
    let providers: Vec<usize> = (0..4).map(|_| world.provider(0, "a", Procedure::default())).collect();
    let caller = world.client(0);
    let mut of_key = std::collections::HashMap::new();
    for number in 0..60_u64 {
        let key = [(number % 6) as u8];
        let sticky = Request { strategy: Strategy::Sticky, key: &key, ..request(number, "a") };
        world.send(caller, &CallFrame::Request(sticky));
        for provider in &providers {
            for frame in world.got(*provider).await {
                assert_eq!(*of_key.entry(key).or_insert(*provider), *provider);
                world.answer(*provider, frame.request().call, Status::Ok, b"");
            }
        }
    }
    assert_eq!(of_key.len(), 6);
    world.got(caller).await;
    world.assert_clean();
}

#[tokio::test]
async fn a_caller_that_reads_nothing_is_bounded() {
    let mut world = World::new(1, &config());
    let provider = world.provider(0, "a", Procedure::default());
    let caller = world.client_with(0, 1_000);
    let budget = Arc::clone(&world.nodes[0].budget);
    let others = budget.try_reserve(budget.free() - 350_000).expect("is free");
    let large = vec![7; 100_000];
    for number in 1..=4 {
        world.call(caller, number, "a", b"");
        let asked = world.next(provider).await.request().call;
        world.answer(provider, asked, Status::Ok, &large);
    }
    // One frame fits into any lane, two wait; the last would take more than it leaves, and the caller hears that.
    assert_eq!(world.nodes[0].calls.open(), 0);
    let mut ends = Vec::new();
    while ends.len() < 4 {
        let got = world.some(caller).await;
        ends.extend(got.iter().map(Frame::reply).map(|end| (end.call, end.status, end.body.len() == large.len())));
    }
    ends.sort_unstable_by_key(|(call, ..)| *call);
    let expected = [(1, Status::Ok, true), (2, Status::Ok, true), (3, Status::Ok, true), (4, Status::Unknown, false)];
    assert_eq!(ends, expected);
    drop(others);
    world.assert_clean();
}
