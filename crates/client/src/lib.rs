//! The Sinew client SDK: publish, subscribe, call, reconnect.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sinew_client::Event;
//!
//! let client = sinew_client::connect("quic://127.0.0.1:4400").await?;
//! let mut sensors = client.subscribe("sensors.>").await?;
//! client.publish("sensors.kitchen.temperature", "21.5").await?;
//!
//! while let Some(event) = sensors.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
//!         Event::Lagged(missed) => println!("too slow: missed {missed} messages"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Parts
//!
//! * [`connect`] and [`Builder`] make a [`Client`], which keeps its connection up by itself and tells about it:
//!   [`Client::events`].
//! * [`Client::publish`] is the short way. [`Client::message`] is the way for headers, ids, retained values and results;
//!   [`Client::publisher`] that for millions of messages to one topic.
//! * [`Client::subscribe`] and [`Client::subscription`] make a [`Subscription`], a stream of [`Event`]s.
//! * [`Client::announce`] offers a [`Service`] for as long as its [`Announcement`] lives; [`Client::lookup`] finds who
//!   provides one, [`Client::services`] lists them, [`Client::watch_services`] tells how they change.
//! * [`Client::call`] calls a procedure wherever it is served; [`Client::calling`] is the way for deadlines, headers, a strategy, and
//!   streams in either direction. [`Client::serve`] serves one, for as long as its [`Serving`] lives.
//! * [`Client::settle`] and [`Subscription::ready`] wait until the other nodes know of the subscriptions.
//!
//! # What success means
//!
//! | call | returned `Ok` means |
//! |---|---|
//! | [`Client::publish`] | the message is in the next write; at most once to each subscriber |
//! | [`Client::flush`] | the node has processed everything published before |
//! | [`Draft::report`] | as many as the report says have it in their queue |
//! | [`Draft::acked`] | as many as the report says have taken it; at least once |
//! | [`Client::announce`] | the node holds a lease, and other nodes are being told |
//! | [`Client::call`] | the procedure was executed, and this is its result |
//! | [`ServeBuilder::handler`] | the node holds a lease, and calls may come |
//! | [`Client::settle`] | as many other nodes as it says know of every subscription made before |
//!
//! Nothing is lost without a word. A subscriber learns what it missed, in the stream, at the place where it is missing
//! ([`Event::Lagged`], [`Event::Resumed`]). A publisher learns how many messages a lost connection may have taken with it
//! ([`ConnectionEvent::Disconnected`], [`FlushError::Disconnected`]), and of a message it awaits the result of, that
//! nothing is known ([`PublishError::Disconnected`]). Of each call that fails it is said whether the procedure was executed:
//! [`CallError::executed`].
//!
//! # Bounds
//!
//! No queue of a client grows without bound. What is published waits in a batch of 256 KiB and one message at most, and the
//! node lets so much be on its way as its publish window allows; then publishing waits. What is received waits for the
//! application within the [window](SubscriptionBuilder::window) of its subscription, then at the node, under the
//! subscription's policy.
//!
//! As many calls are open at once as [`Builder::max_calls`] says; the others wait in line. A procedure runs as many as its
//! [concurrency](ServeBuilder::concurrency), and as many wait; what the node sends beyond that is answered as overload. Parts of
//! arguments, results and streams travel under credit: up to 256 KiB of each wait for whoever takes them, then its sender waits.
//!
//! # Tasks
//!
//! A client has two tasks on the runtime in which it was connected: one reads and reconnects, one writes. Its handles may be
//! used from any thread. A call needs no task at its caller, and one at its provider while it is executed, beside those two: a
//! handler that takes its time holds up nothing else.

#![warn(missing_docs)]

mod builder;
mod calls;
mod client;
mod delivery;
mod draft;
mod driver;
mod error;
mod establish;
mod events;
mod inbox;
mod publisher;
mod report;
mod serve;
mod services;
mod session;
mod shared;
mod subscription;
mod writer;

pub use builder::{Builder, Reconnect};
pub use calls::{
    Answers, AppError, CallBuilder, CallError, CallSender, Executed, Gathered, GatheredAnswer, Reply, SendError,
};
pub use client::{Client, Connection};
pub use delivery::{Message, MessageRef, Run, RunIntoIter, RunIter};
pub use draft::Draft;
pub use error::{ConnectError, FlushError, PublishError, SubscribeError};
pub use events::{ConnectionEvent, DisconnectReason, Events};
pub use publisher::Publisher;
pub use report::Report;
pub use serve::{IntoResponse, ItemSender, Items, Request, Response, ServeBuilder, Serving};
pub use services::{
    AnnounceError, Announcement, ListError, LookupError, Service, ServiceEvent, ServiceWatch, Services, SettleError,
    Settled, WatchError,
};
pub use subscription::{Event, RunEvent, Subscription, SubscriptionBuilder};

// What stands in signatures above.
pub use sinew_link::{Address, AddressError, DialError, Identity, IdentityError, LinkError};
pub use sinew_topic::{NameError, Pattern};
pub use sinew_wire::call::Strategy;
pub use sinew_wire::{
    CachePolicy, DecodeError, HeaderIter, Headers, Limit, PeerId, Policy, ProviderHealth, Refusal, RefusedRun,
    ServiceInstance, ServiceSummaryRow,
};

/// Connects to a node, or to the first of several separated by commas, with the defaults of [`Client::builder`].
///
/// ```no_run
/// # async fn example() -> Result<(), sinew_client::ConnectError> {
/// let client = sinew_client::connect("unix:///run/sinew/node.sock, quic://127.0.0.1:4400").await?;
/// # Ok(())
/// # }
/// ```
///
/// Cancel safe, and must be called in a tokio runtime.
///
/// # Errors
/// See [`Builder::connect`].
pub async fn connect(servers: impl AsRef<str> + Send) -> Result<Client, ConnectError> {
    Client::builder().server(servers).connect().await
}
