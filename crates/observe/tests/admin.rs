//! The admin server over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_observe::{Admin, AdminConfig, Health, Metrics, Registry, Scope, Viewers, Views};
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
        live: Viewers::new(2),
    }
}

async fn start(registry: Registry, health: Health, config: AdminConfig) -> Admin {
    start_with(registry, health, views(), config).await
}

async fn start_with(registry: Registry, health: Health, views: Views, config: AdminConfig) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    Admin::serve(listener, registry, health, views, config).expect("the listener has an address")
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
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
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
    let open =
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: application/openmetrics-text\r\n\r\n";
    let (status, head, body) = request(admin.address(), open).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.contains("sinew_published_total 3\n") && body.ends_with("# EOF\n"), "{body}");
    let (status, head, body) = get(admin.address(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("# TYPE sinew_published_total counter\nsinew_published_total 3\n"), "{body}");
    assert!(!body.contains("# EOF") && !body.contains("# UNIT"), "{body}");
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
    let post = "POST /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(request(admin.address(), post).await.0, 405);
    let bomb = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
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
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("the request is taken");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer comes");
    assert_eq!(&first, b"HTTP/1.1 200");
    timeout(SOON, admin.shutdown()).await.expect("an idle connection does not hold the server");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("the connection ended in order");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_page_that_came_from_elsewhere_is_told_nothing_but_whether_the_node_is_well() {
    let token = "a-token-of-some-length";
    let config = AdminConfig { token: Some(token.to_owned()), ..AdminConfig::default() };
    let admin = start(Registry::default(), Health::new(), config).await;
    let address = admin.address();
    let ask = |path: &str, more: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n{more}\r\n");
        async move { request(address, &head).await }
    };
    for path in ["/", "/api/v1/node", "/api/v1/live", "/nothing"] {
        let (status, _, body) = ask(path, "").await;
        assert_eq!(status, 403, "{path}");
        assert!(parse(&body)["detail"]["allowed"].is_array(), "{body}");
    }
    assert_eq!(ask("/livez", "").await.0, 200);
    assert_eq!(ask("/api/v1/node", &format!("authorization: Bearer {token}\r\n")).await.0, 200);
    let (status, head, _) = ask(&format!("/?token={token}"), "").await;
    assert_eq!(status, 303);
    let cookie = format!("set-cookie: sinew_token={token}; path=/; httponly; samesite=strict");
    assert!(head.contains(&cookie) && head.contains("location: /\r"), "{head}");
    assert_eq!(ask("/", &format!("cookie: sinew_token={token}\r\n")).await.0, 200);
}

/// Opens the stream, and reads up to and with the first line of events.
async fn watch(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let head = "GET /api/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("the request is taken");
    let text = read_until(&mut stream, |text| text.contains("\r\n\r\n") && text.ends_with("\n\r\n")).await;
    (stream, text)
}

async fn read_until(stream: &mut TcpStream, done: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !done(&text) {
        let n = timeout(SOON, stream.read(&mut buffer)).await.expect("it goes on").expect("the link is up");
        assert!(n > 0, "ended after {text}");
        text.push_str(std::str::from_utf8(&buffer[..n]).expect("text"));
    }
    text
}

#[tokio::test]
async fn viewers_get_frames_have_a_limit_of_their_own_and_take_no_connection_from_others() {
    let views = views();
    let viewers = views.live.clone();
    // Answers may take no time, and connections live no time: a viewer is neither.
    let config = AdminConfig { max_connections: 1, max_age: Duration::from_millis(300), ..AdminConfig::default() };
    let admin = start_with(Registry::default(), Health::new(), views, config).await;
    let (mut first, head) = watch(admin.address()).await;
    assert!(head.to_lowercase().contains("content-type: text/event-stream\r"), "{head}");
    let (_second, _) = watch(admin.address()).await;
    let (status, _, body) = get(admin.address(), "/api/v1/live").await;
    assert_eq!((status, parse(&body)["detail"].clone()), (503, json!({ "limit": "viewers", "max": 2 })));
    assert_eq!(get(admin.address(), "/livez").await.0, 200);

    tokio::time::sleep(Duration::from_millis(600)).await;
    viewers.show(b"{\"v\":1}");
    let text = read_until(&mut first, |text| text.contains("\n\n")).await;
    assert!(text.contains("event: frame\nid: 1\ndata: {\"v\":1}\n\n"), "{text}");
    assert_eq!((viewers.count(), viewers.stats().refused), (2, 1));
    drop(first);
    let mut count = viewers.watch();
    // The server notices by the next frame, at the latest.
    viewers.show(b"{}");
    timeout(SOON, count.wait_for(|count| *count == 1)).await.expect("the place is free").expect("somebody counts");
    timeout(SOON, admin.shutdown()).await.expect("a viewer does not hold the server");
}

#[tokio::test]
async fn a_viewer_that_does_not_read_costs_some_frames_and_then_loses_its_place() {
    let views = views();
    let viewers = views.live.clone();
    let config = AdminConfig { viewer_silence: Duration::from_millis(300), ..AdminConfig::default() };
    let admin = start_with(Registry::default(), Health::new(), views, config).await;
    let (_silent, _) = watch(admin.address()).await;
    let frame = format!("\"{}\"", "x".repeat(200 << 10));
    let mut count = viewers.watch();
    let shown = async {
        loop {
            viewers.show(frame.as_bytes());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        left = timeout(SOON, count.wait_for(|count| *count == 0)) => {
            left.expect("it is given up").expect("somebody counts");
        }
        () = shown => {}
    }
    let stats = viewers.stats();
    // What went to it is what fits into the buffers of its socket.
    assert!(stats.sent < 100, "{stats:?}");
}
