use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use sinew_discovery::{AnnounceSpec, Owner, Watch, Watched};
use sinew_pubsub::Outbox;
use sinew_wire::{Announce, Control, Limit, LookupOutcome, Refusal};
use tokio::task::{AbortHandle, JoinSet};

use crate::gateway::Context;

/// Look-ups and settles of one client that may be open.
const MAX_OPEN: usize = 256;

/// Watches of one client.
const MAX_WATCHES: usize = 16;

/// Rows of one page of the service listing; fewer if they don't fit into a frame.
const PAGE: usize = 512;

/// Changes of services told at once.
const TOLD_AT_ONCE: usize = 256;

/// Between two looks whether a client that watches many services has read what it was told.
const ROOM: Duration = Duration::from_millis(10);

/// How long to wait for the other nodes to confirm that they know of a client's subscriptions.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// What a client wants of the realm beside messages: services and procedures announced, services found, and to know
/// when all nodes know of its subscriptions.
///
/// What takes time is answered by a task beside the session, so that messages don't wait for it. All of them, and the
/// client's leases, end when this is dropped.
#[derive(Debug)]
pub(crate) struct Questions {
    context: Arc<Context>,
    outbox: Arc<Outbox>,
    owner: Owner,
    open: JoinSet<()>,
    watches: HashMap<u32, AbortHandle>,
}

impl Questions {
    pub(crate) fn new(context: &Arc<Context>, outbox: &Arc<Outbox>, owner: Owner) -> Self {
        Self {
            context: Arc::clone(context),
            outbox: Arc::clone(outbox),
            owner,
            open: JoinSet::new(),
            watches: HashMap::new(),
        }
    }

    /// Answers a control frame if it is one of these; hands it back otherwise.
    pub(crate) fn ask(&mut self, control: Control) -> Result<(), Control> {
        match control {
            Control::Settle { nonce } => self.settle(nonce),
            Control::Announce(announce) => self.announce(announce),
            Control::Serve(serve) => self.lease(serve.lease, self.context.calls.serve(self.owner, serve)),
            Control::ServeHealth { lease, health } => {
                // Its lease may just have ended, which it is told of elsewhere.
                let _ended = self.context.calls.health(self.owner.session, lease, health);
            }
            Control::Renew { lease } => self.lease(lease, self.context.discovery.renew(self.owner.session, lease)),
            Control::Withdraw { lease } => {
                let refusal = self.context.calls.withdraw(self.owner.session, lease).err();
                self.outbox.control(&Control::LeaseEnded { lease, refusal });
            }
            Control::Lookup { request, name, deadline_ms } => self.lookup(request, name, deadline_ms),
            Control::ListServices { request, after } => {
                let (services, more) = self.context.discovery.list(after.as_deref(), PAGE);
                self.outbox.control(&Control::service_page(request, services, more));
            }
            Control::WatchServices { request, prefix } => self.watch(request, &prefix),
            Control::Unwatch { request } => {
                if let Some(watch) = self.watches.remove(&request) {
                    watch.abort();
                }
                self.outbox.control(&Control::WatchEnded { request, refusal: None });
            }
            other => return Err(other),
        }
        Ok(())
    }

    fn announce(&self, announce: Announce) {
        let Announce { lease, name, ttl_ms, metadata } = announce;
        let spec = AnnounceSpec { lease, name, ttl: Duration::from_millis(ttl_ms), metadata, procedure: None };
        self.lease(lease, self.context.discovery.announce(self.owner, spec).map(|grant| grant.ttl));
    }

    fn lease(&self, lease: u32, outcome: Result<Duration, Refusal>) {
        self.outbox.control(&match outcome {
            Ok(ttl) => Control::Announced { lease, ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) },
            Err(refusal) => {
                if let Refusal::Limit { limit, .. } = &refusal {
                    self.context.metrics.limit_refused(*limit).inc();
                }
                Control::LeaseEnded { lease, refusal: Some(refusal) }
            }
        });
    }

    fn settle(&mut self, nonce: u64) {
        let Some(mesh) = self.context.mesh.clone() else {
            return self.outbox.control(&Control::Settled { nonce, nodes: 0, missing: 0 });
        };
        if !self.has_room() {
            // Not settled, as far as we can say.
            let missing = u32::try_from(mesh.peers().len()).unwrap_or(u32::MAX);
            return self.outbox.control(&Control::Settled { nonce, nodes: 0, missing });
        }
        let outbox = Arc::clone(&self.outbox);
        self.open.spawn(async move {
            let settled = mesh.settle(SETTLE_TIME).await;
            outbox.control(&Control::Settled { nonce, nodes: settled.nodes, missing: settled.missing });
        });
    }

    fn lookup(&mut self, request: u32, name: String, deadline_ms: u64) {
        if !self.has_room() {
            let refusal = Refusal::Limit { limit: Limit::Lookups, allowed: MAX_OPEN as u64 };
            let outcome = LookupOutcome::Refused(refusal);
            return self.outbox.control(&Control::LookupResult { request, outcome });
        }
        let (discovery, outbox) = (self.context.discovery.clone(), Arc::clone(&self.outbox));
        self.open.spawn(async move {
            let outcome = discovery.lookup(&name, Duration::from_millis(deadline_ms)).await;
            outbox.control(&Control::LookupResult { request, outcome });
        });
    }

    fn watch(&mut self, request: u32, prefix: &str) {
        self.watches.retain(|_, watch| !watch.is_finished());
        let refused = if self.watches.contains_key(&request) {
            Err(Refusal::Protocol("a watch number that is in use".to_owned()))
        } else if self.watches.len() >= MAX_WATCHES {
            Err(Refusal::Limit { limit: Limit::Watches, allowed: MAX_WATCHES as u64 })
        } else {
            self.context.discovery.watch(prefix)
        };
        match refused {
            Ok(watch) => {
                let telling = self.open.spawn(tell(watch, request, Arc::clone(&self.outbox)));
                self.watches.insert(request, telling);
            }
            Err(refusal) => {
                if let Refusal::Limit { limit, .. } = &refusal {
                    self.context.metrics.limit_refused(*limit).inc();
                }
                self.outbox.control(&Control::WatchEnded { request, refusal: Some(refusal) });
            }
        }
    }

    /// Whether one more task may run.
    fn has_room(&mut self) -> bool {
        while self.open.try_join_next().is_some() {}
        let room = self.open.len() < MAX_OPEN + MAX_WATCHES;
        if !room {
            self.context.metrics.limit_refused(Limit::Lookups).inc();
        }
        room
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.context.discovery.session_lost(self.owner.session);
    }
}

/// Tells a client what a watch sees, until the client does not keep up.
async fn tell(mut watch: Watch, request: u32, outbox: Arc<Outbox>) {
    loop {
        watch.changed().await;
        while !outbox.has_room() {
            tokio::time::sleep(ROOM).await;
        }
        for told in watch.take(TOLD_AT_ONCE) {
            match told {
                Watched::Changed { name, instances } => {
                    outbox.control(&Control::ServiceChanged { request, name: name.to_string(), instances });
                }
                Watched::Resync => {
                    let refusal = Refusal::Unavailable("more services changed than were taken: watch again".to_owned());
                    outbox.control(&Control::WatchEnded { request, refusal: Some(refusal) });
                    return;
                }
            }
        }
    }
}
