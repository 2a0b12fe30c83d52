//! A node in the process of its test, asked over its admin server.

use std::time::Duration;

use sinew_node::{Config, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn start(config: Config) -> Node {
    Node::start(config).await.expect("the node starts")
}

/// The status and the body of a page.
pub(crate) async fn page(node: &Node, path: &str) -> (u16, String) {
    let address = node.admin_address().expect("there is an admin server");
    let mut stream = TcpStream::connect(address).await.expect("the admin server accepts");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer comes").expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}
