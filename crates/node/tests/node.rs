//! A whole node from the outside: start, health, refusals, shutdown.

mod common;

use std::net::SocketAddr;
use std::path::Path;

use common::{SOON, page, start};
use serde_json::Value;
use sinew_node::{Address, Config, Mesh, Node, StartError, StorageError};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Free ports everywhere, so that tests don't meet.
fn config(dir: Option<&Path>) -> Config {
    let mut listen: Vec<Address> =
        ["quic://127.0.0.1:0", "tls://127.0.0.1:0"].iter().map(|text| text.parse().expect("is an address")).collect();
    listen.extend(dir.map(|dir| Address::Unix(dir.join("sinew.sock"))));
    Config {
        listen: Some(listen),
        data_dir: dir.map(Path::to_owned),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        mesh: Mesh { listen: Some(vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()]), ..Mesh::default() },
        ..Config::default()
    }
}

async fn get(node: &Node, path: &str) -> (u16, Value) {
    let (status, body) = page(node, path).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_started_node_is_ready_and_shows_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(config(Some(dir.path()))).await;
    let (status, body) = get(&node, "/readyz").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["open"], false);
    let passing: Vec<_> = body["passing"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let listeners = passing.iter().filter(|name| name.starts_with("listener ")).count();
    assert_eq!(listeners, 3, "{body}");
    for wanted in ["serving", "runtime", "delivery workers", "overlay", "queue memory_bytes", "data directory", "clock"]
    {
        assert!(passing.contains(&wanted), "{wanted} in {body}");
    }
    assert_eq!(get(&node, "/livez").await.0, 200);

    let (_, body) = get(&node, "/api/v1/node").await;
    assert_eq!(body["node"], node.peer_id().to_string());
    assert_eq!(body["client"].as_array().map(Vec::len), Some(3));
    assert!(node.client_addresses().iter().all(|address| !address.to_string().ends_with(":0")));
    assert_eq!(get(&node, "/api/v1/clients").await.1, Value::Array(Vec::new()));
    assert_eq!(get(&node, "/api/v1/topics").await.1, Value::Array(Vec::new()));
    timeout(SOON, node.shutdown()).await.expect("an idle node stops at once");
}

#[tokio::test]
async fn draining_turns_readiness_red_and_leaves_the_admin_server() {
    let node = start(config(None)).await;
    assert_eq!(node.drain().await.cut, 0);
    let (status, body) = get(&node, "/readyz").await;
    assert_eq!(status, 503);
    let failing = body["failing"].as_array().expect("a list");
    assert!(failing.iter().any(|row| row["check"] == "serving" && row["reason"] == "draining"), "{body}");
    assert_eq!(get(&node, "/livez").await.0, 200);
    let admin = node.admin_address().expect("there is an admin server");
    node.shutdown().await;
    assert!(TcpStream::connect(admin).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn the_identity_stays_and_the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("state").join("sinew");
    let first = start(config(Some(&dir))).await;
    let mode = std::fs::metadata(&dir).expect("was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let peer = first.peer_id();
    first.shutdown().await;
    let second = start(config(Some(&dir))).await;
    assert_eq!(second.peer_id(), peer);
    let nowhere = start(config(None)).await;
    assert_ne!(nowhere.peer_id(), peer);
}

#[cfg(unix)]
#[tokio::test]
async fn two_nodes_do_not_share_a_data_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(config(Some(dir.path()))).await;
    let error = Node::start(config(Some(dir.path()))).await.expect_err("it is taken");
    assert!(matches!(error, StartError::Storage(StorageError::InUse { .. })), "{error}");
    node.shutdown().await;
    start(config(Some(dir.path()))).await;
}

#[tokio::test]
async fn taken_ports_are_named() {
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = other.local_addr().expect("it has an address");

    let admin = Config { admin: Some(address), ..config(None) };
    let text = Node::start(admin).await.expect_err("the port is taken").to_string();
    assert_eq!(text, format!("can't listen on {address} for the admin server: it is in use by another process"));

    let tls = format!("tls://{address}").parse().expect("is an address");
    let text = Node::start(Config { listen: Some(vec![tls]), ..config(None) }).await.expect_err("is taken").to_string();
    assert_eq!(text, format!("can't listen for clients: tls://{address} is in use by another process"));
}

#[tokio::test]
async fn other_hosts_are_refused_before_anything_is_bound() {
    let listen = Some(vec!["tls://0.0.0.0:0".parse().expect("is an address")]);
    let closed = Config { listen: listen.clone(), ..config(None) };
    let text = Node::start(closed).await.expect_err("is refused").to_string();
    assert!(text.contains("--open"), "{text}");
    let node = start(Config { listen, open: true, ..config(None) }).await;
    assert_eq!(get(&node, "/readyz").await.1["open"], true);
}

#[tokio::test]
async fn a_dropped_node_frees_its_ports() {
    let node = start(config(None)).await;
    let admin = node.admin_address().expect("there is an admin server");
    let tls = node.client_addresses().iter().find(|address| matches!(address, Address::Tls { .. })).cloned();
    drop(node);
    let listen = Some(vec![tls.expect("it listens for TLS")]);
    timeout(SOON, async {
        let again = || Config { listen: listen.clone(), admin: Some(admin), ..config(None) };
        while Node::start(again()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the ports come free");
}
