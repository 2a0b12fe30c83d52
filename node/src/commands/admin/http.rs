//! One request of HTTP/1.1, on a connection of its own.

use anyhow::Context;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::cli::Admin;
use crate::exit::{Code, failure};

/// No body.
type Nothing = http_body_util::Empty<bytes::Bytes>;

/// What the server says. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Incoming,
    /// While it is there, the connection stays.
    _sender: http1::SendRequest<Nothing>,
    _connection: Connection,
}

/// The task that reads and writes.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for one path, with the token if there is one, and waits for the head of the answer.
pub(super) async fn ask(admin: &Admin, path: &str) -> anyhow::Result<Answer> {
    let address = admin.admin.strip_prefix("http://").unwrap_or(&admin.admin).trim_end_matches('/');
    let request = request(address, path, admin)?;
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| failure(Code::CannotConnect, error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async move {
        // What goes wrong here ends the body, which says so.
        let _ = connection.await;
    }));
    let answer = sender.send_request(request).await.context("the answer is not HTTP")?;
    let status = answer.status().as_u16();
    Ok(Answer { status, body: answer.into_body(), _sender: sender, _connection: connection })
}

fn request(address: &str, path: &str, admin: &Admin) -> anyhow::Result<Request<Nothing>> {
    let uri: Uri = path.parse().with_context(|| path.to_owned())?;
    let usage = |words: &str| failure(Code::Usage, words);
    let host = HeaderValue::from_str(address).map_err(|_| usage("--admin is not HOST:PORT"))?;
    let mut request = Request::get(uri).header(HOST, host).body(Nothing::new())?;
    if let Some(token) = &admin.admin_token {
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.as_str()));
        let mut bearer = bearer.map_err(|_| usage("--admin-token has characters that no token has"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    Ok(request)
}
