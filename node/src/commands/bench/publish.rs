use std::time::{Duration, Instant};

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use sinew_client::{Client, Publisher, Report};

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
const IN_FLIGHT: usize = 16;

pub(crate) fn run(bench: &BenchPublish, common: &Common, output: Output) -> anyhow::Result<Code> {
    super::block_on(measure(bench, common, output))
}

async fn measure(bench: &BenchPublish, common: &Common, output: Output) -> anyhow::Result<Code> {
    let clients = super::connections(common, bench.publishers, "sinew bench pub").await?;
    let bar = output.shows_progress().then(|| ProgressBar::new(bench.count));
    let start = Instant::now();
    let start_ns = now_ns();
    let publishers = clients.iter().enumerate().map(|(i, client)| {
        let load = Load::new(bench, i as u64, client, start_ns, common.timeout, bar.as_ref());
        async move { load?.run(bench.level, client).await }
    });
    let reports = try_join_all(publishers).await?;
    let secs = start.elapsed().as_secs_f64();
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let (msgs_per_s, mb_per_s) = rates(bench.count, bench.count * bench.size as u64, secs);
    let sum = |field: fn(&Report) -> u64| reports.iter().flatten().map(field).sum::<u64>();
    let acked = (bench.level == Level::Acked).then(|| Acked {
        matched: sum(|report| report.matched),
        delivered: sum(|report| report.delivered),
        dropped: sum(|report| report.dropped),
        unknown: sum(|report| report.unknown),
    });
    let complete = acked.as_ref().is_none_or(|acked| acked.delivered == acked.matched);
    let result = Sent { sent: bench.count, secs: round(secs, 1e6), msgs_per_s, mb_per_s, acked };
    output.result(&result, result.words())?;
    for client in &clients {
        client.close().await?;
    }
    Ok(if complete { Code::Ok } else { Code::TimedOut })
}

/// What one publisher has to send.
struct Load<'a> {
    publisher: Publisher,
    /// Payloads of one batch, used again and again: the SDK copies them.
    payloads: Vec<Vec<u8>>,
    count: u64,
    schedule: Option<Schedule>,
    timeout: Duration,
    bar: Option<&'a ProgressBar>,
}

impl<'a> Load<'a> {
    fn new(
        bench: &BenchPublish,
        index: u64,
        client: &Client,
        start_ns: u64,
        timeout: Duration,
        bar: Option<&'a ProgressBar>,
    ) -> anyhow::Result<Self> {
        let publishers = u64::from(bench.publishers);
        let batch = (BATCH_BYTES / bench.size).clamp(1, BATCH);
        // The publishers take turns: each has the rate's share, and begins one message after the one before it.
        let schedule = bench.rate.map(|rate| {
            let own = rate / publishers as f64;
            Schedule::new(start_ns + (index as f64 * 1e9 / rate) as u64, own)
        });
        Ok(Self {
            publisher: client.publisher(&bench.topic)?,
            payloads: vec![vec![b'.'; bench.size]; batch],
            count: bench.count / publishers + u64::from(index < bench.count % publishers),
            schedule,
            timeout,
            bar,
        })
    }

    /// Sends everything, and returns when the node has it; with what became of it at level acked.
    async fn run(self, level: Level, client: &Client) -> anyhow::Result<Option<Report>> {
        match level {
            Level::Fire => {
                self.fire().await?;
                client.flush().await?;
                Ok(None)
            }
            Level::Acked => self.acked().await.map(Some),
        }
    }

    async fn fire(mut self) -> anyhow::Result<()> {
        let mut number = 0;
        while number < self.count {
            let n = self.stamp(number).await;
            self.publisher.publish_batch(&self.payloads[..n]).await?;
            number += n as u64;
        }
        Ok(())
    }

    async fn acked(mut self) -> anyhow::Result<Report> {
        let (publisher, timeout) = (self.publisher.clone(), self.timeout);
        let batches = stream::unfold((0, &mut self), |(number, load)| async move {
            if number >= load.count {
                return None;
            }
            let n = load.stamp(number).await;
            let payloads = load.payloads[..n].to_vec();
            Some((payloads, (number + n as u64, load)))
        });
        let send = |payloads: Vec<Vec<u8>>| {
            let publisher = &publisher;
            async move { publisher.publish_batch_acked(&payloads, timeout).await }
        };
        let add = |mut total: Report, report: Report| async move {
            total.matched += report.matched;
            total.delivered += report.delivered;
            total.dropped += report.dropped;
            total.unknown += report.unknown;
            Ok(total)
        };
        Ok(batches.map(send).buffered(IN_FLIGHT).try_fold(Report::default(), add).await?)
    }

    /// Writes time and number into the payloads of the next batch, and says how many it has. Waits for the first one to
    /// be due.
    async fn stamp(&mut self, number: u64) -> usize {
        let left = usize::try_from(self.count - number).unwrap_or(usize::MAX);
        let most = self.payloads.len().min(left);
        let n = match self.schedule {
            None => {
                let now = now_ns();
                for (k, payload) in self.payloads[..most].iter_mut().enumerate() {
                    payload::write(payload, now, number + k as u64);
                }
                most
            }
            Some(schedule) => {
                schedule.wait(number).await;
                let due = schedule.due_by_now(number, most).max(1);
                for (number, payload) in (number..).zip(&mut self.payloads[..due]) {
                    payload::write(payload, schedule.due_ns(number), number);
                }
                due
            }
        };
        if let Some(bar) = self.bar {
            bar.inc(n as u64);
        }
        n
    }
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
