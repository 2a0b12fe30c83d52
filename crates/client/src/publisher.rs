use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sinew_wire::entry::Entry;
use sinew_wire::publish::Flags;
use sinew_wire::{Limit, MAX_RUN_BYTES, MAX_RUN_MESSAGES};

use crate::draft::{Draft, millis};
use crate::report::{self, Report};
use crate::shared::{Parcel, RunOptions, Shared, check_topic};
use crate::{Client, PublishError};

/// Entry bytes of a batch that are appended in one go.
const SHARE_BYTES: usize = 64 << 10;

/// Publishes to one topic, whose name is checked once. Cheap to clone. It keeps the client connected.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    topic: Arc<str>,
    options: RunOptions,
}

impl Publisher {
    pub(crate) fn new(client: Client, topic: &str) -> Result<Self, PublishError> {
        check_topic(topic)?;
        Ok(Self { client, topic: topic.into(), options: RunOptions::default() })
    }

    /// Lets messages expire that wait for a subscriber for longer than this: from 1 ms to 49 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl_ms = millis(ttl);
        self
    }

    /// Keeps the last message as the topic's value, for subscriptions that ask for
    /// [last values](crate::SubscriptionBuilder::last_values). An empty message clears it.
    #[must_use]
    pub const fn retain(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::RETAIN);
        self
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Publishes a message at level fire: as [`Client::publish`].
    ///
    /// # Errors
    /// The message is larger than the node allows, or the client is closed.
    #[inline]
    pub async fn publish(&self, payload: impl AsRef<[u8]> + Send) -> Result<(), PublishError> {
        let entry = plain(payload.as_ref());
        self.shared().publish(&self.parcel(self.options, std::slice::from_ref(&entry))).await.map(|_seq| ())
    }

    /// Publishes a message at level fire if there is room for it now, without waiting and outside of a task too.
    ///
    /// A loop of nothing but these keeps the thread from sending what it publishes, if the runtime has no other: on
    /// [`PublishError::Full`] go on with [`Publisher::publish`], which waits.
    ///
    /// # Errors
    /// As [`Publisher::publish`], and [`PublishError::Full`] where that would wait.
    #[inline]
    pub fn try_publish(&self, payload: impl AsRef<[u8]>) -> Result<(), PublishError> {
        let entry = plain(payload.as_ref());
        self.shared().try_publish(&self.parcel(self.options, std::slice::from_ref(&entry))).map(|_seq| ())
    }

    /// Publishes messages at level fire, in order, with fewer locks than one by one.
    ///
    /// Waits as [`Publisher::publish`] does. Dropped early, some from the front may have been published.
    ///
    /// # Errors
    /// As [`Publisher::publish`]. When one message is too large, none of those from there on is published.
    pub async fn publish_batch<P: AsRef<[u8]> + Sync>(&self, payloads: &[P]) -> Result<(), PublishError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for payload in payloads {
            let entry = plain(payload.as_ref());
            if bytes + entry.encoded_len() > SHARE_BYTES && !entries.is_empty() {
                self.shared().publish(&self.parcel(self.options, &entries)).await?;
                entries.clear();
                bytes = 0;
            }
            bytes += entry.encoded_len();
            entries.push(entry);
        }
        if !entries.is_empty() {
            self.shared().publish(&self.parcel(self.options, &entries)).await?;
        }
        Ok(())
    }

    /// Publishes a message at level acked and waits until every subscriber has confirmed it: as [`Draft::acked`], which
    /// says more.
    ///
    /// Futures that are polled concurrently have no order among each other: they wait for their place in line one by one, and
    /// which of them comes first is not said. Messages whose order counts are awaited one after the other, or go together in
    /// [`Publisher::publish_batch_acked`].
    ///
    /// # Errors
    /// As [`Draft::acked`].
    pub async fn publish_acked(
        &self,
        payload: impl AsRef<[u8]> + Send,
        deadline: Duration,
    ) -> Result<Report, PublishError> {
        let entry = plain(payload.as_ref());
        let parcel = self.parcel(self.acked(deadline), std::slice::from_ref(&entry));
        report::acked(self.shared(), &parcel, deadline).await
    }

    /// Publishes messages at level acked as one: they travel together, and there is one report, whose counts are of
    /// deliveries, messages times subscribers.
    ///
    /// The way to many acknowledged messages per second; awaiting many [`Publisher::publish_acked`] at once is the
    /// other. Cancellation as for [`Draft::acked`]: all or none are published.
    ///
    /// # Errors
    /// As [`Draft::acked`]; and [`PublishError::TooLarge`] for more than 65,536 messages, or 256 KiB with 8 bytes added to
    /// each.
    pub async fn publish_batch_acked<P: AsRef<[u8]> + Sync>(
        &self,
        payloads: &[P],
        deadline: Duration,
    ) -> Result<Report, PublishError> {
        let too_large = |limit, actual, allowed| Err(PublishError::TooLarge { limit, actual, allowed });
        if payloads.is_empty() {
            return Ok(Report::default());
        }
        if payloads.len() > MAX_RUN_MESSAGES {
            return too_large(Limit::RunMessages, payloads.len(), MAX_RUN_MESSAGES);
        }
        let entries: Vec<_> = payloads.iter().map(|payload| plain(payload.as_ref())).collect();
        let bytes = entries.iter().map(Entry::encoded_len).sum();
        // One message may be as large as a message may be.
        if bytes > MAX_RUN_BYTES && entries.len() > 1 {
            return too_large(Limit::FrameBytes, bytes, MAX_RUN_BYTES);
        }
        let parcel = self.parcel(self.acked(deadline), &entries);
        report::acked(self.shared(), &parcel, deadline).await
    }

    /// Begins a message with headers, an id or a result. Options of the publisher hold for it too.
    pub fn message(&self) -> Draft {
        Draft::of_publisher(self.client.clone(), Arc::clone(&self.topic), self.options)
    }

    fn shared(&self) -> &Shared {
        self.client.shared()
    }

    fn acked(&self, deadline: Duration) -> RunOptions {
        RunOptions { flags: self.options.flags.with(Flags::ACKED), deadline_ms: millis(deadline), ..self.options }
    }

    fn parcel<'a>(&'a self, options: RunOptions, entries: &'a [Entry<'a>]) -> Parcel<'a> {
        Parcel { topic: &self.topic, checked: true, options, entries }
    }
}

const fn plain(payload: &[u8]) -> Entry<'_> {
    Entry { id: &[], headers: &[], payload }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}
