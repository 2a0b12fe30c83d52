//! Measuring a node from the outside, with the SDK that everybody uses.

mod arrivals;
pub(super) mod call;
mod pace;
mod payload;
pub(super) mod publish;
mod report;
pub(super) mod serve;
pub(super) mod subscribe;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use sinew_client::{Client, Reconnect};

use super::connect::{Wish, connect};
use crate::cli::Common;
use crate::exit::Code;

/// Connections that share a UDP socket, where they are QUIC, and connect at once. With one each, the sockets' buffers would be
/// most of what is measured; with one for all, so would be the loss where a thousand answers meet.
const PER_SOCKET: usize = 64;

/// Opens so many connections. A lost one ends the measurement: what it would say is not what was asked.
async fn connections(common: &Common, n: u32, name: &'static str) -> anyhow::Result<Vec<Client>> {
    let n = n as usize;
    let mut clients = Vec::with_capacity(n);
    while clients.len() < n {
        let first = connect(common, wish(name, None)).await?;
        let others = (n - clients.len()).min(PER_SOCKET) - 1;
        let others = stream::iter(0..others).map(|_| connect(common, wish(name, Some(&first)))).buffered(PER_SOCKET);
        clients.extend(others.try_collect::<Vec<_>>().await?);
        clients.push(first);
    }
    Ok(clients)
}

const fn wish<'a>(name: &'static str, beside: Option<&'a Client>) -> Wish<'a> {
    Wish { name, reconnect: Reconnect::never(), beside }
}

/// Runs a measurement. One thread: hand-over between threads costs more than the work they would share.
fn block_on(work: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    super::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("can't start the runtime")?.block_on(work)
}
