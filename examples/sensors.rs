//! Many sensors, one dashboard: a fan-in that stays current however slow the reader is.
//!
//! ```text
//! cargo run --release -- up                                            # a node, in a terminal of its own
//! cargo run --release -p sinew-examples --example sensors              # sensors and dashboard in one
//! ```
//!
//! Or apart, as many of each as you like; a dashboard that comes late knows every sensor at once:
//!
//! ```text
//! cargo run --release -p sinew-examples --example sensors -- --only sensors --sensors 5000 --rate 20
//! cargo run --release -p sinew-examples --example sensors -- --only dashboard --busy 900
//! ```
//!
//! Shows: retained values and `last_values`, the policy `latest`, a publisher per topic, runs instead of single messages, and
//! gaps as numbers. With `--busy` the dashboard has no time for its messages most of the time: it gets fewer, but never old
//! ones, and readings and skipped ones together are still all there were.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use rand::RngExt;
use sinew_client::{Client, Policy, Publisher, RunEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

#[derive(Parser)]
#[command(about = "Many sensors, one dashboard")]
struct Options {
    /// How many sensors there are.
    #[arg(long, default_value_t = 1_000)]
    sensors: usize,
    /// Readings of each per second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Run one half only.
    #[arg(long)]
    only: Option<Half>,
    /// How long the dashboard is busy with other things, of each second, in milliseconds.
    #[arg(long, default_value_t = 0)]
    busy: u64,
    /// The node, or several separated by commas.
    #[arg(long, env = "SINEW_SERVER", default_value = "quic://127.0.0.1:4400")]
    server: String,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Half {
    Sensors,
    Dashboard,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if options.rate <= 0.0 || options.sensors == 0 {
        bail!("there is nothing to do for no sensors, or at rate 0");
    }
    tokio::select! {
        done = sensors(&options), if options.only != Some(Half::Dashboard) => done,
        done = dashboard(&options), if options.only != Some(Half::Sensors) => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// One client for all of them, as a gateway of a plant would have it.
async fn sensors(options: &Options) -> Result<()> {
    let client = Client::builder().server(&options.server).name("sensors").connect().await?;
    let mut sensors = (0..options.sensors)
        .map(|number| Ok(Sensor { publisher: publisher(&client, number)?, celsius: 20.0 }))
        .collect::<Result<Vec<_>>>()?;
    let mut beat = interval(Duration::from_secs_f64(1.0 / options.rate));
    // What was missed is over: the newest reading is what counts.
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beat.tick().await;
        for sensor in &mut sensors {
            sensor.read().await?;
        }
    }
}

struct Sensor {
    publisher: Publisher,
    celsius: f64,
}

impl Sensor {
    async fn read(&mut self) -> Result<()> {
        self.celsius += rand::rng().random_range(-0.1..0.1);
        self.publisher.publish(format!("{:.2}", self.celsius)).await?;
        Ok(())
    }
}

/// A sensor that is silent for a minute is forgotten: the value is kept no longer than that.
fn publisher(client: &Client, number: usize) -> Result<Publisher> {
    let topic = format!("plant.hall-{}.sensor-{number}.temperature", number % 10);
    Ok(client.publisher(topic)?.retain().ttl(Duration::from_secs(60)))
}

#[derive(Default)]
struct Dashboard {
    celsius: BTreeMap<String, f64>,
    readings: u64,
    skipped: u64,
}

async fn dashboard(options: &Options) -> Result<()> {
    let client = Client::builder().server(&options.server).name("dashboard").connect().await?;
    let mut readings = client
        .subscription("plant.*.*.temperature")
        // A queue of one reading per sensor: the newest.
        .policy(Policy::Latest)
        .last_values()
        // What is in this process already, no policy can replace: so not much.
        .window(64 << 10)
        .subscribe()
        .await?;
    let mut view = Dashboard::default();
    let mut shown = Instant::now();
    let mut beat = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = readings.next_run() => match event {
                Some(event) => view.take(event),
                None => bail!("the dashboard is cut off: {:?}", readings.end_reason()),
            },
            _ = beat.tick() => {
                view.show(shown.elapsed());
                shown = Instant::now();
                sleep(Duration::from_millis(options.busy)).await;
            }
        }
    }
}

impl Dashboard {
    fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Run(run) => {
                self.readings += run.len() as u64;
                // All of a run are readings of one sensor: the last one counts.
                let last =
                    run.iter().last().and_then(|message| std::str::from_utf8(message.payload()).ok()?.parse().ok());
                if let Some(celsius) = last {
                    self.celsius.insert(run.topic().to_owned(), celsius);
                }
            }
            RunEvent::Lagged(skipped) => self.skipped += skipped,
            // The values of before may be old; those that are still there come again.
            RunEvent::Resumed => self.celsius.clear(),
            _ => {}
        }
    }

    fn show(&mut self, time: Duration) {
        let hottest = self.celsius.iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
        let hottest = hottest.map_or_else(|| "none".to_owned(), |(topic, celsius)| format!("{topic} {celsius:.2} °C"));
        let per_second = self.readings as f64 / time.as_secs_f64();
        println!(
            "{} sensors, {per_second:.0} readings/s, {} skipped for newer ones, hottest: {hottest}",
            self.celsius.len(),
            self.skipped
        );
        (self.readings, self.skipped) = (0, 0);
    }
}
