use std::ops::Range;

use clap::Args;

use crate::MIN_PAYLOAD;

/// What to send.
#[derive(Debug, Clone, Args)]
pub struct PublishOptions {
    /// Topic to publish to.
    pub topic: String,
    /// Messages to send, all publishers together.
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128, value_parser = payload_size)]
    pub size: usize,
    /// Messages a second, all publishers together; as fast as possible without it.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Publishers, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub publishers: u64,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:4222")]
    pub server: String,
}

/// What to expect.
#[derive(Debug, Clone, Args)]
pub struct SubscribeOptions {
    /// Topic or pattern, in the language of the peer.
    pub pattern: String,
    /// Messages to wait for, per subscriber.
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// Subscribers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub subscribers: u64,
    /// Connections the subscribers share; one each when left out.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub connections: Option<u64>,
    /// Publishers that send, so that order is judged per publisher.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub publishers: u64,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:4222")]
    pub server: String,
}

/// What to call.
#[derive(Debug, Clone, Args)]
pub struct CallOptions {
    /// What to call, in the language of the peer.
    pub name: String,
    /// Calls to make.
    #[arg(long, default_value_t = 100_000)]
    pub count: u64,
    /// Calls open at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub parallel: u64,
    /// Bytes of an argument.
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:4222")]
    pub server: String,
}

/// What to answer.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// What is called, in the language of the peer.
    pub name: String,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:4222")]
    pub server: String,
}

impl PublishOptions {
    /// The sequence numbers of one publisher.
    pub fn share(&self, publisher: u64) -> Range<u64> {
        share(self.count, self.publishers, publisher)
    }

    /// The rate of one publisher.
    pub fn rate_each(&self) -> Option<f64> {
        self.rate.map(|rate| rate / self.publishers as f64)
    }
}

impl SubscribeOptions {
    /// The subscribers of each connection.
    pub fn connections(&self) -> impl Iterator<Item = Range<u64>> {
        let connections = self.connections.unwrap_or(self.subscribers).min(self.subscribers);
        (0..connections).map(move |connection| share(self.subscribers, connections, connection))
    }
}

/// The `index`-th of `parts` neighbouring ranges that make up `0..count`.
pub(crate) fn share(count: u64, parts: u64, index: u64) -> Range<u64> {
    let cut = |n: u64| (u128::from(count) * u128::from(n) / u128::from(parts)) as u64;
    cut(index)..cut(index + 1)
}

fn payload_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|error| format!("{error}"))?;
    if size < MIN_PAYLOAD {
        return Err(format!("a payload carries at least its stamp of {MIN_PAYLOAD} bytes"));
    }
    Ok(size)
}
