//! The cluster of `docker-compose.yml`, with an image made of the binary under test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sinew_tests::{Peer, Place, binary, fetch_with, read_peers};

use crate::namespaces::run;

/// The image of the tests; the users' one is `sinew`.
const IMAGE: &str = "sinew-test";

/// What the cluster's admin servers want to see, unless the environment says otherwise.
const ADMIN_TOKEN: &str = "sinew-on-this-host";

/// How often a container is looked at while a test waits for something.
const LOOK: Duration = Duration::from_millis(50);

/// How long containers may take for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// The running cluster. Its containers, network and volumes are gone when it is dropped.
#[derive(Debug)]
pub struct Compose {
    program: Vec<&'static str>,
    project: String,
    starting: Option<Child>,
}

impl Compose {
    /// Makes the image and begins to start five nodes. Returns at once: Compose is in no hurry to say that it is done.
    pub fn up() -> Result<Self> {
        if let Err(error) = run(Command::new("docker").arg("info")) {
            bail!("this test needs root and a running dockerd: run it with `bash .ci/run system`\n{error:#}");
        }
        image()?;
        let project = format!("sinew-test-{}", std::process::id());
        let mut compose = Self { program: program()?, project, starting: None };
        let mut command = compose.command(&["up", "--detach", "--no-build"])?;
        compose.starting = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        Ok(compose)
    }

    /// Waits until Compose has started everything.
    pub fn started(&mut self) -> Result<()> {
        if let Some(mut child) = self.starting.take() {
            let status = child.wait()?;
            ensure!(status.success(), "Compose ended with {status}");
        }
        Ok(())
    }

    /// Runs a command of Compose on the cluster.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments)?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let [program, words @ ..] = &self.program[..] else { bail!("no Compose") };
        let mut command = Command::new(program);
        command.args(words).arg("--file").arg(repository().join("docker-compose.yml"));
        // A profile has to be named to end what was started with it.
        if !arguments.starts_with(&["up"]) || arguments.contains(&"--scale") {
            command.args(["--profile", "more"]);
        }
        command.args(["--project-name", &self.project]).args(arguments).env("SINEW_IMAGE", IMAGE);
        Ok(command)
    }

    /// The running containers of a service, by id. Asks Docker, which is quicker than Compose.
    pub fn containers(&self, service: &str) -> Result<Vec<String>> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let list = run(Command::new("docker").args(["ps", "--quiet", "--filter", &project, "--filter", &service]))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// The only container of a service.
    pub fn container(&self, service: &str) -> Result<String> {
        let [container] = &self.containers(service)?[..] else { bail!("not one container of {service}") };
        Ok(container.clone())
    }

    /// A field of what Docker knows of a container, as a template.
    pub fn inspect(&self, container: &str, template: &str) -> Result<String> {
        Ok(run(Command::new("docker").args(["inspect", "--format", template, container]))?.trim().to_owned())
    }

    /// Waits until a field of a container has a value.
    pub async fn becomes(&self, container: &str, template: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let value = self.inspect(container, template)?;
            if wanted(&value) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let logs = run(Command::new("docker").args(["logs", "--tail", "50", container]))?;
                bail!("{template} of {container} stays {value:?}\n{logs}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs the binary in the container of a service.
    pub fn inside(&self, service: &str, arguments: &[&str]) -> Result<String> {
        let container = self.container(service)?;
        run(Command::new("docker").args(["exec", &container, "/usr/local/bin/sinew"]).args(arguments))
    }

    /// How long ago the node of a service said that it is ready. Waits until it does.
    pub async fn ready_since(&self, service: &str) -> Result<Duration> {
        let start = Instant::now();
        loop {
            if let [container] = &self.containers(service)?[..] {
                let log = run(Command::new("docker").args(["logs", "--timestamps", container]))?;
                let ready = log
                    .lines()
                    .rev()
                    .filter_map(|line| line.split_once(' '))
                    .find(|(_, text)| text.starts_with("ready"));
                if let Some((timestamp, _)) = ready {
                    return since(timestamp);
                }
            }
            ensure!(start.elapsed() < PATIENCE, "{service} is not ready");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where clients on the host connect to node `number`, from 1.
    pub fn server(number: usize) -> String {
        format!("quic://127.0.0.1:{}", 4400 + number)
    }

    /// A page of the API of node `number`.
    pub async fn api(number: usize, path: &str) -> Result<Value> {
        let admin = SocketAddr::from(([127, 0, 0, 1], 4600 + u16::try_from(number)?));
        let (status, body) = fetch_with(&Place::Host, admin, path, ADMIN_TOKEN).await?;
        ensure!(status == 200, "{path} of node {number} answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The other nodes that node `number` knows.
    pub async fn peers(number: usize) -> Result<Vec<Peer>> {
        let peers = Self::api(number, "/api/v1/peers").await?;
        read_peers(peers.as_array().context("an array of peers")?)
    }

    /// Waits until node `number` answers and its peers satisfy a condition.
    pub async fn sees(number: usize, wanted: impl Fn(&[Peer]) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let peers = Self::peers(number).await;
            if peers.as_ref().is_ok_and(|peers| wanted(peers)) {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "node {number} still sees {peers:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The last chance to learn why.
            eprintln!("{}", self.run(&["logs", "--tail", "40"]).unwrap_or_default());
        }
        let _ = self.started();
        let _ = self.run(&["down", "--volumes", "--timeout", "15"]);
    }
}

/// The time that has passed since a moment of today, like 2026-11-21T12:09:00.123456789Z.
fn since(timestamp: &str) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let time = timestamp.split_once('T').and_then(|(_, time)| time.strip_suffix('Z'));
    let mut secs = 0.0;
    for part in time.with_context(|| timestamp.to_owned())?.split(':') {
        secs = secs * 60.0 + part.parse::<f64>()?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    Ok(Duration::from_secs_f64((now - secs).rem_euclid(DAY)))
}

/// Compose as a plugin of docker, or the program of its own that it was before.
fn program() -> Result<Vec<&'static str>> {
    if run(Command::new("docker").args(["compose", "version"])).is_ok() {
        return Ok(vec!["docker", "compose"]);
    }
    run(Command::new("docker-compose").arg("version"))
        .context("neither `docker compose` nor docker-compose is here")?;
    Ok(vec!["docker-compose"])
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Makes the image from scratch: the binary, and what it is linked to.
fn image() -> Result<()> {
    let context = tempfile::tempdir()?;
    let (root, binary) = (context.path().join("root"), binary());
    copy(&binary, &root.join("usr/local/bin/sinew"))?;
    for library in libraries(&binary)? {
        copy(&library, &root.join(library.strip_prefix("/")?))?;
    }
    std::fs::create_dir(context.path().join("data"))?;
    let file = repository().join("tests/compose/Dockerfile");
    run(Command::new("docker").args(["build", "--quiet", "--tag", IMAGE, "--file"]).arg(file).arg(context.path()))?;
    Ok(())
}

/// The shared libraries of a binary, the loader among them. None when it is static.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(binary).output()?;
    // It fails on a static binary, and says why.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

/// Copies a file, following links.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.parent().context("a directory")?)?;
    std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
