//! The live view under load: nodes that route at a rate, viewers of another node, and whether what they see is exact. What
//! `benches/live` drives.
//!
//! `cargo bench -p sinew-benches --bench viewing -- --admin HOST:PORT --bootstrap MULTIADDR --pid PID --nodes 7 --rate 3000 --viewers 20`
//!
//! Nodes of this process make events at moments that do not wait for anything (an open loop), each event told by its number:
//! so what a viewer must see is computed again from the numbers, and compared to the last frame. Prints one line of JSON.

mod check;
mod recipe;
mod source;
mod usage;
mod viewers;

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::source::{Load, Source};
use crate::usage::Usage;
use crate::viewers::Watching;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long nodes and viewers may take to find each other.
const PATIENCE: Duration = Duration::from_secs(30);

/// From the last event to the last look: a batch leaves within 100 ms, a second must end, and a frame be made.
const SETTLE: Duration = Duration::from_millis(3_500);

struct Options {
    admin: SocketAddr,
    bootstrap: String,
    pid: u32,
    nodes: usize,
    viewers: usize,
    load: Load,
}

fn main() -> Result<()> {
    let options = options()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(options))
}

fn options() -> Result<Options> {
    let mut load = Load { rate: 1_000, secs: 10, burst: Duration::from_millis(1), duplicates: 0 };
    let (mut admin, mut bootstrap, mut pid, mut nodes, mut viewers) = (None, None, None, 3, 5);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--admin" => admin = Some(value.parse()?),
            "--bootstrap" => bootstrap = Some(value),
            "--pid" => pid = Some(value.parse()?),
            "--nodes" => nodes = value.parse()?,
            "--viewers" => viewers = value.parse()?,
            "--rate" => load.rate = value.parse()?,
            "--secs" => load.secs = value.parse()?,
            "--burst-ms" => load.burst = Duration::from_millis(value.parse()?),
            "--duplicates" => load.duplicates = value.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let missing = "--admin, --bootstrap and --pid are needed";
    Ok(Options {
        admin: admin.ok_or(missing)?,
        bootstrap: bootstrap.ok_or(missing)?,
        pid: pid.ok_or(missing)?,
        nodes,
        viewers,
        load,
    })
}

async fn run(options: Options) -> Result<()> {
    let Options { admin, bootstrap, pid, nodes, viewers, load } = options;
    let sources = source::start(nodes, &bootstrap).await?;
    let watching = Watching::start(admin, viewers).await?;
    tokio::time::timeout(PATIENCE, all_wanted(&sources)).await.map_err(|_| "the nodes did not hear of the viewers")?;
    // The first states have come, so that nothing of what follows can be from before the viewers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let usage = Usage::of(pid)?;
    let begin = Instant::now();
    let (sources, late) = tokio::task::spawn_blocking(move || source::emit(sources, load)).await?;
    let end = Instant::now();
    let used = usage.stop()?;
    tokio::time::sleep(SETTLE).await;
    let seen = watching.stop(begin, end)?;
    let report = check::report(&sources, &load, &seen, &used, late);
    println!("{}", serde_json::to_string(&report)?);
    for source in sources {
        source.node.shutdown().await;
    }
    Ok(())
}

/// Waits until each node has heard that somebody watches.
async fn all_wanted(sources: &[Source]) {
    while !sources.iter().all(|source| source.probe.events.wanted()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
