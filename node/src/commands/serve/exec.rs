//! A command that is run for each call.

use std::io;
use std::process::{ExitStatus, Stdio};

use bytes::Bytes;
use sinew_client::{AppError, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// Most bytes of a result: what callers take by default.
const MAX_RESULT: u64 = 64 << 20;

/// So much of the end of what it says on standard error is told to the caller.
const MAX_COMPLAINT: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Exec {
    pub(super) command: String,
    pub(super) name: String,
}

impl Exec {
    /// Runs it: the argument is its standard input, what it prints is the result. Dropped early, it is killed with all
    /// that it has started.
    pub(super) async fn run(&self, request: Request) -> Result<Bytes, AppError> {
        let mut child = self.command(&request).spawn()?;
        // Declared behind the child, so that it is dropped before it: whose process is waited for can't be another
        // one's.
        let group = Group::of(&child);
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the command has no pipes").into());
        };
        let feed = async {
            feed(stdin, &request.body).await;
            Ok(())
        };
        let ((), result, complaint) = tokio::try_join!(feed, result(stdout), complaint(stderr))?;
        let status = child.wait().await?;
        group.ended();
        if status.success() {
            return Ok(result.into());
        }
        let complaint = complaint.trim_ascii_end();
        let text = if complaint.is_empty() { status.to_string().into_bytes() } else { complaint.to_vec() };
        Err(AppError::new(code(status), text))
    }

    fn command(&self, request: &Request) -> Command {
        let mut command = shell(&self.command);
        command
            .env("SINEW_CALL_NAME", &self.name)
            .env("SINEW_CALL_CALLER", request.caller.to_string())
            .env_remove("TRACEPARENT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(context) =
            request.traceparent().filter(|context| context.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            command.env("TRACEPARENT", context);
        }
        command
    }
}

#[cfg(unix)]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).process_group(0);
    command
}

#[cfg(not(unix))]
fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd");
    command.arg("/C").arg(line);
    command
}

/// A command need not read what it gets.
async fn feed(mut stdin: ChildStdin, body: &[u8]) {
    if let Err(error) = stdin.write_all(body).await
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::warn!(%error, "the command didn't get its argument");
    }
}

async fn result(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, AppError> {
    let mut result = Vec::new();
    stdout.take(MAX_RESULT + 1).read_to_end(&mut result).await?;
    if result.len() as u64 > MAX_RESULT {
        return Err(AppError::new(1, format!("the command has printed more than {MAX_RESULT} bytes")));
    }
    Ok(result)
}

/// The end of what comes.
async fn complaint(mut stderr: impl AsyncRead + Unpin) -> Result<Vec<u8>, AppError> {
    let mut end = Vec::new();
    let mut part = [0; MAX_COMPLAINT];
    loop {
        let read = stderr.read(&mut part).await?;
        if read == 0 {
            return Ok(end);
        }
        end.extend_from_slice(&part[..read]);
        end.drain(..end.len().saturating_sub(MAX_COMPLAINT));
    }
}

/// The exit code; 128 and the signal that killed it, as shells have it.
fn code(status: ExitStatus) -> u16 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal as u16;
    }
    status.code().and_then(|code| u16::try_from(code).ok()).unwrap_or(1)
}

/// All that a command has started; killed when dropped before its end.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.and_then(rustix::process::Pid::from_raw) }
    }

    fn ended(mut self) {
        self.leader = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self {}
    }

    fn ended(self) {}
}
