use sinew_wire::{Control, Goodbye, Refusal};
use tokio::sync::futures::Notified;

use super::{Phase, Shared, State};
use crate::FlushError;

/// A ping under way.
#[derive(Debug, Clone, Copy)]
struct Ping {
    nonce: u64,
    link: u64,
    /// What the ledger had counted when it was sent.
    messages: u64,
}

impl Shared {
    /// Waits until the node has processed everything published before.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        let ping = self.in_turn(State::flush_ping).await?;
        self.ponged(ping).await
    }

    /// Takes nothing new, and waits as [`Shared::flush`] does. Only the first call has something to do.
    pub(crate) async fn close(&self) -> Result<(), FlushError> {
        let ping = self.with(State::begin_close);
        // Those who wait for room learn that there will be none.
        self.room.notify_one();
        self.call_room.notify_waiters();
        match ping? {
            Some(ping) => self.ponged(ping).await,
            None => Ok(()),
        }
    }

    /// Lets the writer say goodbye, if there is something to say, and end the link after everything in the batch.
    pub(crate) fn finish(&self, reason: Option<Refusal>) {
        self.with(|state| {
            if state.finish {
                return;
            }
            if let Some(reason) = reason {
                state.batch.control(&Control::Goodbye(Goodbye { reason }));
            }
            state.finish = true;
            if state.phase == Phase::Up {
                state.phase = Phase::Down;
            }
        });
    }

    /// The node answers a ping.
    pub(crate) fn pong(&self, nonce: u64) {
        let mut state = self.state.lock();
        if nonce <= state.last_pong || nonce > state.last_ping {
            return;
        }
        state.last_pong = nonce;
        drop(state);
        self.pong.notify_waiters();
    }

    pub(super) fn wake_flushes(&self) {
        self.pong.notify_waiters();
    }

    async fn ponged(&self, ping: Ping) -> Result<(), FlushError> {
        loop {
            // Made before the state is read: it hears every later `notify_waiters`.
            let notified: Notified<'_> = self.pong.notified();
            if let Some(outcome) = self.with(|state| state.outcome(ping)) {
                return outcome;
            }
            notified.await;
        }
    }
}

impl State {
    fn flush_ping(&mut self) -> Result<Option<Ping>, FlushError> {
        if let Some(unconfirmed) = self.lost.take() {
            return Err(FlushError::Disconnected { unconfirmed });
        }
        match self.phase {
            Phase::Closing | Phase::Closed => Err(FlushError::Closed),
            _ if self.has_room() => Ok(Some(self.ping())),
            _ => Ok(None),
        }
    }

    fn begin_close(&mut self) -> Result<Option<Ping>, FlushError> {
        let lost = self.lost.take();
        match self.phase {
            Phase::Closing | Phase::Closed => return Err(FlushError::Closed),
            Phase::Down => self.phase = Phase::Closed,
            Phase::Up => {
                self.phase = Phase::Closing;
                if lost.is_none() {
                    return Ok(Some(self.ping()));
                }
            }
        }
        lost.map_or(Ok(None), |unconfirmed| Err(FlushError::Disconnected { unconfirmed }))
    }

    fn ping(&mut self) -> Ping {
        self.last_ping += 1;
        let nonce = self.last_ping;
        self.batch.control(&Control::Ping { nonce });
        Ping { nonce, link: self.link, messages: self.ledger.messages() }
    }

    fn outcome(&mut self, ping: Ping) -> Option<Result<(), FlushError>> {
        if self.link != ping.link {
            let unconfirmed = self.lost.take().unwrap_or(0);
            return Some(Err(FlushError::Disconnected { unconfirmed }));
        }
        if self.last_pong < ping.nonce {
            return None;
        }
        self.ledger.confirm(ping.messages);
        Some(Ok(()))
    }
}
