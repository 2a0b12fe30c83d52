use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sinew_wire::{Announce, Control, Refusal, Serve};
use tokio::sync::{Notify, oneshot};

use super::{Phase, Shared, State};
use crate::AnnounceError;
use crate::events::ConnectionEvent;
use crate::serve::Procedure;

/// What a node may say of a time to live is taken for no less and no more than this.
const TTL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(24 * 60 * 60));

/// Before a lease that a node has no room for is asked for again, at least.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// What a lease is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Offer {
    Service(Announce),
    Procedure(Serve, Arc<Procedure>),
}

impl Offer {
    fn name(&self) -> &str {
        match self {
            Self::Service(announce) => &announce.name,
            Self::Procedure(serve, _) => &serve.name,
        }
    }

    fn number(&mut self, lease: u32) {
        match self {
            Self::Service(announce) => announce.lease = lease,
            Self::Procedure(serve, _) => serve.lease = lease,
        }
    }

    fn control(&self) -> Control {
        match self {
            Self::Service(announce) => Control::Announce(announce.clone()),
            Self::Procedure(serve, _) => Control::Serve(serve.clone()),
        }
    }
}

/// A service's place at the node.
#[derive(Debug)]
pub(crate) struct Lease {
    number: u32,
    offer: Offer,
    state: Mutex<LeaseState>,
    /// Wakes those who wait for its end.
    ended: Notify,
}

#[derive(Debug)]
struct LeaseState {
    phase: LeasePhase,
    ttl: Duration,
    /// When to renew it, or to ask for it again.
    due: Option<Instant>,
}

#[derive(Debug)]
enum LeasePhase {
    /// The node has not answered yet.
    Asked(oneshot::Sender<Result<(), AnnounceError>>),
    Active,
    /// It was active, and the node has not answered, or has no room now.
    Resuming,
    Ended(AnnounceError),
}

/// What the end of a lease, as the node says it, leads to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Whoever asked for it is told.
    Refused,
    /// To be asked for at once: the node does not know it any more.
    Again,
    /// To be asked for later.
    Later,
    /// It was active, and never will be again.
    Lost,
}

impl Lease {
    pub(crate) fn name(&self) -> &str {
        self.offer.name()
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.state.lock().ttl
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state.lock().phase, LeasePhase::Active)
    }

    pub(crate) fn ended(&self) -> Option<AnnounceError> {
        match &self.state.lock().phase {
            LeasePhase::Ended(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    pub(crate) async fn wait_ended(&self) -> AnnounceError {
        loop {
            // Made before the state is read: it hears every later `notify_waiters`.
            let notified = self.ended.notified();
            if let Some(reason) = self.ended() {
                return reason;
            }
            notified.await;
        }
    }

    /// What to say to the node on a new link.
    pub(super) fn begin_link(&self) -> Control {
        let mut state = self.state.lock();
        state.due = None;
        if matches!(state.phase, LeasePhase::Active) {
            state.phase = LeasePhase::Resuming;
        }
        self.offer.control()
    }

    /// The link is gone.
    pub(super) fn end_link(&self) {
        let mut state = self.state.lock();
        state.due = None;
        if matches!(state.phase, LeasePhase::Active) {
            state.phase = LeasePhase::Resuming;
        }
    }

    /// The node has granted it, or renewed it.
    fn granted(&self, ttl: Duration, now: Instant) {
        let ttl = ttl.clamp(TTL.0, TTL.1);
        let mut state = self.state.lock();
        if matches!(state.phase, LeasePhase::Ended(_)) {
            return;
        }
        state.ttl = ttl;
        state.due = Some(now + ttl / 3);
        if let LeasePhase::Asked(answer) = std::mem::replace(&mut state.phase, LeasePhase::Active) {
            let _cancelled = answer.send(Ok(()));
        }
    }

    /// The node has ended it, or refused it.
    fn refused(&self, refusal: &Refusal, now: Instant) -> Outcome {
        let mut state = self.state.lock();
        state.due = None;
        match (&state.phase, refusal) {
            (LeasePhase::Active, Refusal::Lease(..)) => {
                state.phase = LeasePhase::Resuming;
                return Outcome::Again;
            }
            (
                LeasePhase::Active | LeasePhase::Resuming,
                Refusal::Limit { .. } | Refusal::Draining | Refusal::Unavailable(_),
            ) => {
                state.phase = LeasePhase::Resuming;
                state.due = Some(now + (state.ttl / 3).max(MIN_RETRY));
                return Outcome::Later;
            }
            _ => {}
        }
        let reason = AnnounceError::Refused(refusal.clone());
        let outcome = match std::mem::replace(&mut state.phase, LeasePhase::Ended(reason.clone())) {
            LeasePhase::Asked(answer) => {
                let _cancelled = answer.send(Err(reason));
                Outcome::Refused
            }
            _ => Outcome::Lost,
        };
        drop(state);
        self.ended.notify_waiters();
        outcome
    }

    pub(super) fn end(&self, reason: AnnounceError) {
        let mut state = self.state.lock();
        state.due = None;
        if let LeasePhase::Asked(answer) = std::mem::replace(&mut state.phase, LeasePhase::Ended(reason.clone())) {
            let _cancelled = answer.send(Err(reason));
        }
        drop(state);
        self.ended.notify_waiters();
    }

    /// What to say to the node now, if it is time.
    fn say_if_due(&self, now: Instant) -> Option<Control> {
        let mut state = self.state.lock();
        if state.due.is_none_or(|due| due > now) {
            return None;
        }
        let lease = self.number;
        // A node that does not answer is asked again.
        state.due = Some(now + (state.ttl / 3).max(TTL.0 / 3));
        match state.phase {
            LeasePhase::Active => Some(Control::Renew { lease }),
            LeasePhase::Resuming => Some(self.offer.control()),
            LeasePhase::Asked(_) | LeasePhase::Ended(_) => {
                state.due = None;
                None
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.state.lock().due
    }
}

type Granted = oneshot::Receiver<Result<(), AnnounceError>>;

impl Shared {
    /// Asks the node for a lease as soon as there is room. Dropped early, it has not; the answer comes through the receiver.
    pub(crate) async fn offer(&self, offer: Offer) -> Result<(Arc<Lease>, Granted), AnnounceError> {
        let (answer, granted) = oneshot::channel();
        let mut asked = Some((offer, answer));
        let lease = self.in_turn(|state| state.offer(&mut asked)).await?;
        Ok((lease, granted))
    }

    /// The node has granted a lease, or renewed it.
    pub(crate) fn announced(&self, number: u32, ttl_ms: u64) {
        let lease = self.state.lock().leases.get(&number).cloned();
        if let Some(lease) = lease {
            lease.granted(Duration::from_millis(ttl_ms), Instant::now());
        }
    }

    /// The node has ended a lease, or refused it.
    pub(crate) fn lease_ended(&self, number: u32, refusal: Option<Refusal>) {
        let outcome = self.with(|state| {
            // Somebody waits for it, or has dropped it while this was on its way.
            state.withdrawals.remove(&number);
            let lease = Arc::clone(state.leases.get(&number)?);
            let refusal = refusal.unwrap_or_else(|| Refusal::Protocol("the node gave no reason".to_owned()));
            match lease.refused(&refusal, Instant::now()) {
                Outcome::Again => {
                    if state.phase == Phase::Up {
                        state.batch.control(&lease.offer.control());
                    }
                }
                Outcome::Later => {}
                outcome @ (Outcome::Refused | Outcome::Lost) => {
                    state.leases.remove(&number);
                    return (outcome == Outcome::Lost).then_some((lease, refusal));
                }
            }
            None
        });
        if let Some((lease, reason)) = outcome {
            self.emit(ConnectionEvent::ServiceLost { name: lease.name().to_owned(), reason });
        }
    }

    /// Says to the node what is due, and when the next is.
    pub(crate) fn renew_leases(&self, now: Instant) -> Option<Instant> {
        self.with(|state| {
            if state.phase == Phase::Up {
                for lease in state.leases.values() {
                    if let Some(control) = lease.say_if_due(now) {
                        state.batch.control(&control);
                    }
                }
            }
            state.leases.values().filter_map(|lease| lease.due()).min()
        })
    }

    pub(crate) fn withdraw(&self, lease: &Lease) {
        let number = lease.number;
        self.with(|state| {
            if state.leases.remove(&number).is_some() && state.phase == Phase::Up {
                state.batch.control(&Control::Withdraw { lease: number });
            }
        });
    }

    /// The same, and waits until the node has done it.
    pub(crate) async fn withdraw_and_wait(&self, lease: &Lease) -> Result<(), AnnounceError> {
        let number = lease.number;
        let done = self.with(|state| {
            state.leases.remove(&number)?;
            if state.phase != Phase::Up {
                return None;
            }
            state.batch.control(&Control::Withdraw { lease: number });
            let (answer, done) = oneshot::channel::<()>();
            state.withdrawals.insert(number, answer);
            Some(done)
        });
        if let Some(done) = done {
            // Nothing is ever sent: it ends with the answer, or with the link, and the lease with either.
            let _ended = done.await;
        }
        match lease.ended() {
            Some(AnnounceError::Closed) => Err(AnnounceError::Closed),
            _ => Ok(()),
        }
    }
}

impl State {
    fn offer(
        &mut self,
        asked: &mut Option<(Offer, oneshot::Sender<Result<(), AnnounceError>>)>,
    ) -> Result<Option<Arc<Lease>>, AnnounceError> {
        match self.phase {
            Phase::Closing | Phase::Closed => return Err(AnnounceError::Closed),
            _ if !self.has_room() => return Ok(None),
            _ => {}
        }
        let Some((mut offer, answer)) = asked.take() else { return Ok(None) };
        let number = self.free_lease();
        offer.number(number);
        self.batch.control(&offer.control());
        if let Offer::Procedure(_, procedure) = &offer {
            self.serving.insert(number, Arc::clone(procedure));
        }
        let phase = LeasePhase::Asked(answer);
        let state = Mutex::new(LeaseState { phase, ttl: TTL.0, due: None });
        let lease = Arc::new(Lease { number, offer, state, ended: Notify::new() });
        self.leases.insert(number, Arc::clone(&lease));
        Ok(Some(lease))
    }

    /// A number that no lease has, nor one that is being withdrawn.
    fn free_lease(&mut self) -> u32 {
        loop {
            self.last_lease = self.last_lease.wrapping_add(1);
            let number = self.last_lease;
            let taken = self.leases.contains_key(&number) || self.withdrawals.contains_key(&number);
            // One that is withdrawn may still have calls.
            if !taken && !self.serving.knows(number) {
                return number;
            }
        }
    }
}
