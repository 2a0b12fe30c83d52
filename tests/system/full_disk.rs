//! A data directory on a file system that is full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sinew_tests::{Launch, Node};

/// How long the node may take to notice on a machine that stands still now and then: it looks every 10 s.
const NOTICED: Duration = Duration::from_secs(60);

/// A small file system in memory.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path) -> Result<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at).status()?;
        ensure!(status.success(), "mount: {status}");
        Ok(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Also while the node still has files open.
        let _best_effort = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Waits until readiness is as wanted, and gives what it says.
async fn becomes(node: &Node, wanted: u16) -> Result<String> {
    let begun = Instant::now();
    loop {
        let (status, body) = node.admin("/readyz").await?;
        if status == wanted {
            println!("readiness was {wanted} after {:.2} s", begun.elapsed().as_secs_f64());
            return Ok(body);
        }
        ensure!(begun.elapsed() < NOTICED, "still {status}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_full_disk_turns_readiness_red_until_there_is_room() -> Result<()> {
    let place = tempfile::tempdir()?;
    let _mounted = Mounted::new(place.path())?;
    let mut launch = Launch::new(&[])?;
    launch.data = tempfile::tempdir_in(place.path())?;
    let node = launch.start().await?;
    becomes(&node, 200).await?;

    let hog = place.path().join("hog");
    let full = std::fs::write(&hog, vec![0; 1 << 20]).expect_err("it is larger than the file system");
    ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{full}");
    let report: serde_json::Value = serde_json::from_str(&becomes(&node, 503).await?)?;
    let failing = report["failing"].as_array().context("a list")?;
    ensure!(failing.len() == 1 && failing[0]["check"] == "data directory", "{report}");
    ensure!(failing[0]["reason"].as_str().is_some_and(|reason| reason.contains("No space left")), "{report}");

    std::fs::remove_file(&hog)?;
    becomes(&node, 200).await?;
    node.terminate().await?;
    Ok(())
}
