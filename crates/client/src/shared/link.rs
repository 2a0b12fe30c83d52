use bytes::BytesMut;
use sinew_flow::SendWindow;
use sinew_wire::entry::EntryLimits;
use sinew_wire::{Control, Welcome, encode_control};

use super::{Phase, Shared};
use crate::client::Connection;
use crate::inbox::Was;
use crate::{AnnounceError, SubscribeError, WatchError};

/// Control frames that may wait for a node which does not read them. Beyond it the link is of no use.
const MAX_URGENT_BYTES: usize = 1 << 20;

/// The node asks for answers and does not read them.
#[derive(Debug)]
pub(crate) struct NotReading;

impl Shared {
    /// A new link is up: subscribes anew, and lets publishers go on. Returns the link's number.
    pub(crate) fn attach(&self, connection: Connection, welcome: &Welcome, max_frame: usize) -> u64 {
        let number = self.with(|state| {
            state.link += 1;
            state.limits = EntryLimits { payload: connection.max_message_bytes, headers: connection.max_header_bytes };
            state.results.begin_link(connection.max_in_flight);
            state.connection = Some(connection);
            state.window = SendWindow::new(welcome.publish_window);
            // The application may have closed the client while this link was made.
            state.finish = state.phase == Phase::Closed;
            // The writer of this link has not looked yet; it begins by doing so.
            state.writer_waits = false;
            state.max_frame = max_frame;
            let window = state.link_window();
            let mut resuming = 0;
            for inbox in state.inboxes.values() {
                resuming += usize::from(inbox.begin_link(window) == Was::Resuming);
                state.batch.control(&Control::Subscribe(inbox.request()));
            }
            for lease in state.leases.values() {
                state.batch.control(&lease.begin_link());
            }
            for health in state.serving.healths() {
                state.batch.control(&health);
            }
            state.resume_watches();
            state.resubscribing = resuming;
            state.resubscribed = resuming;
            if state.phase == Phase::Down {
                state.phase = Phase::Up;
            }
            state.link
        });
        self.room.notify_one();
        self.call_room.notify_waiters();
        number
    }

    /// The link is gone. Nothing is known of what was asked for and not answered; returns how many messages of level fire
    /// that are.
    pub(crate) fn detach(&self) -> u64 {
        let unconfirmed = self.with(|state| {
            if state.phase != Phase::Closed {
                state.phase = if state.phase == Phase::Closing { Phase::Closed } else { Phase::Down };
            }
            state.link += 1;
            state.connection = None;
            state.finish = false;
            state.writer_waits = false;
            state.batch.clear();
            state.urgent = BytesMut::new();
            state.results.abandon();
            state.questions.abandon();
            state.withdrawals.clear();
            state.calls.abandon();
            state.serving.abandon();
            state.leases.values().for_each(|lease| lease.end_link());
            let unconfirmed = std::mem::take(&mut state.ledger).unconfirmed();
            if unconfirmed > 0 {
                *state.lost.get_or_insert(0) += unconfirmed;
            }
            unconfirmed
        });
        self.room.notify_one();
        self.call_room.notify_waiters();
        self.wake_flushes();
        unconfirmed
    }

    /// There will be no link any more: everybody who waits is told, and every stream ends.
    pub(crate) fn end(&self) {
        self.detach();
        let (inboxes, leases, watches) = {
            let mut state = self.state.lock();
            state.phase = Phase::Closed;
            state.events = None;
            let inboxes = std::mem::take(&mut state.inboxes);
            (inboxes, std::mem::take(&mut state.leases), std::mem::take(&mut state.watches))
        };
        for inbox in inboxes.into_values() {
            inbox.end(SubscribeError::Closed);
        }
        for lease in leases.into_values() {
            lease.end(AnnounceError::Closed);
        }
        for watch in watches.into_values() {
            watch.end(WatchError::Closed);
        }
        self.room.notify_one();
        self.call_room.notify_waiters();
        self.done.cancel();
    }

    /// Publish credit has come back. The error is the node's: it returned more than was spent.
    pub(crate) fn grant(&self, bytes: u64) -> Result<(), sinew_flow::Overgranted> {
        let mut state = self.state.lock();
        state.window.grant(bytes)?;
        state.ledger.credit(bytes);
        let room = state.waiting > 0;
        drop(state);
        if room {
            self.room.notify_one();
        }
        Ok(())
    }

    /// Sends something about the link of this number before everything in the batch; nothing if that link is gone.
    pub(crate) fn urgent(&self, link: u64, control: &Control) -> Result<(), NotReading> {
        self.with(|state| {
            if state.link != link || state.connection.is_none() || state.finish {
                return Ok(());
            }
            if state.urgent.len() > MAX_URGENT_BYTES {
                return Err(NotReading);
            }
            encode_control(control, &mut state.urgent);
            Ok(())
        })
    }
}
