//! What is done from time to time.

use std::time::{Duration, Instant};

use sinew_wire::PeerId;

use super::Membership;
use super::requests::Purpose;
use super::table::sample;
use crate::MembershipConfig;
use crate::packet::Identity;

/// How often the node looks after what is under way, while there is anything.
const BUSY: Duration = Duration::from_millis(50);

/// Most nodes that were introduced and are not members yet.
const MAX_JOINS: usize = 1_024;

/// How often a node that was introduced is asked, and how long it is waited for before that the first time; twice as
/// long each time.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// When what is due next.
#[derive(Debug)]
pub(super) struct Clock {
    busy_at: Instant,
    compare_at: Instant,
    retry_at: Instant,
    confront_at: Instant,
}

/// A node that was introduced.
#[derive(Debug)]
pub(super) struct Join {
    tries: u32,
    again_at: Instant,
}

impl Clock {
    pub(super) fn new(config: &MembershipConfig, now: Instant) -> Self {
        Self {
            busy_at: now,
            compare_at: now + config.anti_entropy,
            retry_at: now + config.retry_down,
            confront_at: now,
        }
    }
}

impl Membership {
    /// Asks a node that is no member who is there.
    pub(super) fn join(&mut self, peer: PeerId, now: Instant) {
        if peer == self.own.record().peer() || self.joins.contains_key(&peer) || self.table.get_up(&peer).is_some() {
            return;
        }
        if self.joins.len() < MAX_JOINS {
            self.joins.insert(peer, Join { tries: 0, again_at: now });
            self.try_join(peer, now);
        }
    }

    fn try_join(&mut self, peer: PeerId, now: Instant) {
        let Some(join) = self.joins.get_mut(&peer) else { return };
        join.tries += 1;
        join.again_at = now + FIRST_PAUSE * 2u32.saturating_pow(join.tries.min(6));
        let down = self.table.get(&peer).map(|member| member.identity());
        self.start_comparison(peer, now);
        // If it is held for down it has to hear of that, so that it contradicts.
        if let Some(id) = down {
            self.detector.announce(id, now);
            self.apply_detector(now);
        }
    }

    pub(super) fn join_failed(&mut self, peer: PeerId, now: Instant) {
        let Some(join) = self.joins.get_mut(&peer) else { return };
        if join.tries >= TRIES {
            self.joins.remove(&peer);
        } else {
            join.again_at = join.again_at.max(now + FIRST_PAUSE);
        }
    }

    /// Whether a node that was introduced has not had the time to answer.
    pub(super) fn is_joining(&self) -> bool {
        self.joins.values().any(|join| join.tries <= 2)
    }

    pub(super) fn next_tick(&self) -> Instant {
        let often = self.clock.compare_at.min(self.clock.retry_at);
        let often = if self.detector.accuses() { often.min(self.clock.confront_at) } else { often };
        let idle = self.asks.is_empty() && self.joins.is_empty() && self.settles.is_empty() && self.pulls.is_empty();
        let busy = !idle || self.pulls_paused;
        if busy { often.min(self.clock.busy_at) } else { often }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.clock.busy_at <= now {
            self.clock.busy_at = now + BUSY;
            self.time_out(now);
            self.retry_joins(now);
            self.retry_pulls(now);
            self.ask_unconfirmed(now);
        }
        if self.clock.compare_at <= now {
            self.clock.compare_at = now + self.config.anti_entropy;
            self.start_comparisons(now);
            self.expire(now);
            if self.own.is_stale(&self.config, now) {
                self.sign(now);
                self.schedule_flush(now);
            }
        }
        if self.clock.confront_at <= now {
            self.clock.confront_at = now + self.config.probe_period / 2;
            self.detector.confront();
            self.apply_detector(now);
        }
        if self.clock.retry_at <= now {
            self.clock.retry_at = now + self.config.retry_down;
            self.retry_down(now);
        }
    }

    /// Requests whose answer was not given back in time.
    fn time_out(&mut self, now: Instant) {
        let late: Vec<u64> = self.asks.iter().filter(|(_, ask)| ask.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(ask) = self.asks.remove(&id) {
                self.unanswered(ask, now);
            }
        }
    }

    fn retry_joins(&mut self, now: Instant) {
        let due: Vec<PeerId> =
            self.joins.iter().filter(|(_, join)| join.again_at <= now).map(|(peer, _)| *peer).collect();
        for peer in due {
            if self.is_asking(peer, |purpose| matches!(purpose, Purpose::Compare { .. })) {
                continue;
            }
            if self.joins.get(&peer).is_some_and(|join| join.tries >= TRIES) {
                self.joins.remove(&peer);
            } else {
                self.try_join(peer, now);
            }
        }
    }

    /// Members whose record was not renewed go; members that are down are forgotten after a while.
    fn expire(&mut self, now: Instant) {
        let age = |since: Instant| now.saturating_duration_since(since);
        let expired: Vec<Identity> = self
            .table
            .iter_up()
            .filter(|member| age(member.heard) >= member.record.expires_after)
            .map(|member| member.identity())
            .collect();
        for id in expired {
            self.detector.down(id, false, now);
            self.apply_detector(now);
        }
        let forgotten: Vec<Identity> = self
            .table
            .iter()
            .filter(|member| !member.is_up() && age(member.since) >= self.config.forget_down)
            .map(|member| member.identity())
            .collect();
        for id in forgotten {
            self.forget(id, now);
        }
    }

    /// Tries some of the members that failed: a partition may have healed.
    fn retry_down(&mut self, now: Instant) {
        let failed: Vec<PeerId> = self
            .table
            .iter()
            .filter(|member| Self::is_failed(member.status))
            .map(|member| member.record.peer())
            .collect();
        for peer in sample(&failed, self.fan_out().max(2), &mut self.rng) {
            if let Some(id) = self.table.get(&peer).map(|member| member.identity()) {
                self.detector.announce(id, now);
            }
        }
        self.apply_detector(now);
    }
}
