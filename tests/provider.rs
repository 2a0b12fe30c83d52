//! A provider in a process of its own, made of the SDK, which can be killed: the test program itself, started once
//! more.
//!
//! A test program that starts some has a test named `provider_process` that calls [`main`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sinew_client::AppError;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::soon;

const SERVER: &str = "SINEW_TEST_SERVER";
const LOG: &str = "SINEW_TEST_LOG";

/// What the provider says when it can be called.
const READY: &str = "provider: ready";

/// How a procedure behaves. Its name says it: `slow.<milliseconds>.<calls at once>`, and `.idempotent` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// How long a call takes.
    pub takes: Duration,
    /// Calls at once.
    pub concurrency: u32,
    /// Whether it may be executed twice.
    pub idempotent: bool,
}

impl Manner {
    /// The name of the procedure.
    pub fn name(&self) -> String {
        let Self { takes, concurrency, idempotent } = self;
        let end = if *idempotent { ".idempotent" } else { "" };
        format!("slow.{}.{concurrency}{end}", takes.as_millis())
    }

    fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('.').skip(1);
        let takes = Duration::from_millis(parts.next()?.parse().ok()?);
        Some(Self { takes, concurrency: parts.next()?.parse().ok()?, idempotent: parts.next().is_some() })
    }
}

/// A provider process. Killed on drop.
#[derive(Debug)]
pub struct Provider(Child);

impl Provider {
    /// Starts a provider at a node, which notes the argument of each call it executes in a line of `log`. Waits until
    /// it can be called at that node.
    pub async fn start(server: &str, manner: Manner, log: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["provider_process", "--exact", "--nocapture"])
            .env(SERVER, format!("{server} {}", manner.name()))
            .env(LOG, log)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains(READY) {
                    return Ok(());
                }
            }
            anyhow::bail!("the provider has ended")
        };
        soon("a provider", ready).await??;
        // It says nothing more, but must not find its output closed.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self(child))
    }

    /// Kills it without warning.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }
}

/// What the provider's process does. In any other process it returns at once.
pub async fn main() -> Result<()> {
    let Ok(told) = std::env::var(SERVER) else { return Ok(()) };
    let (server, name) = told.split_once(' ').context("server and name")?;
    let manner = Manner::of(name).context("a manner")?;
    let log = OpenOptions::new().append(true).create(true).open(std::env::var(LOG)?)?;
    let client = sinew_client::connect(server).await?;
    let log = Arc::new(log);
    let mut builder = client.serve(name).concurrency(manner.concurrency);
    if manner.idempotent {
        builder = builder.idempotent();
    }
    let serving = builder.handler(move |request| execute(request.body, manner.takes, Arc::clone(&log))).await?;
    // Beside whatever the test harness has begun on its line.
    println!("\n{READY}");
    Err(serving.ended().await.into())
}

async fn execute(body: bytes::Bytes, takes: Duration, log: Arc<File>) -> Result<bytes::Bytes, AppError> {
    let mut line = body.to_vec();
    line.push(b'\n');
    // One write, which the kernel keeps when this process is killed.
    (&*log).write_all(&line)?;
    tokio::time::sleep(takes).await;
    Ok(body)
}
