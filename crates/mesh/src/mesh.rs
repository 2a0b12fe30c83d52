use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use sinew_discovery::{Discovery, LocalChanges};
use sinew_link::{Dialer, LinkReader, LinkWriter};
use sinew_membership::{Membership, NodeInfo, Refused, Signer};
use sinew_observe::{Metrics, Pulse, Readings};
use sinew_overlay::{Event, Overlay};
use sinew_pubsub::PubSub;
use sinew_rpc::Calls;
use sinew_wire::Hello;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{self, LinkFacts};
use crate::config::MeshConfig;
use crate::context::{Context, Shared};
use crate::counters::{MeshCounters, counted, held};
use crate::driver::{Command, Driver};
use crate::info::{LostPeer, PeerInfo, PoolInfo, Settled};
use crate::nodes::Nodes;
use crate::pool::{self, Pool};

/// Commands that may wait for the membership task; who has more to ask waits.
const COMMANDS: usize = 1_024;

/// How often a drain looks whether everything is flushed.
const LOOK: Duration = Duration::from_millis(10);

/// How long the overlay has to carry our goodbye to the other members.
const GOODBYE: Duration = Duration::from_millis(200);

/// What a mesh is made of. All of it is this node's own.
pub struct MeshParts {
    /// Limits and times.
    pub config: MeshConfig,
    /// What the node says of itself. The mesh addresses are kept up to date by the mesh itself.
    pub info: NodeInfo,
    /// Signs the node's records.
    pub signer: Box<dyn Signer + Send>,
    /// The overlay.
    pub overlay: Overlay,
    /// What happens in it. Nobody else may take from this.
    pub events: mpsc::Receiver<Event>,
    /// Whose interest is told, and whose messages are forwarded.
    pub pubsub: PubSub,
    /// Whose services are told, and who is told of those of others.
    pub discovery: Discovery,
    /// Its changes. Nobody else may take from this.
    pub changes: LocalChanges,
    /// Whose frames go over the links, and which wants some.
    pub calls: Calls,
    /// Dials the other nodes' listeners.
    pub dialer: Dialer,
    /// Where links are counted.
    pub metrics: Metrics,
}

impl fmt::Debug for MeshParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshParts").field("config", &self.config).field("info", &self.info).finish_non_exhaustive()
    }
}

/// The other nodes of the realm, as this node has to do with them: who is there, what they want, links to them. Cheap to
/// clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Mesh {
    context: Shared,
    commands: mpsc::Sender<Command>,
}

impl Mesh {
    /// Starts the tasks of the mesh, which run until [`Mesh::drain`] or [`Mesh::stop`]. Needs a tokio runtime.
    pub fn start(parts: MeshParts) -> Self {
        let MeshParts { config, info, signer, overlay, events, pubsub, discovery, changes, calls, dialer, metrics } =
            parts;
        let (pool, asks) = Pool::new();
        let (commands, taken) = mpsc::channel(COMMANDS);
        let context = Arc::new(Context {
            peer: info.peer,
            epoch: info.epoch,
            nodes: Nodes::default(),
            pool,
            overlay,
            dialer,
            calls,
            closed: Context::closed(&metrics),
            metrics,
            counters: MeshCounters::default(),
            membership: ArcSwap::default(),
            failed: ArcSwap::default(),
            dials: Semaphore::new(config.max_dials),
            strangers: Semaphore::new(config.max_strangers),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            driver_pulse: Pulse::new(),
            pool_pulse: Pulse::new(),
            config,
        });
        let data = info.data.clone();
        let (membership_config, seed) = (context.config.membership.clone(), context.config.seed);
        let membership = Membership::new(membership_config, info, signer, seed, Instant::now());
        let services = (pubsub, discovery, changes);
        let driver = Driver::new(Arc::clone(&context), membership, services, data);
        context.tasks.spawn(driver.run(events, taken));
        context.tasks.spawn(pool::run(Arc::clone(&context), asks));
        Self { context, commands }
    }

    /// Whether the task of the membership comes round.
    pub fn membership_pulse(&self) -> Pulse {
        self.context.driver_pulse.clone()
    }

    /// Whether the task of the pool comes round.
    pub fn pool_pulse(&self) -> Pulse {
        self.context.pool_pulse.clone()
    }

    /// Runs a link on which a node has said hello, to its end. The gateway has checked version and realm, and holds no seat
    /// for it: nodes are bounded by the pool.
    ///
    /// Until the record of the node is known, which is waited for for a while, the link is served nothing. A dropped future
    /// ends nothing: the link goes on, and ends with the mesh.
    pub async fn accept(&self, halves: (LinkReader, LinkWriter), facts: LinkFacts, hello: Hello) {
        let serving = accept::accept(Arc::clone(&self.context), halves, facts, hello);
        let _panicked = self.context.tasks.spawn(serving).await;
    }

    /// Waits until all members that are up now know of every subscription made before, at most for `deadline`.
    ///
    /// Cancel safe.
    pub async fn settle(&self, deadline: Duration) -> Settled {
        let (answer, settled) = oneshot::channel();
        let asking = async {
            self.commands.send(Command::Settle { answer }).await.ok()?;
            settled.await.ok()
        };
        let unknown = || {
            let nodes = u32::try_from(self.context.nodes.len()).unwrap_or(u32::MAX);
            Settled { nodes, missing: nodes }
        };
        tokio::time::timeout(deadline, asking).await.ok().flatten().unwrap_or_else(unknown)
    }

    /// The other nodes that are up, by their ids.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let overlay = self.context.overlay.peers();
        let overlay: HashMap<_, _> = overlay.iter().map(|peer| (peer.peer, peer)).collect();
        let mut peers: Vec<PeerInfo> = self
            .context
            .nodes
            .list()
            .iter()
            .map(|node| {
                let record = node.record.load();
                let stats = node.remote.stats();
                let overlay = overlay.get(&node.peer);
                PeerInfo {
                    info: record.info.clone(),
                    version: record.version,
                    since: node.since,
                    suspect: node.suspect.load(Ordering::Relaxed),
                    link: node.link.lock().clone(),
                    overlay: overlay.map(|peer| peer.direct),
                    rtt: node.activity.rtt().or_else(|| overlay.and_then(|peer| peer.rtt)),
                    interest: stats.patterns,
                    sent_messages: stats.forwarded,
                    received_messages: node.traffic.received_messages.load(Ordering::Relaxed),
                    sent_bytes: node.traffic.sent_bytes.load(Ordering::Relaxed),
                    received_bytes: node.traffic.received_bytes.load(Ordering::Relaxed),
                    queued: stats.queued_messages,
                    in_flight: stats.in_flight_frames,
                    dropped: stats.dropped,
                }
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.info.peer);
        peers
    }

    /// The other nodes that are taken for gone and have not said goodbye, by their ids, as of half a second ago.
    pub fn lost_peers(&self) -> Vec<LostPeer> {
        let failed = self.context.failed.load();
        // It may have come back since.
        let lost = failed.iter().filter(|(record, _)| self.context.nodes.get(&record.info.peer).is_none());
        let mut lost: Vec<LostPeer> =
            lost.map(|(record, since)| LostPeer { info: record.info.clone(), since: *since }).collect();
        lost.sort_unstable_by_key(|peer| peer.info.peer);
        lost
    }

    /// How many other nodes are up.
    pub fn peer_count(&self) -> usize {
        self.context.nodes.len()
    }

    /// The links to other nodes, as numbers.
    pub async fn pool(&self) -> PoolInfo {
        self.context.pool.info().await
    }

    /// Adds what overlay, membership and mesh count to the metrics.
    pub fn export(&self, readings: &Readings) {
        let overlay = self.context.overlay.clone();
        readings.counters("overlay", "What the overlay counts", move || overlay.status().counters.each().collect());
        let overlay = self.context.overlay.clone();
        readings.gauges("overlay_now", "How the overlay fares", move || {
            let status = overlay.status();
            vec![
                ("peers", status.peers as u64),
                ("connections", status.connections as u64),
                ("table", status.table as u64),
                ("provided", status.provided as u64),
                ("records", status.records as u64),
                ("relays", status.relays.len() as u64),
                ("reservations", status.reservations as u64),
                ("links", status.links as u64),
            ]
        });
        let context = Arc::clone(&self.context);
        readings.counters("membership", "What the membership counts", move || counted(&context.membership.load()));
        let context = Arc::clone(&self.context);
        readings.counters("membership_refused", "What the membership refuses, by reason", move || {
            let refused = context.membership.load().refused;
            Refused::NAMES.into_iter().zip(refused).collect()
        });
        let context = Arc::clone(&self.context);
        readings.gauges("membership_now", "What the membership holds", move || held(&context.membership.load()));
        let context = Arc::clone(&self.context);
        readings.counters("mesh", "What the mesh counts", move || context.counters.each());
    }

    /// Ends the mesh in order: what is queued for other nodes goes out, and they have confirmed it, or `patience` is over;
    /// then the node leaves the membership, so that its interest is gone everywhere at once; then the links say goodbye.
    ///
    /// To be called when the node's own clients are gone. Cancel safe: a dropped drain can be called again.
    pub async fn drain(&self, patience: Duration) {
        let flushed = async {
            while self.context.nodes.list().iter().any(|node| node.is_busy()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _out_of_patience = tokio::time::timeout(patience, flushed).await;
        let (done, left) = oneshot::channel();
        if self.commands.send(Command::Leave { done }).await.is_ok() && left.await.is_ok() {
            // The overlay has it in its queues.
            tokio::time::sleep(GOODBYE).await;
        }
        self.context.pool.drain().await;
        self.stop().await;
    }

    /// Ends the mesh where it stands, without a word to the others, who find out by themselves. For tests of that, and for a
    /// node that has no time.
    pub async fn stop(&self) {
        self.context.stop.cancel();
        self.context.tasks.close();
        self.context.tasks.wait().await;
    }
}
