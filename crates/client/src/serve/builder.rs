use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sinew_wire::{Announce, CachePolicy, Serve};

use crate::client::Client;
use crate::serve::execute;
use crate::serve::procedure::{Procedure, Start};
use crate::serve::{IntoResponse, Request, Response, Serving};
use crate::shared::Offer;
use crate::{AnnounceError, AppError, Service};

/// Calls of a procedure that run at once by default.
const CONCURRENCY: u32 = 64;

impl Client {
    /// Begins to serve a procedure: who calls its name, anywhere in the realm, reaches one of those who serve it.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::AnnounceError> {
    /// let serving = client
    ///     .serve("math.square")
    ///     .idempotent()
    ///     .handler(async |request| {
    ///         let number: i64 = std::str::from_utf8(&request.body)?.parse()?;
    ///         Ok((number * number).to_string())
    ///     })
    ///     .await?;
    /// // ... until the process is to end:
    /// serving.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve(&self, name: impl Into<String>) -> ServeBuilder {
        let procedure = sinew_wire::Procedure { concurrency: CONCURRENCY, ..sinew_wire::Procedure::default() };
        ServeBuilder { client: self.clone(), service: Service::new(name), procedure }
    }
}

/// How a procedure is to be served. From [`Client::serve`].
#[must_use = "does nothing until it has a handler"]
pub struct ServeBuilder {
    client: Client,
    service: Service,
    procedure: sinew_wire::Procedure,
}

impl ServeBuilder {
    /// Calls that run at once, from 1 to 1,024; the others wait on the node. Default 64.
    pub const fn concurrency(mut self, calls: u32) -> Self {
        self.procedure.concurrency = match calls {
            0 => 1,
            1..=1_024 => calls,
            _ => 1_024,
        };
        self
    }

    /// How long the node keeps it without hearing of this client: as [`Service::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.service = self.service.ttl(ttl);
        self
    }

    /// Adds a pair of what callers may want to know: as [`Service::metadata`].
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.service = self.service.metadata(key, value);
        self
    }

    /// To execute a call twice does no harm: nodes may try it again although it may have been executed.
    pub const fn idempotent(mut self) -> Self {
        self.procedure.idempotent = true;
        self
    }

    /// Lets the nodes of callers keep results, and has equal calls that are under way at the same time executed once. Of two calls
    /// with the same argument, and the same values of the headers named, the second one gets the result of the first.
    ///
    /// ```
    /// use sinew_client::CachePolicy;
    ///
    /// # fn example(procedure: sinew_client::ServeBuilder) -> sinew_client::ServeBuilder {
    /// procedure.cache(CachePolicy {
    ///     ttl_ms: 5_000,
    ///     negative_ttl_ms: 500,
    ///     max_bytes: 64 << 10,
    ///     vary: vec!["language".to_owned()],
    /// })
    /// # }
    /// ```
    pub fn cache(mut self, policy: CachePolicy) -> Self {
        self.procedure.cache = Some(policy);
        self
    }

    /// Serves calls of one argument and one result.
    ///
    /// Each call runs in a task of its own. Its future is dropped when the call is cancelled, when its deadline passes, and when
    /// the connection is lost. A panic is the result of the call, and the procedure goes on. A caller that takes a stream gets
    /// the result as its only item; one that sends a stream is refused.
    ///
    /// Waits for the node to take it, and while the client is not connected. After a reconnect it is announced anew. Cancel safe:
    /// dropped early, nothing stays announced.
    ///
    /// # Errors
    /// As [`Client::announce`].
    pub async fn handler<F, Fut, R>(self, handler: F) -> Result<Serving, AnnounceError>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, AppError>> + Send + 'static,
        R: IntoResponse + 'static,
    {
        self.serve(false, execute::start(handler)).await
    }

    /// Serves calls with streams: [`Request::items`] is what the caller sends, [`Request::sender`] what it gets. Callers without
    /// streams are served too: their argument is [`Request::body`], and their result what the handler returns. For a caller that
    /// takes a stream, what the handler returns is one more item, unless it is empty.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::AnnounceError> {
    /// let serving = client
    ///     .serve("text.upper")
    ///     .stream_handler(async |mut request| {
    ///         while let Some(line) = request.items.next().await {
    ///             request.sender.send(line.to_ascii_uppercase()).await?;
    ///         }
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # drop(serving);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// All else is as in [`ServeBuilder::handler`].
    ///
    /// # Errors
    /// As [`Client::announce`].
    pub async fn stream_handler<F, Fut, R>(self, handler: F) -> Result<Serving, AnnounceError>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, AppError>> + Send + 'static,
        R: IntoResponse + 'static,
    {
        self.serve(true, execute::start(handler)).await
    }

    /// Serves calls that take and give JSON: [`Client::call_typed`]. An argument that is not what was expected is answered by
    /// application error 400.
    ///
    /// All else is as in [`ServeBuilder::handler`].
    ///
    /// # Errors
    /// As [`Client::announce`].
    pub async fn typed_handler<F, Fut, Req, Res>(self, handler: F) -> Result<Serving, AnnounceError>
    where
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, AppError>> + Send + 'static,
        Req: DeserializeOwned + Send + 'static,
        Res: Serialize,
    {
        let handler = move |request: Request| {
            let started = serde_json::from_slice(&request.body).map(&handler);
            async move {
                let result = match started {
                    Ok(started) => started.await?,
                    Err(error) => return Err(AppError::new(400, error.to_string())),
                };
                Ok(Response::new(serde_json::to_vec(&result)?))
            }
        };
        self.handler(handler).await
    }

    async fn serve(self, streams: bool, start: Start) -> Result<Serving, AnnounceError> {
        let Announce { lease, name, ttl_ms, metadata } = self.service.check()?;
        let serve = Serve { lease, name, ttl_ms, metadata, procedure: self.procedure };
        serve.validate().map_err(AnnounceError::Metadata)?;
        let procedure = Arc::new(Procedure::new(serve.procedure.concurrency, streams, start));
        let offer = Offer::Procedure(serve, Arc::clone(&procedure));
        let (lease, answer) = self.client.shared().offer(offer).await?;
        // From here on dropping it withdraws.
        let serving = Serving { lease, procedure, handle: Arc::clone(self.client.handle()) };
        answer.await.unwrap_or(Err(AnnounceError::Closed))?;
        Ok(serving)
    }
}

impl fmt::Debug for ServeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeBuilder")
            .field("service", &self.service)
            .field("procedure", &self.procedure)
            .finish_non_exhaustive()
    }
}
