//! The part of nodes in traces that applications record, as a collector of OpenTelemetry receives it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sinew_client::{AppError, Client, Event};
use sinew_tests::{COLLECTOR_KEY, Cluster, Node, sinew, soon};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What an application sends with what belongs to a trace that it records.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn context(sampled: bool) -> String {
    format!("00-{TRACE}-{PARENT}-0{}", u8::from(sampled))
}

/// A collector, as far as it takes in spans: the node they are of, and the span.
struct Collector {
    url: String,
    spans: mpsc::Receiver<(String, Span)>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (taken, spans) = mpsc::channel(1_000);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                let service = service_fn(move |request| take(request, taken.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { url, spans })
    }

    /// The next so many spans, by their names.
    async fn next(&mut self, count: usize) -> Result<Vec<(String, Span)>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(soon("a span", self.spans.recv()).await?.context("the collector runs")?);
        }
        taken.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        Ok(taken)
    }
}

async fn take(request: Request<Incoming>, taken: mpsc::Sender<(String, Span)>) -> Result<Response<Full<Bytes>>> {
    ensure!(request.uri().path() == "/v1/traces" && request.method() == "POST", "{request:?}");
    ensure!(request.headers().get("api-key").is_some_and(|key| key == COLLECTOR_KEY), "{request:?}");
    let body = request.into_body().collect().await?.to_bytes();
    for of_node in ExportTraceServiceRequest::decode(body)?.resource_spans {
        let resource = of_node.resource.context("a resource")?;
        ensure!(text(&resource.attributes, "service.name") == "sinew");
        let node = text(&resource.attributes, "service.instance.id");
        for span in of_node.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            taken.send((node.clone(), span)).await?;
        }
    }
    Ok(Response::new(Full::default()))
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn client(node: &Node) -> Result<Client> {
    Ok(sinew_client::connect(node.url("quic")).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_followed_from_its_publisher_to_a_subscriber_of_another_node() -> Result<()> {
    let mut collector = Collector::start().await?;
    let cluster = Cluster::joined(2, &["--set", &format!("trace.otlp={}", collector.url)]).await?;
    let (here, there) = (&cluster.nodes[0], &cluster.nodes[1]);
    let subscriber = client(there).await?;
    let mut heard = subscriber.subscribe("sensors.>").await?;
    subscriber.settle(Duration::from_secs(20)).await?;
    let publisher = client(here).await?;
    // Neither of the first two belongs to a trace that is recorded.
    publisher.publish("sensors.a", "x").await?;
    publisher.message("sensors.b").payload("x").header("traceparent", context(false)).publish().await?;
    publisher.message("sensors.c").payload("x").header("traceparent", context(true)).publish().await?;
    let mut last = None;
    for _ in 0..3 {
        last = soon("a message", heard.next()).await?;
    }
    let Some(Event::Message(delivery)) = last else { bail!("{last:?}") };
    ensure!(delivery.header("traceparent") == Some(context(true).as_bytes()), "it travels unchanged");

    let [(deliverer, delivered), (taker, published)] = &collector.next(2).await?[..] else { unreachable!() };
    ensure!((published.name.as_str(), delivered.name.as_str()) == ("publish sensors.c", "deliver sensors.c"));
    ensure!((taker.as_str(), deliverer.as_str()) == (here.id(), there.id()));
    ensure!(hex(&published.trace_id) == TRACE && hex(&delivered.trace_id) == TRACE);
    ensure!(hex(&published.parent_span_id) == PARENT, "the application has caused the publication");
    ensure!(delivered.parent_span_id == published.span_id, "and that the delivery");
    ensure!(text(&published.attributes, "sinew.outcome") == "ok" && text(&published.attributes, "sinew.nodes") == "1");
    for span in [published, delivered] {
        ensure!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0);
    }
    ensure!(here.metric("sinew_trace_exported_total").await? == 1.0);
    ensure!(here.metric("sinew_trace_spans_total").await? == 1.0, "nothing but what is recorded");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_followed_from_its_caller_to_the_provider_on_another_node() -> Result<()> {
    let mut collector = Collector::start().await?;
    let cluster = Cluster::joined(2, &["--set", &format!("trace.otlp={}", collector.url)]).await?;
    let (here, there) = (&cluster.nodes[0], &cluster.nodes[1]);
    let provider = client(there).await?;
    let _serving = provider
        .serve("parent")
        .handler(|request| {
            let parent = request.traceparent().unwrap_or_default().to_owned();
            async move { Ok::<_, AppError>(parent) }
        })
        .await?;
    here.knows("parent", 1).await?;
    let caller = client(here).await?;
    let unrecorded = caller.calling("parent").traceparent(context(false)).send("").await?;
    ensure!(unrecorded.body == context(false).as_bytes());
    let reply = caller.calling("parent").traceparent(context(true)).send("").await?;

    let [(caller_node, called), (provider_node, served)] = &collector.next(2).await?[..] else { unreachable!() };
    ensure!((called.name.as_str(), served.name.as_str()) == ("call parent", "serve parent"));
    ensure!((caller_node.as_str(), provider_node.as_str()) == (here.id(), there.id()));
    ensure!(hex(&called.trace_id) == TRACE && hex(&served.trace_id) == TRACE);
    ensure!(hex(&called.parent_span_id) == PARENT && served.parent_span_id == called.span_id);
    ensure!(
        reply.body == format!("00-{TRACE}-{}-01", hex(&served.span_id)).as_bytes(),
        "what the provider goes on with"
    );
    ensure!(
        text(&called.attributes, "sinew.outcome") == "ok" && text(&called.attributes, "sinew.provider") == there.id()
    );

    // A call that fails says so.
    let failed = caller.calling("nobody.there").traceparent(context(true)).send("").await;
    ensure!(failed.is_err());
    let (_, span) = &collector.next(1).await?[0];
    ensure!(span.name == "call nobody.there" && text(&span.attributes, "sinew.outcome") == "no_provider");
    ensure!(span.status.as_ref().is_some_and(|status| status.message == "no_provider"), "{span:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_exported_when_a_node_ends_and_a_collector_that_is_gone_costs_only_its_spans() -> Result<()> {
    let mut collector = Collector::start().await?;
    let node = Node::start(&["--set", &format!("trace.otlp={}", collector.url)]).await?;
    let publisher = client(&node).await?;
    publisher.message("a").payload("x").header("traceparent", context(true)).report().await?;
    ensure!(node.terminate().await? == Some(0));
    let (_, span) = &collector.next(1).await?[0];
    ensure!(span.name == "publish a" && text(&span.attributes, "sinew.outcome") == "unheard");

    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let node = Node::start(&["--set", &format!("trace.otlp=http://{nobody}")]).await?;
    let publisher = client(&node).await?;
    for _ in 0..3 {
        publisher.message("a").payload("x").header("traceparent", context(true)).report().await?;
    }
    node.metric_becomes("sinew_trace_failed_total", |failed| failed == 3.0).await?;
    ensure!(node.admin("/readyz").await?.0 == 200, "a collector is not the node's health");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_cannot_be_one_is_refused_at_the_start() -> Result<()> {
    for url in ["https://127.0.0.1:4318", "127.0.0.1:4318", "http://", "http:///v1", "http://a b"] {
        let refused = sinew(&["config", "check", "--set", &format!("trace.otlp={url}")]).await?;
        ensure!(refused.code == Some(2) && refused.stderr.contains("trace.otlp"), "{url}: {refused:?}");
    }
    Ok(())
}
