use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sinew_topic::validate_topic;
use sinew_wire::call::{Flags, MAX_KEY, Strategy};
use sinew_wire::{TRACEPARENT, encode_header};

use crate::calls::open::{Order, rest_of};
use crate::calls::stream::{Answers, CallSender, Gathered};
use crate::calls::{CallError, Reply, SendError};
use crate::client::Client;
use crate::services::after;

/// Bytes of answers that may be on their way to a caller that does not take them.
const WINDOW: u32 = 256 << 10;

/// Smallest window, in bytes.
const MIN_WINDOW: u32 = 4 << 10;

/// Largest window, in bytes: nodes cut what is larger.
const MAX_WINDOW: u32 = 1 << 20;

/// A call to be made, with all that a call can have. From [`Client::calling`].
///
/// ```no_run
/// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::CallError> {
/// use std::time::Duration;
///
/// let reply = client
///     .calling("images.resize")
///     .deadline(Duration::from_secs(2))
///     .header("width", "200")
///     .idempotent()
///     .send("holiday.png")
///     .await?;
/// println!("{} bytes", reply.body.len());
/// # Ok(())
/// # }
/// ```
#[must_use = "does nothing until sent"]
#[derive(Clone)]
pub struct CallBuilder {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) options: CallOptions,
    pub(crate) key: Bytes,
    pub(crate) headers: BytesMut,
    /// The first thing that was wrong.
    wrong: Option<CallError>,
}

/// What fits into a word or two of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    pub(crate) flags: Flags,
    pub(crate) strategy: Strategy,
    pub(crate) priority: u8,
    pub(crate) answers: u16,
    pub(crate) window: u32,
    /// `None` for the client's default.
    pub(crate) deadline: Option<Duration>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            flags: Flags::default(),
            strategy: Strategy::Balanced,
            priority: 128,
            answers: 0,
            window: WINDOW,
            deadline: None,
        }
    }
}

impl Client {
    /// Calls a procedure and waits for its result, within the client's
    /// [default deadline](crate::Builder::call_deadline), 10 s.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::CallError> {
    /// let reply = client.call("math.square", "12").await?;
    /// println!("{:?}", reply.body);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [`CallBuilder::send`] for what is waited for, errors and cancellation.
    pub async fn call(&self, name: impl AsRef<str> + Send, body: impl Into<Bytes> + Send) -> Result<Reply, CallError> {
        let name = name.as_ref();
        check_procedure(name)?;
        let options = CallOptions::default();
        let until = after(self.shared().config.call_deadline);
        Order { name, key: &[], headers: &[], options, body: body.into(), until }.unary(self.handle()).await
    }

    /// Begins a call with a deadline, headers, a strategy, or streams.
    pub fn calling(&self, name: impl Into<String>) -> CallBuilder {
        CallBuilder {
            client: self.clone(),
            name: name.into(),
            options: CallOptions::default(),
            key: Bytes::new(),
            headers: BytesMut::new(),
            wrong: None,
        }
    }

    /// Calls a procedure that takes and gives JSON: one served by
    /// [`ServeBuilder::typed_handler`](crate::ServeBuilder::typed_handler), say.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::CallError> {
    /// #[derive(serde::Serialize)]
    /// struct Order { item: u32, count: u32 }
    /// #[derive(serde::Deserialize)]
    /// struct Receipt { total: f64 }
    ///
    /// let receipt: Receipt = client.call_typed("shop.order", &Order { item: 7, count: 2 }).await?;
    /// println!("{}", receipt.total);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`CallBuilder::send`]; [`CallError::Encode`] and [`CallError::Decode`].
    pub async fn call_typed<Req, Res>(&self, name: impl AsRef<str> + Send, request: &Req) -> Result<Res, CallError>
    where
        Req: Serialize + Sync + ?Sized,
        Res: DeserializeOwned,
    {
        let body = serde_json::to_vec(request).map_err(|error| CallError::Encode(error.to_string()))?;
        let reply = self.call(name, body).await?;
        serde_json::from_slice(&reply.body).map_err(|error| CallError::Decode(error.to_string()))
    }
}

impl CallBuilder {
    /// How long the whole call may take, streams included: from 1 ms to what the node allows, which is 5 min unless
    /// configured. It is counted from the sending function on, and travels to the provider. Default:
    /// [`Builder::call_deadline`](crate::Builder::call_deadline).
    ///
    /// The node keeps it; a client to which it says nothing gives up half a second later.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Adds a header. Keys have 1 to 255 bytes, and all headers together 4 KiB at most, with 3 bytes added to each. What is
    /// wrong with it is told when the call is sent.
    pub fn header(mut self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        if let Err(error) = encode_header(key.as_ref(), value.as_ref(), &mut self.headers) {
            self.wrong.get_or_insert(CallError::Header(error));
        }
        self
    }

    /// Adds a trace context in the form of W3C, which nodes log and the provider gets:
    /// [`Request::traceparent`](crate::Request::traceparent). None is added by itself.
    pub fn traceparent(self, context: impl AsRef<str>) -> Self {
        self.header(TRACEPARENT, context.as_ref())
    }

    /// Under overload, waiting calls of lower priority are given up first. Default 128.
    pub const fn priority(mut self, priority: u8) -> Self {
        self.options.priority = priority;
        self
    }

    /// How to choose among providers. Default [`Strategy::Balanced`]. For [`Strategy::All`] see [`CallBuilder::gather`], for
    /// [`Strategy::Sticky`] see [`CallBuilder::key`].
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.options.strategy = strategy;
        self
    }

    /// Has calls of the same key go to the same provider, while it is there: [`Strategy::Sticky`]. At most 256 bytes.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        let key = key.into();
        if key.len() > MAX_KEY {
            self.wrong.get_or_insert(CallError::KeyTooLong { actual: key.len() });
        }
        self.key = key;
        self.options.strategy = Strategy::Sticky;
        self
    }

    /// To execute it twice does no harm: it may be tried again although it may have been executed.
    pub const fn idempotent(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::IDEMPOTENT);
        self
    }

    /// If the answer takes longer than usual, a second provider is asked. Only for a call that is
    /// [idempotent](CallBuilder::idempotent), or a procedure that is.
    pub const fn hedged(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::HEDGE);
        self
    }

    /// Not to be answered from a cache.
    pub const fn fresh(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::FRESH);
        self
    }

    /// With [`CallBuilder::gather`]: so many answers are enough. Default 0: those of all.
    pub const fn answers(mut self, answers: u16) -> Self {
        self.options.answers = answers;
        self
    }

    /// Bytes of answers that may be on their way while the application does not take them. From 4 KiB to
    /// 1 MiB; default 256 KiB.
    pub const fn window(mut self, bytes: u32) -> Self {
        self.options.window = match bytes {
            0..MIN_WINDOW => MIN_WINDOW,
            MIN_WINDOW..=MAX_WINDOW => bytes,
            _ => MAX_WINDOW,
        };
        self
    }

    /// Calls, and waits for the result.
    ///
    /// Waits while the client is not connected, and while as many calls are open as may be
    /// ([`Builder::max_calls`](crate::Builder::max_calls)), all within the deadline. When the connection is lost, a call that was
    /// not sent, or is [idempotent](CallBuilder::idempotent), is sent again within the deadline. So is one that a node refuses
    /// because it is shutting down, as soon as the client has found another node.
    ///
    /// Dropped early, the call is cancelled: on its way, in the queue, and at the provider, whose handler is dropped. It may have
    /// been executed.
    ///
    /// # Errors
    /// Name, header, key or size is not valid; how the call failed; or the client is closed. [`CallError::executed`] tells whether
    /// it was executed.
    pub async fn send(self, body: impl Into<Bytes> + Send) -> Result<Reply, CallError> {
        self.order(Flags::default(), body.into())?.unary(self.client.handle()).await
    }

    /// Calls, and takes a stream of answers.
    ///
    /// Resolves when the argument is sent. Waits as [`CallBuilder::send`] does. A stream is never sent again. Dropped early, the
    /// call is cancelled.
    ///
    /// # Errors
    /// As [`CallBuilder::send`]; how the call itself fails is told by [`Answers`].
    pub async fn stream(self, body: impl Into<Bytes> + Send) -> Result<Answers, CallError> {
        let body = body.into();
        let rest = rest_of(&body);
        let open = self.order(Flags::ITEMS_OUT, body)?.open(self.client.handle(), false).await?;
        if let Some(rest) = rest {
            // If it has ended, the answers say how.
            let _ended = open.outflow().last(rest).await;
        }
        Ok(Answers::new(open))
    }

    /// Opens a call with a stream in each direction.
    ///
    /// Resolves when the request has its place in the next write. Waits as [`CallBuilder::send`] does. Dropped early, the call is
    /// cancelled.
    ///
    /// # Errors
    /// As [`CallBuilder::send`]; how the call itself fails is told by [`Answers`].
    pub async fn open(self) -> Result<(CallSender, Answers), CallError> {
        let flags = Flags::ITEMS_IN.with(Flags::ITEMS_OUT);
        let open = self.order(flags, Bytes::new())?.open(self.client.handle(), false).await?;
        Ok((CallSender::new(Arc::clone(&open)), Answers::new(open)))
    }

    /// Calls with a stream of items for an argument, and waits for the one result. The procedure may answer before the stream
    /// ends; the rest of it is not asked for then.
    ///
    /// Waits and is cancelled as [`CallBuilder::send`]. A stream is never sent again.
    ///
    /// # Errors
    /// As [`CallBuilder::send`].
    pub async fn upload<S>(self, items: S) -> Result<Reply, CallError>
    where
        S: Stream + Send,
        S::Item: Into<Bytes>,
    {
        let open = self.order(Flags::ITEMS_IN, Bytes::new())?.open(self.client.handle(), false).await?;
        let mut sender = open.outflow();
        let sending = async {
            let mut items = pin!(items);
            while let Some(item) = items.next().await {
                match sender.checked_item(item.into()).await {
                    Err(SendError::TooLarge { actual, limit }) => return Err(CallError::TooLarge { actual, limit }),
                    Err(_ended) => break,
                    Ok(()) => {}
                }
            }
            // If it has ended, the answer says how.
            let _ended = sender.last(Bytes::new()).await;
            // Nothing more is to be said: the answer is waited for beside.
            std::future::pending().await
        };
        let mut intake = open.intake();
        tokio::select! {
            biased;
            result = open.result(&mut intake) => {
                result.unwrap_or_else(|written| Err(CallError::Disconnected { maybe_executed: written }))
            }
            wrong = sending => wrong,
        }
    }

    /// Calls all providers at once ([`Strategy::All`]), and takes their answers in the order in which they come, until
    /// [so many](CallBuilder::answers) are there, all have answered, or the deadline passes.
    ///
    /// Waits and is cancelled as [`CallBuilder::stream`].
    ///
    /// # Errors
    /// As [`CallBuilder::stream`].
    pub async fn gather(mut self, body: impl Into<Bytes> + Send) -> Result<Gathered, CallError> {
        self.options.strategy = Strategy::All;
        self.stream(body).await.map(Gathered::new)
    }

    fn order(&self, flags: Flags, body: Bytes) -> Result<Order<'_>, CallError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        check_procedure(&self.name)?;
        let options = CallOptions { flags: self.options.flags.with(flags), ..self.options };
        let until = after(options.deadline.unwrap_or(self.client.shared().config.call_deadline));
        Ok(Order { name: &self.name, key: &self.key, headers: &self.headers, options, body, until })
    }
}

fn check_procedure(name: &str) -> Result<(), CallError> {
    validate_topic(name)?;
    if sinew_topic::is_reserved(name) { Err(CallError::Reserved) } else { Ok(()) }
}

impl fmt::Debug for CallBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
