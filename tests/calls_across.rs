//! Remote calls across nodes in processes of their own: answers, choice, results that are kept, and what callers are
//! told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sinew_client::{AppError, CachePolicy, CallError, Client, Executed, ServeBuilder, Serving, Strategy};
use sinew_tests::{Cluster, Node, Running, Server, sinew, soon};

async fn client(node: &Node) -> Result<Client> {
    Ok(sinew_client::connect(node.url("quic")).await?)
}

/// A procedure that answers with a word, and counts.
async fn answering(builder: ServeBuilder, word: &'static str) -> Result<(Serving, Arc<AtomicUsize>)> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let serving = builder
        .handler(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, AppError>(word) }
        })
        .await?;
    Ok((serving, count))
}

/// Calls until the answer is the one wanted: other nodes hear of providers a moment later.
async fn answers(client: &Client, name: &str, wanted: &str) -> Result<()> {
    let asking = async {
        loop {
            match client.call(name, "").await {
                Ok(reply) if reply.body == wanted.as_bytes() => return Ok(()),
                Ok(_) | Err(CallError::NoProvider | CallError::NotSent(_)) => {}
                Err(other) => return Err(other),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    Ok(soon(&format!("the answer {wanted:?}"), asking).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_provider_is_nobody_at_once() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let (here, there) = (&cluster.nodes[0], &cluster.nodes[1]);
    let square = r#"read n; echo $((n * n))"#;
    for graceful in [false, true] {
        let server = there.url("quic");
        let mut provider = Running::start(&["serve", "math.square", "--exec", square, "--json", "--server", &server])?;
        ensure!(provider.json().await?["event"] == "serving");
        let caller = here.server();
        let call = async || sinew(&["call", "math.square", "12\n", "--server", &caller]).await;
        let called = soon("the answer", async {
            loop {
                let called = call().await?;
                if called.code != Some(4) {
                    return anyhow::Ok(called);
                }
            }
        });
        let called = called.await??;
        ensure!(called.code == Some(0) && called.stdout.trim() == "144", "{called:?}");
        if graceful {
            sinew_tests::signal(provider.pid(), rustix::process::Signal::TERM)?;
            ensure!(provider.end().await? == Some(0));
        } else {
            provider.child.kill().await?;
        }
        // Neither a wait for the deadline, nor the doubt whether it was executed.
        let called = call().await?;
        ensure!(called.code == Some(4), "{called:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_dies_with_a_call_at_hand_leaves_the_doubt() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let server = cluster.nodes[1].url("quic");
    let mut provider = Running::start(&["serve", "sleep", "--exec", "sleep 60", "--json", "--server", &server])?;
    provider.json().await?;
    let caller = client(&cluster.nodes[0]).await?;
    let calling = tokio::spawn(async move { soon("an end", async { caller.call("sleep", "").await }).await });
    cluster.nodes[1].metric_becomes("sinew_calls_now{count=\"running\"}", |running| running > 0.0).await?;
    provider.child.kill().await?;
    let error = calling.await??.err().context("no answer")?;
    ensure!(matches!(error, CallError::Unknown(_)) && error.executed() == Executed::Maybe, "{error}");
    Ok(())
}

/// What all three say, once the node has learned of all of them.
async fn gather_all(client: &Client) -> Result<Vec<Bytes>, CallError> {
    loop {
        let mut gathered = client.calling("who").gather("").await?;
        let mut words = Vec::new();
        while let Some(answer) = gathered.next().await {
            words.extend(answer?.result.ok());
        }
        if words.len() == 3 {
            return Ok(words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_asked_and_the_near_ones_first() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let mut clients = Vec::new();
    let mut serving = Vec::new();
    for (node, word) in cluster.nodes.iter().zip(["a", "b", "c"]) {
        let client = client(node).await?;
        serving.push(answering(client.serve("who"), word).await?);
        clients.push(client);
    }
    for client in &clients {
        let mut words = soon("all three", gather_all(client)).await??;
        words.sort_unstable();
        ensure!(words == ["a", "b", "c"], "{words:?}");
    }
    let mut near = 0;
    for _ in 0..100 {
        near += usize::from(clients[0].call("who", "").await?.body == "a");
    }
    // A machine that is busy makes it look slower than it is, for a moment.
    ensure!(near > 50, "the one of its own node was asked {near} times");
    // In turn, and by a key.
    let mut words = Vec::new();
    for _ in 0..30 {
        words.push(clients[0].calling("who").strategy(Strategy::RoundRobin).send("").await?.body);
    }
    for word in ["a", "b", "c"] {
        ensure!(words.iter().filter(|said| *said == word).count() == 10, "{words:?}");
    }
    let sticky = async |key: &'static str| clients[1].calling("who").key(key).strategy(Strategy::Sticky).send("").await;
    for key in ["one", "two", "three", "four"] {
        let first = sticky(key).await?.body;
        for _ in 0..10 {
            ensure!(sticky(key).await?.body == first);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_kept_as_the_provider_says() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let (caller, first) = (client(&cluster.nodes[0]).await?, client(&cluster.nodes[1]).await?);
    let policy =
        CachePolicy { ttl_ms: 60_000, max_bytes: 1 << 10, vary: vec!["lang".into()], ..CachePolicy::default() };
    let (serving, count) = answering(first.serve("kept").cache(policy.clone()), "one").await?;
    // What is kept is kept for one set of providers, and the one of the DHT gives way to that of the directory.
    cluster.nodes[0].knows("kept", 1).await?;
    answers(&caller, "kept", "one").await?;
    let before = count.load(Ordering::Relaxed);
    for _ in 0..100 {
        caller.call("kept", "").await?;
    }
    ensure!(count.load(Ordering::Relaxed) == before, "the result is kept");
    // Another argument, another header, and a caller that wants a fresh one.
    caller.call("kept", "other").await?;
    caller.calling("kept").header("lang", "de").send("").await?;
    caller.calling("kept").fresh().send("").await?;
    ensure!(count.load(Ordering::Relaxed) == before + 3);

    // A thousand at once, over several connections, are one.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(client(&cluster.nodes[0]).await?);
    }
    let calls = (0..1_000).map(|n| clients[n % clients.len()].call("kept", "storm"));
    for result in futures::future::join_all(calls).await {
        result?;
    }
    ensure!(
        count.load(Ordering::Relaxed) == before + 4,
        "executed {} times",
        count.load(Ordering::Relaxed) - before - 3
    );

    // Withdrawn, its results are forgotten.
    serving.stop().await?;
    let gone = soon("the end", async {
        while caller.call("kept", "").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await?;
    let _second = answering(first.serve("kept").cache(policy), "two").await?;
    answers(&caller, "kept", "two").await?;
    let hits = cluster.nodes[0].metric("sinew_cache_hits_total{cache=\"calls\"}").await?;
    ensure!(hits >= 100.0, "{hits} hits");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_panics_and_headers_reach_the_caller_across_nodes() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let (caller, provider) = (client(&cluster.nodes[0]).await?, client(&cluster.nodes[1]).await?);
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let _serving = provider
        .serve("moody")
        .handler(async |request| match &*request.body {
            b"error" => Err(AppError::new(42, "no")),
            b"panic" => panic!("as it was asked to"),
            b"slow" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(Bytes::new())
            }
            _ => Ok(Bytes::copy_from_slice(request.traceparent().unwrap_or_default().as_bytes())),
        })
        .await?;
    answers(&caller, "moody", "").await?;
    let reply = caller.calling("moody").traceparent(context).send("").await?;
    ensure!(reply.body == context.as_bytes());
    let error = caller.call("moody", "error").await.err().context("an error")?;
    ensure!(error == CallError::Application { code: 42, body: "no".into() }, "{error}");
    let error = caller.call("moody", "panic").await.err().context("an error")?;
    ensure!(matches!(error, CallError::Panicked(_)), "{error}");
    let late = caller.calling("moody").deadline(Duration::from_millis(100)).send("slow").await;
    ensure!(late == Err(CallError::TimedOut { maybe_executed: true }), "{late:?}");
    let nobody = caller.call("nobody.provides", "").await;
    ensure!(nobody == Err(CallError::NoProvider), "{nobody:?}");
    ensure!(caller.call("moody", "").await.is_ok(), "the provider goes on");
    let outcomes = ["ok", "application", "panicked", "timed_out", "no_provider"];
    for outcome in outcomes {
        let sample = format!("sinew_calls_total{{outcome=\"{outcome}\"}}");
        ensure!(cluster.nodes[0].metric(&sample).await? > 0.0, "{outcome} is not counted");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_finishes_its_calls() -> Result<()> {
    let mut cluster = Cluster::joined(2, &[]).await?;
    let (caller, provider) = (client(&cluster.nodes[0]).await?, client(&cluster.nodes[1]).await?);
    let _serving = provider
        .serve("slow")
        .handler(async |request| {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(request.body)
        })
        .await?;
    let first = soon("an answer", async {
        loop {
            match caller.call("slow", "x").await {
                Err(CallError::NoProvider) => tokio::time::sleep(Duration::from_millis(10)).await,
                other => return other,
            }
        }
    });
    first.await??;
    let calling = tokio::spawn(async move { caller.call("slow", "y").await });
    cluster.nodes[1].metric_becomes("sinew_calls_now{count=\"running\"}", |running| running > 0.0).await?;
    let leaving = cluster.nodes.remove(1);
    ensure!(leaving.terminate().await? == Some(0));
    ensure!(calling.await??.body == "y", "what it had begun comes to its end");
    Ok(())
}
