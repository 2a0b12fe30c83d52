//! A node in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::{PATIENCE, Place, binary, signal, soon};

/// How often a page is asked for while a test waits for something in it.
const LOOK: Duration = Duration::from_millis(20);

/// What every node is told to show a collector of traces, in the header `api-key`.
pub const COLLECTOR_KEY: &str = "of-the-tests";

/// How a node is started, and again after it ended: same place, same data, same flags.
#[derive(Debug)]
pub struct Launch {
    /// Where its process runs.
    pub place: Place,
    /// Its data directory; removed when this is dropped.
    pub data: TempDir,
    /// Its client listeners, beside the Unix socket in the data directory.
    pub listen: Vec<String>,
    /// Its admin server.
    pub admin: String,
    /// Everything else.
    pub flags: Vec<String>,
}

impl Launch {
    /// A node on loopback that takes its ports from the system, and these flags.
    pub fn new(flags: &[&str]) -> Result<Self> {
        Ok(Self {
            place: Place::Host,
            data: tempfile::tempdir()?,
            listen: vec!["quic://127.0.0.1:0".to_owned(), "tls://127.0.0.1:0".to_owned()],
            admin: "127.0.0.1:0".to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        })
    }

    /// Starts the node and waits for its ready line.
    pub async fn start(self) -> Result<Node> {
        let socket = format!("unix://{}", self.data.path().join("sinew.sock").display());
        let mut command = self.place.command(&binary());
        command.args(["up", "--json", "--admin", &self.admin, "--data-dir"]).arg(self.data.path());
        for url in self.listen.iter().chain([&socket]) {
            command.args(["--listen", url]);
        }
        // Alone, unless the flags say otherwise: tests must not find each other.
        command.env("SINEW_MESH", "off").env("SINEW_MESH_MDNS", "false");
        // A collector of traces wants to be told; without one it changes nothing.
        command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={COLLECTOR_KEY}"));
        if std::env::var_os("SINEW_LOG_LEVEL").is_none() {
            command.env("SINEW_LOG_LEVEL", "warn");
        }
        let mut child = command.args(&self.flags).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stdout = BufReader::new(stdout).lines();
        let line = soon("the ready line", stdout.next_line()).await??.context("the node ended before it was ready")?;
        let ready: Value = serde_json::from_str(&line)?;
        ensure!(ready["event"] == "ready", "unexpected first line: {line}");
        Ok(Node { child, stdout, ready, ready_at: Instant::now(), launch: self })
    }
}

/// A node in a process of its own. Killed on drop.
#[derive(Debug)]
pub struct Node {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    ready: Value,
    ready_at: Instant,
    launch: Launch,
}

impl Node {
    /// Starts a node with these flags beside the defaults of the tests, and waits for its ready line.
    pub async fn start(flags: &[&str]) -> Result<Self> {
        Launch::new(flags)?.start().await
    }

    /// Kills the node without warning. What is returned starts it again.
    pub async fn kill(mut self) -> Result<Launch> {
        self.child.kill().await?;
        self.child.wait().await?;
        Ok(self.launch)
    }

    /// Kills the node without warning and starts another on the same ports and data.
    pub async fn kill_and_restart(self, flags: &[&str]) -> Result<Self> {
        let listen = vec![self.url("quic"), self.url("tls")];
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Launch { listen, flags, ..self.kill().await? }.start().await
    }

    /// Sends SIGTERM and waits for the end. Returns the exit code.
    pub async fn terminate(self) -> Result<Option<i32>> {
        Ok(self.leave().await?.0)
    }

    /// The same, and keeps what starts it again.
    pub async fn leave(mut self) -> Result<(Option<i32>, Launch)> {
        signal(self.pid(), rustix::process::Signal::TERM)?;
        let status = soon("the node's end", self.child.wait()).await??;
        while self.stdout.next_line().await?.is_some() {}
        Ok((status.code(), self.launch))
    }

    /// Its peer id.
    pub fn id(&self) -> &str {
        self.ready["node"].as_str().expect("the ready line names the node")
    }

    /// When its ready line was read.
    pub const fn ready_at(&self) -> Instant {
        self.ready_at
    }

    /// Its ready line.
    pub const fn ready(&self) -> &Value {
        &self.ready
    }

    /// Address of the client listener with this scheme.
    pub fn url(&self, scheme: &str) -> String {
        let urls = self.ready["client"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let prefix = format!("{scheme}://");
        urls.into_iter().find(|url| url.starts_with(&prefix)).expect("the node has such a listener").to_owned()
    }

    /// Where its processes run.
    pub const fn place(&self) -> &Place {
        &self.launch.place
    }

    /// Process id, for signals and `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the node runs")
    }

    /// The node's data directory.
    pub fn data_dir(&self) -> &Path {
        self.launch.data.path()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Address of the admin server, as it is seen from the node's place.
    pub fn admin_address(&self) -> Result<SocketAddr> {
        let admin = self.ready["admin"].as_str().context("the node has an admin address")?;
        Ok(admin.trim_start_matches("http://").trim_end_matches('/').parse()?)
    }

    /// Status and body of an admin page.
    pub async fn admin(&self, path: &str) -> Result<(u16, String)> {
        fetch(&self.launch.place, self.admin_address()?, path).await
    }

    /// An admin page of the API.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = self.admin(path).await?;
        ensure!(status == 200, "{path} answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Waits until the node's directory has so many instances of a service. Calls may work before: the DHT may be quicker.
    pub async fn knows(&self, service: &str, instances: u64) -> Result<()> {
        soon(&format!("{instances} instances of {service}"), async {
            while self.instances(service).await? != instances {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?
    }

    async fn instances(&self, service: &str) -> Result<u64> {
        let listed = self.api("/api/v1/services").await?;
        let row = listed["services"].as_array().into_iter().flatten().find(|row| row["name"] == service);
        Ok(row.and_then(|row| row["instances"].as_u64()).unwrap_or(0))
    }

    /// One sample of `/metrics`: a name, with labels as they are written there. 0 when it is not there.
    pub async fn metric(&self, sample: &str) -> Result<f64> {
        let body = self.metrics().await?;
        let line = body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| Ok(value.trim().parse()?))
    }

    /// The sum of a metric over all its labels.
    pub async fn metric_sum(&self, name: &str) -> Result<f64> {
        let body = self.metrics().await?;
        let samples = body.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with(' ') || rest.starts_with('{')).then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        Ok(samples.sum())
    }

    /// The whole page `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let (status, body) = self.admin("/metrics").await?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(body)
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
            tokio::time::sleep(LOOK).await;
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

    /// Processor time the node used so far.
    pub fn cpu(&self) -> Result<Duration> {
        // User and system time, in ticks of USER_HZ, which Linux fixed at 100 for everybody.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = stat.rsplit_once(')').context("the fields of /proc/pid/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

/// Status and body of a page of an HTTP server, seen from a place.
pub async fn fetch(place: &Place, server: SocketAddr, path: &str) -> Result<(u16, String)> {
    ask(place, server, path, "").await
}

/// The same, of a node that wants to see its admin token.
pub async fn fetch_with(place: &Place, server: SocketAddr, path: &str, token: &str) -> Result<(u16, String)> {
    ask(place, server, path, &format!("Authorization: Bearer {token}\r\n")).await
}

async fn ask(place: &Place, server: SocketAddr, path: &str, headers: &str) -> Result<(u16, String)> {
    let mut stream = soon("a connection to the admin server", place.connect(server)).await??;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    soon("an admin page", stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}

fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field of /proc/pid/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
