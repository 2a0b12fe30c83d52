use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use sinew_client::{CallBuilder, CallError};
use tokio::sync::Semaphore;

use super::pace::Schedule;
use super::payload::now_ns;
use super::report::{Latencies, Percentiles, grouped, rates, round};
use crate::cli::{BenchCall, Common};
use crate::commands::call::kind;
use crate::exit::Code;
use crate::output::Output;

/// Calls that a node lets one connection have open.
const PER_CONNECTION: u32 = 256;

pub(crate) fn run(bench: &BenchCall, common: &Common, output: Output) -> anyhow::Result<Code> {
    super::block_on(measure(bench, common, output))
}

async fn measure(bench: &BenchCall, common: &Common, output: Output) -> anyhow::Result<Code> {
    let connections = bench.connections.unwrap_or_else(|| bench.parallel.div_ceil(PER_CONNECTION));
    let clients = super::connections(common, connections, "sinew bench call").await?;
    let builder = |client: &sinew_client::Client| {
        let builder = client.calling(&bench.name);
        let builder = if bench.idempotent { builder.idempotent() } else { builder };
        bench.deadline.into_iter().fold(builder, CallBuilder::deadline)
    };
    let bar = output.shows_progress().then(|| ProgressBar::new(bench.count));
    let load = Load {
        builders: clients.iter().map(builder).collect(),
        body: vec![b'.'; bench.size].into(),
        tally: RefCell::new(Tally { latencies: Latencies::new()?, errors: BTreeMap::new() }),
        bar: bar.as_ref(),
    };
    let start = now_ns();
    match bench.rate {
        Some(rate) => load.paced(bench, Schedule::new(start, rate)).await?,
        None => load.flat_out(bench).await,
    }
    let secs = (now_ns() - start) as f64 / 1e9;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let result = load.tally.into_inner().result(bench, secs);
    output.result(&result, &result)?;
    for client in &clients {
        // What the connections still had to say is not part of the measurement.
        let _ = client.close().await;
    }
    Ok(if result.errors == 0 { Code::Ok } else { Code::Failure })
}

/// What is to be called, and what came of it. All in one thread.
struct Load<'a> {
    /// One for each connection, which take turns.
    builders: Vec<CallBuilder>,
    body: Bytes,
    tally: RefCell<Tally>,
    bar: Option<&'a ProgressBar>,
}

impl Load<'_> {
    /// As many open as may be, all the time.
    async fn flat_out(&self, bench: &BenchCall) {
        let calls = stream::iter(0..bench.count).map(|number| self.call(number, None));
        calls.buffer_unordered(bench.parallel as usize).collect::<()>().await;
    }

    /// Each call when it is due, unless too many are open: then as soon as may be, and late.
    async fn paced(&self, bench: &BenchCall, schedule: Schedule) -> anyhow::Result<()> {
        let due = clock(schedule, bench.count)?;
        let numbers = stream::iter(0..bench.count).then(async |number| {
            if let Ok(permit) = due.acquire().await {
                permit.forget();
            }
            number
        });
        let calls = numbers.map(|number| self.call(number, Some(schedule.due_ns(number))));
        calls.buffer_unordered(bench.parallel as usize).collect::<()>().await;
        Ok(())
    }

    /// One call, timed from when it was due.
    async fn call(&self, number: u64, due_ns: Option<u64>) {
        let builder = self.builders[(number % self.builders.len() as u64) as usize].clone();
        let start = due_ns.unwrap_or_else(now_ns);
        let result = builder.send(self.body.clone()).await;
        self.tally.borrow_mut().note(now_ns().saturating_sub(start), result.err());
        if let Some(bar) = self.bar {
            bar.inc(1);
        }
    }
}

/// Gives a permit whenever a call is due. A thread of its own: the timer of the runtime counts milliseconds, and a
/// sleep of the thread that takes the answers would be a part of what it measures.
fn clock(schedule: Schedule, count: u64) -> anyhow::Result<Arc<Semaphore>> {
    let due = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&due);
    std::thread::Builder::new().name("clock".to_owned()).spawn(move || {
        for number in 0..count {
            while !schedule.is_due(number) {
                std::thread::sleep(Duration::from_nanos(schedule.due_ns(number).saturating_sub(now_ns())));
            }
            permits.add_permits(1);
        }
    })?;
    Ok(due)
}

struct Tally {
    latencies: Latencies,
    errors: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn note(&mut self, ns: u64, error: Option<CallError>) {
        match error {
            None => self.latencies.note(ns),
            Some(error) => *self.errors.entry(kind(&error)).or_default() += 1,
        }
    }

    fn result(self, bench: &BenchCall, secs: f64) -> Called {
        let errors = self.errors.values().sum();
        let calls = bench.count - errors;
        let (calls_per_s, mb_per_s) = rates(calls, calls * bench.size as u64, secs);
        let percentiles = self.latencies.summary();
        Called { calls, errors, secs: round(secs, 1e6), calls_per_s, mb_per_s, percentiles, errors_by: self.errors }
    }
}

/// What a measurement of calling says.
#[derive(Debug, Serialize)]
struct Called {
    /// Those that were answered.
    calls: u64,
    errors: u64,
    secs: f64,
    calls_per_s: f64,
    /// Of arguments.
    mb_per_s: f64,
    #[serde(flatten)]
    percentiles: Percentiles,
    errors_by: BTreeMap<&'static str, u64>,
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, errors, secs, calls_per_s, percentiles, errors_by, .. } = self;
        writeln!(f, "answered {} calls in {secs:.3} s: {} calls/s", grouped(*calls), grouped(*calls_per_s as u64))?;
        if *errors > 0 {
            let kinds: Vec<_> = errors_by.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count))).collect();
            writeln!(f, "errors   {}: {}", grouped(*errors), kinds.join(", "))?;
        }
        write!(f, "latency  {percentiles}")
    }
}
