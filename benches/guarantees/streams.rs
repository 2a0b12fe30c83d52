use std::time::Duration;

use bytes::Bytes;
use sinew_client::Client;

use crate::words::Words;
use crate::{Result, now_ns};

/// Bytes of an item.
const ITEM: usize = 256 << 10;

/// Longer than any of these takes.
const DEADLINE: Duration = Duration::from_secs(280);

async fn connect(words: &Words) -> Result<Client> {
    Ok(Client::builder().server(words.text("server")?).name("caller").connect().await?)
}

/// Sends `--mib` through an echo, and checks what comes back.
pub(crate) async fn stream(name: String, words: &Words) -> Result<()> {
    let client = connect(words).await?;
    let items = words.number::<usize>("mib")?.ok_or("--mib is missing")? * (1 << 20) / ITEM;
    let (mut sender, mut answers) = client.calling(name).deadline(DEADLINE).window(1 << 20).open().await?;
    let begun = now_ns();
    println!("ready {begun}");
    let sending = tokio::spawn(async move {
        // Each item is told by its first bytes; what is behind them is the same memory every time.
        for number in 0..items {
            let mut item = vec![number as u8; ITEM];
            item[..8].copy_from_slice(&(number as u64).to_le_bytes());
            sender.send(item).await?;
        }
        sender.finish().await
    });
    let mut got = 0_usize;
    while let Some(item) = answers.next().await {
        let item = item?;
        let rest = item.strip_prefix(&(got as u64).to_le_bytes());
        if item.len() != ITEM || rest.is_none_or(|rest| rest.iter().any(|byte| *byte != got as u8)) {
            return Err(format!("item {got} is another one").into());
        }
        got += 1;
    }
    sending.await??;
    if got != items {
        return Err(format!("{got} of {items} items came").into());
    }
    println!("{{\"secs\":{},\"bytes\":{}}}", (now_ns() - begun) as f64 / 1e9, items * ITEM);
    Ok(client.close().await?)
}

/// Calls one at a time, for `--secs` with nothing beside, and as long beside a stream from `--endless` that is not read.
pub(crate) async fn beside(name: String, words: &Words) -> Result<()> {
    let client = connect(words).await?;
    let until = Duration::from_secs_f64(words.number("secs")?.ok_or("--secs is missing")?);
    latencies(&client, &name, until / 4).await?;
    let alone = latencies(&client, &name, until).await?;
    let mut stopped = client.calling(words.text("endless")?).deadline(DEADLINE).stream("").await?;
    stopped.next().await.ok_or("the stream has no first item")??;
    let beside = latencies(&client, &name, until).await?;
    // It was only stopped: what waits is there.
    stopped.next().await.ok_or("the stream that was not read has ended")??;
    drop(stopped);
    println!("{{\"alone_us\":{alone:?},\"beside_us\":{beside:?}}}");
    Ok(client.close().await?)
}

/// How long calls take, in microseconds.
async fn latencies(client: &Client, name: &str, during: Duration) -> Result<Vec<u64>> {
    let (body, until) = (Bytes::from_static(&[b'.'; 128]), now_ns() + during.as_nanos() as u64);
    let mut took = Vec::new();
    while now_ns() < until {
        let begun = now_ns();
        client.call(name, body.clone()).await?;
        took.push((now_ns() - begun) / 1_000);
    }
    Ok(took)
}

/// Begins `--count` calls, one after the other, and gives each up after `--after-ms`; prints when.
pub(crate) async fn cancel(name: String, words: &Words) -> Result<()> {
    let client = connect(words).await?;
    let after = words.millis("after-ms")?.ok_or("--after-ms is missing")?;
    let mut cancelled = Vec::new();
    for number in 0..words.number::<usize>("count")?.ok_or("--count is missing")? {
        let call = client.calling(&name).deadline(DEADLINE).send(number.to_string());
        if let Ok(end) = tokio::time::timeout(after, call).await {
            return Err(format!("a call that is never answered has ended: {end:?}").into());
        }
        cancelled.push(now_ns());
    }
    println!("{{\"cancelled_ns\":{cancelled:?}}}");
    // Closing would cancel what was not: the link stays for a moment longer than any cancel may take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(client.close().await?)
}
