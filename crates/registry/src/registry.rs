use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use sinew_wire::{PeerId, ProviderHealth};

use crate::limits::{bytes_of, check_name, vary_bytes};
use crate::{AnnounceError, Announced, Ended, Instance, LeaseId, Limits, NoSuchLease, Offer, Owner, Snapshot};

/// The leases of one node.
///
/// Belongs to one owner, who passes the time in; readers get a [`Snapshot`].
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    leases: HashMap<LeaseId, Lease>,
    /// Leases of each session.
    sessions: HashMap<u64, HashSet<u32>>,
    /// The session in which a client holds a lease: (client, its instance, its lease) to session.
    clients: HashMap<(PeerId, u64, u32), u64>,
    /// How many leases each publisher holds.
    publishers: HashMap<PeerId, usize>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    /// Names in order, and their instances.
    names: BTreeMap<Arc<str>, u32>,
    services: Snapshot,
    metadata_bytes: usize,
    /// Number of the instance before.
    numbered: u64,
}

#[derive(Debug)]
struct Lease {
    name: Arc<str>,
    instance: Arc<Instance>,
    /// Where it stands in its service.
    place: usize,
}

impl Registry {
    /// Without any lease.
    pub fn new(limits: Limits) -> Self {
        Self::numbering_from(limits, 0)
    }

    /// Without any lease; instances are numbered from the one behind `before`. A node that begins somewhere else each
    /// time does not take requests to an instance of its life before for one of this life.
    pub fn numbering_from(limits: Limits, before: u64) -> Self {
        Self {
            limits,
            leases: HashMap::new(),
            sessions: HashMap::new(),
            clients: HashMap::new(),
            publishers: HashMap::new(),
            deadlines: BTreeSet::new(),
            names: BTreeMap::new(),
            services: Snapshot::new(),
            metadata_bytes: 0,
            numbered: before,
        }
    }

    /// The bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Grants a lease.
    ///
    /// A session that announces the number of a lease it holds, for the same name, renews it and replaces its metadata.
    /// A client that has reconnected, and announces the number of a lease it holds in the session before, takes it
    /// along: what it offers is there once, and counts once.
    ///
    /// # Errors
    /// What is wrong with the offer, or the limit that it passes. Nothing has changed then.
    pub fn announce(&mut self, owner: Owner, offer: Offer<'_>, now: Instant) -> Result<Announced, AnnounceError> {
        check_name(offer.name)?;
        let ttl = self.limits.ttl(offer.ttl)?;
        let bytes = self.limits.metadata(&offer.metadata)? + vary_bytes(offer.procedure.as_ref());
        let id = LeaseId { session: owner.session, lease: offer.lease };
        let earlier = match self.leases.get(&id) {
            Some(lease) if *lease.name != *offer.name || lease.instance.owner != owner => {
                return Err(AnnounceError::LeaseInUse(offer.lease));
            }
            Some(_) => Some(id),
            None => self
                .clients
                .get(&(owner.peer, owner.instance, offer.lease))
                .map(|session| LeaseId { session: *session, lease: offer.lease }),
        };
        self.check_quotas(owner.peer, bytes, earlier)?;

        let same = self.leases.get(&id).map(|lease| (lease.instance.number, lease.instance.health));
        let (number, health) = same.unwrap_or_else(|| (self.numbered.wrapping_add(1), ProviderHealth::Good));
        if same.is_none() {
            self.numbered = number;
        }
        let ended = earlier.and_then(|earlier| self.end(earlier)).filter(|ended| ended.number != number);
        let instance = Arc::new(Instance {
            number,
            owner,
            lease: offer.lease,
            metadata: offer.metadata.into(),
            procedure: offer.procedure.map(Arc::new),
            health,
            ttl,
            expires: deadline(now, ttl),
        });
        let (name, instances) = self.insert(offer.name, instance, bytes);
        let same_name =
            |ended: Ended| Ended { instances: if *ended.name == *name { instances } else { ended.instances }, ..ended };
        Ok(Announced { number, ttl, instances, ended: ended.map(same_name), name })
    }

    /// Whether one more lease of a publisher has room, when `earlier` goes.
    fn check_quotas(&self, peer: PeerId, bytes: usize, earlier: Option<LeaseId>) -> Result<(), AnnounceError> {
        let earlier = earlier.and_then(|id| self.leases.get(&id));
        let kept = usize::from(earlier.is_some());
        let held = self.publishers.get(&peer).copied().unwrap_or(0);
        if held - kept >= self.limits.per_publisher {
            return Err(AnnounceError::PerPublisher { allowed: self.limits.per_publisher });
        }
        if self.leases.len() - kept >= self.limits.services {
            return Err(AnnounceError::Services { allowed: self.limits.services });
        }
        let freed = earlier.map_or(0, |lease| charged(&lease.instance));
        if self.metadata_bytes - freed + bytes > self.limits.metadata_total {
            return Err(AnnounceError::MetadataTotal { allowed: self.limits.metadata_total });
        }
        Ok(())
    }

    /// Begins the time to live of a lease anew, and returns it.
    ///
    /// # Errors
    /// The session holds no such lease; a lease that has ended but was not expired yet counts as one.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Result<Duration, NoSuchLease> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.instance.expires > now).ok_or(NoSuchLease(id))?;
        let ttl = lease.instance.ttl;
        let expires = deadline(now, ttl);
        self.deadlines.remove(&(lease.instance.expires, id));
        self.deadlines.insert((expires, id));
        lease.instance = Arc::new(Instance { expires, ..Instance::clone(&lease.instance) });
        let (place, instance) = (lease.place, Arc::clone(&lease.instance));
        self.services.change(&lease.name, |service| service.replace(place, instance));
        Ok(ttl)
    }

    /// How an instance is, by its own word. Gives its name if that is something else than before.
    ///
    /// # Errors
    /// The session holds no such lease.
    pub fn set_health(&mut self, id: LeaseId, health: ProviderHealth) -> Result<Option<Arc<str>>, NoSuchLease> {
        let lease = self.leases.get_mut(&id).ok_or(NoSuchLease(id))?;
        if lease.instance.health == health {
            return Ok(None);
        }
        lease.instance = Arc::new(Instance { health, ..Instance::clone(&lease.instance) });
        let (place, instance) = (lease.place, Arc::clone(&lease.instance));
        self.services.change(&lease.name, |service| service.replace(place, instance));
        Ok(Some(Arc::clone(&lease.name)))
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// The session holds no such lease.
    pub fn withdraw(&mut self, id: LeaseId) -> Result<Ended, NoSuchLease> {
        self.end(id).ok_or(NoSuchLease(id))
    }

    /// Ends all leases of a session, which are at most as many as one publisher may hold.
    pub fn session_lost(&mut self, session: u64) -> Vec<Ended> {
        let leases = self.sessions.get(&session).map_or_else(Vec::new, |leases| leases.iter().copied().collect());
        leases.into_iter().filter_map(|lease| self.end(LeaseId { session, lease })).collect()
    }

    /// Ends up to `max` leases whose time has passed, the oldest first. If there are more, [`Registry::next_deadline`]
    /// has passed already.
    pub fn expire(&mut self, now: Instant, max: usize) -> Vec<Ended> {
        let mut ended = Vec::new();
        while ended.len() < max
            && let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            ended.extend(self.end(id));
        }
        ended
    }

    /// When the next lease ends, unless it is renewed.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Instances of a name, those included that were not expired yet.
    pub fn instances(&self, name: &str) -> u32 {
        self.names.get(name).copied().unwrap_or(0)
    }

    /// Up to `max` names in order with their instances, beginning behind `after`.
    pub fn list(&self, after: Option<&str>, max: usize) -> Vec<(Arc<str>, u32)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.names.range::<str, _>((from, Bound::Unbounded));
        behind.take(max).map(|(name, instances)| (Arc::clone(name), *instances)).collect()
    }

    /// What there is now, for readers.
    pub fn snapshot(&self) -> Snapshot {
        self.services.clone()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// How many names have an instance.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    fn insert(&mut self, name: &str, instance: Arc<Instance>, bytes: usize) -> (Arc<str>, u32) {
        let (id, owner) = (instance.id(), instance.owner);
        let name = self.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        let instances = self.names.entry(Arc::clone(&name)).or_default();
        *instances = instances.saturating_add(1);
        let instances = *instances;
        self.deadlines.insert((instance.expires, id));
        self.sessions.entry(id.session).or_default().insert(id.lease);
        self.clients.insert((owner.peer, owner.instance, id.lease), id.session);
        *self.publishers.entry(owner.peer).or_default() += 1;
        self.metadata_bytes += bytes;
        let place = self.services.get_or_insert(&name).push(Arc::clone(&instance));
        self.leases.insert(id, Lease { name: Arc::clone(&name), instance, place });
        (name, instances)
    }

    fn end(&mut self, id: LeaseId) -> Option<Ended> {
        let Lease { name, instance, place } = self.leases.remove(&id)?;
        let owner = instance.owner;
        self.deadlines.remove(&(instance.expires, id));
        if let Some(leases) = self.sessions.get_mut(&id.session) {
            leases.remove(&id.lease);
            if leases.is_empty() {
                self.sessions.remove(&id.session);
            }
        }
        self.clients.remove(&(owner.peer, owner.instance, id.lease));
        if let Some(held) = self.publishers.get_mut(&owner.peer) {
            *held -= 1;
            if *held == 0 {
                self.publishers.remove(&owner.peer);
            }
        }
        self.metadata_bytes -= charged(&instance);
        let moved = self.services.change(&name, |service| service.swap_remove(place)).flatten();
        if let Some(moved) = moved.and_then(|moved| self.leases.get_mut(&moved)) {
            moved.place = place;
        }
        let instances = self.names.get_mut(&*name).map_or(0, |instances| {
            *instances -= 1;
            *instances
        });
        if instances == 0 {
            self.names.remove(&*name);
        }
        Some(Ended { id, number: instance.number, name, instances })
    }
}

/// What an instance counts for in the bytes of all metadata.
fn charged(instance: &Instance) -> usize {
    bytes_of(&instance.metadata) + vary_bytes(instance.procedure.as_deref())
}

/// `now + ttl`. Limits keep it within an hour; a clock at its end gives a lease that ends at once.
fn deadline(now: Instant, ttl: Duration) -> Instant {
    now.checked_add(ttl).unwrap_or(now)
}
