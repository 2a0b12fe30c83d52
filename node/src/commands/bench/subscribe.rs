use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use sinew_client::{PeerId, Run, RunEvent, Subscription};

use super::arrivals::Arrivals;
use super::payload::{self, now_ns};
use super::report::{Latencies, Percentiles, grouped, rates, round};
use crate::cli::{BenchSubscribe, Common};
use crate::commands::connect::within;
use crate::commands::subscribe::unsettled;
use crate::exit::Code;
use crate::output::Output;

/// How often progress and silence are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Looks without a new message, after the first one, that end the measurement: 2 s.
const SILENT_TICKS: u32 = 40;

/// Subscriptions begun at once.
const SUBSCRIBING: usize = 64;

pub(crate) fn run(bench: &BenchSubscribe, common: &Common, output: Output) -> anyhow::Result<Code> {
    super::block_on(measure(bench, common, output))
}

async fn measure(bench: &BenchSubscribe, common: &Common, output: Output) -> anyhow::Result<Code> {
    let connections = bench.connections.unwrap_or(bench.subscribers).min(bench.subscribers);
    let clients = super::connections(common, connections, "sinew bench sub").await?;
    let begin = |i: u32| {
        let client = &clients[i as usize % clients.len()];
        let subscribe = client.subscription(&bench.pattern).policy(bench.policy.into()).subscribe();
        within(common.timeout, "subscribe", subscribe)
    };
    let subscriptions: Vec<Subscription> =
        stream::iter(0..bench.subscribers).map(begin).buffered(SUBSCRIBING).try_collect().await?;
    // With several servers every connection asks its own node. One node knows the subscriptions of all its connections.
    let asked = if common.server.len() == 1 { 1 } else { clients.len() };
    let settled =
        stream::iter(clients.iter().take(asked)).map(|client| client.settle(common.timeout)).buffered(SUBSCRIBING);
    let missing = settled.try_fold(0, async |sum, settled| Ok(sum.max(settled.missing))).await?;
    if missing > 0 {
        return Err(unsettled(missing, common.timeout));
    }
    // Scripts wait for this word: it is said even when quiet.
    eprintln!("ready");

    let tally = Tally::new()?;
    let expected = bench.count * u64::from(bench.subscribers);
    let bar = output.shows_progress().then(|| ProgressBar::new(expected));
    let receivers = join_all(subscriptions.into_iter().map(|one| receive(one, bench.count, Rc::clone(&tally))));
    tokio::select! {
        _ = receivers => {}
        () = silence(&tally, bar.as_ref()) => {}
    }
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let result = tally.result(expected);
    output.result(&result, &result)?;
    for client in &clients {
        // What the connections still had to say is not part of the measurement.
        let _ = client.close().await;
    }
    Ok(Code::Ok)
}

/// Takes messages until all that are expected were here, or the subscription ends.
async fn receive(mut subscription: Subscription, count: u64, tally: Rc<Tally>) {
    let mut publishers = Publishers::default();
    let mut distinct = 0;
    while distinct < count {
        match subscription.next_run().await {
            Some(RunEvent::Run(run)) => distinct += tally.run(&run, &mut publishers),
            Some(RunEvent::Lagged(missed)) => tally.missed.set(tally.missed.get() + missed),
            Some(_) => {}
            None => return,
        }
    }
}

/// Ends when messages came and then none for a while. Counts looks, not time: a process that was stopped for a while has
/// not been waiting in vain.
async fn silence(tally: &Tally, bar: Option<&ProgressBar>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut quiet) = (0, 0);
    while quiet < SILENT_TICKS {
        ticks.tick().await;
        let received = tally.received.get();
        if let Some(bar) = bar {
            bar.set_position(received);
        }
        quiet = if received > 0 && received == seen { quiet + 1 } else { 0 };
        seen = received;
    }
}

/// What one subscriber has seen of each publisher. There are few, and runs of one come in a row.
#[derive(Default)]
struct Publishers(Vec<((PeerId, u64), Arrivals)>);

impl Publishers {
    fn of(&mut self, run: &Run) -> &mut Arrivals {
        let key = (run.publisher(), run.instance());
        let found = self.0.iter().position(|(known, _)| *known == key);
        let index = found.unwrap_or_else(|| {
            self.0.push((key, Arrivals::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }
}

/// What all subscribers have seen together. They share one thread.
struct Tally {
    received: Cell<u64>,
    bytes: Cell<u64>,
    duplicated: Cell<u64>,
    reordered: Cell<u64>,
    missed: Cell<u64>,
    first_ns: Cell<u64>,
    last_ns: Cell<u64>,
    latencies: RefCell<Latencies>,
}

impl Tally {
    fn new() -> anyhow::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            received: Cell::new(0),
            bytes: Cell::new(0),
            duplicated: Cell::new(0),
            reordered: Cell::new(0),
            missed: Cell::new(0),
            first_ns: Cell::new(0),
            last_ns: Cell::new(0),
            latencies: RefCell::new(Latencies::new()?),
        }))
    }

    /// Counts a run; returns how many of its messages were new.
    fn run(&self, run: &Run, publishers: &mut Publishers) -> u64 {
        let now = now_ns();
        let arrivals = publishers.of(run);
        let before = (arrivals.duplicated, arrivals.reordered);
        let mut latencies = self.latencies.borrow_mut();
        let (mut messages, mut bytes) = (0, 0);
        for message in run {
            // Somebody else's message on the topic is not part of the measurement.
            let Some((sent, number)) = payload::read(message.payload()) else { continue };
            latencies.note(now.saturating_sub(sent));
            arrivals.note(number);
            messages += 1;
            bytes += message.payload().len() as u64;
        }
        if messages == 0 {
            return 0;
        }
        let duplicated = arrivals.duplicated - before.0;
        self.received.set(self.received.get() + messages);
        self.bytes.set(self.bytes.get() + bytes);
        self.duplicated.set(self.duplicated.get() + duplicated);
        self.reordered.set(self.reordered.get() + arrivals.reordered - before.1);
        if self.first_ns.get() == 0 {
            self.first_ns.set(now);
        }
        self.last_ns.set(now);
        messages - duplicated
    }

    fn result(&self, expected: u64) -> Received {
        let received = self.received.get();
        let duplicated = self.duplicated.get();
        let secs = (self.last_ns.get() - self.first_ns.get()) as f64 / 1e9;
        let (msgs_per_s, mb_per_s) = rates(received, self.bytes.get(), secs);
        Received {
            received,
            expected,
            lost: expected.saturating_sub(received - duplicated),
            duplicated,
            reordered: self.reordered.get(),
            secs: round(secs, 1e6),
            msgs_per_s,
            mb_per_s,
            percentiles: self.latencies.borrow().summary(),
            missed: self.missed.get(),
        }
    }
}

/// What a measurement of receiving says.
#[derive(Debug, Serialize)]
struct Received {
    received: u64,
    expected: u64,
    /// Expected and not received.
    lost: u64,
    duplicated: u64,
    reordered: u64,
    /// From the first message to the last one.
    secs: f64,
    msgs_per_s: f64,
    mb_per_s: f64,
    #[serde(flatten)]
    percentiles: Percentiles,
    /// Of the lost ones, those the node has told about.
    missed: u64,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, expected, lost, duplicated, reordered, secs, msgs_per_s, mb_per_s, percentiles, missed } =
            self;
        writeln!(f, "received {} of {} messages in {secs:.3} s", grouped(*received), grouped(*expected))?;
        writeln!(f, "rate     {} msg/s, {mb_per_s} MB/s", grouped(*msgs_per_s as u64))?;
        writeln!(f, "lost     {lost} (announced {missed}), duplicated {duplicated}, reordered {reordered}")?;
        write!(f, "latency  {percentiles}")
    }
}
