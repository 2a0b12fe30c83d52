use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_discovery::{Discovery, Owner};
use sinew_flow::Budget;
use sinew_link::Lane;
use sinew_observe::{Metrics, Pulse, Readings};
use sinew_wire::call::{Reply, Status};
use sinew_wire::{PeerId, ProviderHealth, Refusal, Serve};
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::deadlines;
use crate::directory::Directory;
use crate::link::Kind;
use crate::service::Service;
use crate::settle::Cause;
use crate::{CallsConfig, CallsView, Port};

/// The calls of one node. A handle: cloning it shares the service. Its tasks end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    service: Arc<Service>,
    /// Dropped, it stops the tasks.
    _stop: watch::Sender<()>,
    pulse: Pulse,
}

impl Calls {
    /// Starts the service and its tasks, for deadlines and for instances that end. Must be called in a tokio runtime.
    pub fn start(
        config: CallsConfig,
        node: PeerId,
        discovery: Discovery,
        budget: Arc<Budget>,
        metrics: Metrics,
    ) -> Self {
        Self::start_with(config, node, discovery, budget, metrics)
    }

    /// As [`Calls::start`], by any directory of who provides what.
    pub fn start_with(
        config: CallsConfig,
        node: PeerId,
        directory: impl Directory,
        budget: Arc<Budget>,
        metrics: Metrics,
    ) -> Self {
        let alarm = Arc::new(Alarm::new(Instant::now()));
        let service = Service::new(config, node, Box::new(directory), budget, metrics, Arc::clone(&alarm));
        let service = Arc::new(service);
        let (stop, stopped) = watch::channel(());
        let pulse = Pulse::new();
        tokio::spawn(until(stopped.clone(), deadlines::watch(Arc::clone(&service), alarm, pulse.beats())));
        tokio::spawn(until(stopped, follow_leases(Arc::clone(&service))));
        Self(Arc::new(Handle { service, _stop: stop, pulse }))
    }

    /// The session of a client has begun. Frames of calls for it go to `lane`.
    pub fn client(&self, owner: Owner, lane: Arc<Lane>) -> Port {
        let service = self.service();
        let link = service.link(owner.peer, Kind::Client { session: owner.session }, lane);
        service.sessions.write().insert(owner.session, Arc::clone(&link));
        Port::new(Arc::clone(service), link)
    }

    /// A link to another node is up. Frames of calls for it go to `lane`. If there was one to the same node, calls that
    /// are under way on that one stay there until its port is dropped.
    pub fn node(&self, peer: PeerId, lane: Arc<Lane>) -> Port {
        let service = self.service();
        let link = service.link(peer, Kind::Node, lane);
        let now = Instant::now();
        for (id, attempt) in service.peers.up(&link) {
            service.hand_to_node(id, attempt, &link, now);
        }
        Port::new(Arc::clone(service), link)
    }

    /// Waits for a node to which calls wait for a link. Given again if more come to wait for it after it was
    /// [unreachable](Self::unreachable), or after those that waited have ended. Cancel safe. For one task.
    pub async fn wanted(&self) -> PeerId {
        self.service().peers.wanted().await
    }

    /// There will be no link to this node for now: calls that wait for one go elsewhere.
    pub fn unreachable(&self, peer: PeerId) {
        let service = self.service();
        let reply = Reply::failure(0, Status::NotSent, "the provider's node can't be reached");
        let now = Instant::now();
        for (id, attempt) in service.peers.unreachable(&peer) {
            service.ended(id, attempt, None, Cause::Unreachable, &reply, now);
        }
    }

    /// Whether calls to or from this node are under way, or wait for a link to it.
    pub fn busy_with(&self, peer: &PeerId) -> bool {
        self.service().peers.is_busy(peer)
    }

    /// Announces a procedure through discovery, and takes calls for it from now on. Gives the time to live of the
    /// lease.
    ///
    /// Announced again under the same number and name, its concurrency is changed. The lease is renewed as that of any
    /// service; when it ends, for whatever reason, the calls that the provider has at hand go on, and no others come.
    ///
    /// # Errors
    /// Those of [`Discovery::announce`]; [`Refusal::Protocol`] for a procedure whose policy is none;
    /// [`Refusal::Unavailable`] if the session's port was dropped.
    pub fn serve(&self, owner: Owner, serve: Serve) -> Result<Duration, Refusal> {
        self.service().serve(owner, serve)
    }

    /// Withdraws a lease through discovery, whether it is of a procedure or of any service. Calls that the provider has
    /// at hand come to their end, those that wait for it go elsewhere, and there are no new ones.
    ///
    /// # Errors
    /// Those of [`Discovery::withdraw`].
    pub fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal> {
        self.service().withdraw(session, lease)
    }

    /// How a provider is, by its own word.
    ///
    /// # Errors
    /// Those of [`Discovery::set_health`]: it may just have ended.
    pub fn health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal> {
        self.service().set_health(session, lease, health)
    }

    /// No new calls from now on: clients are refused ([`Refusal::Draining`]), other nodes try elsewhere. Open calls go
    /// on.
    pub fn drain(&self) {
        self.service().drain();
    }

    /// Calls that are open.
    pub fn open(&self) -> usize {
        self.service().table.open()
    }

    /// What there is at this moment, for listings. Takes time in proportion to it.
    pub fn view(&self) -> CallsView {
        CallsView::of(self.service(), Instant::now())
    }

    /// Whether the task of the deadlines comes round.
    pub fn pulse(&self) -> Pulse {
        self.0.pulse.clone()
    }

    /// Adds the numbers of the service to the metrics.
    pub fn export(&self, readings: &Readings) {
        let service = Arc::downgrade(self.service());
        let counters = service.clone();
        readings.counters("calls_work", "What calls have made the node do, by kind", move || {
            counters.upgrade().map_or_else(Vec::new, |service| service.counts.all())
        });
        readings.gauges("calls_now", "Calls of this moment, by where they are", move || {
            service.upgrade().map_or_else(Vec::new, |service| CallsView::gauges(&service))
        });
    }

    fn service(&self) -> &Arc<Service> {
        &self.0.service
    }
}

/// Runs a task until the service stops.
async fn until(mut stopped: watch::Receiver<()>, task: impl Future<Output = ()> + Send) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = task => {}
    }
}

/// Takes instances away whose leases have ended.
async fn follow_leases(service: Arc<Service>) {
    loop {
        let ended = service.directory.ended().await;
        let now = Instant::now();
        for id in ended {
            service.instance_ended(id, now);
        }
    }
}
