use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use sinew_topic::Pattern;
use sinew_wire::{Control, Policy, check_group};

use crate::client::Handle;
use crate::delivery::{Message, Run};
use crate::inbox::{Item, SubscribeOptions, Taken};
use crate::shared::{Registration, Shared};
use crate::{Client, SubscribeError};

/// Window of a subscription that asks for none: 1 MiB. At 1 GB/s half of it, after which credit returns, are 2,000 credit
/// frames a second; and a client with a hundred stalled subscriptions holds 100 MiB at most.
const DEFAULT_WINDOW: u64 = 1 << 20;

/// Largest window: what nodes grant at most, unless configured otherwise.
const MAX_WINDOW: u64 = 8 << 20;

/// What a subscription brings.
///
/// Gaps are part of the stream, at the place where the messages are missing, so that nobody can overlook them by accident.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Message),
    /// So many messages were dropped here, by the policy of the subscription, because the application was too slow.
    Lagged(u64),
    /// The connection was lost and is back, and so is the subscription. Messages that were published in between did not
    /// come, and nobody has counted them.
    Resumed,
}

/// What a subscription brings, in runs: [`Event`] for those in a hurry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunEvent {
    /// Messages that arrived together.
    Run(Run),
    /// As [`Event::Lagged`].
    Lagged(u64),
    /// As [`Event::Resumed`].
    Resumed,
}

/// Options of a subscription to come: see [`Client::subscription`].
#[must_use = "does nothing until subscribed"]
#[derive(Debug, Clone)]
pub struct SubscriptionBuilder {
    client: Client,
    pattern: String,
    group: Option<String>,
    policy: Policy,
    buffer: u32,
    last: bool,
    window: u64,
}

impl SubscriptionBuilder {
    pub(crate) fn new(client: Client, pattern: &str) -> Self {
        Self {
            client,
            pattern: pattern.to_owned(),
            group: None,
            policy: Policy::default(),
            buffer: 0,
            last: false,
            window: DEFAULT_WINDOW,
        }
    }

    /// Joins a queue group: each message goes to one member of it, to the one with the least to do. Groups go by name,
    /// over all patterns.
    pub fn queue_group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// What the node does when the subscription's queue is full. Default: [`Policy::DropOldest`].
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Most messages that the node queues. Default, and at most: what the node allows.
    pub const fn buffer(mut self, messages: u32) -> Self {
        self.buffer = messages;
        self
    }

    /// Begins with the retained values of the topics that match, after each reconnect as well.
    pub const fn last_values(mut self) -> Self {
        self.last = true;
        self
    }

    /// Bytes of messages that may be on their way to the application, or wait in this process for it to take them:
    /// from 1 to 8 MiB, default 1 MiB.
    ///
    /// A small window leaves the choice of what to drop to the policy, at the node, where it knows newer messages; a large
    /// one carries more over a long path.
    pub const fn window(mut self, bytes: u64) -> Self {
        self.window = bytes;
        self
    }

    /// Subscribes. Every message that is published after this resolved is seen, as long as the connection lasts.
    ///
    /// Waits while the client is not connected. Cancel safe: dropped early, there is no subscription.
    ///
    /// # Errors
    /// The pattern or the group is not valid, or the node refuses: one of its limits, by name.
    pub async fn subscribe(self) -> Result<Subscription, SubscribeError> {
        if let Some(group) = &self.group {
            check_group(group).map_err(SubscribeError::Group)?;
        }
        let options = SubscribeOptions {
            pattern: Pattern::parse(&self.pattern)?,
            group: self.group,
            policy: self.policy,
            buffer: self.buffer,
            last: self.last,
            window: self.window.clamp(1, MAX_WINDOW),
        };
        let handle = Arc::clone(self.client.handle());
        let registration = handle.shared().subscribe(options).await?;
        Ok(Subscription { registration, handle, local: VecDeque::new(), current: None, ended: false })
    }
}

/// Messages of the topics that match a pattern, as they come: a [`Stream`] of [`Event`].
///
/// The stream outlives connections: when the client has reconnected, it goes on after an [`Event::Resumed`]. It ends when
/// the client is closed or gives up, or when the node ends the subscription; [`Subscription::end_reason`] says why.
///
/// A subscription that is not read costs its [window](SubscriptionBuilder::window) of memory and nobody's time; the node
/// applies the policy to what does not fit. Dropping it unsubscribes. It keeps the client connected.
pub struct Subscription {
    registration: Registration,
    handle: Arc<Handle>,
    /// Taken from the inbox in one go, so that its lock is taken once per read of the link.
    local: VecDeque<Item>,
    current: Option<Run>,
    ended: bool,
}

impl Subscription {
    /// The pattern that was subscribed to.
    pub fn pattern(&self) -> &Pattern {
        self.registration.inbox.pattern()
    }

    /// The next event; `None` when the subscription has ended.
    ///
    /// An acknowledged message counts as delivered when the last one of its run was returned from here. Cancel safe:
    /// nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next run of messages, or the rest of the one that [`Subscription::next`] has begun; `None` when the subscription
    /// has ended.
    ///
    /// Cheaper than message by message, where millions come in a second. A run counts as delivered when it was returned
    /// from here. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next_run(&mut self) -> Option<RunEvent> {
        poll_fn(|cx| self.poll_run(cx)).await
    }

    /// Why the subscription has ended; `None` while it has not.
    pub fn end_reason(&self) -> Option<SubscribeError> {
        self.registration.inbox.ended()
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.handle.shared()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.current.is_none() {
            match ready!(self.poll_item(cx)) {
                Some(Item::Run(block)) => self.current = Some(Run::new(block)),
                Some(Item::Lagged(missed)) => return Poll::Ready(Some(Event::Lagged(missed))),
                Some(Item::Resumed) => return Poll::Ready(Some(Event::Resumed)),
                None => return Poll::Ready(None),
            }
        }
        let message = self.current.as_mut().and_then(Run::take_next);
        if let Some(run) = self.current.take_if(|run| run.is_empty() || message.is_none()) {
            self.taken(&run);
        }
        Poll::Ready(message.map(Event::Message))
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        let run = match self.current.take() {
            Some(rest) => rest,
            None => match ready!(self.poll_item(cx)) {
                Some(Item::Run(block)) => Run::new(block),
                Some(Item::Lagged(missed)) => return Poll::Ready(Some(RunEvent::Lagged(missed))),
                Some(Item::Resumed) => return Poll::Ready(Some(RunEvent::Resumed)),
                None => return Poll::Ready(None),
            },
        };
        self.taken(&run);
        Poll::Ready(Some(RunEvent::Run(run)))
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.local.pop_front() {
                return Poll::Ready(Some(item));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            // A stream that never runs dry must not keep the tasks beside it from their turn.
            let progress = ready!(tokio::task::coop::poll_proceed(cx));
            match self.registration.inbox.take(&mut self.local, cx) {
                Taken::Items => progress.made_progress(),
                Taken::Nothing(credit) => {
                    if let Some((link, credit)) = credit {
                        let _link_gone = self.handle.shared().urgent(link, &credit);
                    }
                    return Poll::Pending;
                }
                Taken::Ended => self.ended = true,
            }
        }
    }

    /// The application has the last message of a run: confirms it, and returns credit.
    fn taken(&self, run: &Run) {
        let block = run.block();
        let shared = self.handle.shared();
        // A node that doesn't read is found out by the reader of the link.
        if block.ack != 0 {
            let _link_gone = shared.urgent(block.link, &Control::DeliverAck { token: block.ack });
        }
        if let Some(credit) = self.registration.inbox.consume(block.link, block.entries().len() as u64) {
            let _link_gone = shared.urgent(block.link, &credit);
        }
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_event(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("pattern", &self.pattern().as_str()).finish_non_exhaustive()
    }
}
