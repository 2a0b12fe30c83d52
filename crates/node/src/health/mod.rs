//! Whether the node is well: what is looked at, by whom, and how often.
//!
//! | file | check |
//! |---|---|
//! | `tasks` | each owner task comes round, each listener accepts |
//! | `queues` | no queue stays nearly full |
//! | `disk` | the data directory takes a file |
//! | `clock` | the wall clock goes with the monotonic one |
//!
//! Whether the overlay has met anybody is asked of the overlay when somebody looks, see [`watch_overlay`].

mod clock;
mod disk;
mod queues;
mod tasks;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sinew_observe::{Check, Health, Heartbeat, Queues, Readings, Scope, Turn};
use sinew_overlay::Overlay;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use self::clock::Clock;
use self::queues::Levels;
pub(crate) use self::tasks::Tasks;

/// How often the runtime shows that it still comes round, and queues and clock are looked at.
const BEAT: Duration = Duration::from_millis(500);

/// Silence after which a task counts as stuck.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// What looks after health while the node lives. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Watch {
    heart: JoinHandle<()>,
    disk: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look at the queues that have been registered by now, at the clock and at the data directory. Each has been
    /// looked at once when it returns.
    pub(crate) async fn start(
        health: &Health,
        queues: &Queues,
        readings: &Readings,
        data_dir: Option<PathBuf>,
    ) -> Self {
        let clock = Clock::default();
        let jumps = clock.jumps();
        readings.counter("clock_jumps", "Jumps of the wall clock by more than 5 s", move || jumps.count());
        let mut heart = Heart {
            beat: health.heartbeat("runtime", Scope::Live, MAX_SILENCE),
            levels: Levels::new(health, queues),
            clock,
            clock_check: health.check("clock", Scope::Ready),
            health: health.clone(),
        };
        heart.look();
        let heart = tokio::spawn(heart.run());
        let Some(dir) = data_dir else { return Self { heart, disk: None } };
        let (first, looked) = oneshot::channel();
        let disk = tokio::spawn(disk::watch(dir, health.check("data directory", Scope::Ready), first));
        let watch = Self { heart, disk: Some(disk) };
        let _looked = looked.await;
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.heart.abort();
        if let Some(disk) = &self.disk {
            disk.abort();
        }
    }
}

/// Comes round as long as the runtime does.
struct Heart {
    beat: Heartbeat,
    levels: Levels,
    clock: Clock,
    clock_check: Check,
    health: Health,
}

impl Heart {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
            self.health.turns().iter().for_each(tell);
        }
    }

    fn look(&mut self) {
        self.beat.beat();
        let now = Instant::now();
        self.levels.look(now);
        match self.clock.look(now, SystemTime::now()) {
            Ok(()) => self.clock_check.pass(),
            Err(problem) => self.clock_check.fail(problem),
        }
    }
}

/// Says in the log what has turned red or green.
fn tell(turn: &Turn) {
    match &turn.reason {
        Some(reason) => warn!(check = %turn.check, %reason, "a check of the node's health fails"),
        None => info!(check = %turn.check, "a check of the node's health passes again"),
    }
}

/// A node that was told of others and meets none has lost its realm.
pub(crate) fn watch_overlay(health: &Health, overlay: &Overlay) {
    let overlay = overlay.clone();
    health.probe("overlay", Scope::Ready, move || {
        let status = overlay.status();
        let alone = status.peers == 0 && status.bootstrap.iter().any(|address| !address.ourselves);
        if alone { Err("no bootstrap address leads to a node".to_owned()) } else { Ok(()) }
    });
}
