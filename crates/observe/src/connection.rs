//! One connection to the admin server, from its first byte to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::AdminConfig;
use crate::access::Ends;

/// Largest head of a request, in bytes; of an answer, about as much waits in our memory. Bodies of requests are never read.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// How long a connection may take to finish its answer while the server shuts down.
const GRACE: Duration = Duration::from_secs(2);

/// Who asks over a connection, and as what.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its place among the connections, until it watches: viewers are counted apart.
    slot: Mutex<Option<OwnedSemaphorePermit>>,
    since: Instant,
    /// When it took a frame last, in milliseconds since then; 0 for one that does not watch.
    took: AtomicU64,
}

impl Caller {
    fn new(slot: OwnedSemaphorePermit) -> Self {
        Self { slot: Mutex::new(Some(slot)), since: Instant::now(), took: AtomicU64::new(0) }
    }

    /// It has become a viewer.
    pub(crate) fn watches(&self) {
        self.slot.lock().take();
        self.took();
    }

    /// It takes a frame.
    pub(crate) fn took(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.took.store(now.max(1), Ordering::Relaxed);
    }

    /// When to look whether the connection is to end: at its age, or at its silence if it watches.
    fn look_at(&self, config: &AdminConfig) -> Instant {
        match self.took.load(Ordering::Relaxed) {
            0 => self.since + config.max_age,
            took => self.since + Duration::from_millis(took) + config.viewer_silence,
        }
    }
}

pub(crate) async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    slot: OwnedSemaphorePermit,
    routes: Router,
    config: AdminConfig,
    mut stopped: watch::Receiver<bool>,
) {
    let caller = Arc::new(Caller::new(slot));
    let ends = stream.local_addr().ok().map(|to| Ends::new(from, to));
    let (routes, asking) = (TowerToHyperService::new(routes), Arc::clone(&caller));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        if let Some(ends) = ends {
            request.extensions_mut().insert(ends);
        }
        request.extensions_mut().insert(Arc::clone(&asking));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { tokio::select! { _ = stopped.wait_for(|stop| *stop) => {}, () = ended(&caller, &config) => {} } } => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        debug!(%error, "an admin connection ended badly");
    }
}

/// Returns when the connection is as old as it may be, or its viewer does not read.
async fn ended(caller: &Caller, config: &AdminConfig) {
    loop {
        let left = caller.look_at(config).saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // No longer: it may become a viewer meanwhile.
        sleep(left.min(config.viewer_silence)).await;
    }
}
