use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use sinew_observe::Beats;
use sinew_overlay::DhtError;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::debug;

use crate::protocol::dht_key;
use crate::shared::{Counts, Shared};

/// After a publication that failed, the next one waits for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends leases when their time has come, and keeps the DHT told of the names of this node.
pub(crate) async fn keep(shared: Arc<Shared>, mut stop: watch::Receiver<bool>, mut beats: Beats) {
    let mut publishing = FuturesUnordered::new();
    let mut paused: Option<Instant> = None;
    loop {
        let deadline = shared.expire();
        if let Some(overlay) = &shared.overlay {
            for name in shared.state.lock().dht.stops() {
                overlay.stop_providing(&dht_key(&shared.config.realm, &name));
            }
            if paused.is_some_and(|until| until <= Instant::now()) {
                paused = None;
            }
            while paused.is_none() && publishing.len() < shared.config.dht_publications {
                let Some(name) = shared.state.lock().dht.next() else { break };
                let key = dht_key(&shared.config.realm, &name);
                publishing.push(async move { (overlay.provide(&key).await, name) });
            }
        }
        tokio::select! {
            () = told(&mut stop) => return,
            () = shared.keep.notified() => {}
            () = at(deadline) => {}
            () = at(paused) => {}
            () = beats.due() => beats.beat().await,
            Some((published, name)) = publishing.next() => match published {
                Ok(()) => {}
                // Nobody is left to tell.
                Err(DhtError::Closed) => return,
                Err(error) => {
                    debug!(%error, %name, "a service is not in the DHT yet");
                    Counts::count(&shared.counts.dht_failed);
                    shared.state.lock().dht.failed(&name);
                    paused = Some(Instant::now() + PAUSE);
                }
            }
        }
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await;
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
