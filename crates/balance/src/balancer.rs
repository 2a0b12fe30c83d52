use std::time::{Duration, Instant};

use hashbrown::HashSet;
use sinew_wire::call::Strategy;

use crate::breaker::Lets;
use crate::chance::Chance;
use crate::latency::Typical;
use crate::member::Member;
use crate::pool::{List, Place, Pool, lets};
use crate::ring::Ring;
use crate::{BalanceConfig, Candidate, Choice, InstanceId, InstanceView, Outcome, Pick};

/// Instances that [`Strategy::Fastest`] looks at.
const LOOKED_AT: usize = 8;

/// Chooses among the instances of one procedure. See the [crate](crate).
#[derive(Debug)]
pub struct Balancer {
    config: BalanceConfig,
    /// [`BalanceConfig::alike`] and [`BalanceConfig::local_bias`] on the logarithmic scale.
    alike: f32,
    local_bias: f32,
    pool: Pool,
    ring: Ring,
    chance: Chance,
    typical: Typical,
    /// Counts the calls.
    turn: u64,
    /// Counts the choices in turn.
    rounds: usize,
    /// The quickest one so far, and its serial.
    quickest: Option<(u32, u64)>,
}

impl Balancer {
    /// Longest time for which an instance that says it is overloaded is passed over.
    pub const MAX_REST: Duration = Duration::from_secs(5);

    /// Without instances. The seed decides the random choices.
    pub fn new(config: BalanceConfig, seed: u64) -> Self {
        Self {
            alike: config.alike.max(1.0).ln() as f32,
            local_bias: config.local_bias.max(1.0).ln() as f32,
            config,
            pool: Pool::new(),
            ring: Ring::new(),
            chance: Chance::new(seed),
            typical: Typical::new(),
            turn: 0,
            rounds: 0,
            quickest: None,
        }
    }

    /// These instances provide it now. Keeps what it knows of those that stay; of those that are gone, calls under way
    /// may still be finished. Takes time in proportion to their number.
    pub fn set(&mut self, candidates: &[Candidate], now: Instant) {
        let stay: HashSet<_> = candidates.iter().map(|candidate| candidate.id).collect();
        let members = self.pool.members().filter(|(_, member)| !stay.contains(&member.candidate.id));
        let gone: Vec<_> = members.map(|(slot, _)| slot).collect();
        for slot in &gone {
            self.pool.remove(*slot);
        }
        if !gone.is_empty() {
            self.ring.retain(|slot| self.pool.get(slot).is_some());
        }
        // Whoever is there first has nobody to take the share that a newcomer doesn't get.
        let since = (self.pool.len() > 0).then_some(now);
        let mut added = Vec::new();
        for candidate in candidates {
            match self.pool.slot(&candidate.id) {
                Some(slot) => {
                    self.pool.change(slot, |member| member.update(*candidate));
                }
                None => added.push((&candidate.id, self.pool.insert(*candidate, since, now))),
            }
        }
        self.ring.insert(added.into_iter());
    }

    /// The instance for the next call, none of those in `exclude`, of which there should be few. `None` if there is no
    /// other, or none that may be called now: see [`Balancer::next_probe`].
    ///
    /// An instance whose turn it is to be probed comes before the others, but for a sticky call, which goes where it
    /// belongs.
    pub fn choose(&mut self, how: Choice<'_>, exclude: &[InstanceId], now: Instant) -> Option<Pick> {
        self.pool.wake(now);
        if how.strategy == Strategy::Sticky {
            return self.sticky(how.key, exclude, now);
        }
        if let Some(slot) = self.draw(List::Due, exclude, None) {
            return self.pool.get(slot).map(|member| member.pick(slot, true));
        }
        let chosen = match how.strategy {
            Strategy::Fastest => self.fastest(exclude, now),
            Strategy::RoundRobin => self.in_turn(exclude),
            Strategy::Balanced | Strategy::Sticky | Strategy::All => self.balanced(exclude, now),
        };
        let slot = chosen?;
        self.pool.get(slot).map(|member| member.pick(slot, false))
    }

    /// All instances that may be called now, for [`Strategy::All`]: those are missing whose breakers are open, and
    /// those that say they are down.
    pub fn choose_all(&self, now: Instant) -> impl Iterator<Item = Pick> {
        self.pool.members().filter_map(move |(slot, member)| {
            let lets = lets(member, now)?;
            Some(member.pick(slot, lets == Lets::Probe))
        })
    }

    /// Notes that a call was handed to the instance.
    pub fn started(&mut self, pick: &Pick, now: Instant) {
        self.pool.wake(now);
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        self.pool.change_picked(pick, |member| member.start(turn, pick.probe));
    }

    /// Notes that a call that was [started](Balancer::started) there has ended. Of an instance that is gone it changes
    /// nothing.
    pub fn finished(&mut self, pick: &Pick, outcome: Outcome, now: Instant) {
        let typical = self.typical.mean();
        let config = &self.config;
        self.pool.change_picked(pick, |member| member.finish(outcome, pick.probe, typical, config, now));
        if let Outcome::Success { latency, .. } = outcome {
            self.typical.observe(latency);
        }
    }

    /// How many instances there are, those included that may not be called now.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls under way at the instances that are there. Takes time in proportion to their number.
    pub fn in_flight(&self) -> usize {
        self.pool.members().map(|(_, member)| member.in_flight as usize).sum()
    }

    /// When nobody may be called now because breakers are open: how long until the first of them lets a probe through.
    /// `None` if none is open.
    pub fn next_probe(&self, now: Instant) -> Option<Duration> {
        self.pool.first_waiting().map(|until| until.saturating_duration_since(now))
    }

    /// How long 95 of 100 answers take at most, smoothed, for hedging. `None` below 20 answers.
    pub fn p95(&self) -> Option<Duration> {
        self.typical.p95()
    }

    /// What is known of each instance, by id.
    pub fn snapshot(&self, now: Instant) -> Vec<InstanceView> {
        let mut views: Vec<_> = self.pool.members().map(|(_, member)| member.view(now)).collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }

    fn balanced(&mut self, exclude: &[InstanceId], now: Instant) -> Option<u32> {
        let good = self.nearest(List::Local, List::Remote, exclude, now);
        good.or_else(|| self.nearest(List::LocalDegraded, List::RemoteDegraded, exclude, now))
    }

    /// The better of two local ones, unless it is overloaded and the better of two remote ones is not.
    fn nearest(&mut self, local: List, remote: List, exclude: &[InstanceId], now: Instant) -> Option<u32> {
        let Some(near) = self.better_of_two(local, exclude, now) else {
            return self.better_of_two(remote, exclude, now);
        };
        if self.pool.list(remote).is_empty() {
            return Some(near);
        }
        let Some(far) = self.better_of_two(remote, exclude, now) else { return Some(near) };
        let typical = self.typical.mean();
        let (Some(here), Some(there)) = (self.pool.get(near), self.pool.get(far)) else { return Some(near) };
        let (cost, other) = (here.cost(typical, &self.config, now), there.cost(typical, &self.config, now));
        let slow = cost.latency - other.latency > self.local_bias;
        if !slow && cost.room {
            let share = here.share(&self.config, now);
            return Some(if self.chance.hits(share) { near } else { far });
        }
        Some(if cost.compare(&other, self.alike).is_le() { near } else { far })
    }

    fn better_of_two(&mut self, list: List, exclude: &[InstanceId], now: Instant) -> Option<u32> {
        let first = self.draw(list, exclude, None)?;
        if self.pool.list(list).len() == 1 {
            return Some(first);
        }
        let Some(second) = self.draw(list, exclude, Some(first)) else { return Some(first) };
        let (Some(one), Some(two)) = (self.pool.get(first), self.pool.get(second)) else { return Some(first) };
        let typical = self.typical.mean();
        let costs = (one.cost(typical, &self.config, now), two.cost(typical, &self.config, now));
        let shares = (one.share(&self.config, now), two.share(&self.config, now));
        // Newcomers pass by their share; where both or none do, the costs decide.
        match (self.chance.hits(shares.0), self.chance.hits(shares.1)) {
            (true, false) if costs.0.room => return Some(first),
            (false, true) if costs.1.room => return Some(second),
            _ => {}
        }
        if costs.0.room && self.explores() {
            return Some(first);
        }
        Some(if costs.0.compare(&costs.1, self.alike).is_le() { first } else { second })
    }

    fn explores(&mut self) -> bool {
        let every = self.config.explore as usize;
        every > 0 && self.chance.below(every) == 0
    }

    /// A random one of a list, but for the excluded ones and `other`.
    fn draw(&mut self, list: List, exclude: &[InstanceId], other: Option<u32>) -> Option<u32> {
        let slots = self.pool.list(list);
        if slots.is_empty() {
            return None;
        }
        let start = self.chance.below(slots.len());
        // Of so many in a row at least one is left over.
        let row = (exclude.len() + usize::from(other.is_some()) + 1).min(slots.len());
        let (before, behind) = slots.split_at_checked(start)?;
        let mut row = behind.iter().chain(before).take(row).copied();
        row.find(|slot| Some(*slot) != other && self.is_wanted(*slot, exclude))
    }

    fn is_wanted(&self, slot: u32, exclude: &[InstanceId]) -> bool {
        self.pool.get(slot).is_some_and(|member| !exclude.contains(&member.candidate.id))
    }

    fn in_turn(&mut self, exclude: &[InstanceId]) -> Option<u32> {
        self.rounds = self.rounds.wrapping_add(1);
        let good = self.nth_of(List::Local, List::Remote, exclude);
        good.or_else(|| self.nth_of(List::LocalDegraded, List::RemoteDegraded, exclude))
    }

    /// The one whose turn it is in two lists, or the next one that is not excluded, which then has had its turn.
    fn nth_of(&mut self, local: List, remote: List, exclude: &[InstanceId]) -> Option<u32> {
        let (locals, remotes) = (self.pool.list(local), self.pool.list(remote));
        let both = locals.len() + remotes.len();
        let nth = |n: usize| if n < locals.len() { locals.get(n) } else { remotes.get(n - locals.len()) };
        for skipped in 0..=exclude.len() {
            let slot = *nth(self.rounds.wrapping_add(skipped).checked_rem(both)?)?;
            if self.is_wanted(slot, exclude) {
                self.rounds = self.rounds.wrapping_add(skipped);
                return Some(slot);
            }
        }
        None
    }

    fn fastest(&mut self, exclude: &[InstanceId], now: Instant) -> Option<u32> {
        let good = self.quickest_of(List::Local, List::Remote, exclude, now);
        good.or_else(|| self.quickest_of(List::LocalDegraded, List::RemoteDegraded, exclude, now))
    }

    /// The quickest of a few random ones of two lists, and of who was the quickest before: with time, of all.
    fn quickest_of(&mut self, local: List, remote: List, exclude: &[InstanceId], now: Instant) -> Option<u32> {
        let both = self.pool.list(local).len() + self.pool.list(remote).len();
        if both == 0 {
            return None;
        }
        let start = self.chance.below(both);
        let explores = self.explores();
        let (locals, remotes) = (self.pool.list(local), self.pool.list(remote));
        let all = locals.iter().chain(remotes).copied();
        let few = all.clone().chain(all).skip(start).take(both.min(LOOKED_AT + exclude.len()));
        let few = few.filter(|slot| self.is_wanted(*slot, exclude));
        if explores {
            return few.into_iter().next();
        }
        let typical = self.typical.mean();
        let time = |member: &Member| {
            // One that has never answered is asked, by one call at first.
            let untried = !member.latency.is_known() && member.in_flight == 0;
            if untried { 0.0 } else { member.quickness(typical, &self.config, now) }
        };
        let champion = self.quickest.and_then(|(slot, serial)| {
            let member = self.pool.get(slot).filter(|member| member.serial == serial)?;
            let listed = matches!(member.place, Place::Listed(list, _) if list == local || list == remote);
            (listed && self.is_wanted(slot, exclude)).then_some(slot)
        });
        let timed = few.chain(champion).filter_map(|slot| Some((slot, time(self.pool.get(slot)?))));
        let (slot, _) = timed.min_by(|one, two| one.1.total_cmp(&two.1))?;
        self.quickest = self.pool.get(slot).map(|member| (slot, member.serial));
        Some(slot)
    }

    fn sticky(&self, key: &[u8], exclude: &[InstanceId], now: Instant) -> Option<Pick> {
        self.ring.find(key, |slot| {
            let member = self.pool.get(slot)?;
            let lets = lets(member, now)?;
            (!exclude.contains(&member.candidate.id)).then(|| member.pick(slot, lets == Lets::Probe))
        })
    }
}
