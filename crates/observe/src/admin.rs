//! The admin HTTP server: health, metrics and snapshots of one node.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::access::{self, Access};
use crate::connection::{self, Caller};
use crate::metrics::text;
use crate::{Health, Registry, Scope, Viewers};

/// Paths the server knows, named by its answer to any other.
const PATHS: [&str; 12] = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/api/v1/node",
    "/api/v1/peers",
    "/api/v1/clients",
    "/api/v1/services",
    "/api/v1/calls",
    "/api/v1/topics",
    "/api/v1/pool",
    "/api/v1/live",
];

/// A snapshot for people and scripts, taken when somebody asks. It runs on a thread that may block.
pub type View = Arc<dyn Fn() -> Value + Send + Sync>;

/// What `/api/v1/` shows.
#[derive(Clone)]
pub struct Views {
    /// The node: identity, addresses, limits, uptime.
    pub node: View,
    /// The other nodes of the realm.
    pub peers: View,
    /// Connected clients.
    pub clients: View,
    /// Services of the realm.
    pub services: View,
    /// Open calls, procedures that were called, providers.
    pub calls: View,
    /// Topics and how many listen.
    pub topics: View,
    /// Links to other nodes.
    pub pool: View,
    /// Who watches the node live.
    pub live: Viewers,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

/// Limits of the admin server.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Connections served at once; more wait in the listener's backlog. Default 64.
    pub max_connections: usize,
    /// Time to send the head of a request, and to stay idle between two. Default 10 s.
    pub head_timeout: Duration,
    /// Time to answer a request; then 504. Default 10 s.
    pub answer_timeout: Duration,
    /// Age at which a connection is asked to close, so that readers that stopped reading leave. Default 5 min.
    pub max_age: Duration,
    /// Age of the last frame that a viewer took at which its connection is cut: it does not read. Default 60 s.
    pub viewer_silence: Duration,
    /// What those from other hosts have to bring; `None` refuses them. Of letters, digits and `-._~`. Default `None`.
    pub token: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            max_connections: 64,
            head_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            max_age: Duration::from_secs(300),
            viewer_silence: Duration::from_secs(60),
            token: None,
        }
    }
}

/// A running admin server. Stops when [`Admin::shutdown`] is called or it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Sources {
    registry: Registry,
    health: Health,
    views: Views,
    answer_timeout: Duration,
    stopped: watch::Receiver<bool>,
}

impl Admin {
    /// Serves on `listener`, in a task of the current tokio runtime.
    ///
    /// Fails when the listener has no address.
    pub fn serve(
        listener: TcpListener,
        registry: Registry,
        health: Health,
        views: Views,
        config: AdminConfig,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let answer_timeout = config.answer_timeout;
        let sources = Sources { registry, health, views, answer_timeout, stopped: stopped.clone() };
        let access = Access::new(config.token.clone());
        let routes = routes(Arc::new(sources)).layer(from_fn_with_state(access, access::check));
        let task = tokio::spawn(accept(listener, routes, config, stopped));
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets open answers finish for up to 2 s, and returns when nothing is left.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            warn!(%error, "the admin server ended badly");
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, routes: Router, config: AdminConfig, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    while let Some((stream, from, slot)) = next(&listener, &slots, &mut stopped).await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connection::serve(stream, from, slot, routes.clone(), config.clone(), stopped.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next connection, together with the slot it takes; `None` when the server stops.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let connection = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, from)) => return Some((stream, from, slot)),
                Err(error) => {
                    // Out of files, most likely: others have to close some first.
                    warn!(%error, "the admin server can't accept");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        connection = connection => connection,
        _ = stopped.wait_for(|stop| *stop) => None,
    }
}

fn routes(sources: Arc<Sources>) -> Router {
    crate::dashboard::routes()
        .route("/livez", get(|State(sources): State<Arc<Sources>>| async move { sources.health(Scope::Live) }))
        .route("/readyz", get(|State(sources): State<Arc<Sources>>| async move { sources.health(Scope::Ready) }))
        .route("/metrics", get(metrics))
        .route("/api/v1/node", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.node)))
        .route("/api/v1/peers", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.peers)))
        .route("/api/v1/services", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.services)))
        .route("/api/v1/calls", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.calls)))
        .route("/api/v1/pool", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.pool)))
        .route("/api/v1/clients", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.clients)))
        .route("/api/v1/live", get(live))
        .route("/api/v1/topics", get(|State(sources): State<Arc<Sources>>| view(sources, |views| &views.topics)))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path", json!(PATHS)) })
        .with_state(sources)
}

impl Sources {
    fn health(&self, scope: Scope) -> Response {
        let report = self.health.report(scope);
        let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(report)).into_response()
    }
}

async fn metrics(State(sources): State<Arc<Sources>>, headers: HeaderMap) -> Response {
    let mut accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accept.any(text::wants_open_metrics);
    aside(sources, move |sources| {
        let open_metrics = crate::encode(&sources.registry);
        let (kind, body) = match open {
            true => (text::OPEN_METRICS, open_metrics),
            false => (text::PROMETHEUS, text::from_open_metrics(&open_metrics)),
        };
        ([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], body).into_response()
    })
    .await
}

/// Frames for as long as the viewer takes them.
async fn live(State(sources): State<Arc<Sources>>, Extension(caller): Extension<Arc<Caller>>) -> Response {
    let viewers = &sources.views.live;
    let Some(viewer) = viewers.join() else {
        let detail = json!({ "limit": "viewers", "max": viewers.max() });
        return error(StatusCode::SERVICE_UNAVAILABLE, "as many viewers as there may be", detail);
    };
    caller.watches();
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Its slot is given back: nothing else is asked on this connection.
        (header::CONNECTION, "close"),
    ];
    let frames = viewer.stream(sources.stopped.clone(), move || caller.took());
    (headers, Body::from_stream(frames)).into_response()
}

async fn view(sources: Arc<Sources>, pick: fn(&Views) -> &View) -> Response {
    aside(sources, move |sources| Json(pick(&sources.views)()).into_response()).await
}

/// Makes an answer away from the threads that carry messages: a snapshot of many thousand rows takes its time.
async fn aside(sources: Arc<Sources>, answer: impl FnOnce(&Sources) -> Response + Send + 'static) -> Response {
    let limit = sources.answer_timeout;
    match timeout(limit, tokio::task::spawn_blocking(move || answer(&sources))).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            warn!(%panic, "a view for the admin server failed");
            error(StatusCode::INTERNAL_SERVER_ERROR, "the view failed", Value::Null)
        }
        Err(_) => {
            error(StatusCode::GATEWAY_TIMEOUT, "no answer in time", json!({ "limit_ms": limit.as_millis() as u64 }))
        }
    }
}

pub(crate) fn error(status: StatusCode, error: &str, detail: Value) -> Response {
    (status, Json(json!({ "error": error, "detail": detail }))).into_response()
}
