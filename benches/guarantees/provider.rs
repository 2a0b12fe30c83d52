use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sinew_client::{AppError, CachePolicy, Client, Request, ServeBuilder, Serving};
use tokio::sync::mpsc;

use crate::words::Words;
use crate::{Result, now_ns};

/// Bytes of an item of a stream.
const ITEM: usize = 256 << 10;

/// What all calls of a provider share.
struct Work {
    /// Its own name.
    me: String,
    /// How long a call takes, in microseconds. May be changed while it runs.
    takes_us: AtomicU64,
    executed: AtomicU64,
    /// Bytes of a result.
    size: usize,
    /// The arguments of the calls it has begun, one a line.
    log: Option<File>,
}

/// Provides until its standard input ends, and does what a line there says.
pub(crate) async fn serve(name: String, words: &Words) -> Result<()> {
    let me = words.text("me")?.to_owned();
    let client = Client::builder().server(words.text("server")?).name(&me).connect().await?;
    let log = words.text("log").ok().map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
    let takes_us = AtomicU64::new(words.number("takes-us")?.unwrap_or(0));
    let size = words.number("size")?.unwrap_or(0);
    let work = Arc::new(Work { me, takes_us, executed: AtomicU64::new(0), size, log });
    let mut serving = Some(begin(&client, &name, &work, words).await?);
    say(&format!("ready {}", now_ns()));
    let mut orders = orders()?;
    while let Some(order) = orders.recv().await {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("takes", us) => work.takes_us.store(us.parse()?, Ordering::Relaxed),
            ("count", _) => {}
            ("stop", _) => match serving.take() {
                Some(serving) => serving.stop().await?,
                None => return Err("it was stopped before".into()),
            },
            _ => return Err(format!("no such order: {order}").into()),
        }
        say(&format!("done {} {}", now_ns(), work.executed.load(Ordering::Relaxed)));
    }
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
}

/// The lines of the standard input, which is read by a thread.
fn orders() -> Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

async fn begin(client: &Client, name: &str, work: &Arc<Work>, words: &Words) -> Result<Serving> {
    let work = Arc::clone(work);
    let builder = configured(client.serve(name), words)?;
    let serving = match words.text("kind")? {
        "work" => builder.handler(move |request| Arc::clone(&work).execute(request.body)),
        "echo" => return Ok(builder.stream_handler(echo).await?),
        "endless" => return Ok(builder.stream_handler(endless).await?),
        "wait" => return Ok(builder.handler(move |request| Arc::clone(&work).wait(request)).await?),
        other => return Err(format!("no such kind: {other}").into()),
    };
    Ok(serving.await?)
}

fn configured(mut builder: ServeBuilder, words: &Words) -> Result<ServeBuilder> {
    if let Some(calls) = words.number("concurrency")? {
        builder = builder.concurrency(calls);
    }
    if words.has("idempotent") {
        builder = builder.idempotent();
    }
    if let Some(ttl_ms) = words.number("cache-ms")? {
        builder = builder.cache(CachePolicy { ttl_ms, max_bytes: 1 << 20, ..CachePolicy::default() });
    }
    Ok(builder)
}

impl Work {
    /// Answers with its name, the number of the execution and its time, filled up to the size wanted.
    async fn execute(self: Arc<Self>, body: Bytes) -> std::result::Result<Vec<u8>, AppError> {
        self.note(&body)?;
        let (number, begun) = (self.executed.fetch_add(1, Ordering::Relaxed) + 1, now_ns());
        let takes = Duration::from_micros(self.takes_us.load(Ordering::Relaxed));
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let mut result = format!("{} {number} {begun} ", self.me).into_bytes();
        result.resize(result.len().max(self.size), b'.');
        Ok(result)
    }

    /// Never answers; notes the number of the call, and when its future was dropped.
    async fn wait(self: Arc<Self>, request: Request) -> std::result::Result<(), AppError> {
        let _dropped = Dropped { work: self, body: request.body };
        std::future::pending().await
    }

    /// One write, which the kernel keeps when this process is killed.
    fn note(&self, body: &[u8]) -> std::io::Result<()> {
        let Some(mut log) = self.log.as_ref() else { return Ok(()) };
        let mut line = body.to_vec();
        line.push(b'\n');
        log.write_all(&line)
    }
}

struct Dropped {
    work: Arc<Work>,
    body: Bytes,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let mut line = self.body.to_vec();
        line.extend_from_slice(format!(" {}", now_ns()).as_bytes());
        if let Err(error) = self.work.note(&line) {
            eprintln!("a cancelled call was not noted: {error}");
        }
    }
}

async fn echo(mut request: Request) -> std::result::Result<Bytes, AppError> {
    while let Some(item) = request.items.next().await {
        request.sender.send(item).await?;
    }
    Ok(request.body)
}

async fn endless(mut request: Request) -> std::result::Result<(), AppError> {
    loop {
        request.sender.send(vec![0; ITEM]).await?;
    }
}
