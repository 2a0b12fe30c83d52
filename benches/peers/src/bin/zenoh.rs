//! Zenoh through its own API: peer to peer, or through a router.

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use bytes::BytesMut;
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use sinew_peers::{
    CallOptions, CallTally, Pace, PublishOptions, Receipts, ServeOptions, SubscribeOptions, now_ns, print_ready,
    print_sent, write_stamp,
};
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::query::ConsolidationMode;
use zenoh::{Config, Session, Wait};

/// Most messages sent with one look at the clock.
const BATCH: u64 = 256;

/// How often the subscriber looks whether it has everything.
const LOOK: Duration = Duration::from_millis(10);

/// Longer than interest needs to travel, and the last batch to leave, on this machine.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
#[command(about = "the workload of `sinew bench` on Zenoh")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish.
    Pub {
        #[command(flatten)]
        options: PublishOptions,
        #[command(flatten)]
        role: Role,
    },
    /// Subscribe and measure.
    Sub {
        #[command(flatten)]
        options: SubscribeOptions,
        #[command(flatten)]
        role: Role,
    },
    /// Query and measure.
    Call {
        #[command(flatten)]
        options: CallOptions,
    },
    /// Answer queries, until killed.
    Serve {
        #[command(flatten)]
        options: ServeOptions,
    },
    /// Route, until killed: what `zenohd` does.
    Router {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7447")]
        listen: String,
    },
}

#[derive(Debug, Clone, Args)]
struct Role {
    /// Meet at `--server` without a router; the subscriber listens there.
    #[arg(long)]
    peer: bool,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pub { options, role } => publish_all(&options, &role),
        Command::Sub { options, role } => subscribe(&options, &role),
        Command::Call { options } => call(&options),
        Command::Serve { options } => serve(&options),
        Command::Router { listen } => {
            let _session = open("router", Some(&listen), None)?;
            print_ready();
            loop {
                thread::park();
            }
        }
    }
}

/// Opens a session that finds nobody but who it is told of.
fn open(mode: &str, listen: Option<&str>, connect: Option<&str>) -> anyhow::Result<Session> {
    let endpoints = |address: Option<&str>| match address {
        Some(address) => format!("[\"tcp/{address}\"]"),
        None => "[]".to_owned(),
    };
    let mut config = Config::default();
    for (key, value) in [
        ("mode", format!("\"{mode}\"")),
        ("listen/endpoints", endpoints(listen)),
        ("connect/endpoints", endpoints(connect)),
        ("scouting/multicast/enabled", "false".to_owned()),
    ] {
        config.insert_json5(key, &value).map_err(|error| anyhow!("{key}: {error}"))?;
    }
    zenoh::open(config).wait().map_err(|error| anyhow!("open a session: {error}"))
}

/// Zenoh's errors, which are boxed without `Sized`, as ours.
fn plain(error: zenoh::Error) -> anyhow::Error {
    anyhow!("{error}")
}

fn publish_all(options: &PublishOptions, role: &Role) -> anyhow::Result<()> {
    let mode = if role.peer { "peer" } else { "client" };
    let sessions = (0..options.publishers)
        .map(|publisher| Ok((open(mode, None, Some(&options.server))?, options.share(publisher))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    thread::sleep(SETTLE);
    let start = now_ns();
    thread::scope(|scope| {
        let publishers: Vec<_> =
            sessions.iter().map(|(session, share)| scope.spawn(|| publish(session, share.clone(), options))).collect();
        publishers
            .into_iter()
            .try_for_each(|publisher| publisher.join().map_err(|_| anyhow!("a publisher panicked"))?)
    })?;
    print_sent(options.count, start);
    // Closing a session throws away what it has not sent.
    thread::sleep(SETTLE);
    Ok(())
}

fn publish(session: &Session, share: Range<u64>, options: &PublishOptions) -> anyhow::Result<()> {
    let publisher = session
        .declare_publisher(options.topic.clone())
        .congestion_control(CongestionControl::Block)
        .wait()
        .map_err(plain)?;
    let pace = Pace::start(options.rate_each());
    let (mut index, count) = (0, share.end - share.start);
    while index < count {
        let due = pace.due_after(index, BATCH.min(count - index));
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
            publisher.put(ZBytes::from(payload.freeze())).wait().map_err(plain)?;
        }
        index += due;
    }
    Ok(())
}

fn subscribe(options: &SubscribeOptions, role: &Role) -> anyhow::Result<()> {
    let open = || match role.peer {
        true => open("peer", Some(&options.server), None),
        false => open("client", None, Some(&options.server)),
    };
    let receipts = Arc::new(Mutex::new(Receipts::new(options)));
    let (mut sessions, mut declared) = (Vec::new(), Vec::new());
    for subscribers in options.connections() {
        let session = open()?;
        for subscriber in subscribers {
            let receipts = receipts.clone();
            let subscriber = session
                .declare_subscriber(options.pattern.clone())
                .callback(move |sample| {
                    receipts.lock().take(subscriber as usize, &sample.payload().to_bytes(), now_ns())
                })
                .wait();
            declared.push(subscriber.map_err(plain)?);
        }
        sessions.push(session);
    }
    thread::sleep(SETTLE);
    print_ready();
    loop {
        thread::sleep(LOOK);
        let receipts = receipts.lock();
        if receipts.is_complete() || receipts.is_silent() {
            receipts.print();
            return Ok(());
        }
    }
}

fn call(options: &CallOptions) -> anyhow::Result<()> {
    let session = open("client", None, Some(&options.server))?;
    thread::sleep(SETTLE);
    let body = ZBytes::from(vec![b'.'; options.size]);
    let mut tally = CallTally::start();
    let one = |_| async {
        let start = now_ns();
        // The first answer counts: nothing is held back until all have come.
        let query = session.get(&options.name).payload(body.clone()).consolidation(ConsolidationMode::None);
        let reply = query.await.ok()?.recv_async().await.ok()?;
        (reply.result().ok()?.payload().len() == body.len()).then(|| now_ns() - start)
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut calls = stream::iter(0..options.count).map(one).buffer_unordered(options.parallel as usize);
        while let Some(latency) = calls.next().await {
            tally.take(latency);
        }
    });
    tally.print();
    Ok(())
}

fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let session = open("client", None, Some(&options.server))?;
    let name = options.name.clone();
    let answer = move |query: zenoh::query::Query| {
        let body = query.payload().cloned().unwrap_or_default();
        if let Err(error) = query.reply(name.as_str(), body).wait() {
            eprintln!("an answer was not sent: {error}");
        }
    };
    let _queryable = session.declare_queryable(&options.name).complete(true).callback(answer).wait().map_err(plain)?;
    thread::sleep(SETTLE);
    print_ready();
    loop {
        thread::park();
    }
}
