use std::collections::HashSet;
use std::time::{Duration, Instant};

use sinew_live::frame::{MAX_SERVICES, MAX_TOPICS, Service, Topic};
use sinew_live::{Aggregate, Local};
use sinew_observe::{Beats, Viewers, wall_clock_ms};
use sinew_pubsub::{Heard, Tap};
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, EVENTS_TOPIC, State};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::state::Facts;

/// How often viewers see a new frame.
const FRAME: Duration = Duration::from_millis(500);

/// How long the node goes on without viewers: a page that is loaded anew is back by then.
const GRACE: Duration = Duration::from_secs(2);

/// Messages of all nodes that may wait to be put together.
pub(super) const INTAKE: usize = 4_096;

/// What the viewers of this node see.
pub(super) struct Show {
    facts: Facts,
    viewers: Viewers,
}

/// What there is of it while there are viewers.
struct Scene {
    tap: Tap,
    aggregate: Aggregate,
    /// The nodes of the realm at the last frame.
    peers: HashSet<PeerId>,
    forged_before: u64,
    unread: u64,
    empty_since: Option<Instant>,
}

impl Show {
    pub(super) const fn new(facts: Facts, viewers: Viewers) -> Self {
        Self { facts, viewers }
    }

    pub(super) async fn run(self, mut beats: Beats) {
        let mut count = self.viewers.watch();
        loop {
            tokio::select! {
                come = first(&mut count) => {
                    if !come {
                        return;
                    }
                    debug!("the first viewer has come");
                    self.play(&mut count, &mut beats).await;
                    debug!("the last viewer has gone");
                }
                () = beats.due() => beats.beat().await,
            }
        }
    }

    /// From the first viewer to the last.
    async fn play(&self, count: &mut watch::Receiver<usize>, beats: &mut Beats) {
        let mut scene = Scene::open(&self.facts);
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = scene.tap.ready() => {
                    scene.take_in();
                    tokio::task::consume_budget().await;
                }
                _ = frames.tick() => {
                    let viewers = *count.borrow();
                    if scene.is_over(viewers, Instant::now()) {
                        break;
                    }
                    scene = self.frame(scene).await;
                }
                () = beats.due() => beats.beat().await,
            }
        }
        self.facts.intake.set(None);
    }

    /// Computes a frame and shows it. On a thread of its own: with many topics and nodes it takes some milliseconds.
    async fn frame(&self, mut scene: Scene) -> Scene {
        let (facts, viewers) = (self.facts.clone(), self.viewers.clone());
        let work = move || {
            let now = Instant::now();
            scene.look_for_the_dead(&facts, now);
            let local = scene.local(&facts, viewers.count());
            let frame = scene.aggregate.frame(&local, now, wall_clock_ms());
            let json = serde_json::to_vec(&frame).expect("a frame has only texts for keys");
            viewers.show(&json);
            scene
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(scene) => scene,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_the_runtime_ends) => std::future::pending().await,
        }
    }
}

impl Scene {
    fn open(facts: &Facts) -> Self {
        let now = Instant::now();
        let tap = facts.pubsub.tap(super::everything(), INTAKE, now);
        facts.intake.set(Some(Box::new(tap.depth())));
        Self {
            tap,
            aggregate: Aggregate::new(facts.node, &facts.realm_name, now),
            peers: HashSet::new(),
            forged_before: facts.metrics.live_forged.get(),
            unread: 0,
            empty_since: None,
        }
    }

    fn take_in(&mut self) {
        let now = Instant::now();
        let Self { tap, aggregate, unread, .. } = self;
        // What was given up on the way the aggregate finds out by its numbers.
        tap.take(now, |heard| *unread += u64::from(take(aggregate, &heard, now).is_none()));
    }

    fn is_over(&mut self, viewers: usize, now: Instant) -> bool {
        if viewers > 0 {
            self.empty_since = None;
            return false;
        }
        now.saturating_duration_since(*self.empty_since.get_or_insert(now)) >= GRACE
    }

    /// What the realm holds dead is gone before it is missed.
    fn look_for_the_dead(&mut self, facts: &Facts, now: Instant) {
        let Some(others) = &facts.realm.others else { return };
        let peers: HashSet<PeerId> = others.mesh.peers().iter().map(|peer| peer.info.peer).collect();
        for dead in self.peers.difference(&peers) {
            self.aggregate.gone(*dead, now);
        }
        self.peers = peers;
    }

    fn local(&self, facts: &Facts, viewers: usize) -> Local {
        let (services, _more) = facts.realm.discovery.list(None, MAX_SERVICES);
        let service = |row: sinew_wire::ServiceSummaryRow| Service {
            name: row.name,
            instances: row.instances.into(),
            nodes: row.nodes.into(),
        };
        let mut topics = facts.pubsub.topics();
        topics.sort_by(|a, b| b.published.cmp(&a.published).then_with(|| a.topic.cmp(&b.topic)));
        let topic = |row: sinew_pubsub::TopicInfo| Topic {
            topic: row.topic.to_string(),
            matched: row.matched as u64,
            published: row.published,
            unheard: row.unheard,
        };
        Local {
            viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
            forged: facts.metrics.live_forged.get().saturating_sub(self.forged_before) + self.unread,
            depth: facts.intake.depth(),
            capacity: INTAKE as u64,
            services: services.into_iter().map(service).collect(),
            topics: topics.into_iter().take(MAX_TOPICS).map(topic).collect(),
        }
    }
}

/// Waits for the first viewer. `false` when there can be none any more. Cancel safe.
async fn first(count: &mut watch::Receiver<usize>) -> bool {
    count.wait_for(|count| *count > 0).await.is_ok()
}

/// Takes a message of a node; `None` if it can't be read.
fn take(aggregate: &mut Aggregate, heard: &Heard, now: Instant) -> Option<()> {
    if heard.topic.as_str() == EVENTS_TOPIC {
        aggregate.take(heard.from, &Batch::decode(&heard.payload).ok()?, now);
    } else {
        aggregate.state(heard.from, State::decode(&heard.payload).ok()?, now);
    }
    Some(())
}
