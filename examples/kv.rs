//! A small key-value store: every store holds everything, any of them answers a read.
//!
//! ```text
//! cargo run --release -- up                                            # a node, in a terminal of its own
//! cargo run -p sinew-examples --example kv -- store --stores 3         # three providers; or one each on three nodes
//! cargo run -p sinew-examples --example kv -- put colour green
//! cargo run -p sinew-examples --example kv -- get colour
//! cargo run -p sinew-examples --example kv -- list
//! ```
//!
//! Kill one of three store processes while you read: reads go on, as they are idempotent and there are others. A store that
//! begins later copies what is there from another one first.
//!
//! - `kv.put` goes to all (scatter-gather), and says how many took it.
//! - `kv.get` goes to the best of them: idempotent, and a second one is asked if the first is slow.
//! - `kv.dump` is a stream, as long as it takes, under credit: a slow reader costs the store nothing.
//!
//! It is an example, not a database: nothing is on disk, and of two writes the later one by the writers' clocks wins.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sinew_client::{AppError, CallError, Client, Serving};

#[derive(Parser)]
#[command(about = "A small distributed key-value store")]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// The node, or several separated by commas.
    #[arg(long, global = true, env = "SINEW_SERVER", default_value = "quic://127.0.0.1:4400")]
    server: String,
}

#[derive(Subcommand)]
enum Command {
    /// Hold what others put, until interrupted.
    Store {
        /// How many stores, each with a connection of its own.
        #[arg(long, default_value_t = 1)]
        stores: usize,
    },
    /// Put a value under a key, in every store.
    Put { key: String, value: String },
    /// Print the value under a key.
    Get { key: String },
    /// Print all keys and values.
    List,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { command, server } = Options::parse();
    let client = Client::builder().server(&server).name("key-value example").connect().await?;
    match command {
        Command::Store { stores } => store(&server, stores).await?,
        Command::Put { key, value } => put(&client, key, value).await?,
        Command::Get { key } => get(&client, &key).await?,
        Command::List => list(&client).await?,
    }
    client.close().await?;
    Ok(())
}

/// A key, its value, and when it was put.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    key: String,
    value: String,
    at: u64,
}

/// What one store holds.
#[derive(Debug, Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<String, (u64, String)>>>);

impl Table {
    /// Of two writes to a key the later one stays, in whatever order they come.
    fn put(&self, Entry { key, value, at }: Entry) {
        let mut table = self.0.lock();
        let known = table.get(&key).map_or(0, |(at, _)| *at);
        if at > known {
            table.insert(key, (at, value));
        }
    }

    fn get(&self, key: &str) -> Option<String> {
        let table = self.0.lock();
        table.get(key).map(|(_, value)| value.clone())
    }

    /// The first entry behind this key: a walk that holds no lock while its reader is slow.
    fn after(&self, key: Option<&str>) -> Option<Entry> {
        use std::ops::Bound::{Excluded, Unbounded};
        let table = self.0.lock();
        let mut rest = table.range::<str, _>((key.map_or(Unbounded, Excluded), Unbounded));
        rest.next().map(|(key, (at, value))| Entry { key: key.clone(), value: value.clone(), at: *at })
    }
}

async fn store(server: &str, stores: usize) -> Result<()> {
    let mut serving = Vec::new();
    for number in 1..=stores {
        let client = Client::builder().server(server).name(format!("store {number}")).connect().await?;
        let table = Table::default();
        // Writes first, so that none is missed between the copy and the first read.
        serving.push(serve_put(&client, &table).await?);
        let copied = copy(&client, &table).await?;
        serving.extend([serve_get(&client, &table).await?, serve_dump(&client, &table).await?]);
        println!("store {number} is there, with {copied} entries of another one");
    }
    tokio::signal::ctrl_c().await?;
    // Whoever is being answered is answered.
    for procedure in serving {
        procedure.stop().await?;
    }
    Ok(())
}

async fn serve_put(client: &Client, table: &Table) -> Result<Serving> {
    let table = table.clone();
    let put = move |entry: Entry| {
        table.put(entry);
        async { Ok(()) }
    };
    Ok(client.serve("kv.put").idempotent().typed_handler(put).await?)
}

async fn serve_get(client: &Client, table: &Table) -> Result<Serving> {
    let table = table.clone();
    let get = move |key: String| {
        let value = table.get(&key);
        async move { value.ok_or_else(|| AppError::new(404, key)) }
    };
    Ok(client.serve("kv.get").idempotent().typed_handler(get).await?)
}

async fn serve_dump(client: &Client, table: &Table) -> Result<Serving> {
    let table = table.clone();
    let dump = client.serve("kv.dump").idempotent().stream_handler(move |mut request| {
        let table = table.clone();
        async move {
            let mut last = None;
            while let Some(entry) = table.after(last.as_deref()) {
                request.sender.send(serde_json::to_vec(&entry)?).await?;
                last = Some(entry.key);
            }
            Ok(())
        }
    });
    Ok(dump.await?)
}

/// Copies what another store holds, if there is one.
async fn copy(client: &Client, table: &Table) -> Result<usize> {
    let mut copied = 0;
    match each(client, |entry| {
        table.put(entry);
        copied += 1;
    })
    .await
    {
        Ok(()) | Err(CallError::NoProvider | CallError::NoPeers) => Ok(copied),
        Err(error) => Err(error.into()),
    }
}

async fn each(client: &Client, mut take: impl FnMut(Entry)) -> Result<(), CallError> {
    let mut entries = client.calling("kv.dump").deadline(Duration::from_secs(60)).stream("").await?;
    while let Some(entry) = entries.next().await {
        take(serde_json::from_slice(&entry?).map_err(|error| CallError::Decode(error.to_string()))?);
    }
    Ok(())
}

async fn put(client: &Client, key: String, value: String) -> Result<()> {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros() as u64;
    let entry = serde_json::to_vec(&Entry { key, value, at })?;
    let mut answers = client.calling("kv.put").deadline(Duration::from_secs(2)).gather(entry).await?;
    let (mut took, mut failed) = (0, 0);
    while let Some(answer) = answers.next().await {
        match answer?.result {
            Ok(_) => took += 1,
            Err(error) => {
                eprintln!("a store failed: {error}");
                failed += 1;
            }
        }
    }
    println!("{took} of {} stores have it", took + failed);
    Ok(())
}

async fn get(client: &Client, key: &str) -> Result<()> {
    let key = serde_json::to_vec(key)?;
    match client.calling("kv.get").deadline(Duration::from_secs(2)).hedged().send(key).await {
        Ok(reply) => {
            let value: String = serde_json::from_slice(&reply.body)?;
            println!("{value}");
            Ok(())
        }
        Err(CallError::Application { code: 404, .. }) => Err(Error::from(ErrorKind::NotFound)).context("nothing there"),
        Err(CallError::NoProvider | CallError::NoPeers) => bail!("no store is running"),
        Err(error) => Err(error.into()),
    }
}

async fn list(client: &Client) -> Result<()> {
    each(client, |Entry { key, value, .. }| println!("{key} = {value}")).await?;
    Ok(())
}
