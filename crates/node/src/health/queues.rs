use std::time::{Duration, Instant};

use sinew_observe::{Check, Fill, Health, Queues, Scope};

/// Fill in percent from which a queue is critical.
const CRITICAL_PERCENT: u64 = 90;

/// How long a queue has to be that full: a burst that is worked off is what queues are for.
const LASTING: Duration = Duration::from_secs(2);

/// A check for each queue, by its name.
#[derive(Debug)]
pub(crate) struct Levels {
    queues: Queues,
    rows: Vec<(Check, Level)>,
}

impl Levels {
    /// For the queues that have been added by now.
    pub(crate) fn new(health: &Health, queues: &Queues) -> Self {
        let check = |fill: &Fill| health.check(format!("queue {}", fill.queue), Scope::Ready);
        let rows =
            queues.fills().iter().filter(|fill| fill.watched).map(|fill| (check(fill), Level::default())).collect();
        Self { queues: queues.clone(), rows }
    }

    pub(crate) fn look(&mut self, now: Instant) {
        for ((check, level), fill) in
            self.rows.iter_mut().zip(self.queues.fills().into_iter().filter(|fill| fill.watched))
        {
            match level.look(fill.depth, fill.capacity, now) {
                Ok(()) => check.pass(),
                Err(problem) => check.fail(problem),
            }
        }
    }
}

/// How one queue has stood lately.
#[derive(Debug, Default)]
struct Level {
    critical_since: Option<Instant>,
}

impl Level {
    fn look(&mut self, depth: u64, capacity: u64, now: Instant) -> Result<(), String> {
        let percent = depth.saturating_mul(100) / capacity.max(1);
        if percent < CRITICAL_PERCENT {
            self.critical_since = None;
            return Ok(());
        }
        let since = *self.critical_since.get_or_insert(now);
        if now.saturating_duration_since(since) < LASTING {
            return Ok(());
        }
        Err(format!("{percent} % full, {depth} of {capacity}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_to_stay_full_and_one_look_below_makes_it_well() {
        let (mut level, begin) = (Level::default(), Instant::now());
        let mut look = |depth, millis| level.look(depth, 1_000, begin + Duration::from_millis(millis));
        assert_eq!(look(1_000, 0), Ok(()));
        assert_eq!(look(900, 1_999), Ok(()));
        assert_eq!(look(900, 2_000), Err("90 % full, 900 of 1000".to_owned()));
        assert_eq!(look(899, 2_001), Ok(()));
        assert_eq!(look(2_000, 2_002), Ok(()), "the time begins anew");
        assert_eq!(look(u64::MAX, 4_002).map_err(|error| error.ends_with("of 1000")), Err(true));
    }

    #[test]
    fn a_queue_without_room_is_well_while_nothing_is_in_it() {
        let (mut level, begin) = (Level::default(), Instant::now());
        assert_eq!(level.look(0, 0, begin), Ok(()));
        assert_eq!(level.look(0, 0, begin + LASTING), Ok(()));
    }
}
