use std::sync::Arc;

use sinew_topic::validate_topic;
use sinew_wire::entry::{Entry, EntryLimits};
use sinew_wire::{Limit, PublishResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::results::Waiter;
use super::{MAX_BATCH_BYTES, Phase, RunOptions, Shared, State};
use crate::PublishError;

/// Bytes after which a publisher yields once. On a runtime of one thread the writer has its turn then, with a batch that is
/// worth its system call.
const YIELD_BYTES: usize = 64 << 10;

/// Messages to publish: one topic, one set of options, all or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parcel<'a> {
    pub(crate) topic: &'a str,
    /// The topic was validated before.
    pub(crate) checked: bool,
    pub(crate) options: RunOptions,
    pub(crate) entries: &'a [Entry<'a>],
}

/// Entry bytes that others may publish past the first in line once there is room, before it has woken up. Without it, two
/// publishers that have met in the line once would queue behind each other for every message from then on.
const BARGE_BYTES: usize = 64 << 10;

enum Attempt {
    Done(u64),
    /// Let the others have their turn, then try again.
    Yield,
    /// No room, or others are waiting for it already.
    Wait,
}

impl Shared {
    /// Publishes as soon as there is room; returns the first sequence number. Dropped early, it has published nothing.
    pub(crate) async fn publish(&self, parcel: &Parcel<'_>) -> Result<u64, PublishError> {
        loop {
            match self.with(|state| state.attempt(parcel))? {
                Attempt::Done(seq) => return Ok(seq),
                Attempt::Yield => tokio::task::yield_now().await,
                Attempt::Wait => return self.in_turn(|state| state.append(parcel)).await,
            }
        }
    }

    /// Publishes now, or says that there is no room.
    pub(crate) fn try_publish(&self, parcel: &Parcel<'_>) -> Result<u64, PublishError> {
        let published = self.with(|state| state.append_past_line(parcel))?;
        published.ok_or(PublishError::Full)
    }

    /// Publishes as soon as there is room, and as one more result may be waited for; what comes back gives the result of the
    /// run, or an error when the link is lost before. Dropped early, it has published nothing.
    pub(crate) async fn publish_for_result(
        &self,
        parcel: &Parcel<'_>,
    ) -> Result<oneshot::Receiver<PublishResult>, PublishError> {
        debug_assert!(parcel.options.wants_result());
        loop {
            let permits = self.state.lock().results.permits();
            // None: another link allows another number, and has its own.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { continue };
            let mut permit = Some(permit);
            let published = self.in_turn(|state| state.append_for_result(parcel, &permits, &mut permit)).await?;
            if let Some(result) = published {
                return Ok(result);
            }
        }
    }

    /// The node gives the result of a run.
    pub(crate) fn settle(&self, result: PublishResult) {
        let waiter = self.state.lock().results.settle(result.first_seq);
        if let Some(Waiter { answer, permit }) = waiter {
            drop(permit);
            let _cancelled = answer.send(result);
        }
    }
}

impl State {
    fn attempt(&mut self, parcel: &Parcel<'_>) -> Result<Attempt, PublishError> {
        if self.unyielded >= YIELD_BYTES {
            self.unyielded = 0;
            return Ok(Attempt::Yield);
        }
        Ok(self.append_past_line(parcel)?.map_or(Attempt::Wait, Attempt::Done))
    }

    /// Appends the parcel if there is room, and if those who wait in line have not waited for too many others.
    fn append_past_line(&mut self, parcel: &Parcel<'_>) -> Result<Option<u64>, PublishError> {
        if self.waiting > 0 && self.barged >= BARGE_BYTES {
            return Ok(None);
        }
        let before = self.unyielded;
        let seq = self.append(parcel)?;
        if self.waiting > 0 {
            self.barged += self.unyielded - before;
        }
        Ok(seq)
    }

    /// The same for one whose result is waited for. `Some(None)`: the permit is not of this link.
    fn append_for_result(
        &mut self,
        parcel: &Parcel<'_>,
        permits: &Arc<Semaphore>,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Option<oneshot::Receiver<PublishResult>>>, PublishError> {
        if !self.results.has_permits(permits) {
            return Ok(Some(None));
        }
        let Some(seq) = self.append(parcel)? else { return Ok(None) };
        Ok(Some(permit.take().map(|permit| self.results.expect(seq, permit))))
    }

    /// Appends the parcel to the batch and returns its first sequence number; `None` when there is no room.
    fn append(&mut self, parcel: &Parcel<'_>) -> Result<Option<u64>, PublishError> {
        // The open run's topic was checked when it was opened.
        if !parcel.checked && !self.batch.has_topic(parcel.topic) {
            check_topic(parcel.topic)?;
        }
        for entry in parcel.entries {
            check_entry(entry, &self.limits)?;
        }
        match self.phase {
            Phase::Up => {}
            Phase::Down => return Ok(None),
            Phase::Closing | Phase::Closed => return Err(PublishError::Closed),
        }
        // The last message may overdraw the window, so that one larger than the window can pass.
        if self.window.available() == 0 || self.batch.len() >= MAX_BATCH_BYTES {
            return Ok(None);
        }
        let has_result = parcel.options.wants_result();
        if has_result {
            self.batch.close_run();
        }
        let first_seq = self.next_seq;
        for entry in parcel.entries {
            let len = entry.encoded_len();
            self.batch.append(parcel.topic, parcel.options, self.next_seq, entry);
            self.next_seq += 1;
            self.window.spend(len);
            self.ledger.publish(len, has_result);
            self.unyielded += len;
        }
        if has_result {
            self.batch.close_run();
        }
        Ok(Some(first_seq))
    }
}

/// Whether applications may publish to this topic.
pub(crate) fn check_topic(topic: &str) -> Result<(), PublishError> {
    validate_topic(topic)?;
    if sinew_topic::is_reserved(topic) {
        return Err(PublishError::Reserved);
    }
    Ok(())
}

fn check_entry(entry: &Entry<'_>, limits: &EntryLimits) -> Result<(), PublishError> {
    let too_large = |limit, actual, allowed| Err(PublishError::TooLarge { limit, actual, allowed });
    if entry.payload.len() > limits.payload {
        return too_large(Limit::MessageBytes, entry.payload.len(), limits.payload);
    }
    if entry.headers.len() > limits.headers {
        return too_large(Limit::HeaderBytes, entry.headers.len(), limits.headers);
    }
    if entry.id.len() > sinew_wire::MAX_ID {
        return Err(PublishError::IdTooLong { actual: entry.id.len() });
    }
    Ok(())
}
