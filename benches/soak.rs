//! Clients that connect, subscribe, publish, receive and leave, one after the other: what `benches/soak` drives.
//!
//! `cargo bench -p sinew-benches --bench soak -- --cycles 10000 unix:///one.sock unix:///other.sock`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sinew_client::{Client, Event, Reconnect};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long anything of a cycle may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Each so many cycles the message comes from the other node, whose interest has to be there by then.
const ACROSS: u64 = 20;

struct Options {
    cycles: u64,
    at_once: usize,
    rows: u64,
    servers: [String; 2],
}

/// What the workers share.
struct Work {
    options: Options,
    next: AtomicU64,
    done: AtomicU64,
    begin: Instant,
    /// A client that stays, on each node.
    residents: [Client; 2],
}

fn main() -> Result<()> {
    let options = options()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(soak(options))
}

fn options() -> Result<Options> {
    let (mut cycles, mut at_once, mut rows, mut servers) = (1_000, 32, 20, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
        match word.as_str() {
            "--cycles" => cycles = number()?,
            "--at-once" => at_once = usize::try_from(number()?)?,
            "--rows" => rows = number()?,
            // Cargo's own.
            "--bench" => {}
            _ => servers.push(word),
        }
    }
    let servers = <[String; 2]>::try_from(servers).map_err(|_| "needs the addresses of two nodes")?;
    Ok(Options { cycles, at_once, rows: rows.clamp(1, cycles.max(1)), servers })
}

async fn soak(options: Options) -> Result<()> {
    let [one, other] = &options.servers;
    let residents = [sinew_client::connect(one).await?, sinew_client::connect(other).await?];
    let at_once = options.at_once;
    let begin = Instant::now();
    let work = Arc::new(Work { options, next: AtomicU64::new(0), done: AtomicU64::new(0), begin, residents });
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        workers.spawn(Arc::clone(&work).run());
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

impl Work {
    async fn run(self: Arc<Self>) -> Result<()> {
        let Options { cycles, rows, .. } = self.options;
        let row = (cycles / rows).max(1);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= cycles {
                return Ok(());
            }
            let cycle = tokio::time::timeout(PATIENCE, self.cycle(number)).await;
            cycle.map_err(|_| format!("cycle {number} takes longer than {PATIENCE:?}"))??;
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(row) {
                println!("{{\"cycles\":{done},\"secs\":{:.3}}}", self.begin.elapsed().as_secs_f64());
            }
        }
    }

    async fn cycle(&self, number: u64) -> Result<()> {
        let here = usize::from(!number.is_multiple_of(2));
        let builder = Client::builder().server(&self.options.servers[here]).reconnect(Reconnect::never());
        let client = builder.connect().await?;
        let topic = format!("soak.{number}");
        let mut subscription = client.subscribe(&topic).await?;
        if number.is_multiple_of(ACROSS) {
            // Nobody waits for settling here, so that interest also goes while it still comes.
            let other = &self.residents[1 - here];
            while other.message(&topic).payload("across").report().await?.matched == 0 {
                tokio::task::yield_now().await;
            }
        } else {
            let report = client.message(&topic).payload("here").report().await?;
            if report.matched != 1 {
                return Err(format!("cycle {number}: {report:?}").into());
            }
        }
        match subscription.next().await {
            Some(Event::Message(_)) => {}
            other => return Err(format!("cycle {number} got {other:?}").into()),
        }
        client.close().await?;
        Ok(())
    }
}
