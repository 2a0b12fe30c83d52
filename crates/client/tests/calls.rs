//! Remote calls through a real node in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use sinew_client::{
    AppError, CallError, Client, ConnectionEvent, Executed, Limit, ProviderHealth, Reconnect, Refusal, Request,
};
use sinew_node::{Config, Mesh, Node};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

fn config(dir: &TempDir) -> Config {
    let socket = format!("unix://{}", dir.path().join("node.sock").display());
    let mut config = Config {
        listen: Some(vec![socket.parse().expect("is an address"), "quic://127.0.0.1:0".parse().expect("is one")]),
        data_dir: Some(dir.path().to_owned()),
        admin: None,
        // It stays alone: the nodes of other tests are none of its business.
        mesh: Mesh { listen: Some(Vec::new()), ..Mesh::default() },
        ..Config::default()
    };
    config.drain_timeout = Duration::from_millis(200);
    config
}

async fn node() -> (TempDir, Node) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let node = Node::start(config(&dir)).await.expect("starts");
    (dir, node)
}

/// Over the listener at this place: 0 is the Unix socket, 1 is QUIC.
async fn connect(node: &Node, listener: usize) -> Client {
    let reconnect =
        Reconnect { min_delay: Duration::from_millis(5), max_delay: Duration::from_millis(50), max_attempts: None };
    let server = node.client_addresses()[listener].to_string();
    Client::builder().server(server).reconnect(reconnect).connect().await.expect("connects")
}

async fn echo(request: Request) -> Result<Bytes, AppError> {
    Ok(request.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_reach_a_provider_of_whatever_size() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 1).await, connect(&node, 0).await);
    let serving = provider.serve("echo").handler(echo).await.expect("is served");
    for size in [0, 1, 128, 64 << 10, (64 << 10) + 1, 3 << 20] {
        let body = Bytes::from(vec![size as u8; size]);
        let reply = soon("a result", caller.call("echo", body.clone())).await.expect("has a result");
        assert!(reply.body == body, "{size}");
    }
    let calls = (0..1_000_u32).map(|n| caller.call("echo", n.to_le_bytes().to_vec()));
    let replies = soon("many results", futures::future::join_all(calls)).await;
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.expect("has a result").body, (n as u32).to_le_bytes().to_vec());
    }
    assert_eq!(soon("the stop", serving.stop()).await, Ok(()));
    assert_eq!(soon("an answer", caller.call("echo", "")).await, Err(CallError::NoProvider));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_come_from_where_they_were_made() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 0).await, connect(&node, 1).await);
    let _serving = provider
        .serve("fails")
        .handler(async |request: Request| match &*request.body {
            b"panic" => panic!("on purpose"),
            b"hang" => std::future::pending().await,
            _ => Err::<(), _>(AppError::new(7, "as asked")),
        })
        .await
        .expect("is served");
    let application = CallError::Application { code: 7, body: Bytes::from("as asked") };
    assert_eq!(soon("an error", caller.call("fails", "")).await, Err(application.clone()));
    assert_eq!(soon("a panic", caller.call("fails", "panic")).await, Err(CallError::Panicked("on purpose".into())));
    let hangs = caller.calling("fails").deadline(Duration::from_millis(100)).send("hang");
    let late = soon("the deadline", hangs).await;
    assert_eq!(late, Err(CallError::TimedOut { maybe_executed: true }));
    let beyond = caller.calling("fails").deadline(Duration::from_secs(3_600)).send("");
    let refused = soon("a refusal", beyond).await;
    assert!(
        matches!(refused, Err(CallError::Refused(Refusal::Limit { limit: Limit::CallDeadline, .. }))),
        "{refused:?}"
    );
    assert_eq!(soon("an error", caller.call("fails", "")).await, Err(application), "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_call_drops_its_handler() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 1).await, connect(&node, 1).await);
    let (tell, mut told) = mpsc::channel(8);
    let _serving = provider
        .serve("hang")
        .handler(move |request: Request| {
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
                tell.send("begun").await?;
                std::future::pending::<Result<(), AppError>>().await
            }
        })
        .await
        .expect("is served");
    let call = tokio::spawn(async move { caller.call("hang", "").await });
    assert_eq!(soon("the handler", told.recv()).await, Some("begun"));
    call.abort();
    assert_eq!(soon("the end", told.recv()).await, Some("cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_flow_both_ways_at_once() {
    const ITEM: usize = 100_000;
    const ITEMS: usize = 300;
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 0).await, connect(&node, 1).await);
    let _serving = provider
        .serve("stream")
        .stream_handler(async |mut request: Request| {
            let mut bytes = 0;
            while let Some(item) = request.items.next().await {
                bytes += item.len();
                if request.wants_items() {
                    request.sender.send(item).await?;
                }
            }
            Ok(bytes.to_string())
        })
        .await
        .expect("is served");
    let (mut sender, mut answers) = soon("the call", caller.calling("stream").open()).await.expect("is open");
    let sending = async {
        for n in 0..ITEMS {
            sender.send(vec![n as u8; ITEM]).await.expect("is sent");
        }
        sender.finish().await.expect("is finished");
    };
    let taking = async {
        for n in 0..ITEMS {
            let item = answers.next().await.expect("goes on").expect("is an item");
            assert!(item == vec![n as u8; ITEM]);
        }
        assert_eq!(answers.next().await, Some(Ok(Bytes::from((ITEM * ITEMS).to_string()))));
        assert_eq!(answers.next().await, None);
    };
    soon("the streams", futures::future::join(sending, taking)).await;
    let items = stream::iter((0..1_000).map(|_| vec![0; 1_000]));
    let reply = soon("an upload", caller.calling("stream").upload(items)).await.expect("has a result");
    assert_eq!(reply.body, "1000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_holds_up_no_other_call() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 1).await, connect(&node, 1).await);
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let _flood = provider
        .serve("flood")
        .stream_handler(move |mut request: Request| {
            let sent = Arc::clone(&counting);
            async move {
                loop {
                    request.sender.send(vec![0; 10_000]).await?;
                    sent.fetch_add(10_000, Ordering::Relaxed);
                    if false {
                        break Ok(());
                    }
                }
            }
        })
        .await
        .expect("is served");
    let _echo = provider.serve("echo").handler(echo).await.expect("is served");
    let mut answers = caller.calling("flood").stream("").await.expect("is sent");
    assert!(soon("an item", answers.next()).await.is_some());
    for _ in 0..100 {
        soon("another call", caller.call("echo", "x")).await.expect("has a result");
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent <= 1 << 20, "{sent} bytes for a reader that does not read");
    drop(answers);
    soon("another call", caller.call("echo", "x")).await.expect("has a result");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_providers_may_be_asked_at_once() {
    let (_dir, node) = node().await;
    let caller = connect(&node, 0).await;
    let mut servings = Vec::new();
    for n in 0..3 {
        let provider = connect(&node, 0).await;
        let handler = move |_request| async move { Ok::<_, AppError>(format!("answer {n}")) };
        servings.push((provider.serve("all").handler(handler).await.expect("is served"), provider));
    }
    let mut gathered = soon("the call", caller.calling("all").gather("")).await.expect("is sent");
    let mut answers = Vec::new();
    while let Some(answer) = soon("an answer", gathered.next()).await {
        answers.push(answer.expect("is one").result.expect("is good"));
    }
    answers.sort_unstable();
    assert_eq!(answers, ["answer 0", "answer 1", "answer 2"]);
    // One that is down is not called.
    servings[0].0.health(ProviderHealth::Down);
    let begun = Instant::now();
    loop {
        let gathered = caller.calling("all").gather("").await.expect("is sent");
        if gathered.collect::<Vec<_>>().await.len() == 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "one that is down is called");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_does_not_take_waits_on_the_node() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 0).await, connect(&node, 0).await);
    let go = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&go);
    let serving = provider
        .serve("slow")
        .concurrency(2)
        .handler(move |request: Request| {
            let go = Arc::clone(&waiting);
            async move {
                go.acquire().await?.forget();
                Ok(request.body)
            }
        })
        .await
        .expect("is served");
    let calls: Vec<_> = (0..10)
        .map(|n: u32| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.call("slow", n.to_string()).await })
        })
        .collect();
    let begun = async {
        while serving.open_calls() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("two calls", begun).await;
    assert_eq!(serving.open_calls(), 2, "the others wait on the node");
    go.add_permits(calls.len());
    for call in calls {
        let result = soon("a result", call).await.expect("does not panic");
        result.expect("has a result");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_gets_its_procedures_back() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let mut config = config(&dir);
    config.listen.as_mut().expect("is set").truncate(1);
    let node = Node::start(config.clone()).await.expect("starts");
    let (provider, caller) = (connect(&node, 0).await, connect(&node, 0).await);
    let (tell, mut told) = mpsc::channel(8);
    let serving = provider
        .serve("hang")
        .handler(move |request: Request| {
            let tell = tell.clone();
            async move {
                if request.body.is_empty() {
                    return Ok(());
                }
                tell.send(()).await?;
                std::future::pending().await
            }
        })
        .await
        .expect("is served");
    let open = tokio::spawn({
        let caller = caller.clone();
        async move { caller.call("hang", "x").await }
    });
    soon("the handler", told.recv()).await;
    let mut events = provider.events();
    soon("the end", node.shutdown()).await;
    let error = soon("the call", open).await.expect("does not panic").expect_err("is lost");
    assert_eq!(error.executed(), Executed::Maybe, "{error}");
    // It waits until there is a node, and somebody who serves it.
    let _node = Node::start(config).await.expect("starts again");
    soon("the node", async {
        while !matches!(events.next().await, Some(ConnectionEvent::Connected { .. })) {}
        while !serving.is_announced() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon("a result", caller.call("hang", "")).await.expect("has a result");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_of_calls_that_nobody_waited_for_all_places_are_free() {
    let (_dir, node) = node().await;
    let (provider, caller) = (connect(&node, 1).await, connect(&node, 0).await);
    let serving = provider
        .serve("mixed")
        .handler(async |request: Request| match request.body.first() {
            Some(0) => std::future::pending().await,
            Some(1) => Err(AppError::new(1, "on purpose")),
            Some(2) => Ok(vec![2; 200_000]),
            _ => Ok(request.body.to_vec()),
        })
        .await
        .expect("is served");
    let calls = stream::iter(0..2_000_u32).for_each_concurrent(300, |n| {
        let caller = &caller;
        async move {
            let body = vec![(n % 5) as u8; if n % 7 == 0 { 150_000 } else { 10 }];
            let call = caller.call("mixed", body);
            match tokio::time::timeout(Duration::from_micros(u64::from(n) * 37 % 20_000), call).await {
                Ok(Ok(reply)) => assert!(n % 5 >= 2 && !reply.body.is_empty()),
                Ok(Err(CallError::Application { .. })) => assert_eq!(n % 5, 1),
                Err(_given_up) => {}
                Ok(Err(error)) => panic!("{n}: {error}"),
            }
        }
    });
    soon("the storm", calls).await;
    let idle = async {
        while serving.open_calls() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of what was cancelled", idle).await;
    // As many as a client may have open, here and at the node.
    let calls = (0..256).map(|_| caller.call("mixed", "x"));
    for result in soon("the calm", futures::future::join_all(calls)).await {
        assert_eq!(result.expect("has a result").body, "x");
    }
}
