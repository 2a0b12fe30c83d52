use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;
use std::time::Duration;

use futures::{StreamExt, stream};
use sinew_client::{CallBuilder, CallError, Client, Executed, Reply};
use tokio::task::LocalSet;

use crate::load::{Keys, Schedule};
use crate::words::Words;
use crate::{Result, now_ns};

/// One call, from when it was due to its end.
struct Record {
    number: usize,
    begun_ns: u64,
    ended_ns: u64,
    /// What the provider has answered, without what fills it up; or how it failed, and whether it was executed.
    end: std::result::Result<String, (String, &'static str)>,
}

/// What is called, and what came of it.
struct Calls {
    builders: Vec<CallBuilder>,
    keys: Keys,
    records: RefCell<Vec<Record>>,
}

/// Calls, and writes how each call ended.
///
/// `--rate` a second for `--secs`: each when it is due. `--parallel` at once, for `--secs` or `--count`. `--count` alone: all at
/// once.
pub(crate) async fn call(name: String, words: &Words) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..words.number("clients")?.unwrap_or(1) {
        clients.push(Client::builder().server(words.text("server")?).name("caller").connect().await?);
    }
    let deadline = words.millis("deadline-ms")?;
    let builder = |client: &Client| {
        let builder = client.calling(&name);
        deadline.map_or_else(|| builder.clone(), |deadline| builder.clone().deadline(deadline))
    };
    let keys = words.text("keys").map_or(Ok(Keys::Numbers), Keys::of)?;
    let calls =
        Rc::new(Calls { builders: clients.iter().map(builder).collect(), keys, records: RefCell::new(Vec::new()) });
    let (secs, count) = (words.number::<f64>("secs")?, words.number::<usize>("count")?);
    println!("ready {}", now_ns());
    match (words.number::<f64>("rate")?, words.number::<usize>("parallel")?) {
        (Some(rate), _) => Rc::clone(&calls).paced(rate, secs.ok_or("--secs is missing")?).await?,
        (None, Some(parallel)) => calls.flat_out(parallel, secs, count).await,
        (None, None) => calls.flat_out(usize::MAX, None, Some(count.ok_or("--count is missing")?)).await,
    }
    calls.write(words.text("out")?)?;
    for client in clients {
        client.close().await?;
    }
    Ok(())
}

impl Calls {
    /// So many under way all the time.
    async fn flat_out(&self, parallel: usize, secs: Option<f64>, count: Option<usize>) {
        let until = secs.map(|secs| now_ns() + Duration::from_secs_f64(secs).as_nanos() as u64);
        let numbers = (0..count.unwrap_or(usize::MAX)).take_while(|_| until.is_none_or(|until| now_ns() < until));
        let calls = stream::iter(numbers).map(|number| self.one(number, now_ns()));
        calls.buffer_unordered(parallel).collect::<()>().await;
    }

    /// Each when it is due, however many are under way.
    async fn paced(self: Rc<Self>, rate: f64, secs: f64) -> Result<()> {
        let (schedule, count) = (Schedule::from_now(rate), (rate * secs) as usize);
        let due = schedule.clock(count)?;
        let tasks = LocalSet::new();
        let calling = async {
            let mut calls = Vec::new();
            for number in 0..count {
                due.acquire().await?.forget();
                let this = Rc::clone(&self);
                calls.push(tokio::task::spawn_local(async move { this.one(number, schedule.due_ns(number)).await }));
            }
            for call in calls {
                call.await?;
            }
            Ok(())
        };
        tasks.run_until(calling).await
    }

    async fn one(&self, number: usize, begun_ns: u64) {
        let Some(builder) = self.builders.get(number % self.builders.len()) else { return };
        let end = builder.clone().send(self.keys.argument(number)).await;
        let end = end.map(|reply| answer(&reply)).map_err(|error| (kind(&error), executed(&error)));
        self.records.borrow_mut().push(Record { number, begun_ns, ended_ns: now_ns(), end });
    }

    fn write(&self, path: &str) -> Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for Record { number, begun_ns, ended_ns, end } in self.records.borrow().iter() {
            match end {
                Ok(answer) => writeln!(out, "{number} {begun_ns} {ended_ns} ok {answer}")?,
                Err((kind, executed)) => writeln!(out, "{number} {begun_ns} {ended_ns} {kind} {executed}")?,
            }
        }
        Ok(out.flush()?)
    }
}

fn answer(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).trim_end_matches('.').trim_end().to_owned()
}

/// The name of the error, in one word.
fn kind(error: &CallError) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn executed(error: &CallError) -> &'static str {
    match error.executed() {
        Executed::Yes => "yes",
        Executed::No => "no",
        Executed::Maybe => "maybe",
    }
}
