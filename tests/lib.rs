//! What the black-box tests share: starting nodes, running the command line, reading metrics, waiting for events.
//!
//! Everything here is the real thing: the `sinew` binary beside the tests, its own process, real sockets. Nodes take
//! ports from the system and a data directory of their own, so that tests run side by side.

pub mod stranger;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

/// How long any single event may take before a test says what it waited for. Generous: a passing test never sees it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test, which cargo builds beside the tests of the package `sinew`.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let binary = profile.join("sinew");
    assert!(binary.exists(), "{} is not built: run `cargo test -p sinew`", binary.display());
    binary
}

/// A node in a process of its own. Killed on drop.
#[derive(Debug)]
pub struct Node {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    ready: Value,
    data: TempDir,
}

impl Node {
    /// Starts a node with these flags beside the defaults of the tests, and waits for its ready line.
    pub async fn start(flags: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        Self::start_in(data, "quic://127.0.0.1:0", "tls://127.0.0.1:0", flags).await
    }

    async fn start_in(data: TempDir, quic: &str, tls: &str, flags: &[&str]) -> Result<Self> {
        let socket = format!("unix://{}", data.path().join("sinew.sock").display());
        let mut child = Command::new(binary())
            .args(["up", "--json", "--admin", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .args(["--listen", quic, "--listen", tls, "--listen", &socket])
            .args(flags)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stdout = BufReader::new(stdout).lines();
        let line = soon("the ready line", stdout.next_line()).await??.context("the node ended before it was ready")?;
        let ready: Value = serde_json::from_str(&line)?;
        ensure!(ready["event"] == "ready", "unexpected first line: {line}");
        Ok(Self { child, stdout, ready, data })
    }

    /// Kills the node without warning and starts another on the same ports and data.
    pub async fn kill_and_restart(mut self, flags: &[&str]) -> Result<Self> {
        self.child.kill().await?;
        self.child.wait().await?;
        let (quic, tls) = (self.url("quic"), self.url("tls"));
        Self::start_in(self.data, &quic, &tls, flags).await
    }

    /// Address of the client listener with this scheme.
    pub fn url(&self, scheme: &str) -> String {
        let urls = self.ready["client"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let prefix = format!("{scheme}://");
        urls.into_iter().find(|url| url.starts_with(&prefix)).expect("the node has such a listener").to_owned()
    }

    /// Process id, for signals and `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the node runs")
    }

    /// The node's data directory.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Sends SIGTERM and waits for the end. Returns the exit code.
    pub async fn terminate(mut self) -> Result<Option<i32>> {
        signal(self.pid(), rustix::process::Signal::TERM)?;
        let status = soon("the node's end", self.child.wait()).await??;
        while self.stdout.next_line().await?.is_some() {}
        Ok(status.code())
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Status and body of an admin page.
    pub async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let admin = self.ready["admin"].as_str().context("the node has an admin address")?;
        let host = admin.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// One sample of `/metrics`: a name, with labels as they are written there. 0 when it is not there.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        let (status, body) = self.admin("/metrics").await?;
        ensure!(status == 200, "/metrics answered {status}");
        let line = body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| Ok(value.trim().parse()?))
    }

    /// Waits until a sample satisfies a condition.
    pub async fn metric_becomes(&self, sample: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
        let start = Instant::now();
        loop {
            let value = self.metric(sample).await?;
            if wanted(value) {
                return Ok(value);
            }
            ensure!(start.elapsed() < PATIENCE, "{sample} stays at {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resident memory of the node now, in bytes.
    pub fn resident(&self) -> Result<u64> {
        memory(self.pid(), "VmRSS:")
    }

    /// The most resident memory the node ever had, in bytes.
    pub fn peak_resident(&self) -> Result<u64> {
        memory(self.pid(), "VmHWM:")
    }
}

fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field of /proc/pid/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
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
}

/// Runs the binary with these arguments to its end.
pub async fn sinew(arguments: &[&str]) -> Result<Finished> {
    let run = Command::new(binary()).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
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
}

impl Running {
    /// Starts the binary with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        Ok(Self { child, stdout: BufReader::new(stdout).lines() })
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

/// Waits for something that should come, and says what was missing when it does not.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("waited {PATIENCE:?} in vain for {what}"),
    }
}
