//! How fast one link is: a sender process, a receiver process, 64 KiB writes of 136-byte frames.
//!
//! ```text
//! cargo run --release -p sinew-link --example throughput -- quic 4 local_udp_payload=6500
//! ```
//!
//! Arguments: transport (`quic`, `tls`, `unix`), GiB to send, then fields of `LinkConfig` to set. `chunk=BYTES` sets the size
//! of a chunk (65536), `chunks=N` how many make a batch (4).

use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sinew_link::{Address, Dialer, Fill, Identity, LinkConfig, Listener};
use sinew_wire::{FrameHeader, FrameKind};

const FRAME: usize = 136;

struct Run {
    scheme: String,
    bytes: usize,
    chunk: usize,
    chunks: usize,
    config: LinkConfig,
}

fn parse(args: &[String]) -> Run {
    let mut run = Run { scheme: args[0].clone(), bytes: 0, chunk: 64 << 10, chunks: 4, config: LinkConfig::default() };
    run.bytes = (args[1].parse::<f64>().unwrap() * (1u64 << 30) as f64) as usize;
    for arg in &args[2..] {
        let (key, value) = arg.split_once('=').unwrap();
        let config = &mut run.config;
        match key {
            "chunk" => run.chunk = value.parse().unwrap(),
            "chunks" => run.chunks = value.parse().unwrap(),
            "local_udp_payload" => config.local_udp_payload = value.parse().unwrap(),
            "socket_buffer" => config.socket_buffer = value.parse().unwrap(),
            "send_window" => config.send_window = value.parse().unwrap(),
            "receive_window" => config.receive_window = value.parse().unwrap(),
            "segmentation_offload" => config.segmentation_offload = value.parse().unwrap(),
            "read_buffer" => config.read_buffer = value.parse().unwrap(),
            other => panic!("unknown setting {other}"),
        }
    }
    run
}

/// Seconds of processor time of this process, user and system.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(11..13).map_or(0.0, |ticks| ticks.iter().filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

/// Whole frames only, so that the last chunk is a little smaller than asked for.
fn chunk(size: usize) -> Bytes {
    let mut chunk = BytesMut::new();
    while chunk.len() + FRAME <= size.max(FRAME) {
        FrameHeader { kind: FrameKind::Publish, len: FRAME - 5 }.encode(&mut chunk);
        chunk.resize(chunk.len() + FRAME - 5, 7);
    }
    chunk.freeze()
}

async fn send(run: Run, address: Address) {
    let link = Dialer::new(Identity::generate(), run.config).dial(&address).await.unwrap();
    let (_reader, mut writer) = link.split();
    let chunk = chunk(run.chunk);
    let (mut sent, mut batch) = (0, Vec::new());
    while sent < run.bytes {
        batch.extend((0..run.chunks).map(|_| chunk.clone()));
        sent += chunk.len() * run.chunks;
        writer.send(&mut batch).await.unwrap();
    }
    writer.finish().await.unwrap();
    println!("{:.2}", cpu());
}

async fn receive(run: Run, args: &[String]) {
    let directory = tempfile::tempdir().unwrap();
    let address = match run.scheme.as_str() {
        "unix" => Address::Unix(directory.path().join("s")),
        scheme => format!("{scheme}://127.0.0.1:0").parse().unwrap(),
    };
    let mut listener = Listener::bind(&address, &Identity::generate(), &run.config).await.unwrap();
    let sender = Command::new(std::env::current_exe().unwrap())
        .args(args)
        .env("THROUGHPUT_ADDRESS", listener.address().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut reader, writer) = listener.accept().await.unwrap().establish().await.unwrap().split();
    let (mut frames, mut bytes, mut fills) = (0u64, 0u64, 0u64);
    let begin = Instant::now();
    while reader.fill().await.unwrap() == Fill::Frames {
        fills += 1;
        while let Some(frame) = reader.next_frame().unwrap() {
            frames += 1;
            bytes += 5 + frame.body.len() as u64;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    drop((reader, writer));
    let sender = tokio::task::spawn_blocking(|| sender.wait_with_output().unwrap()).await.unwrap();
    println!(
        "{:>5.2} GB/s {:>6.2} M frames/s {:>6.1} KB/fill  cpu: receiver {:.2} s, sender {} s, wall {seconds:.2} s",
        bytes as f64 / seconds / 1e9,
        frames as f64 / seconds / 1e6,
        bytes as f64 / fills.max(1) as f64 / 1e3,
        cpu(),
        String::from_utf8_lossy(&sender.stdout).trim(),
    );
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let run = parse(&args);
    match std::env::var("THROUGHPUT_ADDRESS") {
        Ok(address) => send(run, address.parse().unwrap()).await,
        Err(_) => receive(run, &args).await,
    }
}
