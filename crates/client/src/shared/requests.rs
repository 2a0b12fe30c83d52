use hashbrown::HashMap;
use sinew_wire::{Control, LookupOutcome, ServiceSummaryRow};
use tokio::sync::{Semaphore, oneshot};

use super::{Phase, Shared, State};
use crate::services::Settled;

/// The answer to a question.
#[derive(Debug)]
pub(crate) enum Reply {
    Lookup(LookupOutcome),
    Page(Vec<ServiceSummaryRow>, bool),
    Settled(Settled),
}

/// The client is closed, or has given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Questions that the node has not answered yet, by their number.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: HashMap<u32, oneshot::Sender<Reply>>,
    last: u32,
}

impl Questions {
    fn add(&mut self, answer: oneshot::Sender<Reply>) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.open.contains_key(&self.last) {
                self.open.insert(self.last, answer);
                return self.last;
            }
        }
    }

    /// The link is gone: who waits learns that nothing will come.
    pub(crate) fn abandon(&mut self) {
        self.open.clear();
    }
}

/// Forgets a question when nobody waits for its answer any more.
struct Open<'a> {
    shared: &'a Shared,
    number: u32,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().questions.open.remove(&self.number);
    }
}

impl Shared {
    /// Asks the node something that may be asked twice, and does so when the connection is lost before it has answered.
    ///
    /// As many are asked at once as `line` has permits; others wait in it. Cancel safe.
    pub(crate) async fn ask<T>(
        &self,
        line: &Semaphore,
        question: impl Fn(u32) -> Control,
        read: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, Closed> {
        let _permit = line.acquire().await.expect("is never closed");
        loop {
            let (answer, answered) = oneshot::channel();
            let mut answer = Some(answer);
            let number = self.in_turn(|state| state.ask(&mut answer, &question)).await?;
            let _open = Open { shared: self, number };
            // An error: the link is gone, and with it the answer. Another kind of answer counts as none.
            if let Some(reply) = answered.await.ok().and_then(&read) {
                return Ok(reply);
            }
            // A node that answers something else again and again must not keep the tasks beside this one from their turn.
            tokio::task::yield_now().await;
        }
    }

    /// The node answers. One that answers twice, or unasked, finds nobody.
    pub(crate) fn reply(&self, number: u64, reply: Reply) {
        let Ok(number) = u32::try_from(number) else { return };
        let answer = self.state.lock().questions.open.remove(&number);
        if let Some(answer) = answer {
            let _cancelled = answer.send(reply);
        }
    }
}

impl State {
    fn ask(
        &mut self,
        answer: &mut Option<oneshot::Sender<Reply>>,
        question: impl Fn(u32) -> Control,
    ) -> Result<Option<u32>, Closed> {
        match self.phase {
            Phase::Closing | Phase::Closed => return Err(Closed),
            _ if !self.has_room() => return Ok(None),
            _ => {}
        }
        let Some(answer) = answer.take() else { return Ok(None) };
        let number = self.questions.add(answer);
        self.batch.control(&question(number));
        Ok(Some(number))
    }
}
