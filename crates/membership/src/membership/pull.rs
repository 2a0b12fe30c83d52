//! Fetching what members publish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_wire::PeerId;

use super::Membership;
use super::member::Pull;
use super::requests::Purpose;
use crate::packet::Identity;
use crate::record::check_changes;
use crate::replica::{Asked, Told};
use crate::wire::{Page, Request};
use crate::{Event, Record, Refused};

/// First pause after a failure; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(1);

impl Membership {
    /// Takes the changes inside a record, or queues the fetching of what it does not tell.
    pub(super) fn take_inline(&mut self, record: &Arc<Record>, now: Instant) {
        let spare = self.config.max_bytes.saturating_sub(self.held_bytes);
        let Some(member) = self.table.get_up(&record.peer()) else { return };
        let mut told = Vec::new();
        let before = (member.replica.len(), member.replica.bytes());
        let taken = member.replica.apply(record.base, record.version, &record.changes, &self.config, spare, &mut told);
        let after = (member.replica.len(), member.replica.bytes());
        self.account(before, after);
        self.tell_changes(record.peer(), told);
        if let Err(refused) = taken {
            self.count(&refused);
            self.pull_failed(super::member::identity(record), now);
            return;
        }
        self.queue_pull(record.peer());
        self.answer_asked(record.peer());
    }

    fn account(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.held_entries = self.held_entries + after.0 - before.0;
        self.held_bytes = self.held_bytes + after.1 - before.1;
    }

    fn tell_changes(&mut self, peer: PeerId, told: Vec<Told>) {
        for (key, value) in told {
            self.event(Event::Changed { peer, key, value });
        }
    }

    /// Puts a member into the queue, if something is missing and nothing is under way.
    fn queue_pull(&mut self, peer: PeerId) {
        let Some(member) = self.table.get_up(&peer) else { return };
        if member.replica.version() < member.record.version && member.pull == Pull::Idle {
            member.pull = Pull::Queued;
            self.pulls.push_back(peer);
        }
    }

    /// Asks as many as may be asked at once.
    pub(super) fn start_pulls(&mut self, now: Instant) {
        while self.asks.len() < self.config.max_requests && self.outputs.len() < self.config.max_outputs {
            let Some(peer) = self.pulls.pop_front() else { break };
            let Some(member) = self.table.get_up(&peer).filter(|member| member.pull == Pull::Queued) else { continue };
            let (id, asked) = (member.identity(), member.replica.next());
            let request = Request::Pull { epoch: id.epoch, after: asked.after, since: asked.since };
            let number = self.ask(peer, &request, Purpose::Pull { id, asked }, now);
            self.pulls_paused |= number.is_none();
            if let Some(member) = self.table.get_up(&peer) {
                member.pull = number.map_or(Pull::Later(now + PAUSE), Pull::Asked);
            }
        }
    }

    pub(super) fn take_page(&mut self, id: Identity, asked: Asked, page: Page, now: Instant) -> Result<(), Refused> {
        let spare = self.config.max_bytes.saturating_sub(self.held_bytes);
        let Some(member) = self.table.get_up(&id.peer) else { return Ok(()) };
        if member.record.info.epoch != id.epoch {
            return Ok(());
        }
        member.pull = Pull::Idle;
        let start = if page.reset { 0 } else { asked.after };
        let valid = if page.epoch != id.epoch || page.upto < start || page.version < page.upto {
            Err(Refused::Malformed("a page of something else".to_owned()))
        } else {
            check_changes(&page.changes, start, page.upto)
        };
        let before = (member.replica.len(), member.replica.bytes());
        let mut told = Vec::new();
        let taken = valid.and_then(|()| member.replica.apply_page(asked, page, &self.config, spare, &mut told));
        let after = (member.replica.len(), member.replica.bytes());
        self.account(before, after);
        self.tell_changes(id.peer, told);
        match taken {
            Ok(more) => {
                let Some(member) = self.table.get_up(&id.peer) else { return Ok(()) };
                member.pull_failures = 0;
                if more && member.pull == Pull::Idle {
                    member.pull = Pull::Queued;
                    self.pulls.push_back(id.peer);
                } else {
                    self.queue_pull(id.peer);
                }
                self.answer_asked(id.peer);
                Ok(())
            }
            Err(refused) => {
                self.pull_failed(id, now);
                Err(refused)
            }
        }
    }

    /// Tries again, later each time.
    pub(super) fn pull_failed(&mut self, id: Identity, now: Instant) {
        let Some(member) = self.table.get_up(&id.peer) else { return };
        if member.record.info.epoch != id.epoch {
            return;
        }
        let pause = PAUSE.saturating_mul(1 << member.pull_failures.min(8)).min(LONGEST);
        member.pull_failures = member.pull_failures.saturating_add(1);
        member.pull = Pull::Later(now + pause);
        self.pulls_paused = true;
    }

    /// Puts those back into the queue whose pause is over.
    pub(super) fn retry_pulls(&mut self, now: Instant) {
        if !self.pulls_paused {
            return;
        }
        let (mut due, mut waiting) = (Vec::new(), false);
        for member in self.table.iter_mut() {
            match member.pull {
                Pull::Later(at) if at <= now => {
                    member.pull = Pull::Idle;
                    due.push(member.record.peer());
                }
                Pull::Later(_) => waiting = true,
                _ => {}
            }
        }
        self.pulls_paused = waiting;
        for peer in due {
            self.queue_pull(peer);
        }
    }
}
