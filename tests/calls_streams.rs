//! Calls with streams and large bodies, across nodes in processes of their own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sinew_client::{AppError, CallError, Client, Serving};
use sinew_tests::{Cluster, soon};
use tokio::sync::Notify;

const ITEM: usize = 256 << 10;

/// Memory that nodes may take for streams beyond what they took before: far less than what flows.
const FLAT: u64 = 48 << 20;

struct Scene {
    cluster: Cluster,
    caller: Client,
    provider: Client,
}

impl Scene {
    async fn new() -> Result<Self> {
        let cluster = Cluster::joined(2, &[]).await?;
        let caller = sinew_client::connect(cluster.nodes[0].url("quic")).await?;
        let provider = sinew_client::connect(cluster.nodes[1].url("quic")).await?;
        Ok(Self { cluster, caller, provider })
    }

    /// Echoes items, and a body that is no stream.
    async fn echo(&self) -> Result<Serving> {
        let echo = self.provider.serve("echo").stream_handler(async |mut request| {
            while let Some(item) = request.items.next().await {
                request.sender.send(item).await?;
            }
            Ok::<_, AppError>(request.body)
        });
        let serving = echo.await?;
        let found = soon("the echo", async {
            while self.caller.call("echo", "x").await == Err(CallError::NoProvider) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        found.await?;
        Ok(serving)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_in_both_directions_takes_no_memory() -> Result<()> {
    const ITEMS: usize = 512;
    let scene = Scene::new().await?;
    let _serving = scene.echo().await?;
    let before: Vec<u64> = scene.cluster.nodes.iter().map(sinew_tests::Node::resident).collect::<Result<_>>()?;
    let (mut sender, mut answers) = scene.caller.calling("echo").deadline(Duration::from_secs(120)).open().await?;
    let sending = tokio::spawn(async move {
        for n in 0..ITEMS {
            sender.send(vec![n as u8; ITEM]).await?;
        }
        sender.finish().await
    });
    let mut got = 0;
    while let Some(item) = soon("an item", answers.next()).await? {
        let item = item?;
        ensure!(item.len() == ITEM && item.iter().all(|byte| *byte == got as u8), "item {got} is another one");
        got += 1;
    }
    sending.await??;
    ensure!(got == ITEMS);
    for (node, before) in scene.cluster.nodes.iter().zip(before) {
        let peak = node.peak_resident()?;
        ensure!(peak < before + FLAT, "a node grew from {before} to {peak} bytes");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_go_both_ways() -> Result<()> {
    let scene = Scene::new().await?;
    let _serving = scene.echo().await?;
    let body: Bytes = (0..20 << 20).map(|n: u32| n as u8).collect::<Vec<_>>().into();
    let calling = scene.caller.calling("echo").deadline(Duration::from_secs(60)).send(body.clone());
    ensure!(soon("the answer", calling).await??.body == body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_holds_nobody_else_up() -> Result<()> {
    let scene = Scene::new().await?;
    let _serving = scene.echo().await?;
    let _endless = scene
        .provider
        .serve("endless")
        .stream_handler(async |mut request| {
            loop {
                request.sender.send(vec![0; ITEM]).await?;
            }
            #[expect(unreachable_code, reason = "the type of the future")]
            Ok::<_, AppError>(())
        })
        .await?;
    let stopped = soon("the stream", async {
        loop {
            let mut answers = scene.caller.calling("endless").stream("").await?;
            match answers.next().await.context("an item")? {
                Ok(_) => return anyhow::Ok(answers),
                Err(CallError::NoProvider) => {}
                Err(other) => return Err(other.into()),
            }
        }
    });
    let stopped = stopped.await??;
    // Nothing more is read of it. The links are the same for these.
    for n in 0..200 {
        let body = format!("{n}");
        let reply = soon("another call", scene.caller.call("echo", body.clone())).await??;
        ensure!(reply.body == body.as_bytes());
    }
    drop(stopped);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_is_told_to_the_provider() -> Result<()> {
    let scene = Scene::new().await?;
    let (begun, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notes = (Arc::clone(&begun), Arc::clone(&cancelled));
    let _serving = scene
        .provider
        .serve("wait")
        .handler(move |request| {
            let (begun, cancelled, gone) = (Arc::clone(&notes.0), Arc::clone(&notes.1), request.cancelled());
            tokio::spawn(async move {
                gone.await;
                cancelled.notify_one();
            });
            async move {
                begun.notify_one();
                std::future::pending::<Result<(), AppError>>().await
            }
        })
        .await?;
    let caller = scene.caller.clone();
    let calling = tokio::spawn(async move {
        loop {
            let error = caller.call("wait", "").await.err();
            if error != Some(CallError::NoProvider) {
                return error;
            }
        }
    });
    soon("the handler", begun.notified()).await?;
    calling.abort();
    soon("the word that nobody waits", cancelled.notified()).await?;
    // And when the whole client is gone.
    let other = sinew_client::connect(scene.cluster.nodes[0].url("quic")).await?;
    let calling = tokio::spawn({
        let other = other.clone();
        async move { other.call("wait", "").await }
    });
    soon("the handler", begun.notified()).await?;
    other.close().await?;
    soon("the word that nobody waits", cancelled.notified()).await?;
    ensure!(calling.await?.is_err());
    Ok(())
}
