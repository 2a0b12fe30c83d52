//! Bodies longer than a frame, and streams.

mod support;

use sinew_rpc::CallsConfig;
use sinew_wire::call::{CallFrame, DataFlags, Flags, INITIAL_WINDOW, Request, Status};
use sinew_wire::{Limit, Procedure, Refusal};
use support::{World, data, request};

const CALLER: DataFlags = DataFlags::CALLER;

fn upload(number: u64) -> CallFrame<'static> {
    CallFrame::Request(Request { flags: Flags::MORE, body: b"first", ..request(number, "a") })
}

fn credit(call: u64, caller: bool, bytes: u32) -> CallFrame<'static> {
    CallFrame::Credit { call, caller, bytes }
}

fn is_credit_refusal(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Limit { limit: Limit::CallCredit, .. })
}

/// A realm where the caller's node and the provider's are one, or two; a provider and a caller.
fn both(test: impl AsyncFn(World, usize, usize)) {
    for nodes in [1, 2] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(nodes, &CallsConfig::default());
            let provider = world.provider(usize::from(nodes) - 1, "a", Procedure::default());
            let caller = world.client(0);
            test(world, provider, caller).await;
        });
    }
}

#[test]
fn a_body_in_parts_comes_in_order() {
    both(async |mut world, provider, caller| {
        world.send(caller, &upload(1));
        for n in 0..5_u8 {
            world.send(caller, &data(1, CALLER, &[n; 1_000]));
        }
        world.send(caller, &data(1, CALLER.with(DataFlags::END), b"last"));
        let got = world.got(provider).await;
        assert_eq!(got.len(), 7);
        assert_eq!(got[0].request().body, b"first");
        let call = got[0].request().call;
        let bodies: Vec<_> = got[1..].iter().map(|frame| (frame.data().call, frame.data().body[0])).collect();
        assert_eq!(bodies, [(call, 0), (call, 1), (call, 2), (call, 3), (call, 4), (call, b'l')]);
        assert_eq!(got[6].data().flags, CALLER.with(DataFlags::END));
        // The answer in parts, too.
        world.send(provider, &data(call, DataFlags::default(), b"one"));
        world.send(provider, &data(call, DataFlags::default(), b"two"));
        world.answer(provider, call, Status::Ok, b"three");
        let got = world.got(caller).await;
        assert_eq!((got[0].data().body, got[1].data().body), (&b"one"[..], &b"two"[..]));
        assert_eq!(got[2].reply().body, b"three");
        world.assert_clean();
    });
}

#[test]
fn data_wait_with_their_request() {
    both(async |mut world, provider, caller| {
        world.serve(provider, "a", Procedure { concurrency: 1, ..Procedure::default() });
        world.call(caller, 1, "a", b"");
        let first = world.next(provider).await.request().call;
        world.send(caller, &upload(2));
        let items = CALLER.with(DataFlags::END_ITEM);
        for n in 0..100_u8 {
            world.send(caller, &data(2, items, &[n; 10]));
        }
        world.calm().await;
        assert!(world.nodes.last().expect("is one").budget.used() > 1_000, "what waits is charged");
        world.answer(provider, first, Status::Ok, b"");
        world.calm().await;
        world.send(caller, &data(2, CALLER.with(DataFlags::END), b""));
        let got = world.got(provider).await;
        assert_eq!(got.len(), 102);
        assert!(got[1..101].iter().enumerate().all(|(n, frame)| frame.data().body == [n as u8; 10]));
        assert!(got[1..101].iter().all(|frame| frame.data().flags == items));
        world.answer(provider, got[0].request().call, Status::Ok, b"");
        assert_eq!(world.got(caller).await.len(), 2);
        world.assert_clean();
    });
}

#[test]
fn credit_goes_from_end_to_end() {
    both(async |mut world, provider, caller| {
        let both_ways = Flags::MORE.with(Flags::ITEMS_IN).with(Flags::ITEMS_OUT);
        let open = Request { flags: both_ways, window: 3_000, ..request(1, "a") };
        world.send(caller, &CallFrame::Request(open));
        let got = world.next(provider).await;
        let call = got.request().call;
        assert_eq!((got.request().window, got.request().flags), (3_000, both_ways));
        let (window, item) = (INITIAL_WINDOW as usize, DataFlags::END_ITEM);
        world.send(caller, &data(1, CALLER.with(item), &vec![1; window]));
        world.send(provider, &credit(call, false, 500));
        world.send(provider, &data(call, item, &[2; 3_000]));
        let got = world.got(caller).await;
        assert_eq!(got[0].frame(), credit(1, false, 500));
        assert_eq!(got[1].data().flags, item);
        world.send(caller, &data(1, CALLER.with(item), &[1; 500]));
        world.send(caller, &credit(1, true, 100));
        let got = world.got(provider).await;
        assert_eq!(got[2].frame(), credit(call, true, 100));
        world.send(provider, &data(call, item, &[2; 100]));
        world.answer(provider, call, Status::Ok, b"");
        assert_eq!(world.got(caller).await.len(), 2);
        world.assert_clean();
    });
}

#[test]
fn a_caller_beyond_its_credit_is_put_out() {
    both(async |mut world, provider, caller| {
        world.send(caller, &upload(1));
        world.send(caller, &data(1, CALLER, &vec![1; INITIAL_WINDOW as usize]));
        let refused = world.try_send(caller, &data(1, CALLER, &[1])).expect_err("is beyond");
        assert!(is_credit_refusal(&refused));
        world.leave(caller);
        let got = world.got(provider).await;
        assert!(matches!(got.last().expect("some").frame(), CallFrame::Cancel { .. }));
        world.assert_clean();
    });
}

#[test]
fn a_provider_beyond_its_credit_is_put_out_and_its_caller_told() {
    for nodes in [1, 2] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(nodes, &CallsConfig::default());
            let provider = world.provider(usize::from(nodes) - 1, "a", Procedure::default());
            let caller = world.client(0);
            for (number, granted) in [(1, false), (2, true)] {
                world.send(caller, &CallFrame::Request(Request { window: 10, ..request(number, "a") }));
                let call = world.next(provider).await.request().call;
                let frame =
                    if granted { credit(call, false, u32::MAX) } else { data(call, DataFlags::default(), &[1; 11]) };
                let refused = world.try_send(provider, &frame).expect_err("is beyond");
                assert!(is_credit_refusal(&refused));
                let end = world.got(caller).await;
                assert!(is_credit_refusal(&end[0].reply().refusal().expect("says why")));
                assert!(matches!(world.next(provider).await.frame(), CallFrame::Cancel { .. }));
            }
            assert!(matches!(world.try_send(caller, &credit(9, true, 1)), Ok(())), "a call that there is not");
            world.assert_clean();
        });
    }
}

#[test]
fn data_behind_the_end_break_the_protocol() {
    both(async |mut world, provider, caller| {
        world.send(caller, &upload(1));
        world.send(caller, &data(1, CALLER.with(DataFlags::END), b""));
        assert!(matches!(world.try_send(caller, &data(1, CALLER, b"x")), Err(Refusal::Protocol(_))));
        world.call(caller, 2, "a", b"");
        assert!(matches!(world.try_send(caller, &data(2, CALLER, b"x")), Err(Refusal::Protocol(_))));
        // What comes for a call that has ended has crossed its end.
        let got = world.got(provider).await;
        for frame in got.iter().filter(|frame| matches!(frame.frame(), CallFrame::Request(_))) {
            world.answer(provider, frame.request().call, Status::Ok, b"");
        }
        world.calm().await;
        world.send(caller, &data(1, CALLER, b"x"));
        world.send(caller, &credit(1, true, 7));
        world.send(caller, &CallFrame::Cancel { call: 1 });
        world.assert_clean();
    });
}

#[test]
fn a_stream_that_was_cancelled_says_nothing_more() {
    both(async |mut world, provider, caller| {
        let items = Request { flags: Flags::ITEMS_OUT, ..request(1, "a") };
        world.send(caller, &CallFrame::Request(items));
        let call = world.next(provider).await.request().call;
        world.send(provider, &data(call, DataFlags::END_ITEM, b"1"));
        assert_eq!(world.got(caller).await.len(), 1);
        world.send(caller, &CallFrame::Cancel { call: 1 });
        assert_eq!(world.next(provider).await.frame(), CallFrame::Cancel { call });
        world.send(provider, &data(call, DataFlags::END_ITEM, b"2"));
        world.answer(provider, call, Status::Ok, b"");
        assert!(world.got(caller).await.is_empty());
        world.assert_clean();
    });
}

#[test]
fn a_stream_is_not_begun_anew_once_it_has_begun() {
    both(async |mut world, provider, caller| {
        let node = world.clients[provider].node;
        let flags = Flags::ITEMS_OUT.with(Flags::IDEMPOTENT);
        world.send(caller, &CallFrame::Request(Request { flags, ..request(1, "a") }));
        let call = world.next(provider).await.request().call;
        let other = world.provider(node, "a", Procedure::default());
        world.send(provider, &data(call, DataFlags::END_ITEM, b"1"));
        world.calm().await;
        world.leave(provider);
        let got = world.got(caller).await;
        assert_eq!((got.len(), got[1].reply().status), (2, Status::Unknown));
        assert!(world.got(other).await.is_empty());
        world.assert_clean();
    });
}

#[test]
fn streams_beyond_what_a_link_may_hold_wait_and_let_others_pass() {
    const CHUNK: usize = 5_000;
    both(async |mut world, provider, _| {
        let caller = world.client_with(0, 16_000);
        let mut calls = Vec::new();
        for number in 1..=8 {
            world.send(caller, &CallFrame::Request(Request { window: 100_000, ..request(number, "a") }));
            calls.push(world.next(provider).await.request().call);
        }
        world.call(caller, 9, "a", b"");
        let short = world.next(provider).await.request().call;
        for part in 0..20_u8 {
            for call in &calls {
                world.send(provider, &data(*call, DataFlags::default(), &[part; CHUNK]));
            }
            world.calm().await;
        }
        for call in &calls[1..] {
            world.answer(provider, *call, Status::Ok, b"");
        }
        world.answer(provider, short, Status::Ok, b"short");
        world.send(caller, &CallFrame::Cancel { call: 1 });
        let first = world.got(caller).await;
        assert!(first.len() < 10 && first.last().expect("some").reply().body == b"short", "{}", first.len());
        let mut parts = [0; 10];
        let mut ended = 0;
        let mut got = first;
        while ended < 8 {
            for frame in &got {
                match frame.frame() {
                    CallFrame::Data(part) => {
                        let expected = &mut parts[part.call as usize];
                        assert_eq!((part.body[0], part.body.len()), (*expected, CHUNK));
                        *expected += 1;
                    }
                    CallFrame::Reply(end) => {
                        assert_eq!(parts[end.call as usize], if end.call == 9 { 0 } else { 20 });
                        ended += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            if ended < 8 {
                got = world.some(caller).await;
            }
        }
        assert!(parts[1] < 20, "what was cancelled does not come");
        world.got(provider).await;
        world.assert_clean();
    });
}
