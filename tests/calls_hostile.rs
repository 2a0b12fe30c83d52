//! Calls by peers that break the rules: nobody else notices, and nothing grows.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use sinew_client::{AppError, CallError, Client, Limit, Refusal, Serving};
use sinew_tests::stranger::{Said, Stranger};
use sinew_tests::{Node, soon};
use sinew_wire::call::{CallFrame, Data, DataFlags, Flags, Reply, Request, Status, Strategy};
use sinew_wire::{Control, Headers, PeerId, Procedure, ProviderHealth, Serve};

/// A node with a provider and a caller that behave.
struct Scene {
    node: Node,
    caller: Client,
    _provider: Client,
    _serving: Serving,
}

impl Scene {
    async fn new(flags: &[&str]) -> Result<Self> {
        let node = Node::start(flags).await?;
        let (caller, provider) = (connect(&node).await?, connect(&node).await?);
        let echo = provider.serve("echo").handler(async |request| Ok::<_, AppError>(request.body));
        let serving = echo.await?;
        Ok(Self { node, caller, _provider: provider, _serving: serving })
    }

    async fn is_undisturbed(&self) -> Result<()> {
        ensure!(soon("an answer", self.caller.call("echo", "still here")).await??.body == "still here");
        Ok(())
    }

    async fn stranger(&self) -> Result<Stranger> {
        Stranger::welcomed(&self.node.url("tls")).await
    }
}

async fn connect(node: &Node) -> Result<Client> {
    Ok(sinew_client::connect(node.url("quic")).await?)
}

fn request(call: u64, name: &str) -> Request<'_> {
    Request {
        call,
        flags: Flags::default(),
        strategy: Strategy::Balanced,
        priority: 0,
        target: 0,
        caller: PeerId::from_public_key([0; 32]),
        deadline_ms: 0,
        window: 1 << 20,
        answers: 0,
        name,
        key: &[],
        headers: Headers::default(),
        body: &[],
    }
}

fn encoded(frame: CallFrame<'_>) -> Bytes {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.freeze()
}

const fn serve(lease: u32, name: String) -> Control {
    let procedure = Procedure { concurrency: 0, idempotent: false, cache: None };
    Control::Serve(Serve { lease, name, ttl_ms: 0, metadata: Vec::new(), procedure })
}

/// The next frame of a call that a stranger gets.
async fn next_call<T>(stranger: &mut Stranger, take: impl Fn(CallFrame<'_>) -> Option<T>) -> Result<T> {
    loop {
        match stranger.next().await? {
            Said::Call(body) => {
                if let Some(taken) = take(CallFrame::decode(&body)?) {
                    return Ok(taken);
                }
            }
            Said::End => bail!("the link ended"),
            Said::Control(_) | Said::Run { .. } => {}
        }
    }
}

fn status_of(frame: CallFrame<'_>) -> Option<(u64, Status)> {
    match frame {
        CallFrame::Reply(reply) => Some((reply.call, reply.status)),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_the_nodes_default_or_within_its_limit() -> Result<()> {
    let scene = Scene::new(&["--set", "limits.call_deadline=300ms", "--set", "limits.max_call_deadline=20s"]).await?;
    let mut stranger = scene.stranger().await?;
    stranger.control(&serve(1, "silent".to_owned())).await?;
    stranger.ping().await?;
    let mut asker = scene.stranger().await?;
    // 0 is the node's own deadline: nobody answers, and the node does.
    asker.send(encoded(CallFrame::Request(request(1, "silent")))).await?;
    ensure!(next_call(&mut asker, status_of).await? == (1, Status::TimedOut));
    let too_long = Request { deadline_ms: u32::MAX, ..request(2, "silent") };
    asker.send(encoded(CallFrame::Request(too_long))).await?;
    let refusal = next_call(&mut asker, |frame| match frame {
        CallFrame::Reply(reply) if reply.status == Status::Refused => reply.refusal().ok(),
        _ => None,
    });
    let refusal = refusal.await?;
    ensure!(refusal == Refusal::Limit { limit: Limit::CallDeadline, allowed: 20_000 }, "{refusal}");
    scene.is_undisturbed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_to_nothing_and_replies_given_twice_concern_nobody() -> Result<()> {
    let scene = Scene::new(&[]).await?;
    let mut provider = scene.stranger().await?;
    provider.control(&serve(1, "twice".to_owned())).await?;
    provider.ping().await?;
    let ok = |call| {
        let reply = Reply { health: ProviderHealth::Good, ..Reply::failure(call, Status::Ok, "done") };
        encoded(CallFrame::Reply(reply))
    };
    for call in [0, 1, u64::MAX] {
        provider.send(ok(call)).await?;
    }
    let calling = tokio::spawn({
        let caller = scene.caller.clone();
        async move { caller.call("twice", "").await }
    });
    let asked = next_call(&mut provider, |frame| match frame {
        CallFrame::Request(request) => Some(request.call),
        _ => None,
    });
    let asked = asked.await?;
    provider.send(ok(asked)).await?;
    provider.send(ok(asked)).await?;
    ensure!(calling.await??.body == "done");
    provider.ping().await?;
    scene.is_undisturbed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_behind_the_end_or_beyond_its_credit_is_sent_away() -> Result<()> {
    let scene = Scene::new(&[]).await?;
    let open = Request { flags: Flags::MORE.with(Flags::ITEMS_IN), ..request(1, "echo") };
    let data = |flags: DataFlags, body| encoded(CallFrame::Data(Data { call: 1, flags, body }));
    let part = vec![0; 60 << 10];

    let mut silent = scene.stranger().await?;
    silent.control(&serve(1, "silent".to_owned())).await?;
    silent.ping().await?;

    let mut late = scene.stranger().await?;
    late.send(encoded(CallFrame::Request(Request { name: "silent", ..open }))).await?;
    late.send(data(DataFlags::CALLER.with(DataFlags::END), b"")).await?;
    late.send(data(DataFlags::CALLER, b"more")).await?;
    let reason = late.goodbye().await?;
    ensure!(matches!(reason, Refusal::Protocol(_)), "{reason}");

    let mut greedy = scene.stranger().await?;
    greedy.send(encoded(CallFrame::Request(Request { name: "silent", ..open }))).await?;
    greedy.send(data(DataFlags::CALLER, &part)).await?;
    greedy.send(data(DataFlags::CALLER, &part)).await?;
    let reason = greedy.goodbye().await?;
    ensure!(matches!(reason, Refusal::Limit { limit: Limit::CallCredit, .. }), "{reason}");
    scene.is_undisturbed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_its_quota_of_procedures_and_of_calls() -> Result<()> {
    let scene = Scene::new(&[]).await?;
    let mut stranger = scene.stranger().await?;
    let (mut granted, mut refused) = (0, 0);
    for n in 0..100_000 {
        stranger.control(&serve(n, format!("flood.n{n}"))).await?;
        // The answers have to be read, or the node gives the client up.
        if n % 1_000 == 999 {
            while granted + refused < n + 1 {
                match stranger.next().await? {
                    Said::Control(Control::Announced { .. }) => granted += 1,
                    Said::Control(Control::LeaseEnded { refusal, .. }) => {
                        let limit = Refusal::Limit { limit: Limit::ServicesPerClient, allowed: 64 };
                        ensure!(refusal.as_ref() == Some(&limit), "{refusal:?}");
                        refused += 1;
                    }
                    Said::End => bail!("the link ended"),
                    _ => {}
                }
            }
        }
    }
    ensure!((granted, refused) == (64, 99_936), "{granted} granted, {refused} refused");
    for n in 0..300 {
        stranger.send(encoded(CallFrame::Request(request(n, "flood.n1")))).await?;
    }
    let over = next_call(&mut stranger, |frame| match frame {
        CallFrame::Reply(reply) if reply.status == Status::Refused => reply.refusal().ok(),
        _ => None,
    });
    let over = over.await?;
    ensure!(over == Refusal::Limit { limit: Limit::CallsPerClient, allowed: 256 }, "{over}");
    scene.is_undisturbed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_its_replies_costs_a_bounded_queue() -> Result<()> {
    let scene = Scene::new(&[]).await?;
    let provider = connect(&scene.node).await?;
    let _serving = provider.serve("flooded").handler(async |request| Ok::<_, AppError>(request.body)).await?;
    let before = scene.node.resident()?;
    let body = vec![7; 512 << 10];
    let mut deaf = scene.stranger().await?;
    let flood = async {
        for call in 0.. {
            let window = 1 << 20;
            let request = Request { window, body: &body, ..request(call, "flooded") };
            // Sooner or later the node has had enough, one way or the other.
            if deaf.send(encoded(CallFrame::Request(request))).await.is_err() || call >= 2_000 {
                break;
            }
        }
    };
    let _stalled = tokio::time::timeout(Duration::from_secs(5), flood).await;
    scene.is_undisturbed().await?;
    let grown = scene.node.peak_resident()?.saturating_sub(before);
    ensure!(grown < 400 << 20, "the node grew by {grown} bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_arguments_and_bad_names_are_refused_in_words() -> Result<()> {
    let scene = Scene::new(&[]).await?;
    let too_large = vec![0; (64 << 20) + 1];
    let error = scene.caller.call("echo", too_large).await.err().context("is refused")?;
    ensure!(matches!(error, CallError::TooLarge { limit, .. } if limit == 64 << 20), "{error}");
    let mut stranger = scene.stranger().await?;
    for (call, name) in [(1, "a.*"), (2, ""), (3, "a b")] {
        stranger.send(encoded(CallFrame::Request(request(call, name)))).await?;
        let (answered, status) = next_call(&mut stranger, status_of).await?;
        ensure!((answered, status) == (call, Status::Refused), "{name:?}: {status:?}");
    }
    scene.is_undisturbed().await
}
