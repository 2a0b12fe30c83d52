use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use sinew_wire::encode_header;
use sinew_wire::entry::Entry;
use sinew_wire::publish::Flags;

use crate::report::{self, Report};
use crate::shared::{Parcel, RunOptions};
use crate::{Client, PublishError};

/// A message to be published, with all that a message can have. From [`Client::message`].
///
/// ```no_run
/// # async fn example(client: sinew_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let report = client
///     .message("orders.new")
///     .header("tenant", "acme")
///     .id("order-4711")
///     .payload(r#"{"item": 7}"#)
///     .acked(Duration::from_secs(2))
///     .await?;
/// println!("{} of {} have it", report.delivered, report.matched);
/// # Ok(())
/// # }
/// ```
#[must_use = "does nothing until published"]
#[derive(Clone)]
pub struct Draft<P = [u8; 0]> {
    client: Client,
    topic: Arc<str>,
    checked: bool,
    options: RunOptions,
    id: Vec<u8>,
    headers: BytesMut,
    /// The first thing that was wrong with a header.
    wrong: Option<PublishError>,
    payload: P,
}

impl Draft {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self { checked: false, ..Self::of_publisher(client, topic.into(), RunOptions::default()) }
    }

    pub(crate) fn of_publisher(client: Client, topic: Arc<str>, options: RunOptions) -> Self {
        Self {
            client,
            topic,
            checked: true,
            options,
            id: Vec::new(),
            headers: BytesMut::new(),
            wrong: None,
            payload: [],
        }
    }
}

impl<P> Draft<P> {
    /// The content: anything that is bytes, owned or borrowed. It is copied once, when it is published.
    pub fn payload<Q: AsRef<[u8]>>(self, payload: Q) -> Draft<Q> {
        let Self { client, topic, checked, options, id, headers, wrong, payload: _ } = self;
        Draft { client, topic, checked, options, id, headers, wrong, payload }
    }

    /// Adds a header. Keys have 1 to 255 bytes, and all headers together 4 KiB at most, with 3 bytes added to each. What
    /// is wrong with it is told when the message is published.
    pub fn header(mut self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        if let Err(error) = encode_header(key.as_ref(), value.as_ref(), &mut self.headers) {
            self.wrong.get_or_insert(PublishError::Header(error));
        }
        self
    }

    /// Gives it an id of up to 255 bytes. A message whose id was seen in the last two minutes is suppressed: so one can
    /// publish again what may not have arrived.
    pub fn id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.id = id.as_ref().to_vec();
        self
    }

    /// Lets it expire where it waits for a subscriber for longer than this: from 1 ms to 49 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl_ms = millis(ttl);
        self
    }

    /// Keeps it as the topic's value, for subscriptions that ask for
    /// [last values](crate::SubscriptionBuilder::last_values). An empty message clears the value.
    pub const fn retain(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::RETAIN);
        self
    }

    /// Has it refused with [`PublishError::Refused`] when nobody subscribes to the topic. Every way of publishing waits for
    /// the node's answer then.
    pub const fn require_subscribers(mut self) -> Self {
        self.options.flags = self.options.flags.with(Flags::REQUIRE_SUBSCRIBERS);
        self
    }
}

impl<P: AsRef<[u8]> + Send + Sync> Draft<P> {
    /// Publishes it at level fire: as [`Client::publish`], which see for waiting and cancellation.
    ///
    /// # Errors
    /// Topic, header, id or size is not valid, or the client is closed; with [`Draft::require_subscribers`] also those
    /// of [`Draft::report`].
    pub async fn publish(self) -> Result<(), PublishError> {
        if self.options.wants_result() {
            return self.report().await.map(|_report| ());
        }
        let entry = self.entry()?;
        let parcel = self.parcel(self.options, &entry);
        self.client.shared().publish(&parcel).await.map(|_seq| ())
    }

    /// Publishes it at level fire and tells how many matched, and for how many of them it was queued.
    ///
    /// Waits for the node's answer. Cancel safe until it is sent; dropped later, it is on its way all the same.
    ///
    /// # Errors
    /// As [`Draft::publish`]; and [`PublishError::Refused`], or [`PublishError::Disconnected`] when the link was lost before
    /// the answer.
    pub async fn report(self) -> Result<Report, PublishError> {
        let options = RunOptions { flags: self.options.flags.with(Flags::REPORT), ..self.options };
        let entry = self.entry()?;
        report::report(self.client.shared(), &self.parcel(options, &entry)).await
    }

    /// Publishes it at level acked: waits until every matching subscriber has confirmed it, or for the deadline. What is
    /// certain by then is in the report.
    ///
    /// A subscriber confirms when its application has taken the message, at least once. Each message gets a report of
    /// its own: it travels in its own run. How many may wait at once is [`Builder::max_in_flight`](crate::Builder::max_in_flight);
    /// beyond it, and for publish credit, they wait in line. The deadline holds for the time in line and, anew, for the time
    /// after it.
    ///
    /// Cancel safe until it is sent; dropped later, it is on its way all the same.
    ///
    /// # Errors
    /// As [`Draft::report`]; [`PublishError::NotSent`] when the deadline passed in line, and [`PublishError::Unanswered`]
    /// when the node says nothing for 5 s after the deadline.
    pub async fn acked(self, deadline: Duration) -> Result<Report, PublishError> {
        let options =
            RunOptions { flags: self.options.flags.with(Flags::ACKED), deadline_ms: millis(deadline), ..self.options };
        let entry = self.entry()?;
        report::acked(self.client.shared(), &self.parcel(options, &entry), deadline).await
    }

    fn entry(&self) -> Result<Entry<'_>, PublishError> {
        match &self.wrong {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(Entry { id: &self.id, headers: &self.headers, payload: self.payload.as_ref() }),
        }
    }

    fn parcel<'a>(&'a self, options: RunOptions, entry: &'a Entry<'a>) -> Parcel<'a> {
        Parcel { topic: &self.topic, checked: self.checked, options, entries: std::slice::from_ref(entry) }
    }
}

/// A time for the wire, where 0 means none.
pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1)
}

impl<P> fmt::Debug for Draft<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("topic", &self.topic).finish_non_exhaustive()
    }
}
