//! The live frames of a node, as they come.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::http::{self, Answer};
use super::refused;
use super::sse::Parser;
use crate::cli::Admin;
use crate::exit::{Code, failure};

/// Where the frames are.
const PATH: &str = "/api/v1/live";

/// Largest body of an answer that is none of frames.
const MAX_REFUSAL: usize = 64 << 10;

/// A connection that frames come on.
#[derive(Debug)]
pub(crate) struct Live {
    answer: Answer,
    events: Parser,
}

impl Live {
    /// Begins to watch. The node has to answer within the limit.
    pub(crate) async fn connect(admin: &Admin, limit: Duration) -> anyhow::Result<Self> {
        let connected = timeout(limit, Self::ask(admin)).await;
        let late = || failure(Code::TimedOut, format!("no answer within {limit:?}"));
        connected.unwrap_or_else(|_| Err(late())).with_context(|| admin.admin.clone())
    }

    async fn ask(admin: &Admin) -> anyhow::Result<Self> {
        let answer = http::ask(admin, PATH).await?;
        if answer.status == 200 {
            return Ok(Self { answer, events: Parser::default() });
        }
        let status = answer.status;
        let body = http_body_util::Limited::new(answer.body, MAX_REFUSAL).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        match refused(admin, status, &body) {
            Some(error) => Err(error),
            None => bail!("{PATH}: status {status}: {body}"),
        }
    }

    /// The JSON of the next frame. `None` when the node ends the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            while let Some(event) = self.events.next() {
                if event.name == "frame" {
                    return Ok(Some(event.data));
                }
            }
            match self.answer.body.frame().await {
                None => return Ok(None),
                Some(part) => {
                    if let Ok(bytes) = part.context("the connection is lost")?.into_data() {
                        self.events.push(&bytes)?;
                    }
                }
            }
        }
    }
}
