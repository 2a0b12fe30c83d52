//! Payloads: where they come from, and how they are shown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sinew_client::Headers;
use tokio::io::AsyncReadExt;

/// More than any node takes as one message, and any provider as one argument: what is larger is refused before it fills
/// the memory.
const MAX_PAYLOAD: u64 = 64 << 20;

/// The payload that the arguments name: a text, `-` for standard input, or a file.
pub(super) async fn read(text: Option<&str>, file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    match (text, file) {
        (_, Some(path)) => from_file(path).await.with_context(|| path.display().to_string()),
        (Some("-"), None) => read_all(tokio::io::stdin()).await.context("standard input"),
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, None) => Ok(Vec::new()),
    }
}

async fn from_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_all(tokio::fs::File::open(path).await?).await
}

async fn read_all(from: impl AsyncReadExt + Unpin) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::new();
    from.take(MAX_PAYLOAD + 1).read_to_end(&mut payload).await?;
    if payload.len() as u64 > MAX_PAYLOAD {
        bail!("more than {MAX_PAYLOAD} bytes");
    }
    Ok(payload)
}

/// Writes a payload for people: with a newline at its end, unless it has one.
pub(super) fn write_line(payload: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(payload)?;
    if !payload.ends_with(b"\n") {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// A payload as JSON: a text, or base64 where it is none.
#[derive(Debug, Serialize)]
pub(super) enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_b64")]
    Bytes(String),
}

impl<'a> Payload<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes(BASE64.encode(bytes)),
        }
    }
}

/// The value of a header, or all of them where the key is repeated.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Values<'a> {
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

pub(super) fn headers(headers: Headers<'_>) -> BTreeMap<&str, Values<'_>> {
    let mut map = BTreeMap::new();
    for (key, value) in headers {
        let value = String::from_utf8_lossy(value);
        match map.remove(key) {
            None => map.insert(key, Values::One(value)),
            Some(Values::One(first)) => map.insert(key, Values::Many(vec![first, value])),
            Some(Values::Many(mut values)) => {
                values.push(value);
                map.insert(key, Values::Many(values))
            }
        };
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_text_is_base64() {
        let line = |bytes| serde_json::to_string(&Payload::of(bytes)).expect("is JSON");
        assert_eq!(line(b"21.5"), r#"{"payload":"21.5"}"#);
        assert_eq!(line(b"\xff\x00"), r#"{"payload_b64":"/wA="}"#);
    }
}
