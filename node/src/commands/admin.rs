//! Asks the admin server of a node. Needs no HTTP client beside the binary, which is what a container's health check
//! wants.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::Admin;
use crate::exit::{Code, failure};

/// More than any answer of an admin server.
const MAX_ANSWER: u64 = 256 << 20;

/// Status and JSON of one path.
pub(crate) async fn get(admin: &Admin, path: &str, limit: Duration) -> anyhow::Result<(u16, Value)> {
    let (status, body) = text(admin, path, limit).await?;
    let json = || serde_json::from_str(&body).context("the answer is not from a sinew admin server");
    Ok((status, json().with_context(|| admin.admin.clone())?))
}

/// The JSON of one path, which has to be there.
pub(crate) async fn view(admin: &Admin, path: &str, limit: Duration) -> anyhow::Result<Value> {
    match get(admin, path, limit).await? {
        (200, view) => Ok(view),
        (status, answer) => bail!("{}{path}: status {status}: {answer}", admin.admin),
    }
}

/// A page that is text, which has to be there.
pub(crate) async fn page(admin: &Admin, path: &str, limit: Duration) -> anyhow::Result<String> {
    match text(admin, path, limit).await? {
        (200, page) => Ok(page),
        (status, answer) => bail!("{}{path}: status {status}: {answer}", admin.admin),
    }
}

/// Status and body of one path.
async fn text(admin: &Admin, path: &str, limit: Duration) -> anyhow::Result<(u16, String)> {
    let admin = &admin.admin;
    match tokio::time::timeout(limit, ask(admin, path)).await {
        Ok(answer) => answer.with_context(|| admin.clone()),
        Err(_) => Err(failure(Code::TimedOut, format!("{admin}: no answer within {limit:?}"))),
    }
}

async fn ask(admin: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let connected = TcpStream::connect(address).await;
    let mut stream = connected.map_err(|error| failure(Code::CannotConnect, error.to_string()))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<(u16, String)> {
    let text = std::str::from_utf8(answer).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    Ok((status.context("the answer has no status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let red = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\n{\"failing\":[]}";
        assert_eq!(parse(red).expect("is an answer"), (503, "{\"failing\":[]}".to_owned()));
    }

    #[test]
    fn strange_answers_are_errors() {
        for answer in [&b""[..], b"\xff\xff", b"SSH-2.0-x\r\n", b"HTTP/1.1 \r\n\r\n{}"] {
            assert!(parse(answer).is_err());
        }
    }
}
