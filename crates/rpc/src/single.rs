//! Calls that are answered by a result that is kept, or by that of an equal one that is under way.

use std::sync::Arc;
use std::time::Instant;

use sinew_wire::call::{CallFrame, Reply, Status};

use crate::cache::{Found, Key};
use crate::entry::{Keeping, Place};
use crate::procedure::Traits;
use crate::service::{Counts, Service};
use crate::table::CallId;

impl Service {
    /// Answers a call by a result that is kept; or has it wait for an equal one; or goes on with it, as the one for
    /// which others wait.
    pub(crate) fn answer_kept(self: &Arc<Self>, id: CallId, attempt: u8, traits: &Traits, now: Instant) {
        let Some(policy) = &traits.cache else { return };
        let call = self.table.with(id, attempt, |entry| {
            let route = entry.route.as_ref()?;
            Some((entry.request.clone(), Arc::clone(&route.procedure.name)))
        });
        let Some(Some((frame, name))) = call else { return };
        let Ok(CallFrame::Request(request)) = CallFrame::decode(&frame) else { return };
        let key = Arc::new(Key::new(&name, traits.results, &request, policy));
        // Before it stands with those that wait: from then on somebody else may go on with it.
        let waits = self.table.with(id, attempt, |entry| {
            entry.place = Place::Parent;
            entry.route.as_mut().map(|route| route.keeping = Keeping::Waits(Arc::clone(&key)))
        });
        if waits.is_none() {
            return;
        }
        let counters = &self.results.counters;
        match self.results.find(&key, id, now) {
            Found::Result(kept) => {
                counters.hits.inc();
                self.end_here(id, attempt, &kept.reply(), now);
            }
            Found::Joined => {
                Counts::count(&self.counts.coalesced);
                // It may have ended before it stood there.
                if self.table.with(id, attempt, |_| ()).is_none() {
                    self.results.leave(&key, id);
                }
            }
            Found::Leads => {
                counters.misses.inc();
                if self.keeping(id, attempt, Keeping::Leads(Arc::clone(&key), Arc::clone(policy))) {
                    return self.route(id, attempt, now);
                }
                // Cancelled meanwhile: who has joined goes on.
                let waiting = self.results.landed(&key, policy, None, now);
                self.begin_anew(waiting, now);
            }
        }
    }

    fn keeping(&self, id: CallId, attempt: u8, keeping: Keeping) -> bool {
        let noted = self.table.with(id, attempt, |entry| entry.route.as_mut().map(|route| route.keeping = keeping));
        noted.flatten().is_some()
    }

    /// A call has ended: what others wait for, if it is that.
    pub(crate) fn landed(
        self: &Arc<Self>,
        id: CallId,
        keeping: Keeping,
        passed: bool,
        reply: &Reply<'_>,
        now: Instant,
    ) {
        let (key, policy) = match keeping {
            Keeping::Maybe | Keeping::Never => return,
            Keeping::Waits(key) => return self.results.leave(&key, id),
            Keeping::Leads(key, policy) => (key, policy),
        };
        let waiting = self.results.landed(&key, &policy, (!passed).then_some(reply), now);
        match reply.status {
            // Its own time is over, or its caller is gone; not theirs.
            Status::TimedOut | Status::Cancelled => self.begin_anew(waiting, now),
            _ if passed => {
                // What is longer than a frame went to one caller only.
                for id in waiting {
                    if self.keeping(id, 0, Keeping::Never) {
                        self.route(id, 0, now);
                    }
                }
            }
            _ => waiting.into_iter().for_each(|id| self.end_here(id, 0, reply, now)),
        }
    }

    fn begin_anew(self: &Arc<Self>, waiting: impl IntoIterator<Item = CallId>, now: Instant) {
        for id in waiting {
            if self.keeping(id, 0, Keeping::Maybe) {
                self.route(id, 0, now);
            }
        }
    }
}
