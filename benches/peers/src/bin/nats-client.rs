//! NATS through its Rust client, used as an application would.

use std::ops::Range;
use std::thread;

use anyhow::{Context, anyhow};
use async_nats::{Client, Subject};
use bytes::{Bytes, BytesMut};
use clap::{Parser, Subcommand};
use futures::StreamExt;
use futures::stream::{self, select_all};
use sinew_peers::{
    CallOptions, CallTally, Pace, PublishOptions, Receipts, SILENCE, ServeOptions, SubscribeOptions, now_ns,
    print_ready, print_sent, write_stamp,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Most messages handled with one look at the clock.
const BATCH: usize = 256;

#[derive(Debug, Parser)]
#[command(about = "the workload of `sinew bench` on NATS, through async-nats")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish.
    Pub(PublishOptions),
    /// Subscribe and measure.
    Sub(SubscribeOptions),
    /// Call and measure.
    Call(CallOptions),
    /// Answer calls, until killed.
    Serve(ServeOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pub(options) => publish_all(&options).await,
        Command::Sub(options) => subscribe(&options).await,
        Command::Call(options) => call(&options).await,
        Command::Serve(options) => serve(&options).await,
    }
}

async fn publish_all(options: &PublishOptions) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for publisher in 0..options.publishers {
        clients.push((async_nats::connect(&options.server).await?, options.share(publisher)));
    }
    let runtime = Handle::current();
    let start = now_ns();
    // Threads, because a paced publisher sleeps more exactly than the runtime's timer can.
    thread::scope(|scope| {
        let publishers: Vec<_> = clients
            .into_iter()
            .map(|(client, share)| scope.spawn(|| runtime.block_on(publish(client, share, options))))
            .collect();
        publishers
            .into_iter()
            .try_for_each(|publisher| publisher.join().map_err(|_| anyhow!("a publisher panicked"))?)
    })?;
    print_sent(options.count, start);
    Ok(())
}

async fn publish(client: Client, share: Range<u64>, options: &PublishOptions) -> anyhow::Result<()> {
    let pace = Pace::start(options.rate_each());
    let topic = Subject::from(options.topic.as_str());
    let (mut index, count) = (0, share.end - share.start);
    while index < count {
        let due = pace.due_after(index, (BATCH as u64).min(count - index));
        if due == 0 {
            thread::sleep(pace.until(index));
            continue;
        }
        let now = options.rate.is_none().then(now_ns);
        // One allocation for the payloads of the batch.
        let mut block = BytesMut::zeroed(due as usize * options.size);
        for n in 0..due {
            let mut payload = block.split_to(options.size);
            write_stamp(&mut payload, now.unwrap_or_else(|| pace.due_ns(index + n)), share.start + index + n);
            client.publish(topic.clone(), payload.freeze()).await?;
        }
        index += due;
    }
    round_trip(&client).await
}

/// Waits until the server has read everything sent so far. The client's own flush waits for the socket only, and what
/// is in there can be lost when the process ends.
async fn round_trip(client: &Client) -> anyhow::Result<()> {
    let subject = format!("round-trip.{}.{}", std::process::id(), now_ns());
    let mut echo = client.subscribe(subject.clone()).await?;
    client.publish(subject, Bytes::new()).await?;
    echo.next().await.context("the server closed the connection")?;
    Ok(())
}

async fn subscribe(options: &SubscribeOptions) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for subscribers in options.connections() {
        let client = async_nats::connect(&options.server).await?;
        for subscriber in subscribers {
            let stream = client.subscribe(options.pattern.clone()).await?;
            streams.push(stream.map(move |message| (subscriber as usize, message)));
        }
        round_trip(&client).await?;
    }
    print_ready();

    let mut receipts = Receipts::new(options);
    let mut messages = select_all(streams).ready_chunks(BATCH);
    while !receipts.is_complete() && !receipts.is_silent() {
        let batch = match timeout(SILENCE, messages.next()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(_) => continue,
        };
        let now = now_ns();
        for (subscriber, message) in batch {
            receipts.take(subscriber, &message.payload, now);
        }
    }
    receipts.print();
    Ok(())
}

async fn call(options: &CallOptions) -> anyhow::Result<()> {
    let client = async_nats::connect(&options.server).await?;
    let subject = Subject::from(options.name.as_str());
    let body = Bytes::from(vec![b'.'; options.size]);
    let mut tally = CallTally::start();
    let one = |_| async {
        let start = now_ns();
        let answer = client.request(subject.clone(), body.clone()).await;
        answer.ok().filter(|answer| answer.payload.len() == body.len()).map(|_| now_ns() - start)
    };
    let mut calls = stream::iter(0..options.count).map(one).buffer_unordered(options.parallel as usize);
    while let Some(latency) = calls.next().await {
        tally.take(latency);
    }
    tally.print();
    Ok(())
}

async fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let client = async_nats::connect(&options.server).await?;
    let mut calls = client.subscribe(options.name.clone()).await?;
    round_trip(&client).await?;
    print_ready();
    while let Some(call) = calls.next().await {
        if let Some(reply) = call.reply {
            client.publish(reply, call.payload).await?;
        }
    }
    Ok(())
}
