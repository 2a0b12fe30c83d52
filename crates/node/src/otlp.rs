//! Spans, on their way to a collector: OTLP over HTTP, in protobuf.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. Its headers may be set as everywhere, by `OTEL_EXPORTER_OTLP_HEADERS`.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanKind as Kind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceId};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sinew_observe::{Beats, Health, Pulse, Queues, Readings, Span, SpanKind, Spans};
use sinew_wire::PeerId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::warn;

use crate::health::Tasks;

/// How often it is looked for new spans.
const LOOK: Duration = Duration::from_secs(1);

/// Spans in one request.
const BATCH: usize = 512;

/// How long a collector may take for one request, retries included.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a node that ends waits until the last spans are with the collector.
const FAREWELL: Duration = Duration::from_secs(2);

/// What every span says of the node that made it.
pub(crate) struct About {
    pub(crate) node: PeerId,
    pub(crate) realm: String,
    pub(crate) region: String,
}

/// The task that exports. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Otlp {
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    failed: AtomicU64,
    waiting: AtomicU64,
}

impl Otlp {
    /// Begins to export to the collector at `endpoint`, `http://host:port`.
    pub(crate) fn start(
        endpoint: &str,
        about: &About,
        spans: &Spans,
        (health, tasks): (&Health, &mut Tasks),
        (queues, readings): (&Queues, &Readings),
    ) -> Result<Self, ExporterBuildError> {
        let (stop, stopped) = watch::channel(false);
        let (tell_done, done) = watch::channel(false);
        let pulse = Pulse::new();
        tasks.add(health, "trace export", vec![pulse.clone()]);
        let counts = Arc::new(Counts::default());
        show(spans, &counts, queues, readings);
        let exporting = Exporting {
            exporter: Arc::new(exporter(endpoint, about)?),
            spans: spans.clone(),
            backlog: VecDeque::new(),
            request: None,
            counts,
        };
        spans.want(true);
        let task = tokio::spawn(exporting.run(stopped, tell_done, pulse.beats()));
        Ok(Self { stop, done, task })
    }

    /// Exports what is left, and makes no more. Returns after two seconds at most.
    pub(crate) async fn finish(&self) {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        let _late_or_ended = timeout(FAREWELL, done.wait_for(|done| *done)).await;
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Batches are sent one after the other; meanwhile the ring of the node fills, and gives up the oldest.
struct Exporting {
    exporter: Arc<SpanExporter>,
    spans: Spans,
    backlog: VecDeque<Span>,
    request: Option<Request>,
    counts: Arc<Counts>,
}

/// A batch under way: how many spans, and whether they arrived.
type Request = (usize, Pin<Box<dyn Future<Output = Result<(), String>> + Send>>);

impl Exporting {
    async fn run(mut self, mut stopped: watch::Receiver<bool>, done: watch::Sender<bool>, mut beats: Beats) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ending = false;
        loop {
            if ending && self.next_batch() == 0 {
                done.send_replace(true);
                return;
            }
            tokio::select! {
                _ = ticks.tick() => { self.next_batch(); }
                (spans, outcome) = answer(&mut self.request) => {
                    self.request = None;
                    self.count(spans, outcome);
                    self.next_batch();
                }
                changed = stopped.changed(), if !ending => {
                    if changed.is_err() {
                        return;
                    }
                    ending = true;
                    self.spans.want(false);
                }
                () = beats.due() => beats.beat().await,
            }
        }
    }

    /// Sends a batch if none is under way. Returns how many spans are under way or wait.
    fn next_batch(&mut self) -> usize {
        if self.backlog.is_empty() {
            self.backlog = self.spans.take().items;
        }
        if self.request.is_none() && !self.backlog.is_empty() {
            let batch: Vec<SpanData> = self.backlog.drain(..BATCH.min(self.backlog.len())).map(data).collect();
            let (spans, exporter) = (batch.len(), Arc::clone(&self.exporter));
            let request = async move {
                match timeout(PATIENCE, exporter.export(batch)).await {
                    Ok(outcome) => outcome.map_err(|error| error.to_string()),
                    Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                }
            };
            self.request = Some((spans, Box::pin(request)));
        }
        let waiting = self.backlog.len() + self.request.as_ref().map_or(0, |(spans, _)| *spans);
        self.counts.waiting.store(waiting as u64, Ordering::Relaxed);
        waiting
    }

    fn count(&self, spans: usize, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.counts.exported.fetch_add(spans as u64, Ordering::Relaxed),
            Err(problem) => {
                warn!(spans, problem, "the collector of traces did not take spans; they are lost");
                self.counts.failed.fetch_add(spans as u64, Ordering::Relaxed)
            }
        };
    }
}

/// The end of the request under way; of none, never.
async fn answer(request: &mut Option<Request>) -> (usize, Result<(), String>) {
    match request {
        Some((spans, answer)) => (*spans, answer.as_mut().await),
        None => pending().await,
    }
}

fn exporter(endpoint: &str, about: &About) -> Result<SpanExporter, ExporterBuildError> {
    // The path is that of the standard unless another one is named.
    let has_path = endpoint.trim_start_matches("http://").trim_end_matches('/').contains('/');
    let url = if has_path { endpoint.to_owned() } else { format!("{}/v1/traces", endpoint.trim_end_matches('/')) };
    let mut exporter = SpanExporter::builder().with_http().with_endpoint(url).with_timeout(PATIENCE).build()?;
    let resource = Resource::builder_empty()
        .with_service_name("sinew")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", about.node.to_string()))
        .with_attribute(KeyValue::new("sinew.realm", about.realm.clone()))
        .with_attribute(KeyValue::new("sinew.region", about.region.clone()));
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

/// A span in the words of OpenTelemetry, with attributes by its conventions for messaging and remote calls.
fn data(span: Span) -> SpanData {
    let Span { parent, id, kind, name, ended, took, outcome: (outcome, failed), other, reached } = span;
    let (word, kind, system, subject, other_name) = match kind {
        SpanKind::Publish => {
            ("publish", Kind::Producer, "messaging.system", "messaging.destination.name", "sinew.publisher")
        }
        SpanKind::Deliver => {
            ("deliver", Kind::Consumer, "messaging.system", "messaging.destination.name", "sinew.publisher")
        }
        SpanKind::Call => ("call", Kind::Client, "rpc.system", "rpc.method", "sinew.provider"),
        SpanKind::Serve => ("serve", Kind::Server, "rpc.system", "rpc.method", "sinew.provider"),
    };
    let mut attributes = vec![
        KeyValue::new(system, "sinew"),
        KeyValue::new(subject, name.to_string()),
        KeyValue::new("sinew.outcome", outcome),
    ];
    attributes.extend(other.map(|peer| KeyValue::new(other_name, peer.to_string())));
    if let Some((matched, nodes)) = reached {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("sinew.matched", count(matched)));
        attributes.push(KeyValue::new("sinew.nodes", count(nodes)));
    }
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(parent.trace),
            SpanId::from_bytes(id),
            TraceFlags::new(parent.flags),
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from_bytes(parent.span),
        parent_span_is_remote: true,
        span_kind: kind,
        name: format!("{word} {name}").into(),
        start_time: ended.checked_sub(took).unwrap_or(ended),
        end_time: ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { Status::error(outcome) } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("sinew").build(),
    }
}

fn show(spans: &Spans, counts: &Arc<Counts>, queues: &Queues, readings: &Readings) {
    let (made, dropped, depth) = (spans.clone(), spans.clone(), spans.clone());
    readings.counter("trace_spans", "Spans made for traces of applications", move || made.emitted());
    readings.counter("trace_dropped", "Spans given up because the ring was full", move || dropped.dropped());
    queues.add_aside("trace_spans", Spans::CAPACITY as u64, move || depth.depth());
    let (exported, failed, waiting) = (Arc::clone(counts), Arc::clone(counts), Arc::clone(counts));
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    readings.counter("trace_exported", "Spans that the collector took", move || read(&exported.exported));
    readings.counter("trace_failed", "Spans that the collector did not take", move || read(&failed.failed));
    readings.gauge("trace_waiting", "Spans on their way to the collector", move || read(&waiting.waiting));
}
