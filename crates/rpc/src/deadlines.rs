//! The task that sees to deadlines.

use std::sync::Arc;
use std::time::Instant;

use sinew_observe::Beats;
use sinew_wire::call::{Reply, Status};

use crate::alarm::Alarm;
use crate::entry::Entry;
use crate::service::Service;
use crate::settle::Cause;
use crate::table::{CallId, Step, Stepped};

/// Calls looked at under one lock.
const BATCH: usize = 256;

/// Ends calls at their deadlines.
pub(crate) async fn watch(service: Arc<Service>, alarm: Arc<Alarm>, mut beats: Beats) {
    let mut due = Vec::with_capacity(BATCH);
    loop {
        alarm.begin();
        for stripe in 0..service.table.stripes() {
            service.see_to(stripe, &mut due);
        }
        tokio::select! {
            () = alarm.wait(service.table.earliest()) => {}
            () = beats.due() => beats.beat().await,
        }
        // Other tasks have their turn even if something is due all the time.
        tokio::task::consume_budget().await;
    }
}

impl Service {
    fn see_to(self: &Arc<Self>, stripe: usize, due: &mut Vec<CallId>) {
        let now = Instant::now();
        loop {
            due.clear();
            self.table.due(stripe, now, BATCH, due);
            for id in due.iter() {
                self.is_due(*id, now);
            }
            if due.len() < BATCH {
                return;
            }
        }
    }

    fn is_due(self: &Arc<Self>, id: CallId, now: Instant) {
        let stepped = self.table.step(id, |entry| {
            if now >= entry.deadline {
                return Step::Take;
            }
            if now < entry.timer {
                return Step::Leave;
            }
            entry.timer = entry.deadline;
            Step::Keep(entry.attempt)
        });
        match stepped {
            Stepped::Taken(entry) => self.time_out(id, entry, now),
            Stepped::Kept(attempt) => self.hedge(id, attempt, now),
            Stepped::Nothing => {}
        }
    }

    fn time_out(self: &Arc<Self>, id: CallId, entry: Box<Entry>, now: Instant) {
        let was_handed = entry.place.is_handed();
        let code = u16::from(was_handed);
        let reply = Reply { code, ..Reply::failure(0, Status::TimedOut, "the deadline has passed") };
        // In the queue of its provider it says nothing of it that the provider's node does not say better.
        let cause = if was_handed { Cause::TimedOut } else { Cause::NotHanded };
        self.settle(id, entry, cause, &reply, now);
    }
}
