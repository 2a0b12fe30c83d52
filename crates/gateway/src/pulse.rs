use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew_link::Probe;
use sinew_wire::Refusal;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often a client that has calls to answer is looked after.
const TICK: Duration = Duration::from_millis(100);

/// After so long without a word it is asked for one, and its host whether it is there at all.
const QUIET: Duration = Duration::from_millis(400);

/// Looks after a client while it has calls to answer: who has sent them wants to know soon that it is dead. Costs nothing while
/// there are none.
pub(crate) struct Pulse {
    awake: Arc<Awake>,
    ticks: Interval,
    probe: Option<Probe>,
    /// The network says that nobody is there any more.
    closed: bool,
    /// When it was asked for a word that has not come yet.
    asked: Option<Instant>,
    /// After so long without one it is given up.
    limit: Duration,
}

/// Whether the client is looked after. Shared with the writer of its link.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    is_awake: AtomicBool,
    stirred: Notify,
}

impl Awake {
    /// Calls have gone out to the client.
    pub(crate) fn stir(&self) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            self.stirred.notify_one();
        }
    }
}

/// What is to be done about a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing.
    Fine,
    /// It is to be asked for a sign of life.
    Ask,
    /// It is gone.
    Gone(Refusal),
}

impl Pulse {
    pub(crate) fn new(awake: Arc<Awake>, probe: Option<Probe>, limit: Duration) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { awake, ticks, probe, closed: false, asked: None, limit }
    }

    /// The client is going to serve calls, and alive.
    pub(crate) fn learn(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.learn();
        }
    }

    /// Waits until [`Pulse::look`] is due. Cancel safe.
    pub(crate) async fn due(&mut self) {
        if !self.awake.is_awake.load(Ordering::Acquire) {
            self.awake.stirred.notified().await;
            self.ticks.reset();
            return;
        }
        let probe = &self.probe;
        let closed = async {
            match probe {
                Some(probe) => probe.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = closed => self.closed = true,
        }
    }

    /// `open`: how many calls the client has to answer. `heard`: when it was heard last.
    pub(crate) fn look(&mut self, open: impl Fn() -> usize, heard: Instant, now: Instant) -> Beat {
        let silence = now.saturating_duration_since(heard);
        let closed = std::mem::take(&mut self.closed);
        if !self.is_wanted(open) || silence < QUIET {
            self.asked = None;
            if let Some(probe) = &mut self.probe {
                probe.heard();
            }
            return Beat::Fine;
        }
        if closed {
            return Beat::Gone(Refusal::Protocol("its host says that nobody is there".to_owned()));
        }
        // Who was stopped itself for a while has heard nobody: the time counts from the question.
        if let Some(asked) = self.asked.filter(|asked| *asked >= heard) {
            let given_up = now.saturating_duration_since(asked) >= self.limit.saturating_sub(QUIET);
            return if given_up { Beat::Gone(Refusal::Idle(silence.as_millis() as u64)) } else { Beat::Fine };
        }
        self.asked = Some(now);
        if let Some(probe) = &mut self.probe {
            probe.heard();
            probe.ask();
        }
        Beat::Ask
    }

    fn is_wanted(&self, open: impl Fn() -> usize) -> bool {
        if open() > 0 {
            return true;
        }
        // Before looking again, so that nothing that goes out in between is missed.
        self.awake.is_awake.store(false, Ordering::Release);
        if open() == 0 {
            return false;
        }
        self.awake.is_awake.store(true, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_silent_client_is_asked_and_given_up() {
        let mut pulse = Pulse::new(Arc::default(), None, LIMIT);
        let start = Instant::now();
        let mut look = |open: usize, heard, now| pulse.look(|| open, after(start, heard), after(start, now));
        assert_eq!(look(1, 0, 399), Beat::Fine);
        assert_eq!(look(1, 0, 400), Beat::Ask);
        assert_eq!(look(1, 0, 1_999), Beat::Fine);
        // Whatever it says is a sign of life.
        assert_eq!(look(1, 1_999, 2_100), Beat::Fine);
        assert_eq!(look(1, 1_999, 2_400), Beat::Ask);
        assert_eq!(look(0, 1_999, 9_000), Beat::Fine, "nobody waits for it");
        assert_eq!(look(1, 1_999, 9_000), Beat::Ask, "and this is another time");
        assert_eq!(look(1, 1_999, 10_599), Beat::Fine);
        assert!(matches!(look(1, 1_999, 10_600), Beat::Gone(Refusal::Idle(_))));
    }

    #[tokio::test]
    async fn a_client_without_calls_is_not_looked_after_until_one_goes_out() {
        let awake = Arc::new(Awake::default());
        let mut pulse = Pulse::new(Arc::clone(&awake), None, LIMIT);
        let quiet = tokio::time::timeout(Duration::from_millis(1), pulse.due()).await;
        assert!(quiet.is_err());
        awake.stir();
        pulse.due().await;
        let now = Instant::now();
        assert_eq!(pulse.look(|| 1, now, now), Beat::Fine);
        pulse.due().await;
        assert_eq!(pulse.look(|| 0, now, now), Beat::Fine);
        assert!(!awake.is_awake.load(Ordering::Acquire));
    }
}
