use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::pin::pin;

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Serialize;
use sinew_client::{CallBuilder, CallError, CallSender, Client, Executed, GatheredAnswer, Reconnect, Reply};
use tokio::sync::mpsc;

use super::connect::{Wish, call_code, connect, within};
use super::payload::{self, Payload, Values};
use crate::cli::{Call, Common, Strategy};
use crate::exit::Code;
use crate::output::Output;

/// Lines of standard input that may wait for the provider to take them.
const LINES: usize = 64;

pub(crate) async fn run(call: Call, common: Common, output: Output) -> anyhow::Result<Code> {
    let body = payload::read(call.payload.as_deref(), call.file.as_deref()).await?;
    let client = connect(&common, Wish { name: "sinew call", reconnect: Reconnect::never(), beside: None }).await?;
    let job = Job { builder: builder(&client, &call), printer: Printer { name: &call.name, output, code: Code::Ok } };
    let code = tokio::select! {
        code = job.run(Bytes::from(body), &call) => code?,
        interrupted = super::interrupted() => {
            interrupted?;
            // Said to the node before the goodbye, which is waited for.
            output.say("interrupted: what is open is cancelled");
            Code::Failure
        }
    };
    within(common.timeout, "goodbye", client.close()).await?;
    Ok(code)
}

fn builder(client: &Client, call: &Call) -> CallBuilder {
    let mut builder = client.calling(&call.name).strategy(call.strategy.into());
    for (key, value) in &call.header {
        builder = builder.header(key, value);
    }
    if let Some(deadline) = call.deadline {
        builder = builder.deadline(deadline);
    }
    if let Some(key) = &call.key {
        builder = builder.key(key.clone());
    }
    if let Some(answers) = call.answers {
        builder = builder.answers(answers);
    }
    if let Some(priority) = call.priority {
        builder = builder.priority(priority);
    }
    for (wanted, flag) in [
        (call.idempotent, CallBuilder::idempotent as fn(CallBuilder) -> CallBuilder),
        (call.hedged, CallBuilder::hedged),
        (call.fresh, CallBuilder::fresh),
    ] {
        if wanted {
            builder = flag(builder);
        }
    }
    builder
}

impl From<Strategy> for sinew_client::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Balanced => Self::Balanced,
            Strategy::Fastest => Self::Fastest,
            Strategy::RoundRobin => Self::RoundRobin,
            Strategy::All => Self::All,
        }
    }
}

struct Job<'a> {
    builder: CallBuilder,
    printer: Printer<'a>,
}

impl Job<'_> {
    async fn run(mut self, body: Bytes, call: &Call) -> anyhow::Result<Code> {
        if call.lines {
            self.lines().await?;
        } else if call.strategy == Strategy::All {
            self.gather(body, call.count).await?;
        } else if call.stream {
            self.stream(body, call.count).await?;
        } else {
            self.unary(body, call).await?;
        }
        Ok(self.printer.code)
    }

    async fn unary(&mut self, body: Bytes, call: &Call) -> io::Result<()> {
        let one = |_| self.builder.clone().send(body.clone());
        let mut replies = pin!(stream::iter(0..call.count).map(one).buffered(call.parallel.into()));
        while let Some(reply) = replies.next().await {
            match reply {
                Ok(reply) => self.printer.reply(&reply)?,
                Err(error) => self.printer.failure(&error, Source::default())?,
            }
        }
        Ok(())
    }

    async fn stream(&mut self, body: Bytes, count: u64) -> io::Result<()> {
        for _ in 0..count {
            match self.builder.clone().stream(body.clone()).await {
                Ok(answers) => self.printer.answers(answers).await?,
                Err(error) => self.printer.failure(&error, Source::default())?,
            }
        }
        Ok(())
    }

    async fn gather(&mut self, body: Bytes, count: u64) -> io::Result<()> {
        for _ in 0..count {
            match self.builder.clone().gather(body.clone()).await {
                Ok(mut answers) => {
                    while let Some(answer) = answers.next().await {
                        self.printer.gathered(answer)?;
                    }
                }
                Err(error) => self.printer.failure(&error, Source::default())?,
            }
        }
        Ok(())
    }

    /// Sends what comes and prints what comes, at the same time.
    async fn lines(&mut self) -> io::Result<()> {
        let (sender, answers) = match self.builder.clone().open().await {
            Ok(open) => open,
            Err(error) => return self.printer.failure(&error, Source::default()),
        };
        let mut sending = pin!(send_lines(sender));
        let mut receiving = pin!(self.printer.answers(answers));
        let mut sent = false;
        loop {
            tokio::select! {
                result = &mut receiving => return result,
                result = &mut sending, if !sent => {
                    // Otherwise the call is cancelled: what was cut off is never taken for a whole.
                    result?;
                    sent = true;
                }
            }
        }
    }
}

async fn send_lines(mut sender: CallSender) -> io::Result<()> {
    let mut lines = standard_input()?;
    while let Some(line) = lines.recv().await {
        if sender.send(line?).await.is_err() {
            // The answers say why.
            return Ok(());
        }
    }
    let _ended = sender.finish().await;
    Ok(())
}

/// The lines of standard input. Read by a thread of their own, which nobody waits for: whoever sits at a terminal may
/// never type another one.
fn standard_input() -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (lines, receiver) = mpsc::channel(LINES);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

struct Printer<'a> {
    name: &'a str,
    output: Output,
    /// That of the first failure.
    code: Code,
}

/// A result as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    from: Source,
    #[serde(flatten)]
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, Values<'a>>,
}

/// Who has answered, where several were asked.
#[derive(Debug, Clone, Default, Serialize)]
struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
}

/// A failure as JSON.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    #[serde(flatten)]
    from: Source,
    error: &'static str,
    message: String,
    executed: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(flatten)]
    payload: Option<Payload<'a>>,
}

impl Printer<'_> {
    fn reply(&self, reply: &Reply) -> io::Result<()> {
        self.answer(Source::default(), &reply.body, payload::headers(reply.headers()))
    }

    fn answer(&self, from: Source, body: &[u8], headers: BTreeMap<&str, Values<'_>>) -> io::Result<()> {
        if self.output.is_json() {
            return self.output.result(&Answer { from, payload: Payload::of(body), headers }, "");
        }
        payload::write_line(body)
    }

    async fn answers(&mut self, mut answers: sinew_client::Answers) -> io::Result<()> {
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(body) => self.answer(Source::default(), &body, BTreeMap::new())?,
                Err(error) => self.failure(&error, Source::default())?,
            }
        }
        Ok(())
    }

    fn gathered(&mut self, answer: Result<GatheredAnswer, CallError>) -> io::Result<()> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.failure(&error, Source::default()),
        };
        let from = Source { node: Some(answer.node.to_string()), provider: Some(answer.provider.to_string()) };
        match answer.result {
            Ok(body) => self.answer(from, &body, BTreeMap::new()),
            Err(error) => self.failure(&error, from),
        }
    }

    /// Says what went wrong, and keeps the exit code of the first time.
    fn failure(&mut self, error: &CallError, from: Source) -> io::Result<()> {
        let who = from.provider.as_ref().map(|provider| format!(" by {provider}")).unwrap_or_default();
        self.output.error(format_args!("{}{who}: {error}", self.name));
        if self.code == Code::Ok {
            self.code = call_code(error);
        }
        if !self.output.is_json() {
            return Ok(());
        }
        let (code, payload) = match error {
            CallError::Application { code, body } => (Some(*code), Some(Payload::of(body))),
            _ => (None, None),
        };
        let retry_after_ms = match error {
            CallError::Overloaded { retry_after } => Some(retry_after.as_millis() as u64),
            _ => None,
        };
        let executed = match error.executed() {
            Executed::Yes => "yes",
            Executed::No => "no",
            Executed::Maybe => "maybe",
        };
        let error_name = kind(error);
        let message = error.to_string();
        self.output.result(&Failure { from, error: error_name, message, executed, code, retry_after_ms, payload }, "")
    }
}

/// The name by which programs know a failure.
pub(super) const fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::NoProvider => "no_provider",
        CallError::NoPeers => "no_peers",
        CallError::NotSent(_) => "not_sent",
        CallError::Unknown(_) => "unknown",
        CallError::Overloaded { .. } => "overloaded",
        CallError::TimedOut { .. } => "timed_out",
        CallError::Application { .. } => "application",
        CallError::Panicked(_) => "panicked",
        CallError::Refused(_) => "refused",
        CallError::Cancelled => "cancelled",
        CallError::Disconnected { .. } | CallError::Closed => "disconnected",
        CallError::TooLarge { .. } | CallError::ResultTooLarge { .. } => "too_large",
        _ => "invalid",
    }
}
