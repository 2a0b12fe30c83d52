//! Each check of a node's health turns red when its cause is there, and green again by itself when it is gone.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{SOON, page, start};
use serde_json::Value;
use sinew_node::{Config, Mesh, Node};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often health is asked for meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Silence after which a task counts as stuck, as is promised.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// Free ports everywhere, so that tests don't meet.
fn config(dir: Option<&Path>, bootstrap: Vec<String>) -> Config {
    Config {
        listen: Some(vec!["tls://127.0.0.1:0".parse().expect("is an address")]),
        data_dir: dir.map(Path::to_owned),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        mesh: Mesh { listen: Some(vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()]), bootstrap, ..Mesh::default() },
        ..Config::default()
    }
}

async fn health(node: &Node, path: &str) -> (u16, Value) {
    let (status, body) = page(node, path).await;
    (status, serde_json::from_str(&body).expect("is JSON"))
}

/// Asks until the page is green, or red because of this check alone, and gives what it says then.
async fn turns(node: &Node, path: &str, red: Option<&str>) -> Value {
    let turned = async {
        loop {
            let (status, body) = health(node, path).await;
            let failing = body["failing"].as_array().expect("a list");
            let names: Vec<_> = failing.iter().filter_map(|row| row["check"].as_str()).collect();
            if status == if red.is_some() { 503 } else { 200 } && names == Vec::from_iter(red) {
                return body;
            }
            sleep(LOOK).await;
        }
    };
    timeout(SOON, turned).await.unwrap_or_else(|_| panic!("{path} does not turn: {red:?}"))
}

/// The metric of a check.
async fn metric(node: &Node, check: &str) -> String {
    let (_, text) = page(node, "/metrics").await;
    let row = format!("sinew_health{{check=\"{check}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&row));
    value.unwrap_or_else(|| panic!("no {row} in {text}")).to_owned()
}

/// What the one failing check says.
fn reason(report: &Value) -> &str {
    report["failing"][0]["reason"].as_str().expect("a reason")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stuck_task_turns_its_check_red_within_the_promised_time_and_green_again() {
    let names = start(config(None, Vec::new())).await.tasks();
    let known = [
        "delivery workers",
        "discovery",
        "call deadlines",
        "overlay task",
        "membership",
        "mesh pool",
        "live events",
        "live view",
    ];
    assert!(known.iter().all(|task| names.iter().any(|name| name == task)), "{names:?}");
    assert_eq!(names.len(), known.len() + 1, "and the loop that accepts: {names:?}");

    // Each has a node to itself, so that none takes another one with it unseen.
    let mut stuck = JoinSet::new();
    for number in 0..names.len() {
        stuck.spawn(async move {
            let node = start(config(None, Vec::new())).await;
            // The port is part of one of the names.
            let task = node.tasks().swap_remove(number);
            turns(&node, "/livez", None).await;
            let since = Instant::now();
            let jam = node.jam(&task);
            let report = turns(&node, "/livez", Some(&task)).await;
            assert!(since.elapsed() + Duration::from_secs(2) > MAX_SILENCE, "a beat before counts: {report}");
            assert!(reason(&report).ends_with("no sign of life for more than 5000 ms"), "{report}");
            assert_eq!(health(&node, "/readyz").await.0, 503, "who is not alive is not ready");
            assert_eq!(metric(&node, &task).await, "0");
            drop(jam);
            turns(&node, "/livez", None).await;
            assert_eq!(metric(&node, &task).await, "1");
            timeout(SOON, node.shutdown()).await.expect("it goes on as if nothing had been");
        });
    }
    while let Some(done) = stuck.join_next().await {
        done.expect("its node did as it should");
    }
}

#[tokio::test]
async fn a_lost_overlay_turns_readiness_red_until_it_is_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = start(config(Some(dir.path()), Vec::new())).await;
    let address = other.mesh_addresses().swap_remove(0);
    let node = start(config(None, vec![address.clone()])).await;
    turns(&node, "/readyz", None).await;
    other.shutdown().await;
    let report = turns(&node, "/readyz", Some("overlay")).await;
    assert_eq!(reason(&report), "no bootstrap address leads to a node");
    assert_eq!(health(&node, "/livez").await.0, 200, "a restart would mend nothing");

    let (listen, _) = address.split_once("/p2p/").expect("it names the node");
    let back = Config {
        mesh: Mesh { listen: Some(vec![listen.to_owned()]), ..Mesh::default() },
        ..config(Some(dir.path()), Vec::new())
    };
    let _other = start(back).await;
    turns(&node, "/readyz", None).await;
}

#[tokio::test]
async fn a_data_directory_that_takes_no_file_is_reported_with_the_error_of_the_system() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("data");
    let node = start(config(Some(&dir), Vec::new())).await;
    turns(&node, "/readyz", None).await;
    let aside = parent.path().join("aside");
    std::fs::rename(&dir, &aside).expect("is moved");
    let report = turns(&node, "/readyz", Some("data directory")).await;
    assert!(reason(&report).contains("No such file or directory"), "{report}");
    std::fs::rename(&aside, &dir).expect("is moved back");
    turns(&node, "/readyz", None).await;
}

#[tokio::test]
async fn every_check_says_how_it_stands_and_since_when() {
    let node = start(config(None, Vec::new())).await;
    let (_, report) = health(&node, "/readyz").await;
    let rows = report["checks"].as_array().expect("a list");
    let mut names: Vec<_> = rows.iter().filter_map(|row| row["check"].as_str()).collect();
    assert_eq!(names.len(), report["passing"].as_array().map_or(0, Vec::len), "all of them pass: {report}");
    for wanted in ["serving", "runtime", "clock", "overlay", "queue memory_bytes", "queue overlay_commands"] {
        assert!(names.contains(&wanted), "{wanted} in {names:?}");
        assert_eq!(metric(&node, wanted).await, "1");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "each is there once");
    let seconds = |report: &Value| report["checks"][0]["for_seconds"].as_f64().expect("a time");
    let (_, later) = health(&node, "/readyz").await;
    assert!(seconds(&later) > seconds(&report));
    assert!(rows.iter().all(|row| row["ok"] == true && row["reason"].is_null()), "{report}");
}
