//! Measuring a node from the outside, with the SDK that everybody uses.

mod arrivals;
mod pace;
mod payload;
pub(super) mod publish;
mod report;
pub(super) mod subscribe;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use sinew_client::{Client, Reconnect};

use super::connect::{Wish, connect_as};
use crate::cli::Common;
use crate::exit::Code;

/// Handshakes under way at once.
const HANDSHAKES: usize = 32;

/// Opens so many connections. A lost one ends the measurement: what it would say is not what was asked.
async fn connections(common: &Common, n: u32, name: &'static str) -> anyhow::Result<Vec<Client>> {
    let identity =
        common.identity.as_ref().filter(|_| n == 1).map(|path| sinew_client::Identity::load(path)).transpose()?;
    let one = |_| connect_as(common, Wish { name, reconnect: Reconnect::never() }, identity.clone());
    stream::iter(0..n).map(one).buffered(HANDSHAKES).try_collect().await
}

/// Runs a measurement. One thread: hand-over between threads costs more than the work they would share.
fn block_on(work: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    super::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("can't start the runtime")?.block_on(work)
}
