use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use sinew_client::{Client, Draft, PublishError, Publisher, Reconnect, Report};
use tokio::time::Instant;

use super::connect::{Wish, connect, within};
use super::payload;
use crate::cli::{Common, Level, Publish};
use crate::exit::Code;
use crate::output::Output;

/// Publishes whose results may be awaited at once.
const IN_FLIGHT: usize = 256;

/// From so many messages on, progress is shown.
const LONG: u64 = 10_000;

pub(crate) async fn run(publish: Publish, common: Common, output: Output) -> anyhow::Result<Code> {
    let payload = payload::read(publish.payload.as_deref(), publish.file.as_deref()).await?;
    let client = connect(&common, Wish { name: "sinew pub", reconnect: Reconnect::never(), beside: None }).await?;
    let progress = (publish.count >= LONG && output.shows_progress()).then(|| ProgressBar::new(publish.count));
    let job = Job { payload, publish, timeout: common.timeout, progress };
    let wants_report = output.is_json() || job.publish.level == Level::Acked || job.publish.require_subscribers;
    let code = if wants_report {
        let total = job.with_reports(&client).await?;
        let outcome = Outcome::of(&job.publish, &total);
        output.result(&outcome, outcome.words())?;
        if job.publish.level == Level::Acked && !total.is_complete() { Code::TimedOut } else { Code::Ok }
    } else {
        job.plainly(&client).await?;
        Code::Ok
    };
    within(common.timeout, "publish", client.close()).await?;
    if let Some(bar) = &job.progress {
        bar.finish_and_clear();
    }
    Ok(code)
}

struct Job {
    publish: Publish,
    payload: Vec<u8>,
    timeout: Duration,
    progress: Option<ProgressBar>,
}

impl Job {
    /// Publishes and learns of each message what became of it.
    async fn with_reports(&self, client: &Client) -> Result<Report, PublishError> {
        let publisher = client.publisher(&self.publish.topic)?;
        let start = Instant::now();
        let one = |number: u64| {
            let draft = self.draft(&publisher, number);
            async move {
                self.pace(start, number).await;
                match self.publish.level {
                    Level::Fire => draft.report().await,
                    Level::Acked => draft.acked(self.timeout).await,
                }
            }
        };
        let reports = stream::iter(0..self.publish.count).map(one).buffered(IN_FLIGHT);
        let add = |mut total: Report, report: Report| {
            total.matched += report.matched;
            total.delivered += report.delivered;
            total.dropped += report.dropped;
            total.unknown += report.unknown;
            total.duplicates += report.duplicates;
            self.step();
            async move { Ok(total) }
        };
        reports.try_fold(Report::default(), add).await
    }

    /// Publishes as fast as the node takes it.
    async fn plainly(&self, client: &Client) -> Result<(), PublishError> {
        let publisher = client.publisher(&self.publish.topic)?;
        let start = Instant::now();
        for number in 0..self.publish.count {
            self.pace(start, number).await;
            self.draft(&publisher, number).publish().await?;
            self.step();
        }
        Ok(())
    }

    fn draft<'a>(&'a self, publisher: &Publisher, number: u64) -> Draft<&'a [u8]> {
        let publish = &self.publish;
        let mut draft = publisher.message();
        for (key, value) in &publish.header {
            draft = draft.header(key, value);
        }
        if let Some(id) = &publish.id {
            draft = if publish.count == 1 { draft.id(id) } else { draft.id(format!("{id}-{}", number + 1)) };
        }
        if let Some(ttl) = publish.ttl {
            draft = draft.ttl(ttl);
        }
        if publish.retain {
            draft = draft.retain();
        }
        if publish.require_subscribers {
            draft = draft.require_subscribers();
        }
        draft.payload(&self.payload)
    }

    async fn pace(&self, start: Instant, number: u64) {
        if let Some(rate) = self.publish.rate {
            tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
        }
    }

    fn step(&self) {
        if let Some(bar) = &self.progress {
            bar.inc(1);
        }
    }
}

/// What became of the messages. Counts are of deliveries: messages times subscribers.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    topic: &'a str,
    matched: u64,
    /// Confirmed (level acked), or queued for the subscriber (level fire).
    delivered: u64,
    dropped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
    #[serde(skip_serializing_if = "is_zero")]
    duplicates: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl<'a> Outcome<'a> {
    fn of(publish: &'a Publish, total: &Report) -> Self {
        Self {
            topic: &publish.topic,
            matched: total.matched,
            delivered: total.delivered,
            dropped: total.dropped,
            unknown: total.unknown,
            duplicates: total.duplicates.into(),
        }
    }

    fn words(&self) -> String {
        let Self { topic, matched, delivered, dropped, unknown, duplicates } = self;
        let mut words = format!("{topic}: {delivered} of {matched} delivered, {dropped} dropped");
        for (n, what) in [(unknown, "unknown"), (duplicates, "suppressed as duplicates")] {
            if *n > 0 {
                words.push_str(&format!(", {n} {what}"));
            }
        }
        words
    }
}
