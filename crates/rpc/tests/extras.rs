//! Results that are kept, second providers, answers of all.

mod support;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use sinew_rpc::CallsConfig;
use sinew_wire::call::{CallFrame, DataFlags, Flags, GatheredItem, Reply, Request, Status, Strategy};
use sinew_wire::{CachePolicy, Headers, Procedure, ProviderHealth, encode_header};
use support::{Frame, PATIENCE, World, data, idempotent, request};

fn cached(ttl_ms: u32) -> Procedure {
    let vary = vec!["lang".to_owned()];
    let cache = CachePolicy { ttl_ms, negative_ttl_ms: ttl_ms / 2, max_bytes: 1_000, vary };
    Procedure { cache: Some(cache), ..Procedure::default() }
}

fn world(nodes: u8) -> World {
    World::new(nodes, &CallsConfig::default())
}

/// Answers every request that has come to a provider with its own body, and counts them.
async fn echo(world: &mut World, provider: usize) -> usize {
    let got = world.got(provider).await;
    let requests = got.iter().filter_map(|frame| match frame.frame() {
        CallFrame::Request(request) => Some((request.call, request.body.to_vec())),
        _ => None,
    });
    let requests: Vec<_> = requests.collect();
    for (call, body) in &requests {
        world.answer(provider, *call, Status::Ok, body);
    }
    requests.len()
}

fn bodies(got: &[Frame]) -> Vec<(u64, &[u8])> {
    got.iter().map(|frame| (frame.reply().call, frame.reply().body)).collect()
}

#[tokio::test]
async fn a_result_is_kept_until_its_time_is_over() {
    let mut world = world(2);
    let provider = world.provider(1, "a", cached(80));
    let caller = world.client(0);
    let begun = Instant::now();
    for number in 1..=5 {
        world.call(caller, number, "a", b"x");
        let asked = echo(&mut world, provider).await;
        let got = world.got(caller).await;
        assert_eq!(bodies(&got), [(number, &b"x"[..])]);
        assert!(asked == usize::from(number == 1) || begun.elapsed() > Duration::from_millis(80));
    }
    // Another argument, another header that counts, and who wants no kept one.
    world.call(caller, 6, "a", b"y");
    assert_eq!(echo(&mut world, provider).await, 1);
    let mut headers = BytesMut::new();
    encode_header("lang", b"de", &mut headers).expect("fits");
    let headers = Headers::decode(&headers).expect("are headers");
    world.send(caller, &CallFrame::Request(Request { body: b"y", headers, ..request(7, "a") }));
    assert_eq!(echo(&mut world, provider).await, 1);
    world.send(caller, &CallFrame::Request(Request { body: b"y", flags: Flags::FRESH, ..request(8, "a") }));
    assert_eq!(echo(&mut world, provider).await, 1);
    tokio::time::sleep(Duration::from_millis(80)).await;
    world.call(caller, 9, "a", b"x");
    assert_eq!(echo(&mut world, provider).await, 1);
    world.got(caller).await;
    world.assert_clean();
}

#[tokio::test]
async fn a_thousand_equal_calls_cause_one() {
    let config = CallsConfig { max_calls_per_client: 1_000, ..CallsConfig::default() };
    let mut world = World::new(2, &config);
    let provider = world.provider(1, "a", cached(60_000));
    let caller = world.client(0);
    for number in 0..1_000 {
        world.call(caller, number, "a", b"x");
    }
    assert_eq!(echo(&mut world, provider).await, 1);
    let got = world.got(caller).await;
    assert_eq!(got.len(), 1_000);
    assert!(got.iter().all(|frame| frame.reply().body == b"x"));
    let counters = world.nodes[0].metrics.cache("calls");
    assert_eq!(counters.misses.get(), 1);
    world.assert_clean();
}

#[tokio::test]
async fn who_waits_for_one_that_is_given_up_goes_on() {
    let mut world = world(1);
    let provider = world.provider(0, "a", cached(60_000));
    let caller = world.client(0);
    for number in 1..=4 {
        world.call(caller, number, "a", b"x");
    }
    let first = world.next(provider).await.request().call;
    world.send(caller, &CallFrame::Cancel { call: 3 });
    world.send(caller, &CallFrame::Cancel { call: 1 });
    let got = world.got(provider).await;
    assert_eq!((got.len(), got[0].frame()), (2, CallFrame::Cancel { call: first }));
    world.answer(provider, got[1].request().call, Status::Ok, b"y");
    let mut numbers: Vec<_> = world.got(caller).await.iter().map(|frame| frame.reply().call).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 4]);
    world.assert_clean();
}

#[tokio::test]
async fn what_is_no_result_is_not_kept_and_withdrawal_forgets() {
    let mut world = world(1);
    let provider = world.provider(0, "a", cached(60_000));
    let caller = world.client(0);
    for (number, status, asked) in
        [(1, Status::Panicked, 1), (2, Status::Application, 1), (3, Status::Ok, 0), (4, Status::Ok, 0)]
    {
        world.call(caller, number, "a", b"x");
        let got = world.got(provider).await;
        assert_eq!(got.len(), asked, "call {number}");
        for frame in got {
            world.answer(provider, frame.request().call, status, b"why");
        }
        let end = world.next(caller).await;
        assert_eq!(end.reply().status, if number < 2 { status } else { Status::Application });
    }
    // Too large to be kept.
    for number in 5..=6 {
        world.call(caller, number, "a", b"large");
        let call = world.next(provider).await.request().call;
        world.answer(provider, call, Status::Ok, &[1; 1_001]);
        world.next(caller).await;
    }
    world.leave(provider);
    world.call(caller, 7, "a", b"x");
    assert_eq!(world.next(caller).await.reply().status, Status::NoProvider);
    let provider = world.provider(0, "a", cached(60_000));
    world.call(caller, 8, "a", b"x");
    assert_eq!(echo(&mut world, provider).await, 1);
    world.got(caller).await;
    world.assert_clean();
}

/// The set of providers is replaced by another one of the same providers when their health changes, for one, or when what
/// the DHT has told gives way to what they have.
#[tokio::test]
async fn a_result_holds_for_as_long_as_all_who_could_have_given_it_are_there() {
    let mut world = world(1);
    let provider = world.provider(0, "a", cached(60_000));
    let caller = world.client(0);
    world.call(caller, 1, "a", b"x");
    assert_eq!(echo(&mut world, provider).await, 1);
    world.got(caller).await;
    let session = world.clients[provider].session;
    world.nodes[0].calls.health(session, 1, ProviderHealth::Degraded).expect("is held");
    let second = world.provider(0, "a", cached(60_000));
    world.call(caller, 2, "a", b"x");
    world.calm().await;
    assert_eq!(echo(&mut world, provider).await + echo(&mut world, second).await, 0, "it is kept");
    assert_eq!(world.next(caller).await.reply().body, b"x");
    // One of two goes, who may have given it.
    world.leave(provider);
    world.call(caller, 3, "a", b"x");
    assert_eq!(echo(&mut world, second).await, 1);
    world.got(caller).await;
    // Another way to keep results.
    world.serve(second, "a", cached(50_000));
    world.call(caller, 4, "a", b"x");
    assert_eq!(echo(&mut world, second).await, 1);
    world.got(caller).await;
    world.assert_clean();
}

#[tokio::test]
async fn a_result_longer_than_a_frame_goes_to_each_on_its_own() {
    let mut world = world(1);
    let provider = world.provider(0, "a", cached(60_000));
    let caller = world.client(0);
    world.call(caller, 1, "a", b"x");
    world.call(caller, 2, "a", b"x");
    for number in 1..=2 {
        let call = world.next(provider).await.request().call;
        world.send(provider, &data(call, DataFlags::default(), b"one"));
        world.answer(provider, call, Status::Ok, b"two");
        let got = world.got(caller).await;
        assert_eq!((got[0].data().call, got[1].reply().call), (number, number));
    }
    world.assert_clean();
}

/// Providers that have answered so often that it is known what is usual.
async fn hedging(nodes: u8) -> (World, Vec<usize>, usize) {
    let mut world = world(nodes);
    let providers: Vec<usize> = (0..2).map(|_| world.provider(usize::from(nodes) - 1, "a", idempotent())).collect();
    let caller = world.client(0);
    for number in 0..60 {
        world.call(caller, number, "a", b"");
        for provider in &providers {
            echo(&mut world, *provider).await;
        }
        world.got(caller).await;
    }
    (world, providers, caller)
}

/// Sends a call that is to be hedged; gives who got it first, and the requests of both.
async fn hedged(world: &mut World, providers: &[usize], caller: usize) -> [(usize, u64); 2] {
    world.send(caller, &CallFrame::Request(Request { flags: Flags::HEDGE, body: b"h", ..request(100, "a") }));
    let mut asked = Vec::new();
    let begun = Instant::now();
    while asked.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "waited too long for a second request");
        for provider in providers {
            asked.extend(world.got(*provider).await.iter().map(|frame| (*provider, frame.request().call)));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_ne!(asked[0].0, asked[1].0);
    [asked[0], asked[1]]
}

#[tokio::test]
async fn the_second_one_is_asked_and_the_quicker_one_answers() {
    for nodes in 1..=2 {
        for winner in 0..2 {
            let (mut world, providers, caller) = hedging(nodes).await;
            let asked = hedged(&mut world, &providers, caller).await;
            let (quick, slow) = (asked[winner], asked[1 - winner]);
            world.answer(quick.0, quick.1, Status::Ok, b"quick");
            assert_eq!(world.next(caller).await.reply().body, b"quick");
            assert_eq!(world.next(slow.0).await.frame(), CallFrame::Cancel { call: slow.1 });
            world.answer(slow.0, slow.1, Status::Ok, b"slow");
            assert!(world.got(caller).await.is_empty());
            world.assert_clean();
        }
    }
}

#[tokio::test]
async fn a_second_one_that_fails_changes_nothing() {
    let (mut world, providers, caller) = hedging(1).await;
    let asked = hedged(&mut world, &providers, caller).await;
    world.answer(asked[1].0, asked[1].1, Status::Overloaded, b"");
    assert!(world.got(caller).await.is_empty());
    world.answer(asked[0].0, asked[0].1, Status::Ok, b"first");
    assert_eq!(world.next(caller).await.reply().body, b"first");
    world.assert_clean();
    let (mut world, providers, caller) = hedging(1).await;
    hedged(&mut world, &providers, caller).await;
    world.send(caller, &CallFrame::Cancel { call: 100 });
    world.calm().await;
    world.assert_clean();
}

fn gather(number: u64, answers: u16, window: u32) -> CallFrame<'static> {
    let flags = Flags::ITEMS_OUT;
    CallFrame::Request(Request { strategy: Strategy::All, flags, answers, window, ..request(number, "a") })
}

/// The items among frames.
fn items(frames: &[Frame]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    for frame in frames {
        if let CallFrame::Data(data) = frame.frame() {
            items.last_mut().expect("is one").extend_from_slice(data.body);
            if data.flags.contains(DataFlags::END_ITEM) {
                items.push(Vec::new());
            }
        }
    }
    assert_eq!(items.pop(), Some(Vec::new()), "all items are whole");
    items
}

#[tokio::test]
async fn all_are_asked_and_each_answers() {
    let mut world = world(2);
    let providers: Vec<usize> = (0..4).map(|n| world.provider(n % 2, "a", Procedure::default())).collect();
    let caller = world.client(0);
    world.send(caller, &gather(1, 0, 1 << 20));
    world.calm().await;
    for (n, provider) in providers.iter().enumerate() {
        let call = world.next(*provider).await.request().call;
        match n {
            0 => world.answer(*provider, call, Status::Application, b"no"),
            1 => {
                world.send(*provider, &data(call, DataFlags::default(), &[1; 50_000]));
                world.send(*provider, &data(call, DataFlags::default(), &[1; 50_000]));
                world.answer(*provider, call, Status::Ok, b"end");
            }
            2 => world.leave(*provider),
            _ => world.answer(*provider, call, Status::Ok, b"yes"),
        }
    }
    let got = world.got(caller).await;
    assert_eq!(got.last().expect("some").reply().status, Status::Ok);
    let items = items(&got);
    let items: Vec<_> = items.iter().map(|item| GatheredItem::decode(item).expect("is one")).collect();
    let of = |provider: usize| {
        let client = &world.clients[provider];
        let item = items.iter().find(|item| item.provider == client.owner.peer).expect("has answered");
        assert_eq!(item.node, world.nodes[client.node].peer);
        (item.status, item.body.len())
    };
    assert_eq!(of(providers[0]), (Status::Application, 2));
    assert_eq!(of(providers[1]), (Status::Ok, 100_003));
    assert_eq!(of(providers[2]).0, Status::Unknown);
    assert_eq!(of(providers[3]), (Status::Ok, 3));
    assert_eq!(items.len(), 4);
    world.assert_clean();
}

#[tokio::test]
async fn enough_answers_end_it_and_the_others_are_cancelled() {
    let mut world = world(1);
    let providers: Vec<usize> = (0..3).map(|_| world.provider(0, "a", Procedure::default())).collect();
    let caller = world.client(0);
    world.send(caller, &gather(1, 2, 1 << 20));
    let mut calls = Vec::new();
    for provider in &providers {
        calls.push(world.next(*provider).await.request().call);
    }
    world.answer(providers[2], calls[2], Status::Overloaded, b"");
    world.answer(providers[1], calls[1], Status::Ok, b"");
    assert_eq!(items(&world.got(caller).await).len(), 2);
    let late = world.provider(0, "a", Procedure::default());
    world.answer(providers[0], calls[0], Status::Ok, b"");
    let got = world.got(caller).await;
    assert_eq!((got.len(), got[1].reply().status), (2, Status::Ok));
    assert!(world.got(late).await.is_empty());
    world.assert_clean();
    // A caller that goes cancels all; and nobody there is nobody there.
    world.send(caller, &gather(2, 0, 1 << 20));
    world.send(caller, &CallFrame::Cancel { call: 2 });
    world.calm().await;
    world.assert_clean();
    for provider in [providers[0], providers[1], providers[2], late] {
        world.leave(provider);
    }
    world.send(caller, &gather(3, 0, 1 << 20));
    assert_eq!(world.next(caller).await.reply().status, Status::NoProvider);
    world.assert_clean();
}

#[tokio::test]
async fn answers_come_as_far_as_there_is_credit_and_until_the_deadline() {
    let mut world = world(1);
    let providers: Vec<usize> = (0..2).map(|_| world.provider(0, "a", Procedure::default())).collect();
    let caller = world.client(0);
    world.send(caller, &gather(1, 0, 100));
    for provider in &providers {
        let call = world.next(*provider).await.request().call;
        let reply = Reply { health: ProviderHealth::Good, body: &[7; 132], ..Reply::failure(call, Status::Ok, "") };
        world.send(*provider, &CallFrame::Reply(reply));
    }
    let mut got = world.got(caller).await;
    assert_eq!(got.iter().map(|frame| frame.data().body.len()).sum::<usize>(), 100);
    assert!(world.nodes[0].budget.used() >= 300, "what waits is charged");
    world.send(caller, &CallFrame::Credit { call: 1, caller: true, bytes: 250 });
    got.extend(world.got(caller).await);
    world.send(caller, &CallFrame::Credit { call: 1, caller: true, bytes: 50 });
    got.extend(world.got(caller).await);
    assert_eq!(got.last().expect("some").reply().status, Status::Ok);
    assert_eq!(items(&got).iter().map(Vec::len).collect::<Vec<_>>(), [200, 200]);
    world.assert_clean();
    let CallFrame::Request(open) = gather(2, 0, 1 << 20) else { unreachable!() };
    world.send(caller, &CallFrame::Request(Request { deadline_ms: 30, ..open }));
    let call = world.next(providers[0]).await.request().call;
    world.answer(providers[0], call, Status::Ok, b"in time");
    assert_eq!(items(&world.got(caller).await).len(), 1);
    assert_eq!(world.next(caller).await.reply().status, Status::TimedOut);
    world.assert_clean();
}
