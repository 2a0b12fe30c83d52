use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sinew_membership::Record;
use sinew_pubsub::{Inbound, Remote};
use sinew_rpc::Calls;
use sinew_wire::PeerId;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::info::LinkInfo;
use crate::time::sleep_until;

/// Another node of the realm, from the moment the membership says that it is up until it says that it is gone.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    pub(crate) epoch: u64,
    pub(crate) since: Instant,
    /// The newest that it has signed.
    pub(crate) record: ArcSwap<Record>,
    /// What is to be forwarded to it.
    pub(crate) remote: Arc<Remote>,
    pub(crate) calls: Calls,
    /// Calls wait for a link to it.
    called: AtomicBool,
    calling: Notify,
    /// It does not answer the membership.
    pub(crate) suspect: AtomicBool,
    /// The membership has it for gone.
    pub(crate) gone: CancellationToken,
    pub(crate) activity: Activity,
    pub(crate) traffic: Traffic,
    /// For listings.
    pub(crate) link: Mutex<Option<LinkInfo>>,
    /// What exactly one link with the node may use at a time, and what outlives them all; nothing once the node is gone.
    inbound: Arc<tokio::sync::Mutex<Option<Inbound>>>,
    /// Sessions that want it, so that one that only looks after what is parked gives it up.
    wanted: AtomicUsize,
    wants: Notify,
}

/// What went over the links with a node, all of them together. What was forwarded to it is counted by its remote.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received_messages: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
}

/// What links report of their traffic, read by the pool.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    /// Microseconds; 0 before the first measurement.
    rtt: AtomicU64,
}

impl Activity {
    fn new(start: Instant) -> Self {
        Self { start, last: AtomicU64::new(0), rtt: AtomicU64::new(0) }
    }

    /// There was traffic; keep-alive does not count.
    pub(crate) fn touch(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.start).as_millis() as u64;
        self.last.fetch_max(millis, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    pub(crate) fn measured(&self, rtt: Duration) {
        self.rtt.store((rtt.as_micros() as u64).max(1), Ordering::Relaxed);
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        let micros = self.rtt.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}

/// The node is gone: there will be no link to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Node {
    pub(crate) fn new(record: Arc<Record>, remote: Arc<Remote>, inbound: Inbound, calls: Calls) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            peer: record.info.peer,
            epoch: record.info.epoch,
            since: now,
            record: ArcSwap::new(record),
            remote,
            calls,
            called: AtomicBool::new(false),
            calling: Notify::new(),
            suspect: AtomicBool::new(false),
            gone: CancellationToken::new(),
            activity: Activity::new(now),
            traffic: Traffic::default(),
            link: Mutex::default(),
            inbound: Arc::new(tokio::sync::Mutex::new(Some(inbound))),
            wanted: AtomicUsize::new(0),
            wants: Notify::new(),
        })
    }

    /// Whether something waits for the node, or for its answer: such a link is not closed to make room.
    pub(crate) fn is_busy(&self) -> bool {
        !self.remote.is_idle() || self.has_calls()
    }

    /// Whether calls to or from the node are under way.
    pub(crate) fn has_calls(&self) -> bool {
        self.calls.busy_with(&self.peer)
    }

    /// Calls wait for a link to it.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.calling.notify_one();
    }

    /// There is a link now, or the calls have been told that there will be none. Returns whether some had waited.
    pub(crate) fn called(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }

    /// Waits until a link to it is wanted. Cancel safe.
    pub(crate) async fn has_work(&self) {
        let calling = async {
            while !self.called.load(Ordering::Acquire) {
                self.calling.notified().await;
            }
        };
        tokio::select! {
            () = calling => {}
            () = self.remote.has_work() => {}
        }
    }

    /// Waits until no other link is the one with the node. To be dropped when the link's reader and writer have stopped.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, Gone> {
        let _wanting = Wanting::new(self);
        let inbound = tokio::select! {
            () = self.gone.cancelled() => return Err(Gone),
            inbound = Arc::clone(&self.inbound).lock_owned() => inbound,
        };
        if inbound.is_none() {
            return Err(Gone);
        }
        Ok(Lease { node: Arc::clone(self), inbound })
    }

    /// After it is gone: waits until its last link has ended, and what it had sent is delivered.
    pub(crate) async fn retire(&self) {
        *self.inbound.lock().await = None;
    }
}

/// The right to be the link with a node.
#[derive(Debug)]
pub(crate) struct Lease {
    node: Arc<Node>,
    inbound: OwnedMutexGuard<Option<Inbound>>,
}

impl Lease {
    pub(crate) fn inbound(&mut self) -> &mut Inbound {
        self.inbound.as_mut().expect("a lease is given with one, and only retiring takes it, under the same lock")
    }

    /// After the link: goes on with what is parked, until nothing is or somebody else wants the lease.
    pub(crate) async fn linger(mut self, stop: &CancellationToken) {
        let node = Arc::clone(&self.node);
        let inbound = self.inbound();
        let woken = inbound.woken();
        while inbound.is_parked() {
            let wants = node.wants.notified();
            tokio::pin!(wants);
            // Before looking, so that nobody is missed in between.
            wants.as_mut().enable();
            if node.wanted.load(Ordering::Acquire) > 0 {
                return;
            }
            tokio::select! {
                () = wants => return,
                () = stop.cancelled() => return,
                () = woken.notified() => {}
                () = sleep_until(inbound.deadline()) => {}
            }
            inbound.advance(Instant::now());
        }
    }
}

struct Wanting<'a>(&'a Node);

impl<'a> Wanting<'a> {
    fn new(node: &'a Node) -> Self {
        node.wanted.fetch_add(1, Ordering::AcqRel);
        node.wants.notify_waiters();
        Self(node)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}
