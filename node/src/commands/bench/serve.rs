use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use serde_json::json;
use sinew_client::{AnnounceError, Client, Request, Serving};

use super::report::{grouped, rates, round};
use crate::cli::{BenchServe, Common};
use crate::commands::connect::within;
use crate::commands::signals::Signals;
use crate::commands::subscribe::unsettled;
use crate::exit::{Code, failure};
use crate::output::Output;

pub(crate) fn run(bench: &BenchServe, common: &Common, output: Output) -> anyhow::Result<Code> {
    super::block_on(serve(bench, common, output))
}

async fn serve(bench: &BenchServe, common: &Common, output: Output) -> anyhow::Result<Code> {
    let mut signals = Signals::listen()?;
    let clients = super::connections(common, bench.providers, "sinew bench serve").await?;
    let work = Work {
        time: bench.work,
        answer: bench.size.map(|size| vec![b'.'; size].into()),
        served: Arc::new(AtomicU64::new(0)),
    };
    let beginning = try_join_all(clients.iter().map(|client| begin(client, bench, &work)));
    let serving = within(common.timeout, "serve", beginning).await?;
    // With several servers every connection asks its own node.
    for client in clients.iter().take(if common.server.len() == 1 { 1 } else { clients.len() }) {
        let missing = client.settle(common.timeout).await?.missing;
        if missing > 0 {
            return Err(unsettled(missing, common.timeout));
        }
    }
    // Scripts wait for this word: it is said even when quiet.
    eprintln!("ready");
    let start = Instant::now();
    let lost = futures::future::select_all(serving.iter().map(|one| Box::pin(one.ended())));
    tokio::select! {
        () = signals.next() => {}
        (ended, ..) = lost => return Err(failure(Code::CannotConnect, ended.to_string())),
    }
    tokio::select! {
        _ = join_all(serving.into_iter().map(Serving::stop)) => {}
        () = signals.next() => {}
    }
    let (served, secs) = (work.served.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    let (calls_per_s, _) = rates(served, 0, secs);
    let words = format!("served {} calls in {secs:.3} s", grouped(served));
    output.result(&json!({ "served": served, "secs": round(secs, 1e6), "calls_per_s": calls_per_s }), words)?;
    for client in &clients {
        let _ = client.close().await;
    }
    Ok(Code::Ok)
}

/// What is done for a call.
#[derive(Debug, Clone)]
struct Work {
    time: Option<Duration>,
    /// The argument if there is none.
    answer: Option<Bytes>,
    served: Arc<AtomicU64>,
}

async fn begin(client: &Client, bench: &BenchServe, work: &Work) -> Result<Serving, AnnounceError> {
    let builder = client.serve(&bench.name).concurrency(bench.concurrency);
    let builder = if bench.idempotent { builder.idempotent() } else { builder };
    let work = work.clone();
    builder
        .handler(move |request: Request| {
            let Work { time, answer, served } = work.clone();
            async move {
                if let Some(time) = time {
                    tokio::time::sleep(time).await;
                }
                served.fetch_add(1, Ordering::Relaxed);
                Ok(answer.unwrap_or(request.body))
            }
        })
        .await
}
