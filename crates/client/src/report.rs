use std::time::Duration;

use sinew_wire::PublishResult;

use crate::PublishError;
use crate::shared::{Parcel, Shared};

/// How long after the deadline the node may take to tell the result. It counts from the arrival of the message, and
/// messages of other publishers may be in front.
const GRACE: Duration = Duration::from_secs(5);

/// What became of a message, in numbers of subscribers; of a batch, in deliveries: messages times subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Number of the message, or of the first of the batch: [`Message::seq`](crate::Message::seq).
    pub seq: u64,
    /// Subscribers that matched: the deliveries that were due.
    pub matched: u64,
    /// Confirmed by the subscriber; for a report without acknowledgement, queued for it.
    pub delivered: u64,
    /// Known not to have happened.
    pub dropped: u64,
    /// Nothing is known: the deadline passed, or the subscriber's link broke after the message was sent.
    pub unknown: u64,
    /// Messages that were suppressed, because their id was seen before.
    pub duplicates: u32,
}

impl Report {
    /// Whether every delivery that was due has happened. True too when none was due.
    pub const fn is_complete(&self) -> bool {
        self.delivered == self.matched
    }
}

impl From<PublishResult> for Report {
    fn from(result: PublishResult) -> Self {
        Self {
            seq: result.first_seq,
            matched: result.matched,
            delivered: result.delivered,
            dropped: result.dropped,
            unknown: result.unknown,
            duplicates: result.duplicates,
        }
    }
}

/// Publishes, waits for the result. Cancelled while it waits for room it has published nothing; later, the message is on
/// its way and only the result is not looked at.
pub(crate) async fn report(shared: &Shared, parcel: &Parcel<'_>) -> Result<Report, PublishError> {
    let result = shared.publish_for_result(parcel).await?;
    outcome(result.await.ok())
}

/// The same, within a deadline.
pub(crate) async fn acked(shared: &Shared, parcel: &Parcel<'_>, deadline: Duration) -> Result<Report, PublishError> {
    let sent = tokio::time::timeout(deadline, shared.publish_for_result(parcel)).await;
    let result = sent.map_err(|_| PublishError::NotSent(deadline))??;
    let patience = deadline.saturating_add(GRACE);
    match tokio::time::timeout(patience, result).await {
        Ok(result) => outcome(result.ok()),
        Err(_) => Err(PublishError::Unanswered(patience)),
    }
}

fn outcome(result: Option<PublishResult>) -> Result<Report, PublishError> {
    let result = result.ok_or(PublishError::Disconnected)?;
    match result.refusal {
        Some(refusal) => Err(PublishError::Refused(refusal)),
        None => Ok(result.into()),
    }
}
