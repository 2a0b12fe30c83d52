//! What an idle link costs the side that listens: opens links from a second process, and reads the resident memory.
//!
//! ```text
//! cargo run --release -p sinew-link --example idle -- quic 2000 1452
//! ```
//!
//! Arguments: transport, links, and `LinkConfig::local_udp_payload`.

use std::process::Command;
use std::time::Duration;

use bytes::BytesMut;
use sinew_link::{Address, Dialer, Identity, LinkConfig, Listener};
use sinew_wire::{FrameHeader, FrameKind};

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

async fn dial(address: Address, count: usize, config: LinkConfig) {
    let dialer = Dialer::new(Identity::generate(), config);
    let mut links = Vec::new();
    for _ in 0..count {
        let (reader, mut writer) = dialer.dial(&address).await.unwrap().split();
        let mut hello = BytesMut::new();
        FrameHeader { kind: FrameKind::Control, len: 100 }.encode(&mut hello);
        hello.resize(105, 0);
        writer.send(&mut vec![hello.freeze()]).await.unwrap();
        links.push((reader, writer));
    }
    std::future::pending().await
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let count: usize = args[1].parse().unwrap();
    let mut config = LinkConfig::default();
    if let Some(payload) = args.get(2) {
        config.local_udp_payload = payload.parse().unwrap();
    }
    if let Ok(address) = std::env::var("IDLE_ADDRESS") {
        return dial(address.parse().unwrap(), count, config).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let address = match args[0].as_str() {
        "unix" => Address::Unix(directory.path().join("s")),
        scheme => format!("{scheme}://127.0.0.1:0").parse().unwrap(),
    };
    let mut listener = Listener::bind(&address, &Identity::generate(), &config).await.unwrap();
    let before = resident();
    let mut dialler = Command::new(std::env::current_exe().unwrap())
        .args(&args)
        .env("IDLE_ADDRESS", listener.address().to_string())
        .spawn()
        .unwrap();
    let mut links = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut reader, writer) = listener.accept().await.unwrap().establish().await.unwrap().split();
        reader.fill().await.unwrap();
        while reader.next_frame().unwrap().is_some() {}
        reader.shrink();
        links.push((reader, writer));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let per_link = (resident() - before) as f64 / count as f64;
    println!("{} {}: {per_link:.1} KiB per idle link, {:.1} MiB with none", args[0], count, before as f64 / 1024.0);
    dialler.kill().unwrap();
    dialler.wait().unwrap();
}
