use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sinew_client::{
    CallError, Client, ConnectionEvent, DisconnectReason, Executed, Limit, PeerId, Refusal, SendError, Strategy,
};
use sinew_wire::Headers;
use sinew_wire::call::{
    DataFlags, Flags, GatheredItem, INITIAL_WINDOW, MAX_CHUNK, Reply, Status, encode_credit, refused_body,
};

use crate::frames::{Asked, Frame, data, reply};
use crate::peer::{Node, Peer, is_pending, soon};

const WINDOW: usize = 256 << 10;

impl Peer {
    async fn answer(&mut self, call: u64, body: &[u8]) {
        self.send_call(|out| reply(call, Status::Ok, body).encode(out)).await;
    }

    async fn fail(&mut self, call: u64, status: Status, code: u16, body: &[u8]) {
        let failure = Reply { code, retry_after_ms: 70, ..reply(call, status, body) };
        self.send_call(|out| failure.encode(out)).await;
    }

    async fn item(&mut self, call: u64, body: &[u8]) {
        self.send_call(|out| data(call, DataFlags::END_ITEM, body).encode(out)).await;
    }

    async fn part(&mut self, call: u64, body: &[u8]) {
        self.send_call(|out| data(call, DataFlags::default(), body).encode(out)).await;
    }

    async fn credit(&mut self, call: u64, bytes: u32) {
        self.send_call(|out| encode_credit(call, false, bytes, out)).await;
    }

    async fn expect_cancel(&mut self, call: u64) {
        assert_eq!(self.next_call().await, Frame::Cancel(call));
    }

    /// Takes what a caller sends until it sends no more, and gives credit for it.
    async fn take_all(&mut self, call: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let (_, flags, body) = self.next_data().await;
            all.extend_from_slice(&body);
            if flags.contains(DataFlags::END) {
                return all;
            }
            self.credit(call, body.len() as u32).await;
        }
    }
}

async fn works(client: &Client, peer: &mut Peer) {
    let (result, ()) = tokio::join!(client.call("works", "still"), async {
        let asked = peer.next_request().await;
        assert_eq!(asked.name, "works");
        peer.answer(asked.call, b"yes").await;
    });
    assert_eq!(result.expect("works").body, "yes");
}

#[tokio::test]
async fn a_call_says_what_is_wanted_and_gets_its_result() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let calling = client
        .calling("math.square")
        .deadline(Duration::from_secs(3))
        .header("a", "b")
        .traceparent("00-1-2-3")
        .priority(9)
        .key("k")
        .idempotent()
        .hedged()
        .fresh();
    let (result, asked) = tokio::join!(calling.send("12"), async {
        let asked = peer.next_request().await;
        let mut headers = bytes::BytesMut::new();
        sinew_wire::encode_header("unit", b"m", &mut headers).expect("fits");
        let headers = Headers::decode(&headers).expect("is valid");
        let answer = Reply { headers, ..reply(asked.call, Status::Ok, b"144") };
        peer.send_call(|out| answer.encode(out)).await;
        asked
    });
    let result = result.expect("has a result");
    assert_eq!((&*result.body, result.headers().get("unit")), (&b"144"[..], Some(&b"m"[..])));
    let Asked { flags, strategy, priority, target, deadline_ms, window, name, key, headers, body, .. } = asked;
    assert_eq!(flags, Flags::IDEMPOTENT.with(Flags::HEDGE).with(Flags::FRESH));
    assert_eq!((strategy, priority, target), (Strategy::Sticky, 9, 0));
    assert!((2_900..=3_000).contains(&deadline_ms), "{deadline_ms}");
    assert_eq!((window as usize, &*name, &*key, &*body), (WINDOW, "math.square", &b"k"[..], &b"12"[..]));
    let headers = Headers::decode(&headers).expect("is valid");
    assert_eq!((headers.get("a"), headers.get("traceparent")), (Some(&b"b"[..]), Some(&b"00-1-2-3"[..])));
    let (result, deadline_ms) = tokio::join!(client.call("a", ""), async {
        let asked = peer.next_request().await;
        peer.answer(asked.call, b"").await;
        asked.deadline_ms
    });
    assert_eq!(result.expect("has a result").body, "");
    assert!((9_900..=10_000).contains(&deadline_ms), "{deadline_ms}");
}

#[tokio::test]
async fn what_is_no_call_is_refused_at_once() {
    let mut node = Node::on_unix().await;
    let builder = node.builder().max_call_bytes(100);
    let welcome = node.welcome();
    let (client, mut peer) = node.connected_by(builder, welcome).await;
    assert!(matches!(client.call("a.*", "").await, Err(CallError::Name(_))));
    assert_eq!(client.call("$sys", "").await, Err(CallError::Reserved));
    assert_eq!(client.call("a", vec![0; 101]).await, Err(CallError::TooLarge { actual: 101, limit: 100 }));
    let key = client.calling("a").key(vec![0; 257]);
    assert_eq!(key.send("").await, Err(CallError::KeyTooLong { actual: 257 }));
    assert!(matches!(client.calling("a").header("", "").send("").await, Err(CallError::Header(_))));
    let at_once = client.calling("a").deadline(Duration::ZERO).send("").await;
    assert_eq!(at_once, Err(CallError::TimedOut { maybe_executed: false }));
    for error in [CallError::Reserved, CallError::TimedOut { maybe_executed: false }] {
        assert_eq!(error.executed(), Executed::No);
    }
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn each_failure_has_its_error() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let limit = Refusal::Limit { limit: Limit::CallsPerClient, allowed: 256 };
    let refused = refused_body(&limit);
    let text = || "text".to_owned();
    let (no, maybe, yes) = (Executed::No, Executed::Maybe, Executed::Yes);
    let cases: [(Status, u16, &[u8], CallError, Executed); 11] = [
        (Status::Application, 7, b"text", CallError::Application { code: 7, body: Bytes::from("text") }, yes),
        (Status::NoProvider, 0, b"", CallError::NoProvider, no),
        (Status::NoPeers, 0, b"", CallError::NoPeers, no),
        (Status::NotSent, 0, b"text", CallError::NotSent(text()), no),
        (Status::Unknown, 0, b"text", CallError::Unknown(text()), maybe),
        (Status::Overloaded, 0, b"", CallError::Overloaded { retry_after: Duration::from_millis(70) }, no),
        (Status::TimedOut, 0, b"", CallError::TimedOut { maybe_executed: false }, no),
        (Status::TimedOut, 1, b"", CallError::TimedOut { maybe_executed: true }, maybe),
        (Status::Cancelled, 0, b"", CallError::Cancelled, maybe),
        (Status::Panicked, 0, b"text", CallError::Panicked(text()), yes),
        (Status::Refused, 0, &refused, CallError::Refused(limit), no),
    ];
    for (status, code, body, expected, executed) in cases {
        let (result, ()) = tokio::join!(client.call("a", ""), async {
            let asked = peer.next_request().await;
            peer.fail(asked.call, status, code, body).await;
        });
        let error = result.expect_err("fails");
        assert_eq!((&error, error.executed()), (&expected, executed));
    }
    // A refusal of a later version is one all the same.
    let (result, ()) = tokio::join!(client.call("a", ""), async {
        let asked = peer.next_request().await;
        peer.fail(asked.call, Status::Refused, 0, &[255; 9]).await;
    });
    assert!(matches!(result, Err(CallError::Refused(Refusal::Unavailable(_)))));
}

#[tokio::test]
async fn many_calls_are_open_at_once_and_answered_in_any_order() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let calls = (0..200_u32).map(|n| client.call("a", n.to_le_bytes().to_vec()));
    let answering = async {
        let mut asked = Vec::new();
        for _ in 0..200 {
            asked.push(peer.next_request().await);
        }
        for asked in asked.iter().rev() {
            peer.answer(asked.call, &asked.body).await;
            // A second answer is for nobody.
            peer.answer(asked.call, b"again").await;
        }
    };
    let (results, ()) = tokio::join!(futures::future::join_all(calls), answering);
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.expect("has a result").body, (n as u32).to_le_bytes().to_vec());
    }
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn dropping_a_call_cancels_it_and_what_crosses_is_ignored() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut call = Box::pin(client.call("slow", ""));
    assert!(is_pending(&mut call).await);
    let asked = peer.next_request().await;
    drop(call);
    peer.expect_cancel(asked.call).await;
    peer.part(asked.call, &[0; 1000]).await;
    peer.credit(asked.call, 10).await;
    peer.answer(asked.call, b"late").await;
    peer.answer(4711, b"of nothing").await;
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn more_calls_than_may_be_open_wait_in_line() {
    let mut node = Node::on_unix().await;
    let builder = node.builder().max_calls(1);
    let welcome = node.welcome();
    let (client, mut peer) = node.connected_by(builder, welcome).await;
    let mut first = Box::pin(client.call("a", "1"));
    assert!(is_pending(&mut first).await);
    let asked = peer.next_request().await;
    let late = client.calling("a").deadline(Duration::from_millis(20)).send("2").await;
    assert_eq!(late, Err(CallError::TimedOut { maybe_executed: false }));
    let mut third = Box::pin(client.call("a", "3"));
    assert!(is_pending(&mut third).await);
    peer.answer(asked.call, b"one").await;
    assert_eq!(soon("the first", first).await.expect("has a result").body, "one");
    let (result, ()) = tokio::join!(soon("the third", third), async {
        let asked = peer.next_request().await;
        assert_eq!(asked.body, b"3");
        peer.answer(asked.call, b"three").await;
    });
    assert_eq!(result.expect("has a result").body, "three");
}

#[tokio::test]
async fn a_node_that_says_nothing_is_not_waited_for() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (result, asked) =
        tokio::join!(client.calling("a").deadline(Duration::from_millis(30)).send(""), peer.next_request());
    assert_eq!(result, Err(CallError::TimedOut { maybe_executed: true }));
    peer.expect_cancel(asked.call).await;
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn large_arguments_and_results_go_in_parts() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let argument: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (result, ()) = tokio::join!(client.call("a", argument.clone()), async {
        let asked = peer.next_request().await;
        assert!(asked.flags.contains(Flags::MORE) && asked.body.len() == MAX_CHUNK);
        // No more than this before the first credit.
        let mut all = asked.body.clone();
        while all.len() < MAX_CHUNK + INITIAL_WINDOW as usize {
            all.extend(peer.next_data().await.2);
        }
        assert_eq!(all.len(), MAX_CHUNK + INITIAL_WINDOW as usize);
        assert!(is_pending(peer.next_call()).await);
        peer.credit(asked.call, 100_000).await;
        all.extend(peer.take_all(asked.call).await);
        assert!(all == argument);
        let mut credit = WINDOW;
        let mut rest = &argument[..];
        while rest.len() > 1_000 {
            let (part, after) = rest.split_at(rest.len().min(MAX_CHUNK).min(credit));
            if part.is_empty() {
                let Frame::Credit(call, true, bytes) = peer.next_call().await else { panic!("expected credit") };
                assert_eq!(call, asked.call);
                credit += bytes as usize;
            } else {
                credit -= part.len();
                peer.part(asked.call, part).await;
                rest = after;
            }
        }
        peer.answer(asked.call, rest).await;
    });
    assert!(result.expect("has a result").body == argument);
}

#[tokio::test]
async fn a_result_that_is_too_large_is_not_waited_for() {
    let mut node = Node::on_unix().await;
    let builder = node.builder().max_call_bytes(100_000);
    let welcome = node.welcome();
    let (client, mut peer) = node.connected_by(builder, welcome).await;
    let (result, ()) = tokio::join!(client.call("a", ""), async {
        let asked = peer.next_request().await;
        peer.part(asked.call, &[0; 60_000]).await;
        peer.part(asked.call, &[0; 60_000]).await;
        loop {
            match peer.next_call().await {
                Frame::Credit(..) => {}
                other => break assert_eq!(other, Frame::Cancel(asked.call)),
            }
        }
    });
    let error = result.expect_err("is too large");
    assert_eq!((&error, error.executed()), (&CallError::ResultTooLarge { limit: 100_000 }, Executed::Maybe));
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn calls_wait_for_the_connection_and_idempotent_ones_are_sent_again() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut once = Box::pin(client.call("once", ""));
    let mut twice = Box::pin(client.calling("twice").idempotent().send(""));
    assert!(is_pending(futures::future::join(&mut once, &mut twice)).await);
    assert_eq!((peer.next_request().await.name, peer.next_request().await.name), ("once".into(), "twice".into()));
    drop(peer);
    let error = soon("the loss", &mut once).await.expect_err("is lost");
    assert_eq!((&error, error.executed()), (&CallError::Disconnected { maybe_executed: true }, Executed::Maybe));
    let mut later = Box::pin(client.call("later", ""));
    let brief = client.calling("brief").deadline(Duration::from_millis(20)).send("");
    let (brief, waits) = tokio::join!(brief, is_pending(&mut later));
    assert!(waits);
    assert_eq!(brief, Err(CallError::TimedOut { maybe_executed: false }));
    let mut peer = node.accept().await;
    let answering = async {
        for _ in 0..2 {
            let asked = peer.next_request().await;
            peer.answer(asked.call, asked.name.as_bytes()).await;
        }
    };
    let (twice, later, ()) = tokio::join!(twice, later, answering);
    assert_eq!(
        (twice.expect("has a result").body, later.expect("has a result").body),
        ("twice".into(), "later".into())
    );
}

#[tokio::test]
async fn what_a_node_refuses_because_it_ends_goes_to_the_next_one() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let draining = refused_body(&Refusal::Draining);
    let brief = client.calling("brief").deadline(Duration::from_millis(50)).send("");
    let mut call = Box::pin(client.call("a", ""));
    let (brief, waits, ()) = tokio::join!(brief, is_pending(&mut call), async {
        for _ in 0..2 {
            let asked = peer.next_request().await;
            peer.fail(asked.call, Status::Refused, 0, &draining).await;
        }
    });
    assert!(waits);
    assert_eq!(brief, Err(CallError::Refused(Refusal::Draining)), "there was no other one in time");
    let ending = peer.goodbye(Refusal::Draining).await;
    let (result, ()) = tokio::join!(soon("the call", call), async {
        let mut peer = node.accept().await;
        let asked = peer.next_request().await;
        peer.answer(asked.call, b"from the next").await;
    });
    assert_eq!(result.expect("has a result").body, "from the next");
    drop(ending);
}

#[tokio::test]
async fn a_closed_client_calls_nobody() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut open = Box::pin(client.call("a", ""));
    assert!(is_pending(&mut open).await);
    peer.next_request().await;
    let (closed, ()) = tokio::join!(client.close(), async {
        peer.pong_next().await;
        peer.expect_goodbye().await;
        drop(peer);
    });
    assert_eq!(closed, Ok(()));
    assert_eq!(soon("the call", open).await, Err(CallError::Disconnected { maybe_executed: true }));
    assert_eq!(client.call("a", "").await, Err(CallError::Closed));
    assert!(matches!(client.calling("a").stream("").await, Err(CallError::Closed)));
}

#[tokio::test]
async fn a_stream_of_answers_ends_with_the_call() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (answers, asked) = tokio::join!(client.calling("a").stream("from"), peer.next_request());
    assert_eq!((asked.flags, &*asked.body), (Flags::ITEMS_OUT, &b"from"[..]));
    let mut answers = answers.expect("is sent");
    peer.item(asked.call, b"one").await;
    peer.item(asked.call, b"").await;
    peer.part(asked.call, b"th").await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from("one"))));
    assert_eq!(answers.next().await, Some(Ok(Bytes::new())));
    assert!(is_pending(answers.next()).await);
    peer.item(asked.call, b"ree").await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from("three"))));
    peer.answer(asked.call, b"last").await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from("last"))));
    assert_eq!((answers.next().await, answers.next().await), (None, None));
    // And an error is its last item.
    let (answers, asked) = tokio::join!(client.calling("a").stream(""), peer.next_request());
    peer.item(asked.call, b"one").await;
    peer.fail(asked.call, Status::Unknown, 0, b"gone").await;
    let all: Vec<_> = answers.expect("is sent").collect().await;
    assert_eq!(all, [Ok(Bytes::from("one")), Err(CallError::Unknown("gone".into()))]);
    // Whoever drops it does not want the rest.
    let (answers, asked) = tokio::join!(client.calling("a").stream(""), peer.next_request());
    drop(answers);
    peer.expect_cancel(asked.call).await;
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_nobody_else() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (answers, asked) = tokio::join!(client.calling("a").window(100_000).stream(""), peer.next_request());
    let mut answers = answers.expect("is sent");
    assert_eq!(asked.window, 100_000);
    peer.item(asked.call, &[1; 60_000]).await;
    peer.item(asked.call, &[2; 40_000]).await;
    works(&client, &mut peer).await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from(vec![1; 60_000]))));
    assert_eq!(peer.next_call().await, Frame::Credit(asked.call, true, 60_000));
    peer.answer(asked.call, b"").await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from(vec![2; 40_000]))));
    assert_eq!(answers.next().await, None);
}

#[tokio::test]
async fn a_provider_beyond_its_credit_is_the_nodes_fault() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let mut events = client.events();
    let (answers, asked) = tokio::join!(client.calling("a").window(4_096).stream(""), peer.next_request());
    let mut answers = answers.expect("is sent");
    peer.item(asked.call, &[1; 4_096]).await;
    peer.item(asked.call, &[2; 1]).await;
    let refusal = peer.expect_goodbye().await;
    assert!(matches!(&refusal, Refusal::Protocol(text) if text.contains("window of a call")), "{refusal}");
    drop(peer);
    assert_eq!(soon("an item", answers.next()).await, Some(Ok(Bytes::from(vec![1; 4_096]))));
    let lost = CallError::Disconnected { maybe_executed: true };
    assert_eq!(soon("the end", answers.next()).await, Some(Err(lost)));
    let event = soon("an event", events.next()).await;
    assert!(matches!(event, Some(ConnectionEvent::Disconnected { reason: DisconnectReason::Protocol(_), .. })));
}

#[tokio::test]
async fn both_sides_of_a_call_may_stream() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (opened, asked) = tokio::join!(client.calling("a").open(), peer.next_request());
    let (mut sender, mut answers) = opened.expect("is open");
    assert_eq!(asked.flags, Flags::MORE.with(Flags::ITEMS_IN).with(Flags::ITEMS_OUT));
    sender.send("one").await.expect("is sent");
    assert_eq!(peer.next_data().await, (asked.call, DataFlags::CALLER.with(DataFlags::END_ITEM), b"one".to_vec()));
    peer.item(asked.call, b"ONE").await;
    assert_eq!(answers.next().await, Some(Ok(Bytes::from("ONE"))));
    // Without credit it waits, and what was begun is brought to its end.
    let mut large = Box::pin(sender.send(vec![7; 100_000]));
    assert!(is_pending(&mut large).await);
    drop(large);
    peer.credit(asked.call, 1 << 20).await;
    sender.finish().await.expect("is finished");
    let mut item = Vec::new();
    loop {
        let (_, flags, body) = peer.next_data().await;
        item.extend(body);
        if flags.contains(DataFlags::END_ITEM) {
            break;
        }
    }
    assert!(item == [7; 100_000]);
    assert_eq!(peer.next_data().await, (asked.call, DataFlags::CALLER.with(DataFlags::END), Vec::new()));
    peer.answer(asked.call, b"").await;
    assert_eq!(answers.next().await, None);
}

#[tokio::test]
async fn a_sender_that_is_cut_off_cancels_and_an_early_answer_ends_it() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (opened, asked) = tokio::join!(client.calling("a").open(), peer.next_request());
    let (sender, mut answers) = opened.expect("is open");
    drop(sender);
    peer.expect_cancel(asked.call).await;
    assert_eq!(answers.next().await, Some(Err(CallError::Cancelled)));
    assert_eq!(answers.next().await, None);
    let (opened, asked) = tokio::join!(client.calling("a").open(), peer.next_request());
    let (mut sender, mut answers) = opened.expect("is open");
    peer.fail(asked.call, Status::Application, 3, b"enough").await;
    let enough = CallError::Application { code: 3, body: Bytes::from("enough") };
    assert_eq!(soon("the end", answers.next()).await, Some(Err(enough)));
    assert_eq!(sender.send("more").await, Err(SendError::Ended));
    assert_eq!(sender.finish().await, Err(SendError::Ended));
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn an_upload_has_one_result() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let items = stream::iter(["one", "", "three"]);
    let (result, ()) = tokio::join!(client.calling("a").upload(items), async {
        let asked = peer.next_request().await;
        assert_eq!(asked.flags, Flags::MORE.with(Flags::ITEMS_IN));
        for expected in ["one", "", "three"] {
            let (_, flags, body) = peer.next_data().await;
            assert_eq!((flags, &*body), (DataFlags::CALLER.with(DataFlags::END_ITEM), expected.as_bytes()));
        }
        assert_eq!(peer.next_data().await.1, DataFlags::CALLER.with(DataFlags::END));
        peer.answer(asked.call, b"three").await;
    });
    assert_eq!(result.expect("has a result").body, "three");
    // The answer may come before the end of the stream.
    let (result, ()) = tokio::join!(client.calling("a").upload(stream::pending::<Bytes>()), async {
        let asked = peer.next_request().await;
        peer.answer(asked.call, b"none").await;
    });
    assert_eq!(result.expect("has a result").body, "none");
    works(&client, &mut peer).await;
}

#[tokio::test]
async fn the_answers_of_all_are_gathered() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (gathered, asked) = tokio::join!(client.calling("a").answers(2).gather("q"), peer.next_request());
    assert_eq!((asked.strategy, asked.answers, asked.flags), (Strategy::All, 2, Flags::ITEMS_OUT));
    let mut gathered = gathered.expect("is sent");
    let (node, provider) = (PeerId::from_public_key([1; 32]), PeerId::from_public_key([2; 32]));
    for (status, body) in [(Status::Ok, "good"), (Status::Unknown, "lost")] {
        let mut item = bytes::BytesMut::new();
        GatheredItem { node, provider, status, code: 0, body: body.as_bytes() }.encode(&mut item);
        peer.item(asked.call, &item).await;
    }
    peer.answer(asked.call, b"").await;
    let first = gathered.next().await.expect("is there").expect("is one");
    assert_eq!((first.node, first.provider, first.result), (node, provider, Ok(Bytes::from("good"))));
    let second = gathered.next().await.expect("is there").expect("is one");
    assert_eq!(second.result, Err(CallError::Unknown("lost".into())));
    assert_eq!(gathered.next().await, None);
}

#[tokio::test]
async fn typed_calls_speak_json() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (sum, ()) = tokio::join!(client.call_typed::<[u32], u64>("sum", &[1, 2, 3]), async {
        let asked = peer.next_request().await;
        assert_eq!(asked.body, b"[1,2,3]");
        peer.answer(asked.call, b"6").await;
    });
    assert_eq!(sum, Ok(6));
    let (wrong, ()) = tokio::join!(client.call_typed::<str, u64>("sum", "x"), async {
        let asked = peer.next_request().await;
        peer.answer(asked.call, b"?").await;
    });
    assert!(matches!(wrong, Err(CallError::Decode(_))));
}
