//! NATS over plain TCP, its protocol driven by hand and as fast as it goes: no
//! client library, thousands of messages a system call. The strongest fair
//! opponent, because nothing but the server is measured.

mod publish;
mod subscribe;
mod wire;

use clap::{Parser, Subcommand};
use sinew_peers::{PublishOptions, SubscribeOptions};

#[derive(Debug, Parser)]
#[command(about = "the workload of `sinew bench` on NATS, raw protocol")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish.
    Pub(PublishOptions),
    /// Subscribe and measure.
    Sub(SubscribeOptions),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pub(options) => publish::run(&options),
        Command::Sub(options) => subscribe::run(&options),
    }
}
