use std::sync::Arc;
use std::time::Duration;

use sinew_client::{
    AnnounceError, AppError, CachePolicy, Client, Limit, PeerId, ProviderHealth, Refusal, Request, Response, SendError,
    ServeBuilder, Serving,
};
use sinew_wire::call::{
    CallFrame, DataFlags, Flags, INITIAL_WINDOW, MAX_CHUNK, Request as RequestFrame, Status, Strategy, encode_cancel,
    encode_credit, refused_body,
};
use sinew_wire::{Control, Headers, Serve};
use tokio::sync::{Notify, mpsc};

use crate::frames::{Frame, Replied, data};
use crate::peer::{Node, Peer, is_pending, soon};

impl Peer {
    /// Grants the next lease of a procedure.
    async fn grant_serve(&mut self) -> Serve {
        match self.next_control().await {
            Control::Serve(serve) => {
                self.send(Control::Announced { lease: serve.lease, ttl_ms: 60_000 }).await;
                serve
            }
            other => panic!("expected a procedure, got {other:?}"),
        }
    }

    async fn request<'a>(&mut self, change: impl FnOnce(&mut RequestFrame<'a>)) {
        let mut request = RequestFrame {
            call: 1,
            flags: Flags::default(),
            strategy: Strategy::Balanced,
            priority: 0,
            target: 1,
            caller: PeerId::from_public_key([7; 32]),
            deadline_ms: 10_000,
            window: 256 << 10,
            answers: 0,
            name: "p",
            key: &[],
            headers: Headers::default(),
            body: &[],
        };
        change(&mut request);
        self.send_call(|out| request.encode(out)).await;
    }

    async fn ask(&mut self, call: u64, body: &str) {
        self.request(|request| (request.call, request.body) = (call, body.as_bytes())).await;
    }

    async fn asked(&mut self, call: u64, body: &str) -> Replied {
        self.ask(call, body).await;
        self.next_reply().await
    }

    async fn send_data(&mut self, call: u64, flags: DataFlags, body: &[u8]) {
        self.send_call(|out| data(call, flags.with(DataFlags::CALLER), body).encode(out)).await;
    }
}

/// Serves with what `begin` makes of the procedure `p`.
async fn serving<F>(client: &Client, peer: &mut Peer, begin: impl FnOnce(ServeBuilder) -> F) -> (Serving, Serve)
where
    F: Future<Output = Result<Serving, AnnounceError>>,
{
    let (serving, serve) = tokio::join!(begin(client.serve("p")), peer.grant_serve());
    (serving.expect("is served"), serve)
}

async fn upper(request: Request) -> Result<Vec<u8>, AppError> {
    Ok(request.body.to_ascii_uppercase())
}

#[tokio::test]
async fn a_procedure_is_announced_and_answers() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let policy = CachePolicy { ttl_ms: 5, ..CachePolicy::default() };
    let (serving, serve) = serving(&client, &mut peer, |builder| {
        builder
            .concurrency(7)
            .ttl(Duration::from_secs(20))
            .metadata("k", "v")
            .idempotent()
            .cache(policy.clone())
            .handler(async |request: Request| {
                assert_eq!(request.caller, PeerId::from_public_key([7; 32]));
                assert_eq!(request.traceparent(), Some("00-1-2-3"));
                assert!(request.time_left() <= Duration::from_secs(10) && !request.wants_items());
                Ok(Response::new(request.body.to_ascii_uppercase()).header("a", "b")?)
            })
    })
    .await;
    assert_eq!((&*serve.name, serve.ttl_ms, serve.metadata.len()), ("p", 20_000, 1));
    let procedure = sinew_wire::Procedure { concurrency: 7, idempotent: true, cache: Some(policy) };
    assert_eq!(serve.procedure, procedure);
    assert!(serving.is_announced() && serving.name() == "p" && serving.ttl() == Duration::from_secs(60));
    let mut headers = bytes::BytesMut::new();
    sinew_wire::encode_header("traceparent", b"00-1-2-3", &mut headers).expect("fits");
    peer.request(|request| {
        request.call = 4711;
        request.target = serve.lease.into();
        request.headers = Headers::decode(&headers).expect("is valid");
        request.body = b"text";
    })
    .await;
    let replied = peer.next_reply().await;
    let headers = Headers::decode(&replied.headers).expect("is valid");
    assert_eq!(headers.get("a"), Some(&b"b"[..]));
    assert_eq!((replied.call, replied.status, &*replied.body, replied.load), (4711, Status::Ok, &b"TEXT"[..], 0));
    serving.health(ProviderHealth::Degraded);
    let health = Control::ServeHealth { lease: serve.lease, health: ProviderHealth::Degraded };
    assert_eq!(peer.next_control().await, health);
    drop(serving);
    assert_eq!(peer.next_control().await, Control::Withdraw { lease: serve.lease });
}

#[tokio::test]
async fn errors_and_panics_are_answers_and_the_procedure_goes_on() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, _) = serving(&client, &mut peer, |builder| {
        builder.handler(async |request: Request| match &*request.body {
            b"panic" => panic!("at {}", 7),
            b"code" => Err(AppError::new(42, "no")),
            body => Ok(std::str::from_utf8(body)?.parse::<u32>()?.to_string()),
        })
    })
    .await;
    let replied = peer.asked(1, "panic").await;
    assert_eq!((replied.status, &*replied.body), (Status::Panicked, &b"at 7"[..]));
    let replied = peer.asked(2, "code").await;
    assert_eq!((replied.status, replied.code, &*replied.body), (Status::Application, 42, &b"no"[..]));
    let replied = peer.asked(3, "x").await;
    assert_eq!((replied.status, replied.code), (Status::Application, 1));
    let replied = peer.asked(4, "12").await;
    assert_eq!((replied.status, &*replied.body), (Status::Ok, &b"12"[..]));
}

/// Tells when it is dropped.
struct Told(mpsc::Sender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.try_send("dropped").expect("is heard");
    }
}

/// A handler that tells when it begins and when it is dropped, and never answers.
async fn hang(client: &Client, peer: &mut Peer, concurrency: u32) -> (Serving, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel(64);
    let (serving, _) = serving(client, peer, |builder| {
        builder.concurrency(concurrency).handler(move |request: Request| {
            let tell = tell.clone();
            async move {
                let cancelled = request.cancelled();
                tokio::spawn({
                    let tell = tell.clone();
                    async move {
                        cancelled.await;
                        tell.send("cancelled").await
                    }
                });
                tell.try_send("begun")?;
                let _told = Told(tell);
                std::future::pending::<Result<(), AppError>>().await
            }
        })
    })
    .await;
    (serving, told)
}

#[tokio::test]
async fn a_cancelled_call_is_dropped_and_not_answered() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (serving, mut told) = hang(&client, &mut peer, 64).await;
    peer.ask(1, "").await;
    assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
    assert_eq!(serving.open_calls(), 1);
    peer.send_call(|out| encode_cancel(1, out)).await;
    let mut heard = [soon("the end", told.recv()).await, soon("the end", told.recv()).await];
    heard.sort_unstable();
    assert_eq!(heard, [Some("cancelled"), Some("dropped")]);
    // One that is known no longer is nothing.
    peer.send_call(|out| encode_cancel(1, out)).await;
    peer.send_call(|out| encode_credit(1, true, 5, out)).await;
    peer.send_data(1, DataFlags::END, b"x").await;
    let (flushed, ()) = tokio::join!(client.flush(), peer.pong_next());
    assert_eq!(flushed, Ok(()));
}

#[tokio::test]
async fn a_deadline_that_passes_is_answered() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, mut told) = hang(&client, &mut peer, 64).await;
    peer.request(|request| request.deadline_ms = 20).await;
    assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
    let replied = peer.next_reply().await;
    assert_eq!((replied.status, replied.code), (Status::TimedOut, 1));
    let mut heard = [soon("the end", told.recv()).await, soon("the end", told.recv()).await];
    heard.sort_unstable();
    assert_eq!(heard, [Some("cancelled"), Some("dropped")]);
}

#[tokio::test]
async fn what_is_lost_with_the_link_is_dropped_and_the_procedure_comes_back() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (serving, mut told) = hang(&client, &mut peer, 64).await;
    serving.health(ProviderHealth::Down);
    peer.next_control().await;
    peer.ask(1, "").await;
    assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
    drop(peer);
    soon("the end", told.recv()).await;
    let mut peer = node.accept().await;
    let serve = peer.grant_serve().await;
    let health = Control::ServeHealth { lease: serve.lease, health: ProviderHealth::Down };
    assert_eq!(peer.next_control().await, health);
    peer.ask(1, "").await;
    let begun = async { while told.recv().await != Some("begun") {} };
    soon("the handler", begun).await;
}

#[tokio::test]
async fn only_so_many_run_at_once() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let go = Arc::new(Notify::new());
    let (serving, _) = serving(&client, &mut peer, |builder| {
        let go = Arc::clone(&go);
        builder.concurrency(2).handler(move |request| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                upper(request).await
            }
        })
    })
    .await;
    for call in 1..=4 {
        peer.ask(call, "a").await;
    }
    let replied = peer.asked(5, "a").await;
    assert_eq!((replied.call, replied.status, replied.load), (5, Status::Overloaded, 4));
    assert!(replied.retry_after_ms > 0 && serving.open_calls() == 4);
    let mut answered = Vec::new();
    for load in (0..4).rev() {
        go.notify_one();
        let replied = peer.next_reply().await;
        assert_eq!((replied.status, replied.load), (Status::Ok, load));
        answered.push(replied.call);
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4]);
}

#[tokio::test]
async fn stopping_waits_for_what_is_open() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let go = Arc::new(Notify::new());
    let (serving, serve) = serving(&client, &mut peer, |builder| {
        let go = Arc::clone(&go);
        builder.handler(move |request| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                upper(request).await
            }
        })
    })
    .await;
    peer.ask(1, "a").await;
    let mut stopping = Box::pin(serving.stop());
    assert!(is_pending(&mut stopping).await);
    assert_eq!(peer.next_control().await, Control::Withdraw { lease: serve.lease });
    // It was on its way.
    peer.ask(2, "b").await;
    peer.send(Control::LeaseEnded { lease: serve.lease, refusal: None }).await;
    assert!(is_pending(&mut stopping).await);
    for _ in 0..2 {
        go.notify_one();
        assert_eq!(peer.next_reply().await.status, Status::Ok);
    }
    assert_eq!(soon("the stop", stopping).await, Ok(()));
    assert_eq!(peer.asked(3, "c").await.status, Status::NotSent);
}

#[tokio::test]
async fn what_is_dropped_ends_its_calls() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (serving, mut told) = hang(&client, &mut peer, 1).await;
    peer.ask(1, "").await;
    peer.ask(2, "").await;
    assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
    while serving.open_calls() < 2 {
        tokio::task::yield_now().await;
    }
    drop(serving);
    assert!(matches!(peer.next_control().await, Control::Withdraw { .. }));
    let (one, two) = (peer.next_reply().await, peer.next_reply().await);
    assert_eq!((one.call, one.status), (1, Status::Unknown));
    assert_eq!((two.call, two.status), (2, Status::NotSent), "it had not begun");
}

#[tokio::test]
async fn a_refused_procedure_is_none() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    assert!(matches!(client.serve("a.*").handler(upper).await, Err(AnnounceError::Name(_))));
    assert!(matches!(client.serve("$a").handler(upper).await, Err(AnnounceError::Reserved)));
    let policy = CachePolicy { vary: vec![String::new()], ..CachePolicy::default() };
    let cached = client.serve("a").cache(policy).handler(upper).await;
    assert!(matches!(cached, Err(AnnounceError::Metadata(_))));
    let refusal = Refusal::Limit { limit: Limit::ServicesPerClient, allowed: 64 };
    let (served, lease) = tokio::join!(client.serve("p").handler(upper), async {
        let Control::Serve(serve) = peer.next_control().await else { panic!("expected a procedure") };
        peer.send(Control::LeaseEnded { lease: serve.lease, refusal: Some(refusal.clone()) }).await;
        serve.lease
    });
    assert_eq!(served.expect_err("is refused"), AnnounceError::Refused(refusal));
    peer.request(|request| request.target = lease.into()).await;
    assert_eq!(peer.next_reply().await.status, Status::NotSent);
}

#[tokio::test]
async fn large_arguments_and_results_go_in_parts() {
    let mut node = Node::on_unix().await;
    let builder = node.builder().max_call_bytes(1_000_000);
    let welcome = node.welcome();
    let (client, mut peer) = node.connected_by(builder, welcome).await;
    let (_serving, _) = serving(&client, &mut peer, |builder| builder.handler(upper)).await;
    peer.request(|request| (request.flags, request.window, request.body) = (Flags::MORE, 70_000, &[b'a'; MAX_CHUNK]))
        .await;
    let mut credit = INITIAL_WINDOW as usize;
    let mut left = 300_000;
    while left > 0 {
        let part = left.min(credit).min(MAX_CHUNK);
        if part == 0 {
            let Frame::Credit(1, false, bytes) = peer.next_call().await else { panic!("expected credit") };
            credit += bytes as usize;
            continue;
        }
        (left, credit) = (left - part, credit - part);
        let flags = if left == 0 { DataFlags::END } else { DataFlags::default() };
        peer.send_data(1, flags, &vec![b'a'; part]).await;
    }
    let mut result = Vec::new();
    while result.len() < 70_000 {
        result.extend(peer.next_data().await.2);
    }
    assert!(result.len() == 70_000 && is_pending(peer.next_call()).await);
    peer.send_call(|out| encode_credit(1, true, 1 << 20, out)).await;
    loop {
        match peer.next_call().await {
            Frame::Data(1, _, body) => result.extend(body),
            Frame::Reply(replied) => break result.extend(replied.body),
            other => panic!("expected the result, got {other:?}"),
        }
    }
    assert_eq!(result.len(), MAX_CHUNK + 300_000);
    assert!(result.iter().all(|byte| *byte == b'A'));
}

#[tokio::test]
async fn an_argument_that_is_too_large_is_refused_and_a_result_is_unknown() {
    let mut node = Node::on_unix().await;
    let builder = node.builder().max_call_bytes(1_000);
    let welcome = node.welcome();
    let (client, mut peer) = node.connected_by(builder, welcome).await;
    let (_serving, _) =
        serving(&client, &mut peer, |builder| builder.handler(async |_request| Ok(vec![0; 1_001]))).await;
    peer.request(|request| (request.flags, request.body) = (Flags::MORE, &[0; 900])).await;
    peer.send_data(1, DataFlags::END, &[0; 101]).await;
    let replied = loop {
        if let Frame::Reply(replied) = peer.next_call().await {
            break replied;
        }
    };
    let refusal = Refusal::Limit { limit: Limit::CallBytes, allowed: 1_000 };
    assert_eq!((replied.status, replied.body), (Status::Refused, refused_body(&refusal)));
    assert_eq!(peer.asked(2, "").await.status, Status::Unknown);
}

#[tokio::test]
async fn streams_go_both_ways() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, _) = serving(&client, &mut peer, |builder| {
        builder.stream_handler(async |mut request: Request| {
            let mut count = 0;
            while let Some(item) = request.items.next().await {
                count += 1;
                match request.sender.send(item.to_ascii_uppercase()).await {
                    Ok(()) => {}
                    Err(SendError::NotWanted) => assert!(!request.wants_items()),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(count.to_string())
        })
    })
    .await;
    let both = Flags::MORE.with(Flags::ITEMS_IN).with(Flags::ITEMS_OUT);
    peer.request(|request| request.flags = both).await;
    peer.send_data(1, DataFlags::END_ITEM, b"one").await;
    assert_eq!(peer.next_data().await, (1, DataFlags::END_ITEM, b"ONE".to_vec()));
    peer.send_data(1, DataFlags::default(), b"t").await;
    peer.send_data(1, DataFlags::END_ITEM, b"wo").await;
    assert_eq!(peer.next_data().await, (1, DataFlags::END_ITEM, b"TWO".to_vec()));
    peer.send_data(1, DataFlags::END, b"").await;
    let replied = peer.next_reply().await;
    assert_eq!((replied.status, &*replied.body), (Status::Ok, &b"2"[..]));
    // An upload has only a result; and who sends no stream is served too.
    peer.request(|request| (request.call, request.flags) = (2, Flags::MORE.with(Flags::ITEMS_IN))).await;
    peer.send_data(2, DataFlags::END_ITEM.with(DataFlags::END), b"one").await;
    loop {
        match peer.next_call().await {
            Frame::Credit(..) => {}
            Frame::Reply(replied) => break assert_eq!(&*replied.body, b"1"),
            other => panic!("expected the result, got {other:?}"),
        }
    }
    assert_eq!(&*peer.asked(3, "argument").await.body, b"0");
}

#[tokio::test]
async fn a_stream_for_one_that_takes_none_is_refused() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, _) = serving(&client, &mut peer, |builder| builder.handler(upper)).await;
    peer.request(|request| request.flags = Flags::MORE.with(Flags::ITEMS_IN)).await;
    assert_eq!(peer.next_reply().await.status, Status::Refused);
    peer.send_data(1, DataFlags::END_ITEM, b"for nobody").await;
    assert_eq!(&*peer.asked(2, "a").await.body, b"A");
}

#[tokio::test]
async fn a_sender_waits_for_credit_and_a_cut_item_is_no_success() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, _) = serving(&client, &mut peer, |builder| {
        builder.stream_handler(async |mut request: Request| {
            request.sender.send("first").await?;
            let large = request.sender.send(vec![0; 200_000]);
            tokio::time::timeout(Duration::from_millis(20), large).await.expect_err("waits for credit");
            Ok("done")
        })
    })
    .await;
    peer.request(|request| (request.flags, request.window) = (Flags::ITEMS_OUT, 1_000)).await;
    assert_eq!(peer.next_data().await, (1, DataFlags::END_ITEM, b"first".to_vec()));
    assert_eq!(peer.next_data().await.2.len(), 995);
    let replied = peer.next_reply().await;
    assert_eq!(replied.status, Status::Unknown);
}

#[tokio::test]
async fn a_node_that_breaks_the_rules_is_left() {
    for (what, second) in [("number of another", 1), ("window of a call", 2)] {
        let mut node = Node::on_unix().await;
        let (client, mut peer) = node.connected().await;
        let (_serving, mut told) = hang(&client, &mut peer, 64).await;
        peer.ask(1, "").await;
        assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
        if second == 1 {
            peer.ask(1, "").await;
        } else {
            // It has said that there is no more.
            peer.send_data(1, DataFlags::default(), b"more").await;
        }
        let refusal = peer.expect_goodbye().await;
        assert!(matches!(&refusal, Refusal::Protocol(text) if text.contains(what)), "{refusal}");
    }
}

#[tokio::test]
async fn typed_handlers_speak_json() {
    let mut node = Node::on_unix().await;
    let (client, mut peer) = node.connected().await;
    let (_serving, _) = serving(&client, &mut peer, |builder| {
        builder.typed_handler(async |numbers: Vec<u32>| Ok(numbers.into_iter().sum::<u32>()))
    })
    .await;
    assert_eq!(&*peer.asked(1, "[1,2,3]").await.body, b"6");
    let replied = peer.asked(2, "?").await;
    assert_eq!((replied.status, replied.code), (Status::Application, 400));
    // Frames that a provider does not get are those of its own calls, and it has none.
    let frame = CallFrame::Reply(crate::frames::reply(9, Status::Ok, b""));
    peer.send_call(|out| frame.encode(out)).await;
    assert_eq!(&*peer.asked(3, "[]").await.body, b"0");
}
