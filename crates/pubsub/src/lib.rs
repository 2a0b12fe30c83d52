//! Subscriptions, topic plans, delivery queues and retained values of one node.
//!
//! The unit of work is the [`Run`]: consecutive messages of one publisher on one topic. A session's [`Publisher`]
//! finds the topic's [plan] (who is to get it), and pushes a [`Slice`] (a reference) into the queue of each
//! [`Subscription`]. Whoever got something to send stands in line in its session's [`Outbox`], which the session's
//! writer empties.
//!
//! ```text
//! Publisher ── plan (cached, by generation) ──┬─ few targets ───────────► Subscription queue ─► Outbox ─► writer
//!                                             └─ many: delivery workers ─┘
//! ```
//!
//! State is striped over shards by the first token of the topic. A shard is a lock around pure data that is held for
//! microseconds and never across an await; decision 2 says why it is not a task with a mailbox.

#![warn(missing_docs)]

mod ack;
mod audience;
mod backlog;
mod block;
mod config;
mod dedup;
mod forward_frame;
mod forward_queue;
mod group;
mod hub;
mod in_flight;
mod inbound;
mod interest;
mod lag;
mod lanes;
mod missed;
mod outbox;
pub mod plan;
mod publisher;
mod recipients;
mod remote;
mod report;
mod retained;
mod run;
mod shard;
mod spread;
mod subscription;
mod tap;
mod trace;

pub use ack::{Ack, Wants};
pub use block::{Block, RunLimits};
pub use config::{ForwardConfig, PubSubConfig};
pub use hub::{PubSub, TopicInfo};
pub use inbound::Inbound;
pub use interest::{InterestFeed, NodeInterest};
pub use outbox::{Next, Outbox, WriteBatch};
pub use publisher::{Publisher, Submission};
pub use remote::{Remote, RemoteStats};
pub use run::{Origin, Run, Slice};
pub use subscription::{Lagging, SubscribeError, Subscription, SubscriptionSpec};
pub use tap::{Announcer, Heard, Tap};
