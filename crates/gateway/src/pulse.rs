use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew_link::{Lane, LinkReader, Probe};
use sinew_mesh::writer::Wrote;
use sinew_wire::Refusal;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often a client that has calls to answer is looked after.
const TICK: Duration = Duration::from_millis(50);

/// After so long without a word it is asked for one, and its host whether it is there at all.
const QUIET: Duration = Duration::from_millis(400);

/// Looks after a client while it has calls to answer: who has sent them wants to know soon that it is dead.
///
/// A client that has had nothing to answer for a while is asked before it gets the next call: one round trip for that
/// one, and if the client is dead, the call was certainly not executed.
///
/// Costs nothing while nobody calls the client, and nothing at all for one that only calls: what is written to it are answers.
pub(crate) struct Pulse {
    awake: Arc<Awake>,
    lane: Arc<Lane>,
    ticks: Interval,
    probe: Option<Probe>,
    /// The network says that nobody is there any more.
    closed: bool,
    /// When it was asked for a word that has not come yet.
    asked: Option<Instant>,
    /// [`TICK`] has passed since the last look.
    ticked: bool,
    /// After so long without one it is given up.
    limit: Duration,
    /// The lane is guarded.
    guarded: bool,
}

/// Whether the client is looked after. Shared with the writer of its link, which must not wake anybody for each call: that
/// would be another thread, on the very core that the client is about to run on.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    /// The client has something that others may call.
    serves: AtomicBool,
    is_awake: AtomicBool,
    /// A call waits until the client has shown that it is there.
    is_waiting: AtomicBool,
    stirred: Notify,
}

impl Awake {
    /// The writer of the link has done something.
    pub(crate) fn note(&self, wrote: Wrote) {
        match wrote {
            Wrote::Sent { calls: 0, .. } => {}
            Wrote::Sent { .. } => {
                if self.serves.load(Ordering::Acquire) && !self.is_awake.swap(true, Ordering::AcqRel) {
                    self.stirred.notify_one();
                }
            }
            Wrote::Held => {
                self.is_waiting.store(true, Ordering::Release);
                self.is_awake.store(true, Ordering::Release);
                self.stirred.notify_one();
            }
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
    pub(crate) fn new(awake: Arc<Awake>, lane: Arc<Lane>, probe: Option<Probe>, limit: Duration) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { awake, lane, ticks, probe, closed: false, asked: None, ticked: false, limit, guarded: false }
    }

    /// The client is going to serve calls, and alive.
    pub(crate) fn serves(&mut self, reader: &LinkReader) {
        self.begin();
        // Where the system tells of a dead one, it need not be asked.
        if let (Some(probe), Some(rtt), false) = (&mut self.probe, reader.rtt(), self.guarded) {
            probe.learn(rtt);
            self.guarded = true;
            self.lane.guard(guard_after(rtt));
        }
    }

    /// From now on calls may come to the client. One may have gone out already.
    fn begin(&mut self) {
        if !self.awake.serves.swap(true, Ordering::AcqRel) {
            self.awake.is_awake.store(true, Ordering::Release);
            self.awake.stirred.notify_one();
            self.ticks.reset();
        }
    }

    /// The client has said something.
    pub(crate) fn heard(&self, now: Instant) {
        if self.guarded {
            self.lane.heard(now);
        }
    }

    /// Waits until [`Pulse::look`] is due. Cancel safe.
    pub(crate) async fn due(&mut self) {
        if !self.awake.is_awake.load(Ordering::Acquire) {
            self.awake.stirred.notified().await;
            return self.ticks.reset();
        }
        let probe = &self.probe;
        let closed = async {
            match probe {
                Some(probe) => probe.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.awake.stirred.notified() => {}
            _ = self.ticks.tick() => self.ticked = true,
            () = closed => self.closed = true,
        }
    }

    /// What is to be done about the client. `open`: how many calls it has to answer. `heard`: when it was heard last.
    pub(crate) fn look(&mut self, open: impl Fn() -> usize, heard: Instant, now: Instant) -> Beat {
        let silence = now.saturating_duration_since(heard);
        let (closed, ticked) = (std::mem::take(&mut self.closed), std::mem::take(&mut self.ticked));
        let waiting = self.awake.is_waiting.swap(false, Ordering::AcqRel) && self.lane.is_held();
        // What it has said since is the answer.
        self.asked = self.asked.filter(|asked| *asked >= heard);
        if !(waiting || self.is_wanted(open, ticked)) || (silence < QUIET && !waiting && self.asked.is_none()) {
            self.asked = None;
            if let Some(probe) = &mut self.probe {
                probe.heard();
            }
            return Beat::Fine;
        }
        match self.asked {
            Some(_) if closed => Beat::Gone(Refusal::Protocol("its host says that nobody is there".to_owned())),
            // Who was stopped itself for a while has heard nobody: the time counts from the question.
            Some(asked) if now.saturating_duration_since(asked) >= self.limit.saturating_sub(QUIET) => {
                Beat::Gone(Refusal::Idle(silence.as_millis() as u64))
            }
            Some(_) => Beat::Fine,
            None => {
                self.asked = Some(now);
                if let Some(probe) = &mut self.probe {
                    probe.heard();
                    probe.ask();
                }
                Beat::Ask
            }
        }
    }

    fn is_wanted(&self, open: impl Fn() -> usize, ticked: bool) -> bool {
        if open() > 0 {
            return true;
        }
        if !ticked {
            // It stays awake until the next tick: else each answer to a client that calls as well as serves would wake it.
            return false;
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

/// A round trip more is little beside the pause that was before.
fn guard_after(rtt: Duration) -> Duration {
    rtt.saturating_mul(4).clamp(Duration::from_millis(3), Duration::from_secs(1))
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
        let mut pulse = Pulse::new(Arc::default(), Lane::new(1), None, LIMIT);
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
        let mut pulse = Pulse::new(Arc::clone(&awake), Lane::new(1), None, LIMIT);
        let now = Instant::now();
        let quiet = tokio::time::timeout(Duration::from_millis(1), pulse.due()).await;
        assert!(quiet.is_err());
        awake.note(Wrote::Sent { bytes: 1, calls: 1 });
        assert!(!awake.is_awake.load(Ordering::Acquire), "it serves nothing: that was an answer");

        // A call may have gone out before it was seen that it serves.
        pulse.begin();
        pulse.due().await;
        assert_eq!(pulse.look(|| 0, now, now), Beat::Fine);
        assert!(awake.is_awake.load(Ordering::Acquire), "until the next tick");
        pulse.due().await;
        assert_eq!(pulse.look(|| 0, now, now), Beat::Fine);
        assert!(!awake.is_awake.load(Ordering::Acquire));
        awake.note(Wrote::Sent { bytes: 1, calls: 0 });
        assert!(!awake.is_awake.load(Ordering::Acquire));
        for open in [1, 1, 0] {
            awake.note(Wrote::Sent { bytes: 1, calls: 1 });
            pulse.due().await;
            assert_eq!(pulse.look(|| open, now, now), Beat::Fine);
        }
        assert!(!awake.is_awake.load(Ordering::Acquire));
    }

    #[tokio::test]
    async fn answers_to_a_client_that_serves_too_do_not_wake_who_looks_after_it() {
        let awake = Arc::new(Awake::default());
        let mut pulse = Pulse::new(Arc::clone(&awake), Lane::new(1), None, LIMIT);
        let now = Instant::now();
        pulse.begin();
        let mut looks = 0;
        for _ in 0..1_000 {
            awake.note(Wrote::Sent { bytes: 1, calls: 1 });
            loop {
                tokio::select! {
                    biased;
                    () = pulse.due() => assert_eq!(pulse.look(|| 0, now, now), Beat::Fine),
                    () = std::future::ready(()) => break,
                }
                looks += 1;
            }
        }
        let ticks = now.elapsed().div_duration_f64(TICK) as u32 + 1;
        assert!(looks <= 2 * ticks, "{looks} looks in {ticks} ticks");
    }

    #[tokio::test]
    async fn a_call_waits_until_a_client_that_was_idle_has_shown_that_it_is_there() {
        let (awake, lane) = (Arc::new(Awake::default()), Lane::new(1 << 10));
        let mut pulse = Pulse::new(Arc::clone(&awake), Arc::clone(&lane), None, LIMIT);
        pulse.guarded = true;
        lane.guard(Duration::ZERO);
        let heard = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        lane.push_always(|out| out.extend_from_slice(b"x"));
        assert_eq!(lane.collect(&mut Vec::new(), 1), 0);
        awake.note(Wrote::Held);
        pulse.due().await;
        let now = Instant::now();
        assert_eq!(pulse.look(|| 1, heard, now), Beat::Ask);
        assert_eq!(pulse.look(|| 1, heard, now), Beat::Fine);
        pulse.heard(now + Duration::from_secs(60));
        assert_eq!(pulse.look(|| 1, now + Duration::from_millis(1), now + Duration::from_millis(2)), Beat::Fine);
        assert_eq!(lane.collect(&mut Vec::new(), 1), 1);
    }
}
