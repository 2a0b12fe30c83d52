//! Serves a procedure: by a command that is run for each call, or by an echo.

mod exec;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryFutureExt;
use serde_json::json;
use sinew_client::{AnnounceError, AppError, CachePolicy, Reconnect, Request, ServeBuilder, Serving};

use super::connect::{Wish, connect, lease_refused, within};
use super::signals::Signals;
use super::subscribe::tell;
use crate::cli::{Common, Serve};
use crate::exit::Code;
use crate::output::Output;

/// Largest result that nodes of callers keep.
const CACHED_BYTES: u32 = 1 << 20;

/// Bytes of the stream that is answered as a whole, at most.
const MAX_ECHO: usize = 64 << 20;

pub(crate) async fn run(serve: Serve, common: Common, output: Output) -> anyhow::Result<Code> {
    let mut signals = Signals::listen()?;
    let client = connect(&common, Wish { name: "sinew serve", reconnect: Reconnect::default(), beside: None }).await?;
    tokio::spawn(tell(client.events(), output));
    let begin = begin(client.serve(&serve.name), &serve).map_err(|error| lease_refused(error, serve.ttl));
    let serving = within(common.timeout, "serve", begin).await?;
    let words = format!("serving {}, until interrupted", serving.name());
    let ttl_ms = serving.ttl().as_millis() as u64;
    output.result(&json!({ "event": "serving", "name": serving.name(), "ttl_ms": ttl_ms }), words)?;
    tokio::select! {
        () = signals.next() => {}
        ended = serving.ended() => return Err(ended.into()),
    }
    match serving.open_calls() {
        0 => {}
        open => output.say(format_args!("waiting for {open} open calls; interrupt again to leave at once")),
    }
    tokio::select! {
        stopped = serving.stop() => stopped?,
        () = signals.next() => output.say("left with calls open"),
    }
    within(common.timeout, "goodbye", client.close()).await?;
    Ok(Code::Ok)
}

async fn begin(mut builder: ServeBuilder, serve: &Serve) -> Result<Serving, AnnounceError> {
    builder = builder.ttl(serve.ttl).concurrency(serve.concurrency);
    for (key, value) in &serve.metadata {
        builder = builder.metadata(key, value);
    }
    if serve.idempotent {
        builder = builder.idempotent();
    }
    if let Some(ttl) = serve.cache {
        let ttl_ms = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
        builder = builder.cache(CachePolicy { ttl_ms, max_bytes: CACHED_BYTES, ..CachePolicy::default() });
    }
    let Some(command) = &serve.exec else { return builder.stream_handler(echo).await };
    let command = Arc::new(exec::Exec { command: command.clone(), name: serve.name.clone() });
    builder
        .handler(move |request| {
            let command = Arc::clone(&command);
            async move { command.run(request).await }
        })
        .await
}

/// Whoever sends a stream gets it back: as a stream, or as one result.
async fn echo(mut request: Request) -> Result<Bytes, AppError> {
    let wants_items = request.wants_items();
    let mut whole = BytesMut::from(std::mem::take(&mut request.body));
    while let Some(item) = request.items.next().await {
        if wants_items {
            request.sender.send(item).await?;
        } else if whole.len() + item.len() > MAX_ECHO {
            return Err(AppError::new(413, "the stream is too long to be answered as a whole"));
        } else {
            whole.extend_from_slice(&item);
        }
    }
    Ok(whole.freeze())
}
