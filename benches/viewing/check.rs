use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_live::Frame;
use sinew_live::frame::{OTHER, Row, Window};
use sinew_wire::live::Kind;

use crate::recipe::{self, Happening};
use crate::source::{Load, Source};
use crate::usage::Used;
use crate::viewers::Seen;

/// Largest error of the rank of a percentile.
const RANK_ERROR: f64 = 0.01;

/// Latencies below which the rank of a row's percentile says nothing: one of them is a part of a hundredth.
const ENOUGH: usize = 1_000;

/// Events of one kind, as the frame should have them.
#[derive(Debug, Default)]
struct Expected {
    events: u64,
    messages: u64,
    failed: u64,
    latencies: Vec<u32>,
}

impl Expected {
    fn count(&mut self, event: &Happening) {
        self.events += 1;
        self.messages += u64::from(event.messages);
        self.failed += u64::from(!event.outcome.is_ok());
        self.latencies.extend(event.latency_us);
    }
}

/// All of them, and by what they have in common.
#[derive(Debug, Default)]
struct Model {
    all: Expected,
    calls: u64,
    rows: [HashMap<String, Expected>; 5],
}

fn model(sources: &[Source]) -> Model {
    let mut model = Model::default();
    let names = recipe::names();
    let ids: Vec<_> = sources.iter().map(|source| source.peer.to_string()).collect();
    for (number, source) in sources.iter().enumerate() {
        for k in 0..source.emitted {
            let event = recipe::happening(number, k, sources.len());
            model.all.count(&event);
            model.calls += u64::from(event.kind == Kind::Call);
            let name = &*names[event.kind as usize][event.name];
            let by_name = if event.kind == Kind::Publish { 2 } else { 3 };
            let provider = event.provider.map(|place| (4, &*ids[place]));
            let keys = [(0, recipe::region(number)), (1, &*ids[number]), (by_name, name)];
            for (place, key) in keys.into_iter().chain(provider) {
                let rows = &mut model.rows[place];
                match rows.get_mut(key) {
                    Some(row) => row.count(&event),
                    None => rows.entry(key.to_owned()).or_default().count(&event),
                }
            }
        }
    }
    model.all.latencies.sort_unstable();
    model.rows.iter_mut().flat_map(HashMap::values_mut).for_each(|row| row.latencies.sort_unstable());
    model
}

/// What went wrong, in words.
#[derive(Debug, Default)]
struct Faults {
    faults: Vec<String>,
    largest_rank_error: f64,
}

impl Faults {
    fn equal(&mut self, what: &str, is: u64, should: u64) {
        if is != should {
            self.faults.push(format!("{what} is {is} instead of {should}"));
        }
    }

    fn holds(&mut self, what: String, is: bool) {
        if !is {
            self.faults.push(what);
        }
    }

    fn rank(&mut self, what: &str, sorted: &[u32], share: f64, shown: Option<u32>) {
        let Some(value) = shown else { return self.faults.push(format!("{what} is missing")) };
        let n = sorted.len() as f64;
        let below = sorted.partition_point(|latency| *latency < value) as f64 / n;
        let up_to = sorted.partition_point(|latency| *latency <= value) as f64 / n;
        let error = (below - share).max(share - up_to).max(0.0);
        self.largest_rank_error = self.largest_rank_error.max(error);
        self.holds(format!("{what} is {value} us, off by {error:.4} of the ranks"), error < RANK_ERROR);
    }

    fn window(&mut self, window: &Window, model: &Model) {
        self.equal("events in the last minute", window.events, model.all.events);
        self.equal("messages in the last minute", window.messages, model.all.messages);
        self.equal("failures in the last minute", window.failed, model.all.failed);
        self.equal("calls in the last minute", window.calls, model.calls);
        self.equal("publishes in the last minute", window.publishes, model.all.events - model.calls);
        self.equal(
            "longest latency",
            window.max_us.unwrap_or(0).into(),
            model.all.latencies.last().copied().unwrap_or(0).into(),
        );
        for (share, shown) in [(0.5, window.p50_us), (0.95, window.p95_us), (0.99, window.p99_us)] {
            self.rank(&format!("percentile {share}"), &model.all.latencies, share, shown);
        }
        let shown = [&window.by_region, &window.by_node, &window.by_topic, &window.by_procedure, &window.by_provider];
        for (rows, model) in shown.into_iter().zip(&model.rows) {
            self.rows(rows, model);
        }
    }

    fn rows(&mut self, rows: &[Row], model: &HashMap<String, Expected>) {
        let sum = |of: &dyn Fn(&Expected) -> u64| model.values().map(of).sum::<u64>();
        self.equal("sum of rows", rows.iter().map(|row| row.events).sum(), sum(&|row| row.events));
        self.equal("messages of rows", rows.iter().map(|row| row.messages).sum(), sum(&|row| row.messages));
        self.equal("failures of rows", rows.iter().map(|row| row.failed).sum(), sum(&|row| row.failed));
        for row in rows.iter().filter(|row| row.key != OTHER) {
            let Some(expected) = model.get(&row.key) else {
                self.faults.push(format!("there is a row {}", row.key));
                continue;
            };
            self.equal(&format!("events of {}", row.key), row.events, expected.events);
            self.equal(&format!("messages of {}", row.key), row.messages, expected.messages);
            self.equal(&format!("failures of {}", row.key), row.failed, expected.failed);
            if expected.latencies.len() >= ENOUGH {
                for (share, shown) in [(0.5, row.p50_us), (0.95, row.p95_us), (0.99, row.p99_us)] {
                    self.rank(&format!("percentile {share} of {}", row.key), &expected.latencies, share, shown);
                }
            }
        }
    }
}

/// One run: what was seen, what it took, and what was wrong.
pub(crate) fn report(sources: &[Source], load: &Load, seen: &Seen, used: &Used, late: Duration) -> Value {
    let mut faults = Faults::default();
    let emitted: u64 = sources.iter().map(|source| source.emitted).sum();
    let ring_dropped: u64 = sources.iter().map(Source::dropped).sum();
    let again: u64 = sources.iter().map(|source| source.again).sum();
    let slowest = seen.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let fastest = seen.rates.iter().copied().fold(0.0, f64::max);
    faults.holds(format!("viewers get {slowest:.2} to {fastest:.2} frames/s"), slowest >= 1.8 && fastest <= 2.2);
    let newest = seen.last.iter().max_by_key(|frame| frame.time_ms);
    let frame = newest.cloned().unwrap_or_default();
    let intake = frame.intake;
    faults.equal("events taken and lost together", intake.events + intake.dropped, emitted);
    faults.equal("duplicates", intake.duplicates, again);
    faults.equal("forged batches", intake.forged, 0);
    // Beyond a minute the first events have left the last one.
    if intake.dropped == 0 && load.secs <= 50 {
        faults.window(&frame.windows.sixty, &model(sources));
    }
    all_up(&mut faults, &frame, sources);
    let ids: Vec<_> = sources.iter().map(|source| source.peer).collect();
    let bytes_per_event = sources.first().map_or(0.0, |source| source.bytes_per_event(0, load.rate, &ids));
    json!({
        "nodes": sources.len(), "rate": load.rate, "secs": load.secs, "viewers": seen.rates.len(),
        "emitted": emitted, "taken": intake.events, "lost": intake.dropped, "ring_dropped": ring_dropped,
        "again": again, "duplicates": intake.duplicates,
        "frames_per_s": [slowest, fastest],
        "largest_rank_error": faults.largest_rank_error,
        "raw_bytes_per_s": bytes_per_event * (load.rate * sources.len() as u64) as f64,
        "viewer_bytes_per_s": seen.bytes_per_sec,
        "cpu": used.cpu, "resident": used.resident,
        "late_ms": late.as_secs_f64() * 1e3,
        "faults": faults.faults,
    })
}

fn all_up(faults: &mut Faults, frame: &Frame, sources: &[Source]) {
    for source in sources {
        let id = source.peer.to_string();
        let shown = frame.nodes.iter().any(|node| node.node == id);
        faults.holds(format!("node {id} is not shown"), shown);
    }
}
