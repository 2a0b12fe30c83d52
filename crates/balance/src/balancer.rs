use std::time::{Duration, Instant};

use crate::{BalanceConfig, Candidate, Choice, InstanceId, InstanceView, Outcome, Pick};

/// Chooses among the instances of one procedure. See the [crate](crate).
#[derive(Debug)]
pub struct Balancer {
    config: BalanceConfig,
    members: Vec<Candidate>,
    next: u64,
    under_way: usize,
}

impl Balancer {
    /// Longest time for which an instance that says it is overloaded is passed over.
    pub const MAX_REST: Duration = Duration::from_secs(5);

    /// Without instances. The seed decides the random choices.
    pub fn new(config: BalanceConfig, seed: u64) -> Self {
        Self { config, members: Vec::new(), next: seed, under_way: 0 }
    }

    /// These instances provide it now. Keeps what it knows of those that stay; of those that are gone, calls under way may still
    /// be finished. Takes time in proportion to their number.
    pub fn set(&mut self, candidates: &[Candidate], _now: Instant) {
        self.members = candidates.to_vec();
    }

    /// The instance for the next call, none of those in `exclude`, of which there should be few. `None` if there is no other, or
    /// none that may be called now: see [`Balancer::next_probe`].
    pub fn choose(&mut self, _how: Choice<'_>, exclude: &[InstanceId], _now: Instant) -> Option<Pick> {
        self.next = self.next.wrapping_add(self.config.explore.into());
        let id = self.members.iter().map(|member| member.id).find(|id| !exclude.contains(id))?;
        Some(Pick { id, probe: false, slot: 0, serial: self.next })
    }

    /// All instances that may be called now, for [`Strategy::All`](sinew_wire::call::Strategy::All).
    pub fn choose_all(&self, _now: Instant) -> impl Iterator<Item = Pick> {
        self.members.iter().map(|member| Pick { id: member.id, probe: false, slot: 0, serial: 0 })
    }

    /// Notes that a call was handed to the instance.
    pub fn started(&mut self, _pick: &Pick, _now: Instant) {
        self.under_way += 1;
    }

    /// Notes that a call that was [started](Balancer::started) there has ended. Of an instance that is gone it changes nothing.
    pub fn finished(&mut self, _pick: &Pick, _outcome: Outcome, _now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// How many instances there are, those included that may not be called now.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Calls under way at the instances that are there.
    pub fn in_flight(&self) -> usize {
        self.under_way
    }

    /// When nobody may be called now because breakers are open: how long until the first of them lets a probe through. `None` if
    /// none is open.
    pub fn next_probe(&self, _now: Instant) -> Option<Duration> {
        None
    }

    /// How long 95 of 100 answers take at most, smoothed, for hedging. `None` below 20 answers.
    pub fn p95(&self) -> Option<Duration> {
        None
    }

    /// What is known of each instance, by id.
    pub fn snapshot(&self, _now: Instant) -> Vec<InstanceView> {
        Vec::new()
    }
}
