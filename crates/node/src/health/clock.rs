use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// By how much the wall clock may differ from the monotonic one between two looks.
const MAX_JUMP: Duration = Duration::from_secs(5);

/// How long a jump is reported.
const REPORTED: Duration = Duration::from_secs(60);

/// 2025-01-01T00:00:00Z, in seconds after 1970: a clock before that was never set.
const NEVER_SET: u64 = 1_735_689_600;

/// Compares the wall clock with the monotonic one.
///
/// A step of the clock shows here, and so does a machine that was suspended: the monotonic clock stands still meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: Option<(Instant, SystemTime)>,
    jumped: Option<(Instant, String)>,
    jumps: Jumps,
}

/// How often the clock has jumped since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jumps(Arc<AtomicU64>);

impl Jumps {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock {
    pub(crate) fn jumps(&self) -> Jumps {
        self.jumps.clone()
    }

    /// Both clocks now: whether the wall clock can be relied on.
    pub(crate) fn look(&mut self, now: Instant, wall: SystemTime) -> Result<(), String> {
        if let Some((then, wall_then)) = self.last.replace((now, wall)) {
            // The monotonic clock can't go back; a caller that does so gets no difference.
            let expected = wall_then + now.saturating_duration_since(then);
            if let Some(jump) = jump(expected, wall) {
                self.jumps.0.fetch_add(1, Ordering::Relaxed);
                self.jumped = Some((now, jump));
            }
        }
        let since_1970 = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if since_1970.as_secs() < NEVER_SET {
            return Err("the wall clock is before 2025: it was never set".to_owned());
        }
        self.jumped.take_if(|(at, _)| now.saturating_duration_since(*at) >= REPORTED);
        match &self.jumped {
            Some((_, jump)) => Err(jump.clone()),
            None => Ok(()),
        }
    }
}

/// How far the clock is from where it should be, in words, if that is too far.
fn jump(expected: SystemTime, wall: SystemTime) -> Option<String> {
    let (by, way) = match wall.duration_since(expected) {
        Ok(ahead) => (ahead, "forward"),
        Err(behind) => (behind.duration(), "back"),
    };
    (by > MAX_JUMP).then(|| format!("the wall clock jumped {way} by {:.1} s", by.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A clock that has looked once, and both times of that.
    fn begun() -> (Clock, Instant, SystemTime) {
        let (mut clock, now) = (Clock::default(), Instant::now());
        let wall = SystemTime::UNIX_EPOCH + secs(NEVER_SET);
        assert_eq!(clock.look(now, wall), Ok(()));
        (clock, now, wall)
    }

    #[test]
    fn clocks_that_go_together_are_sane_however_long_nobody_looked() {
        let (mut clock, now, wall) = begun();
        assert_eq!(clock.look(now + secs(3_600), wall + secs(3_600)), Ok(()));
        // Slewed by less than would matter.
        assert_eq!(clock.look(now + secs(3_601), wall + secs(3_606)), Ok(()));
        assert_eq!(clock.look(now + secs(3_602), wall + secs(3_602)), Ok(()));
        assert_eq!(clock.jumps().count(), 0);
    }

    #[test]
    fn a_jump_either_way_is_reported_for_a_while_and_counted() {
        for (words, forward) in [("forward by 60.0 s", true), ("back by 60.0 s", false)] {
            let (mut clock, begin, wall) = begun();
            // An hour later, so that going back does not lead to before 2025.
            let (begin, wall) = (begin + secs(3_600), wall + secs(3_600));
            assert_eq!(clock.look(begin, wall), Ok(()));
            let moved = if forward { wall + secs(60) } else { wall - secs(60) };
            let mut look = |later: u64| clock.look(begin + secs(later), moved + secs(later));
            let reported = Err(format!("the wall clock jumped {words}"));
            assert_eq!(look(1), reported);
            assert_eq!(look(60), reported, "still");
            assert_eq!(look(61), Ok(()), "and then no more");
            assert_eq!(clock.jumps().count(), 1);
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_not_sane_until_it_is() {
        let (mut clock, now) = (Clock::default(), Instant::now());
        let text = Err("the wall clock is before 2025: it was never set".to_owned());
        assert_eq!(clock.look(now, SystemTime::UNIX_EPOCH - secs(1)), text);
        let (now, wall) = (now + secs(1), SystemTime::UNIX_EPOCH);
        assert_eq!(clock.look(now, wall), text);
        let (now, wall) = (now + secs(1), SystemTime::UNIX_EPOCH + secs(NEVER_SET));
        assert!(clock.look(now, wall).is_err_and(|error| error.contains("forward")), "setting it is a jump");
        assert_eq!(clock.look(now + secs(60), wall + secs(60)), Ok(()));
    }
}
