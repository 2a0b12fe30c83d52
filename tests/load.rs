//! Messages from one node to another, by processes of their own, and what came of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::watch;

use crate::{Node, Running, sinew, soon};

/// Something that clients connect to.
pub trait Server {
    /// Where they do.
    fn server(&self) -> String;
}

impl Server for Node {
    fn server(&self) -> String {
        self.url("unix")
    }
}

impl Server for String {
    fn server(&self) -> String {
        self.clone()
    }
}

/// What `sinew bench sub` counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Messages that came.
    pub received: u64,
    /// Messages that did not.
    pub lost: u64,
    /// Messages that came once more.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Lost ones that the node has told about.
    pub missed: u64,
}

impl Report {
    fn read(value: &Value) -> Result<Self> {
        let number = |key: &str| value[key].as_u64().with_context(|| format!("{key} in {value}"));
        Ok(Self {
            received: number("received")?,
            lost: number("lost")?,
            duplicated: number("duplicated")?,
            reordered: number("reordered")?,
            missed: number("missed")?,
        })
    }

    /// Whether every one of so many messages came once, in order.
    pub fn is_whole(&self, count: u64) -> bool {
        *self == Self { received: count, lost: 0, duplicated: 0, reordered: 0, missed: 0 }
    }
}

/// A measured stream of messages: `sinew bench pub` on one node, `sinew bench sub` on another.
#[derive(Debug)]
pub struct Flow {
    name: String,
    count: u64,
    subscriber: Running,
    publisher: Running,
}

impl Flow {
    /// Subscribes, waits until all nodes know, and begins to publish: so many messages, so many per second.
    pub async fn start(
        from: &impl Server,
        to: &impl Server,
        topic: &str,
        count: u64,
        rate: u64,
        level: &str,
    ) -> Result<Self> {
        let (number, rate) = (count.to_string(), rate.to_string());
        let (source, sink) = (from.server(), to.server());
        let common = ["--count", &number, "--json", "--quiet"];
        let mut subscriber = Running::start(&[&["bench", "sub", topic, "--server", &sink][..], &common].concat())?;
        subscriber.ready().await?;
        let pace = ["--rate", &rate, "--level", level, "--size", "128", "--timeout", "30s"];
        let publisher = Running::start(&[&["bench", "pub", topic, "--server", &source][..], &common, &pace].concat())?;
        Ok(Self { name: topic.to_owned(), count, subscriber, publisher })
    }

    /// Waits for the end of both. Fails unless every message came once, in order.
    pub async fn whole(mut self) -> Result<Value> {
        let sent = self.publisher.json().await.with_context(|| format!("the publisher of {}", self.name))?;
        let received = self.subscriber.json().await.with_context(|| format!("the subscriber of {}", self.name))?;
        let report = Report::read(&received)?;
        ensure!(report.is_whole(self.count), "{}: {} sent, {report:?}; publisher: {sent}", self.name, self.count);
        Ok(sent)
    }
}

/// A message as one subscriber saw it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When it came.
    pub at: Instant,
    /// Its topic.
    pub topic: String,
    /// Its payload, where it is text.
    pub payload: String,
    /// Who published it.
    pub publisher: String,
    /// Its number among the messages of its publisher on its topic.
    pub seq: u64,
}

/// A subscriber that remembers everything: `sinew sub` in a process of its own.
#[derive(Debug)]
pub struct Listener {
    heard: watch::Receiver<Vec<Heard>>,
    lagged: watch::Receiver<u64>,
    _task: Aborting,
    /// Process id.
    pub pid: u32,
}

#[derive(Debug)]
struct Aborting(tokio::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Subscribes at a node and waits until all nodes know of it.
    pub async fn start(node: &impl Server, pattern: &str, flags: &[&str]) -> Result<Self> {
        let server = node.server();
        let arguments = ["sub", pattern, "--server", &server, "--settle", "--json"];
        let mut running = Running::start(&[&arguments, flags].concat())?;
        running.ready().await?;
        let pid = running.pid();
        let (heard_here, heard) = watch::channel(Vec::new());
        let (lagged_here, lagged) = watch::channel(0);
        let task = tokio::spawn(async move {
            // Silence is nothing wrong here, so that there is no patience to lose.
            while let Ok(Some(line)) = running.next_line().await {
                let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
                match note(&value) {
                    Some(message) => heard_here.send_modify(|all| all.push(message)),
                    None => lagged_here.send_modify(|all| *all += value["missed"].as_u64().unwrap_or(0)),
                }
            }
        });
        Ok(Self { heard, lagged, _task: Aborting(task), pid })
    }

    /// Everything so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    /// Messages it was told to have missed.
    pub fn missed(&self) -> u64 {
        *self.lagged.borrow()
    }

    /// Waits until what it heard satisfies a condition.
    pub async fn hears(&self, what: &str, wanted: impl Fn(&[Heard]) -> bool) -> Result<()> {
        let mut heard = self.heard.clone();
        soon(what, heard.wait_for(|all| wanted(all))).await?.context("the subscriber ended")?;
        Ok(())
    }

    /// Waits for a message on this topic that comes from now on.
    pub async fn hears_more(&self, topic: &str) -> Result<()> {
        let now = Instant::now();
        self.hears(topic, |all| all.iter().rev().take_while(|one| one.at > now).any(|one| one.topic == topic)).await
    }

    /// Fails when a message came twice or after a later one of its publisher. Returns how many are missing between the
    /// first and the last of each.
    pub fn gaps(&self) -> Result<u64> {
        let mut last: HashMap<(String, String), u64> = HashMap::new();
        let mut missing = 0;
        for Heard { topic, publisher, seq, .. } in self.heard() {
            let before = last.insert((topic.clone(), publisher), seq);
            if let Some(before) = before {
                ensure!(seq > before, "{topic}: message {seq} came after {before}");
                missing += seq - before - 1;
            }
        }
        Ok(missing)
    }
}

fn note(value: &Value) -> Option<Heard> {
    let text = |key: &str| Some(value[key].as_str()?.to_owned());
    Some(Heard {
        at: Instant::now(),
        topic: text("topic")?,
        payload: text("payload").unwrap_or_default(),
        publisher: text("publisher")?,
        seq: value["seq"].as_u64()?,
    })
}

/// Publishes a small message so many times a second, for as long as it is kept.
pub fn chatter(node: &impl Server, topic: &str, rate: u64) -> Result<Running> {
    let (server, rate) = (node.server(), rate.to_string());
    Running::start(&["pub", topic, "x", "--server", &server, "--count", "1000000000", "--rate", &rate, "--quiet"])
}

/// Publishes one message at a node. Returns what is printed of it: `matched`, and more with level acked.
pub async fn publish(node: &impl Server, topic: &str, payload: &str, flags: &[&str]) -> Result<Value> {
    let server = node.server();
    let arguments = ["pub", topic, payload, "--server", &server, "--json"];
    sinew(&[&arguments, flags].concat()).await?.ok()?.pop().context("a result")
}

/// Publishes until a message matches so many subscribers in the whole realm. Returns how long that took.
pub async fn matches(node: &impl Server, topic: &str, wanted: u64) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let matched = publish(node, topic, "?", &[]).await?["matched"].as_u64().context("matched")?;
        if matched == wanted {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < crate::PATIENCE, "{topic} matches {matched}, not {wanted}");
    }
}
