//! Callers and providers in processes of their own: what `benches/call-guarantees` drives, kills and judges.
//!
//! `... serve NAME --kind KIND --server URL ...` provides, and takes orders on its standard input;
//! `... call NAME --server URL --out FILE ...` calls, and writes a line for each call;
//! `... stream|beside|cancel NAME --server URL ...` measure streams.

mod caller;
mod load;
mod provider;
mod streams;
mod words;

use std::error::Error;

use rustix::time::{ClockId, clock_gettime};

use crate::words::Words;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (verb, name) = (words.next().ok_or("a verb is missing")?, words.next().ok_or("a name is missing")?);
    let words = Words::read(words)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match verb.as_str() {
        "serve" => runtime.block_on(provider::serve(name, &words)),
        "call" => runtime.block_on(caller::call(name, &words)),
        "stream" => runtime.block_on(streams::stream(name, &words)),
        "beside" => runtime.block_on(streams::beside(name, &words)),
        "cancel" => runtime.block_on(streams::cancel(name, &words)),
        other => Err(format!("no such verb: {other}").into()),
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a host.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from the start of the host, so that neither field is ever negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
