//! The admin server over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_observe::{Admin, AdminConfig, Health, Metrics, Registry, Scope, Views};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn views() -> Views {
    Views {
        node: Arc::new(|| json!({ "node": "n1" })),
        peers: Arc::new(|| json!([{ "node": "n2" }])),
        clients: Arc::new(|| json!([{ "session": 1 }])),
        services: Arc::new(|| json!({ "services": [] })),
        calls: Arc::new(|| json!({ "open": 0 })),
        pool: Arc::new(|| json!({ "links": 0 })),
        topics: Arc::new(|| panic!("this view is broken")),
    }
}

async fn start(registry: Registry, health: Health, config: AdminConfig) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    Admin::serve(listener, registry, health, views(), config).expect("the listener has an address")
}

async fn request(address: SocketAddr, head: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    stream.write_all(head.as_bytes()).await.expect("the request is taken");
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer comes").expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")).await
}

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e} in {body}"))
}

#[tokio::test]
async fn health_turns_red_and_green() {
    let health = Health::new();
    health.state_fact("open", true);
    let admin = start(Registry::default(), health.clone(), AdminConfig::default()).await;
    let check = health.check("listeners", Scope::Ready);

    let (status, _, body) = get(admin.address(), "/readyz").await;
    let body = parse(&body);
    assert_eq!(status, 503);
    assert_eq!(body["ok"], json!(false));
    assert_eq!(body["failing"][0]["check"], "listeners");
    assert_eq!(body["failing"][0]["reason"], "has not reported yet");
    assert_eq!(body["open"], json!(true));
    assert_eq!(get(admin.address(), "/livez").await.0, 200);

    check.pass();
    let (status, _, body) = get(admin.address(), "/readyz").await;
    assert_eq!((status, parse(&body)["passing"].clone()), (200, json!(["listeners"])));
    admin.shutdown().await;
}

#[tokio::test]
async fn metrics_and_snapshots_are_served() {
    let mut registry = Registry::default();
    Metrics::new(&mut registry).published.inc_by(3);
    let admin = start(registry, Health::new(), AdminConfig::default()).await;
    let (status, head, body) = get(admin.address(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.contains("sinew_published_total 3\n") && body.ends_with("# EOF\n"), "{body}");
    assert_eq!(get(admin.address(), "/api/v1/node").await.2, r#"{"node":"n1"}"#);
    assert_eq!(get(admin.address(), "/api/v1/clients").await.2, r#"[{"session":1}]"#);
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_json() {
    let admin = start(Registry::default(), Health::new(), AdminConfig::default()).await;
    let (status, _, body) = get(admin.address(), "/nothing").await;
    assert_eq!((status, parse(&body)["error"].clone()), (404, json!("no such path")));
    let (status, _, body) = get(admin.address(), "/api/v1/topics").await;
    assert_eq!((status, parse(&body)["error"].clone()), (500, json!("the view failed")));
    let post = "POST /livez HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(request(admin.address(), post).await.0, 405);
    let bomb = format!("GET /livez HTTP/1.1\r\nhost: node\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    assert_eq!(request(admin.address(), &bomb).await.0, 431);
}

#[tokio::test]
async fn silent_connections_are_closed_and_hold_up_nobody_for_long() {
    let config = AdminConfig { max_connections: 2, head_timeout: Duration::from_millis(50), ..AdminConfig::default() };
    let admin = start(Registry::default(), Health::new(), config).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(admin.address()).await.expect("the server accepts");
        stream.write_all(b"GET /livez").await.expect("half a request is taken");
        silent.push(stream);
    }
    assert_eq!(get(admin.address(), "/livez").await.0, 200);
    for mut stream in silent {
        let mut rest = Vec::new();
        let end = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the connection ends");
        assert!(end.is_err() || !rest.starts_with(b"HTTP/1.1 200"), "half a request was answered");
    }
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_frees_the_port() {
    let admin = start(Registry::default(), Health::new(), AdminConfig::default()).await;
    let address = admin.address();
    let mut idle = TcpStream::connect(address).await.expect("the server accepts");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("the request is taken");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer comes");
    assert_eq!(&first, b"HTTP/1.1 200");
    timeout(SOON, admin.shutdown()).await.expect("an idle connection does not hold the server");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("the connection ended in order");
    assert!(TcpStream::connect(address).await.is_err());
}
