//! The providers of this node: announced, withdrawn, gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_discovery::{AnnounceSpec, Owner};
use sinew_wire::call::{Reply, Status};
use sinew_wire::{ProviderHealth, Refusal, Serve};

use crate::instance::Instance;
use crate::service::Service;
use crate::settle::Cause;
use crate::table::CallId;

impl Service {
    /// See [`crate::Calls::serve`].
    pub(crate) fn serve(self: &Arc<Self>, owner: Owner, serve: Serve) -> Result<Duration, Refusal> {
        serve.validate()?;
        let Serve { lease, name, ttl_ms, metadata, procedure } = serve;
        let link = self.sessions.read().get(&owner.session).map(Arc::clone);
        let link = link.ok_or_else(|| Refusal::Unavailable("the session has ended".to_owned()))?;
        let concurrency = self.concurrency(procedure.concurrency);
        let spec = AnnounceSpec {
            lease,
            name: name.clone(),
            ttl: Duration::from_millis(ttl_ms),
            metadata,
            procedure: Some(procedure),
        };
        let grant = self.directory.announce(owner, spec)?;
        let mut instances = self.instances.write();
        if let Some(known) = instances.by_id.get(&grant.id) {
            known.set_concurrency(concurrency);
            return Ok(grant.ttl);
        }
        let bounds = (self.config.queue, self.config.overflow);
        let name = (name.into(), owner.session);
        let instance = Instance::new((grant.id, lease), name, Arc::clone(&link), concurrency, bounds);
        instances.by_id.insert(grant.id, Arc::new(instance));
        let before = instances.by_lease.insert((owner.session, lease), grant.id);
        drop(instances);
        let now = Instant::now();
        // A lease that had ended without anybody noticing yet.
        if let Some(before) = before {
            self.instance_ended(before, now);
        }
        // Whoever has closed the link meanwhile may have looked for its instances before.
        if link.is_closed() {
            self.session_ended(owner.session, now);
        }
        Ok(grant.ttl)
    }

    fn concurrency(&self, asked: u32) -> usize {
        let asked = if asked == 0 { self.config.default_concurrency } else { asked };
        asked.clamp(1, self.config.max_concurrency.max(1)) as usize
    }

    /// See [`crate::Calls::withdraw`].
    pub(crate) fn withdraw(self: &Arc<Self>, session: u64, lease: u32) -> Result<(), Refusal> {
        self.directory.withdraw(session, lease)?;
        let id = self.instances.read().by_lease.get(&(session, lease)).copied();
        if let Some(id) = id {
            self.instance_ended(id, Instant::now());
        }
        Ok(())
    }

    /// See [`crate::Calls::health`].
    pub(crate) fn set_health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal> {
        self.directory.set_health(session, lease, health)?;
        let instances = self.instances.read();
        let instance = instances.by_lease.get(&(session, lease)).and_then(|id| instances.by_id.get(id));
        if let Some(instance) = instance {
            instance.set_health(health);
        }
        Ok(())
    }

    /// An instance takes no calls any more. What it has at hand comes to its end, what waits for it goes elsewhere.
    pub(crate) fn instance_ended(self: &Arc<Self>, id: u64, now: Instant) {
        let mut instances = self.instances.write();
        let Some(instance) = instances.by_id.remove(&id) else { return };
        let lease = (instance.session, instance.lease);
        if instances.by_lease.get(&lease) == Some(&id) {
            instances.by_lease.remove(&lease);
        }
        drop(instances);
        self.send_elsewhere(instance.close(), now);
    }

    /// A session has ended, and all its instances with it.
    pub(crate) fn session_ended(self: &Arc<Self>, session: u64, now: Instant) {
        self.sessions.write().remove(&session);
        let ids: Vec<u64> = {
            let instances = self.instances.read();
            instances.by_lease.range((session, 0)..=(session, u32::MAX)).map(|(_, id)| *id).collect()
        };
        for id in ids {
            self.instance_ended(id, now);
        }
    }

    fn send_elsewhere(self: &Arc<Self>, waiting: Vec<(CallId, u8)>, now: Instant) {
        let reply = Reply::failure(0, Status::NotSent, "the provider has gone before its turn");
        for (id, attempt) in waiting {
            self.ended(id, attempt, None, Cause::Gone, &reply, now);
        }
    }
}
