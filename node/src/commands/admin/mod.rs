//! Asks the admin server of a node: for a page, or for the live frames.

mod http;
mod live;
mod sse;

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use serde_json::Value;

pub(crate) use self::live::Live;
use crate::cli::Admin;
use crate::exit::{Code, failure};

/// More than any page of an admin server.
const MAX_PAGE: usize = 256 << 20;

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

/// Status and body of one path. An answer that asks for a token is an error.
async fn text(admin: &Admin, path: &str, limit: Duration) -> anyhow::Result<(u16, String)> {
    let answer = async {
        let answer = http::ask(admin, path).await?;
        let status = answer.status;
        let body = http_body_util::Limited::new(answer.body, MAX_PAGE).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let body = String::from_utf8(body.into()).context("the answer is not text")?;
        match refused(admin, status, &body) {
            Some(error) => Err(error),
            None => Ok((status, body)),
        }
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.with_context(|| admin.admin.clone()),
        Err(_) => Err(failure(Code::TimedOut, format!("{}: no answer within {limit:?}", admin.admin))),
    }
}

/// The error of an answer that says who may not ask, with what to do about it.
fn refused(admin: &Admin, status: u16, body: &str) -> Option<anyhow::Error> {
    let words = match (status, &admin.admin_token) {
        (401, None) => "asks for its admin token: give it with --admin-token or SINEW_ADMIN_TOKEN; it is the setting \
                        admin_token of the node, or in the file admin-token of its data directory"
            .to_owned(),
        (401, Some(_)) => "does not take this admin token: --admin-token or SINEW_ADMIN_TOKEN has to be the setting \
                           admin_token of the node, or what is in the file admin-token of its data directory"
            .to_owned(),
        (403, _) => {
            let answer: Value = serde_json::from_str(body).unwrap_or_default();
            let reason = answer["error"].as_str().unwrap_or("status 403");
            format!(
                "refuses: {reason}; name the node in --admin as it names itself, or give its token with --admin-token"
            )
        }
        _ => return None,
    };
    Some(failure(Code::Denied, words))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::Token;
    use crate::exit::code_of;

    /// A server that gives this answer to one request, and what it was asked.
    async fn answering(answer: &'static str, token: Option<&str>) -> (Admin, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let admin = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.expect("a request"));
            }
            stream.write_all(answer.as_bytes()).await.expect("it is read");
            String::from_utf8(asked).expect("is text")
        });
        (Admin { admin, admin_token: token.map(|token| Token::from(token.to_owned())) }, served)
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn answers_are_read_whole_or_in_chunks() {
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 14\r\n\r\n{\"failing\":[]}",
            "HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"fai\r\n9;x=y\r\nling\":[]}\r\n0\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n{\"failing\":[]}",
        ] {
            let (admin, served) = answering(answer, None).await;
            let (status, json) = get(&admin, "/readyz", LIMIT).await.expect(answer);
            assert_eq!((status, json), (503, serde_json::json!({ "failing": [] })), "{answer}");
            let asked = served.await.expect("it has answered");
            assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n") && !asked.contains("authorization"), "{asked}");
        }
    }

    #[tokio::test]
    async fn strange_answers_are_errors() {
        for answer in [
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 \r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ] {
            let (admin, _served) = answering(answer, None).await;
            assert_eq!(code_of(&get(&admin, "/", LIMIT).await.expect_err(answer)), Code::Failure, "{answer}");
        }
    }

    #[tokio::test]
    async fn the_token_is_sent_and_its_refusal_says_what_to_do() {
        let unauthorized = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}";
        for (token, words) in [(None, "asks for its admin token"), (Some("0123456789abcdef"), "does not take this")] {
            let (admin, served) = answering(unauthorized, token).await;
            let error = view(&admin, "/api/v1/peers", LIMIT).await.expect_err("is refused");
            assert_eq!(code_of(&error), Code::Denied);
            assert!(format!("{error:#}").contains(words), "{error:#}");
            let asked = served.await.expect("it has answered");
            assert_eq!(asked.contains("authorization: Bearer 0123456789abcdef\r\n"), token.is_some(), "{asked}");
        }
        let foreign = "HTTP/1.1 403 Forbidden\r\ncontent-length: 26\r\n\r\n{\"error\":\"another host\"}  ";
        let (admin, _served) = answering(foreign, None).await;
        let error = page(&admin, "/", LIMIT).await.expect_err("is refused");
        assert_eq!(code_of(&error), Code::Denied);
        assert!(format!("{error:#}").contains("refuses: another host; "), "{error:#}");
    }

    #[tokio::test]
    async fn a_token_that_no_header_can_hold_is_wrong_usage() {
        let (admin, _served) = answering("", Some("a\nb")).await;
        assert_eq!(code_of(&page(&admin, "/", LIMIT).await.expect_err("is no token")), Code::Usage);
    }

    #[tokio::test]
    async fn silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let admin = Admin { admin: listener.local_addr().expect("it is bound").to_string(), admin_token: None };
        let error = page(&admin, "/", Duration::from_millis(20)).await.expect_err("nobody answers");
        assert_eq!(code_of(&error), Code::TimedOut);
        drop(listener);
        let error = page(&admin, "/", LIMIT).await.expect_err("nobody is there");
        assert_eq!(code_of(&error), Code::CannotConnect);
    }
}
