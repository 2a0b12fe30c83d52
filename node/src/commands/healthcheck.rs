//! Asks the admin server of a node whether it is ready. Needs no shell and no HTTP client beside the binary, which is
//! what a container's health check wants.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::{Common, Healthcheck};
use crate::exit::Code;
use crate::output::Output;

/// More than any answer of the admin server to this question.
const MAX_ANSWER: u64 = 1 << 20;

pub(crate) async fn run(check: Healthcheck, common: Common, output: Output) -> anyhow::Result<Code> {
    let (status, report) = within(common.timeout, ask(&check.admin)).await.with_context(|| check.admin.clone())?;
    let ready = status == 200;
    let words = if ready { "ready".to_owned() } else { format!("not ready: {}", failing(&report)) };
    output.result(&json!({ "ready": ready, "status": status, "report": report }), words)?;
    Ok(if ready { Code::Ok } else { Code::Failure })
}

async fn within<T>(limit: Duration, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| bail!("no answer within {limit:?}"))
}

async fn ask(admin: &str) -> anyhow::Result<(u16, Value)> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<(u16, Value)> {
    let text = std::str::from_utf8(answer).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let report = serde_json::from_str(body).context("the answer is not from a sinew admin server")?;
    Ok((status.context("the answer has no status")?, report))
}

/// The failing checks in words.
fn failing(report: &Value) -> String {
    let rows = report["failing"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words =
        |row: &Value| format!("{}: {}", row["check"].as_str().unwrap_or("?"), row["reason"].as_str().unwrap_or("?"));
    rows.iter().map(words).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let red = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\n{\"failing\":[{\"check\":\"serving\",\"reason\":\"draining\"}]}";
        let (status, report) = parse(red).expect("is an answer");
        assert_eq!(status, 503);
        assert_eq!(failing(&report), "serving: draining");
    }

    #[test]
    fn strange_answers_are_errors() {
        for answer in [&b""[..], b"\xff\xff", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.1 \r\n\r\n{}"]
        {
            assert!(parse(answer).is_err());
        }
    }
}
