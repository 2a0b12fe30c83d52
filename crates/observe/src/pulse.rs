use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

/// How often a task beats that has nothing else to do: the most that a pulse wakes an idle node for it.
const BEAT: Duration = Duration::from_secs(1);

/// Whether a task comes round. The task holds the [`Beats`]; whoever wants to know holds a clone of this, and no part of
/// what the task works on.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
///
/// use sinew_observe::Pulse;
///
/// let pulse = Pulse::new();
/// let mut beats = pulse.beats();
/// let task = tokio::spawn(async move {
///     loop {
///         tokio::select! {
///             // Whatever else it waits for, and:
///             () = beats.due() => beats.beat().await,
///         }
///     }
/// });
/// assert_eq!(pulse.alive(Duration::from_secs(5)), Ok(()));
/// # task.abort();
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    since: Instant,
    /// Milliseconds from `since` to the last beat.
    last: AtomicU64,
    ended: AtomicBool,
    jammed: watch::Sender<bool>,
}

/// The task's side of a [`Pulse`]. Dropped, it says that the task has ended.
#[derive(Debug)]
pub struct Beats {
    pulse: Pulse,
    interval: Option<Interval>,
}

/// Holds a task up, see [`Pulse::jam`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Jam(Pulse);

impl Pulse {
    /// A pulse that begins now.
    pub fn new() -> Self {
        let (jammed, _) = watch::channel(false);
        Self(Arc::new(Inner { since: Instant::now(), last: AtomicU64::new(0), ended: AtomicBool::new(false), jammed }))
    }

    /// For the one task that it is about.
    pub fn beats(&self) -> Beats {
        Beats { pulse: self.clone(), interval: None }
    }

    /// The task came round.
    ///
    /// Returns at once, unless a test has [jammed](Self::jam) the task.
    pub async fn beat(&self) {
        let now = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
        if *self.0.jammed.borrow() {
            let mut jammed = self.0.jammed.subscribe();
            let _sender_is_ours = jammed.wait_for(|jammed| !jammed).await;
        }
    }

    /// Whether the task came round within `silence`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn alive(&self, silence: Duration) -> Result<(), String> {
        if self.0.ended.load(Ordering::Relaxed) {
            return Err("its task has ended".to_owned());
        }
        let last = self.0.since + Duration::from_millis(self.0.last.load(Ordering::Relaxed));
        if last.elapsed() <= silence {
            return Ok(());
        }
        Err(format!("no sign of life for more than {} ms", silence.as_millis()))
    }

    /// For tests only: the task stops at its next beat, as if it waited for something that never comes, until what this
    /// returns is dropped. Nothing in a node calls it.
    #[doc(hidden)]
    pub fn jam(&self) -> Jam {
        self.0.jammed.send_replace(true);
        Jam(self.clone())
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Beats {
    /// Waits until a beat is due: a branch of the task's `select!`, with [`Beats::beat`] behind it. Cancel safe. Needs the
    /// time driver of a tokio runtime.
    pub async fn due(&mut self) {
        let interval = self.interval.get_or_insert_with(|| {
            let mut interval = tokio::time::interval(BEAT);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        interval.tick().await;
    }

    /// The task came round, see [`Pulse::beat`].
    pub async fn beat(&self) {
        self.pulse.beat().await;
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.pulse.0.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Jam {
    fn drop(&mut self) {
        self.0.0.jammed.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_task_that_is_held_up_falls_silent_and_goes_on_when_it_is_let_go() {
        let pulse = Pulse::new();
        let beats = pulse.beats();
        let task = tokio::spawn(async move {
            loop {
                beats.beat().await;
                tokio::task::yield_now().await;
            }
        });
        let alive = |wanted: bool| {
            let pulse = pulse.clone();
            async move {
                while pulse.alive(SILENCE).is_ok() != wanted {
                    tokio::task::yield_now().await;
                }
            }
        };
        alive(true).await;
        let jam = pulse.jam();
        alive(false).await;
        assert_eq!(pulse.alive(SILENCE), Err("no sign of life for more than 50 ms".to_owned()));
        drop(jam);
        alive(true).await;
        task.abort();
        alive(false).await;
        assert_eq!(pulse.alive(SILENCE), Err("its task has ended".to_owned()));
    }
}
