mod batch;
mod calls;
mod flush;
mod leases;
mod ledger;
mod link;
mod publish;
mod requests;
mod results;
mod serving;
mod subscribe;
mod watches;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_flow::SendWindow;
use sinew_wire::entry::EntryLimits;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::builder::Config;
use crate::client::Connection;
use crate::events::{self, ConnectionEvent};
use crate::inbox::{Inbox, LinkWindow};
use crate::services::Backlog;
use batch::Batch;
use calls::Calls;
use ledger::Ledger;
use requests::Questions;
use results::Results;
use serving::Serving;

pub(crate) use batch::RunOptions;
pub(crate) use calls::Sent;
pub(crate) use leases::{Lease, Offer};
pub(crate) use publish::{Parcel, check_topic};
pub(crate) use requests::Reply;
pub(crate) use subscribe::Registration;

/// Bytes that may wait for the writer. When a publisher has to wait for it, nothing is gained by more: the writer is
/// busy with a batch of the same size.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// Look-ups and listings asked at once. A node allows so many of one client.
const MAX_ASKING: usize = 64;

/// Questions at once whether other nodes know of the subscriptions. The node takes its time for each.
const MAX_SETTLING: usize = 8;

/// What the handles and the tasks of one client share.
///
/// One lock guards it, held for the time of a copy. Whoever publishes appends to the batch; the writer takes all of it
/// with one swap, and the next batch grows while it writes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    state: Mutex<State>,
    /// Wakes the writer.
    work: Notify,
    /// Wakes whoever is first in line for room.
    room: Notify,
    /// The line: semaphores are fair.
    turn: Semaphore,
    /// Wakes those who flush.
    pong: Notify,
    /// One permit per open call.
    open_calls: Arc<Semaphore>,
    /// Wakes those who have frames of calls and no room for them.
    call_room: Notify,
    /// Tells the session that there are calls with deadlines.
    pub(crate) watch_calls: Notify,
    /// One permit per look-up or page.
    pub(crate) asking: Semaphore,
    /// One permit per question whether others know.
    pub(crate) settling: Semaphore,
    /// The application closes the client: no reconnecting any more.
    pub(crate) closing: CancellationToken,
    /// Nobody is left who could use the client: stop at once.
    pub(crate) stopped: CancellationToken,
    /// The driver has ended.
    pub(crate) done: CancellationToken,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Number of the link, or of the gap before it: what was begun on another one is over.
    link: u64,
    connection: Option<Connection>,
    /// `None` after the last one.
    events: Option<broadcast::Sender<ConnectionEvent>>,
    /// Frames in the order in which they were asked for.
    batch: Batch,
    /// Control frames that need not wait for the batch: credit, confirmations, pongs.
    urgent: BytesMut,
    /// The writer shall end the link when it has written everything.
    finish: bool,
    writer_waits: bool,
    window: SendWindow,
    limits: EntryLimits,
    /// Largest frame that the node may send, in bytes.
    max_frame: usize,
    /// How many stand in line for room.
    waiting: usize,
    /// Entry bytes published past the first of them.
    barged: usize,
    /// Bytes published since a publisher has yielded to the other tasks of its thread.
    unyielded: usize,
    next_seq: u64,
    results: Results,
    ledger: Ledger,
    /// Unconfirmed messages of lost links that no flush has told of.
    lost: Option<u64>,
    last_ping: u64,
    last_pong: u64,
    inboxes: HashMap<u32, Arc<Inbox>>,
    last_subscription: u32,
    /// Subscriptions that the node has not confirmed again.
    resubscribing: usize,
    resubscribed: usize,
    questions: Questions,
    leases: HashMap<u32, Arc<Lease>>,
    last_lease: u32,
    /// Leases that are being withdrawn. Nothing is sent: who waits sees its sender go.
    withdrawals: HashMap<u32, oneshot::Sender<()>>,
    watches: HashMap<u32, Arc<Backlog>>,
    last_watch: u32,
    calls: Calls,
    serving: Serving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No link; there will be another.
    Down,
    /// A link.
    Up,
    /// A link, for the last time: nothing new is taken.
    Closing,
    /// No link, and never again.
    Closed,
}

/// What the writer shall do after [`Shared::collect`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write the chunks, then collect again.
    Write,
    /// Nothing to do: wait for [`Shared::work`].
    Wait,
    /// Everything is written: finish the link.
    Finish,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        let open_calls = Arc::new(Semaphore::new(config.max_calls));
        let results = Results::new(config.max_in_flight);
        Arc::new(Self {
            config,
            state: Mutex::new(State::new(results)),
            work: Notify::new(),
            room: Notify::new(),
            turn: Semaphore::new(1),
            pong: Notify::new(),
            open_calls,
            call_room: Notify::new(),
            watch_calls: Notify::new(),
            asking: Semaphore::new(MAX_ASKING),
            settling: Semaphore::new(MAX_SETTLING),
            closing: CancellationToken::new(),
            stopped: CancellationToken::new(),
            done: CancellationToken::new(),
        })
    }

    /// Tells everybody who listens; that may be nobody.
    pub(crate) fn emit(&self, event: ConnectionEvent) {
        tracing::debug!(?event, "connection");
        if let Some(events) = &self.state.lock().events {
            let _nobody = events.send(event);
        }
    }

    /// The events from here on; `None` when there will be none.
    pub(crate) fn events(&self) -> Option<broadcast::Receiver<ConnectionEvent>> {
        self.state.lock().events.as_ref().map(broadcast::Sender::subscribe)
    }

    pub(crate) fn connection(&self) -> Option<Connection> {
        self.state.lock().connection.clone()
    }

    /// Takes everything that waits to be written. The batch goes on in `spare`.
    pub(crate) fn collect(&self, chunks: &mut Vec<Bytes>, spare: &mut BytesMut) -> Next {
        let mut state = self.state.lock();
        if !state.urgent.is_empty() {
            chunks.push(state.urgent.split().freeze());
        }
        if state.batch.len() > 0 {
            chunks.push(state.batch.take(std::mem::take(spare)));
            state.ledger.mark();
            state.calls.mark();
        }
        let next = match (chunks.is_empty(), state.finish) {
            (false, _) => Next::Write,
            (true, true) => Next::Finish,
            (true, false) => Next::Wait,
        };
        state.writer_waits = next == Next::Wait;
        let room = next == Next::Write && state.waiting > 0;
        drop(state);
        if room {
            self.room.notify_one();
        }
        if next == Next::Write {
            self.call_room.notify_waiters();
        }
        next
    }

    /// Gives back the memory of empty buffers. For an idle client.
    pub(crate) fn shrink(&self) {
        let mut state = self.state.lock();
        state.batch.shrink();
        if state.urgent.is_empty() {
            state.urgent = BytesMut::new();
        }
    }

    /// Waits until there may be something to collect. Cancel safe.
    pub(crate) async fn work(&self) {
        self.work.notified().await;
    }

    /// Does something to the state, and wakes the writer if that gave it work.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let outcome = act(&mut state);
        let wake = state.writer_waits && state.has_work();
        if wake {
            state.writer_waits = false;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        outcome
    }

    /// Repeats `attempt` until there is room for it, after all who came before. Dropped early, it has done nothing.
    async fn in_turn<T, E>(&self, mut attempt: impl FnMut(&mut State) -> Result<Option<T>, E>) -> Result<T, E> {
        let _place = Place::take(self);
        let _turn = self.turn.acquire().await.expect("the line is never closed");
        loop {
            // Whoever has the turn is the only one to wait for room, and the notification is kept until it does.
            let served = self.with(|state| {
                let done = attempt(state);
                if !matches!(done, Ok(None)) {
                    state.barged = 0;
                }
                done
            });
            match served? {
                Some(done) => return Ok(done),
                None => self.room.notified().await,
            }
        }
    }
}

/// A place in the line for room. As long as there are any, nobody publishes much past them.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Self {
        shared.state.lock().waiting += 1;
        Self(shared)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

impl State {
    fn new(results: Results) -> Self {
        Self {
            phase: Phase::Down,
            link: 0,
            connection: None,
            events: Some(broadcast::Sender::new(events::CAPACITY)),
            batch: Batch::default(),
            urgent: BytesMut::new(),
            finish: false,
            writer_waits: false,
            window: SendWindow::new(0),
            limits: EntryLimits::default(),
            max_frame: 0,
            waiting: 0,
            barged: 0,
            unyielded: 0,
            next_seq: 1,
            results,
            ledger: Ledger::default(),
            lost: None,
            last_ping: 0,
            last_pong: 0,
            inboxes: HashMap::new(),
            last_subscription: 0,
            resubscribing: 0,
            resubscribed: 0,
            questions: Questions::default(),
            leases: HashMap::new(),
            last_lease: 0,
            withdrawals: HashMap::new(),
            watches: HashMap::new(),
            last_watch: 0,
            calls: Calls::default(),
            serving: Serving::default(),
        }
    }

    fn has_work(&self) -> bool {
        self.batch.len() > 0 || !self.urgent.is_empty() || self.finish
    }

    /// Whether a control frame that somebody waits for may be appended to the batch.
    fn has_room(&self) -> bool {
        self.phase == Phase::Up && self.batch.len() < MAX_BATCH_BYTES
    }

    /// Whether a frame of an open call may be appended to the batch.
    fn has_call_room(&self) -> bool {
        self.batch.len() < MAX_BATCH_BYTES
    }

    const fn link_window(&self) -> LinkWindow {
        LinkWindow { link: self.link, max_overdraw: self.max_frame as u64 }
    }
}
