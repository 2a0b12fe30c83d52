use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use sinew_client::{
    Client, ConnectionEvent, Events, MessageRef, Reconnect, Run, RunEvent, SubscribeError, Subscription,
};

use super::connect::{Wish, connect, within};
use super::payload::{Payload, Values, headers};
use crate::cli::{Common, Subscribe};
use crate::exit::{Code, failure};
use crate::output::Output;

/// Events printed between two flushes, if so many are there at once.
const CHUNK: usize = 256;

pub(crate) async fn run(subscribe: Subscribe, common: Common, output: Output) -> anyhow::Result<Code> {
    let client = connect(&common, Wish { name: "sinew sub", reconnect: Reconnect::default(), beside: None }).await?;
    tokio::spawn(tell(client.events(), output));
    let mut subscriptions = Vec::new();
    for pattern in &subscribe.patterns {
        let begin = begin(&client, pattern, &subscribe);
        subscriptions.push(within(common.timeout, "subscribe", begin).await?);
    }
    output.say(format_args!("listening to {}", subscribe.patterns.join(" ")));
    if subscribe.settle {
        settle(&client, common.timeout).await?;
    }

    let mut printer = Printer { out: BufWriter::new(io::stdout().lock()), output, left: subscribe.count };
    let events = stream::select_all(subscriptions.into_iter().map(|one| Box::pin(runs(one))));
    let mut chunks = events.ready_chunks(CHUNK);
    let mut interrupted = pin!(super::interrupted());
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            // Without a goodbye the node would keep its queue until it misses a sign of life.
            _ = &mut interrupted => return end(&client, &common, printer.left).await,
        };
        let Some(chunk) = chunk else { break };
        for event in chunk {
            match event {
                Ok(event) => printer.event(&event)?,
                Err(reason) => {
                    printer.out.flush()?;
                    return Err(reason.into());
                }
            }
            if printer.left == Some(0) {
                break;
            }
        }
        printer.out.flush()?;
        if printer.left == Some(0) {
            return end(&client, &common, printer.left).await;
        }
    }
    Err(failure(Code::CannotConnect, "the connection is lost"))
}

/// What was taken is confirmed to its publishers before the connection ends. Who asked for more messages than there were
/// when a signal came has not got them.
async fn end(client: &Client, common: &Common, left: Option<u64>) -> anyhow::Result<Code> {
    within(common.timeout, "goodbye", client.close()).await?;
    match left {
        None | Some(0) => Ok(Code::Ok),
        Some(left) => Err(failure(Code::Failure, format!("interrupted, {left} messages before the last one"))),
    }
}

/// Waits until all nodes of the realm know. Scripts wait for the word, so it is said even when quiet, and only then.
async fn settle(client: &Client, limit: Duration) -> anyhow::Result<()> {
    let missing = client.settle(limit).await?.missing;
    if missing > 0 {
        return Err(unsettled(missing, limit));
    }
    eprintln!("ready");
    Ok(())
}

/// Some nodes may not know of a subscription.
pub(super) fn unsettled(missing: u32, limit: Duration) -> anyhow::Error {
    let what =
        format!("{missing} nodes of the realm did not confirm within {limit:?} that they know of the subscription");
    failure(Code::TimedOut, what)
}

async fn begin(client: &Client, pattern: &str, subscribe: &Subscribe) -> Result<Subscription, SubscribeError> {
    let mut builder = client.subscription(pattern).policy(subscribe.policy.into());
    if let Some(group) = &subscribe.queue {
        builder = builder.queue_group(group.clone());
    }
    if let Some(messages) = subscribe.buffer {
        builder = builder.buffer(messages);
    }
    if subscribe.last {
        builder = builder.last_values();
    }
    builder.subscribe().await
}

/// The runs of a subscription, and at last why it has ended.
fn runs(subscription: Subscription) -> impl Stream<Item = Result<RunEvent, SubscribeError>> {
    stream::unfold(Some(subscription), |subscription| async {
        let mut subscription = subscription?;
        match subscription.next_run().await {
            Some(event) => Some((Ok(event), Some(subscription))),
            None => Some((Err(subscription.end_reason().unwrap_or(SubscribeError::Closed)), None)),
        }
    })
}

/// Says on stderr what happens to the connection.
pub(super) async fn tell(mut events: Events, output: Output) {
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Disconnected { reason, .. } => output.say(format_args!("disconnected: {reason}")),
            ConnectionEvent::Connected { server, .. } => output.say(format_args!("connected to {server}")),
            ConnectionEvent::SubscriptionLost { pattern, reason } => {
                output.say(format_args!("subscription to {pattern} lost: {reason}"));
            }
            ConnectionEvent::Lost { error } => output.say(format_args!("gave up: {error}")),
            _ => {}
        }
    }
}

struct Printer<W> {
    out: W,
    output: Output,
    /// Messages still to come, when they are counted.
    left: Option<u64>,
}

impl<W: Write> Printer<W> {
    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        match event {
            RunEvent::Run(run) => self.run(run),
            RunEvent::Lagged(missed) if self.output.is_json() => {
                self.line(&json!({ "event": "lagged", "missed": missed }))
            }
            RunEvent::Lagged(missed) => {
                self.output.say(format_args!("lagged: missed {missed} messages"));
                Ok(())
            }
            RunEvent::Resumed if self.output.is_json() => self.line(&json!({ "event": "resumed" })),
            _ => Ok(()),
        }
    }

    fn run(&mut self, run: &Run) -> io::Result<()> {
        for message in run {
            if let Some(left) = &mut self.left {
                if *left == 0 {
                    break;
                }
                *left -= 1;
            }
            if self.output.is_json() {
                self.line(&Line::of(run, &message))?;
            } else {
                self.out.write_all(message.payload())?;
                self.out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }
}

/// A message as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    headers: BTreeMap<&'a str, Values<'a>>,
    publisher: String,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retained: bool,
}

impl<'a> Line<'a> {
    fn of(run: &'a Run, message: &MessageRef<'a>) -> Self {
        Self {
            topic: run.topic(),
            payload: Payload::of(message.payload()),
            headers: headers(message.headers()),
            publisher: run.publisher().to_string(),
            seq: message.seq(),
            id: message.id().map(|id| String::from_utf8_lossy(id).into_owned()),
            retained: run.is_retained(),
        }
    }
}
