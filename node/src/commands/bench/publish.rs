use std::time::{Duration, Instant};

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use sinew_client::{Client, PublishError, Publisher, Report};
use tokio::task::coop::{Unconstrained, unconstrained};

use super::pace::Schedule;
use super::payload::{self, now_ns};
use super::report::{grouped, rates, round};
use crate::cli::{BenchPublish, Common, Level};
use crate::exit::Code;
use crate::output::Output;

/// Most messages handed to the SDK at once.
const BATCH: usize = 256;

/// Payload bytes handed to the SDK at once.
const BATCH_BYTES: usize = 32 << 10;

/// Acknowledged batches of one publisher under way at once.
const BATCHES_IN_FLIGHT: usize = 16;

/// Single acknowledged messages under way at once.
const MESSAGES_IN_FLIGHT: usize = 1_024;

pub(crate) fn run(bench: &BenchPublish, common: &Common, output: Output) -> anyhow::Result<Code> {
    super::block_on(measure(bench, common, output))
}

async fn measure(bench: &BenchPublish, common: &Common, output: Output) -> anyhow::Result<Code> {
    let clients = super::connections(common, bench.publishers, "sinew bench pub").await?;
    let publishers = clients.iter().map(|client| client.publisher(&bench.topic)).collect::<Result<Vec<_>, _>>()?;
    let bar = output.shows_progress().then(|| ProgressBar::new(bench.count));
    let load = Load { bench, timeout: common.timeout, bar: bar.as_ref() };

    let start = Instant::now();
    let report = match bench.rate {
        Some(rate) => load.paced(&publishers, Schedule::new(now_ns(), rate)).await?,
        None => load.flat_out(&publishers).await?,
    };
    if bench.level == Level::Fire {
        try_join_all(clients.iter().map(Client::flush)).await?;
    }
    let secs = start.elapsed().as_secs_f64();

    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let (msgs_per_s, mb_per_s) = rates(bench.count, bench.count * bench.size as u64, secs);
    let acked = (bench.level == Level::Acked).then(|| Acked::of(&report));
    let result = Sent { sent: bench.count, secs: round(secs, 1e6), msgs_per_s, mb_per_s, acked };
    output.result(&result, result.words())?;
    try_join_all(clients.iter().map(Client::close)).await?;
    Ok(if report.is_complete() { Code::Ok } else { Code::TimedOut })
}

/// What is to be sent.
struct Load<'a> {
    bench: &'a BenchPublish,
    timeout: Duration,
    bar: Option<&'a ProgressBar>,
}

impl Load<'_> {
    /// All publishers as fast as the node takes it. At level acked, gives what became of it.
    async fn flat_out(&self, publishers: &[Publisher]) -> anyhow::Result<Report> {
        let n = publishers.len() as u64;
        let share = |index: u64| self.bench.count / n + u64::from(index < self.bench.count % n);
        let shares = publishers.iter().zip((0..n).map(share));
        match self.bench.level {
            Level::Fire => {
                try_join_all(shares.map(|(publisher, share)| self.fire(publisher, share))).await?;
                Ok(Report::default())
            }
            Level::Acked => {
                let reports = try_join_all(shares.map(|(publisher, share)| self.acked(publisher, share))).await?;
                Ok(reports.into_iter().fold(Report::default(), sum))
            }
        }
    }

    /// Payloads of the size asked for, as many as are handed over at once.
    fn payloads(&self) -> Vec<Vec<u8>> {
        let batch = (BATCH_BYTES / self.bench.size).clamp(1, BATCH);
        vec![vec![b'.'; self.bench.size]; batch]
    }

    async fn fire(&self, publisher: &Publisher, count: u64) -> Result<(), PublishError> {
        // Used again and again: the SDK copies them.
        let mut payloads = self.payloads();
        let mut number = 0;
        while number < count {
            let batch = stamp(&mut payloads, number, count);
            publisher.publish_batch(batch).await?;
            number += batch.len() as u64;
            self.progress(batch.len());
        }
        Ok(())
    }

    async fn acked(&self, publisher: &Publisher, count: u64) -> Result<Report, PublishError> {
        let step = self.payloads().len() as u64;
        let send = |number: u64| async move {
            let mut payloads = self.payloads();
            let batch = stamp(&mut payloads, number, count);
            let report = publisher.publish_batch_acked(batch, self.timeout).await?;
            self.progress(batch.len());
            Ok(report)
        };
        let batches = stream::iter((0..count.div_ceil(step)).map(|batch| batch * step)).map(send).map(in_order);
        batches.buffered(BATCHES_IN_FLIGHT).try_fold(Report::default(), |a, b| async move { Ok(sum(a, b)) }).await
    }

    /// The publishers in turn, each message when it is due.
    async fn paced(&self, publishers: &[Publisher], schedule: Schedule) -> anyhow::Result<Report> {
        match self.bench.level {
            Level::Fire => {
                self.paced_fire(publishers, schedule).await?;
                Ok(Report::default())
            }
            Level::Acked => Ok(self.paced_acked(publishers, schedule).await?),
        }
    }

    async fn paced_fire(&self, publishers: &[Publisher], schedule: Schedule) -> Result<(), PublishError> {
        let mut payload = vec![b'.'; self.bench.size];
        let mut number = 0;
        while number < self.bench.count {
            schedule.wait(number).await;
            let first = number;
            while number < self.bench.count && schedule.is_due(number) {
                self.turn(publishers, schedule, number, &mut payload).publish(&payload).await?;
                number += 1;
            }
            self.progress((number - first) as usize);
        }
        Ok(())
    }

    async fn paced_acked(&self, publishers: &[Publisher], schedule: Schedule) -> Result<Report, PublishError> {
        let send = |number: u64| async move {
            let mut payload = vec![b'.'; self.bench.size];
            let publisher = self.turn(publishers, schedule, number, &mut payload);
            let report = publisher.publish_acked(&payload, self.timeout).await?;
            self.progress(1);
            Ok(report)
        };
        let due = stream::iter(0..self.bench.count).then(|number| async move {
            schedule.wait(number).await;
            number
        });
        due.map(send)
            .map(in_order)
            .buffer_unordered(MESSAGES_IN_FLIGHT)
            .try_fold(Report::default(), |a, b| async move { Ok(sum(a, b)) })
            .await
    }

    /// Whose turn message `number` is. Writes its head: its own number, and when it was due.
    fn turn<'p>(
        &self,
        publishers: &'p [Publisher],
        schedule: Schedule,
        number: u64,
        payload: &mut [u8],
    ) -> &'p Publisher {
        let n = publishers.len() as u64;
        payload::write(payload, schedule.due_ns(number), number / n);
        &publishers[(number % n) as usize]
    }

    fn progress(&self, messages: usize) {
        if let Some(bar) = self.bar {
            bar.inc(messages as u64);
        }
    }
}

/// Publishes that are under way together are taken in the order in which they are polled first, unless one of them yields
/// then: tokio wakes those that have used up the task's budget in the reverse order. Without a budget none does.
fn in_order<F: Future>(publish: F) -> Unconstrained<F> {
    unconstrained(publish)
}

/// Writes time and numbers from `number` on into as many payloads as are left to send.
fn stamp(payloads: &mut [Vec<u8>], number: u64, count: u64) -> &[Vec<u8>] {
    let left = usize::try_from(count - number).unwrap_or(usize::MAX);
    let n = payloads.len().min(left);
    let now = now_ns();
    for (number, payload) in (number..).zip(&mut payloads[..n]) {
        payload::write(payload, now, number);
    }
    &payloads[..n]
}

fn sum(mut total: Report, report: Report) -> Report {
    total.matched += report.matched;
    total.delivered += report.delivered;
    total.dropped += report.dropped;
    total.unknown += report.unknown;
    total
}

/// What a measurement of publishing says.
#[derive(Debug, Serialize)]
struct Sent {
    sent: u64,
    secs: f64,
    msgs_per_s: f64,
    mb_per_s: f64,
    #[serde(flatten)]
    acked: Option<Acked>,
}

/// Deliveries: messages times subscribers.
#[derive(Debug, Serialize)]
struct Acked {
    matched: u64,
    delivered: u64,
    dropped: u64,
    unknown: u64,
}

impl Acked {
    const fn of(report: &Report) -> Self {
        Self { matched: report.matched, delivered: report.delivered, dropped: report.dropped, unknown: report.unknown }
    }
}

impl Sent {
    fn words(&self) -> String {
        let Self { sent, secs, msgs_per_s, mb_per_s, acked } = self;
        let mut words = format!(
            "sent {} messages in {secs:.3} s: {} msg/s, {mb_per_s} MB/s",
            grouped(*sent),
            grouped(*msgs_per_s as u64)
        );
        if let Some(Acked { matched, delivered, dropped, unknown }) = acked {
            words.push_str(&format!("; {delivered} of {matched} delivered, {dropped} dropped, {unknown} unknown"));
        }
        words
    }
}
