//! What the black-box tests share: starting nodes and clusters of them, running the command line, reading metrics,
//! waiting for events.
//!
//! Everything here is the real thing: the `sinew` binary beside the tests, its own process, real sockets. Nodes take
//! ports or addresses that nobody else has and a data directory of their own, so that tests run side by side.

mod cluster;
mod load;
mod node;
mod place;
mod process;
pub mod provider;
pub mod stranger;

use std::time::Duration;

use anyhow::{Result, bail};

pub use cluster::{Cluster, Peer, Site, join, read_peers};
pub use load::{Flow, Heard, Listener, Report, Server, chatter, matches, publish};
pub use node::{COLLECTOR_KEY, Launch, Node, fetch, fetch_with};
pub use place::Place;
pub use process::{Finished, Running, binary, signal, sinew, sinew_at};

/// How long any single event may take before a test says what it waited for. Generous: a passing test never sees it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that should come, and says what was missing when it does not.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("waited {PATIENCE:?} in vain for {what}"),
    }
}
