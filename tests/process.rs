//! The command line as a process: run to its end, or beside the test.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::watch;

use crate::{Place, soon};

/// The binary under test: `SINEW_BINARY`, or the one that cargo builds beside the tests of the package `sinew`.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SINEW_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let binary = profile.join("sinew");
    assert!(binary.exists(), "{} is not built: run `cargo test -p sinew`", binary.display());
    binary
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// A finished run of the command line.
#[derive(Debug)]
pub struct Finished {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output as one JSON object per line.
    pub fn json(&self) -> Result<Vec<Value>> {
        self.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The same, of a run that must have succeeded.
    pub fn ok(&self) -> Result<Vec<Value>> {
        ensure!(self.code == Some(0), "ended with {:?}: {}{}", self.code, self.stdout, self.stderr);
        self.json()
    }
}

/// Runs the binary with these arguments to its end.
pub async fn sinew(arguments: &[&str]) -> Result<Finished> {
    sinew_at(&Place::Host, arguments).await
}

/// Runs the binary with these arguments at a place, to its end.
pub async fn sinew_at(place: &Place, arguments: &[&str]) -> Result<Finished> {
    let run = place.command(&binary()).args(arguments).output();
    let output = soon(&format!("sinew {}", arguments.join(" ")), run).await??;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// A run of the command line that goes on beside the test. Killed on drop.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    ready: watch::Receiver<bool>,
}

impl Running {
    /// Starts the binary with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Place::Host.command(&binary());
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (said, ready) = watch::channel(false);
        tokio::spawn(pass_on(stderr, said));
        Ok(Self { child, stdout: BufReader::new(stdout).lines(), ready })
    }

    /// Waits until it says `ready` on standard error, as subscribers do once they are known.
    pub async fn ready(&mut self) -> Result<()> {
        soon("the word ready, and no complaint before it", self.ready.wait_for(|ready| *ready))
            .await?
            .context("it ended before it was ready")?;
        Ok(())
    }

    /// Its next line of output, however long that takes.
    pub(crate) async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        self.stdout.next_line().await
    }

    /// Its next line of output; `None` at the end.
    pub async fn line(&mut self) -> Result<Option<String>> {
        Ok(soon("a line of output", self.stdout.next_line()).await??)
    }

    /// Its next line of output as JSON.
    pub async fn json(&mut self) -> Result<Value> {
        let line = self.line().await?.context("the output ended")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Waits for its end and returns the exit code.
    pub async fn end(&mut self) -> Result<Option<i32>> {
        Ok(soon("the end of a process", self.child.wait()).await??.code())
    }
}

/// Shows what a process says among the output of the test, and listens for the word. One that did not settle says it too,
/// after a complaint: for a test it never comes.
async fn pass_on(stderr: ChildStderr, said: watch::Sender<bool>) {
    let mut lines = BufReader::new(stderr).lines();
    let mut settled = true;
    while let Ok(Some(line)) = lines.next_line().await {
        settled &= !line.contains("did not confirm");
        if line.trim() == "ready" {
            said.send_replace(settled);
        } else {
            eprintln!("{line}");
        }
    }
}
