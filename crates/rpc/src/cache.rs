//! Results that are kept, and which calls they answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use hashbrown::{HashMap, HashSet};
use moka::Expiry;
use moka::sync::Cache;
use parking_lot::Mutex;
use sinew_observe::CacheCounters;
use sinew_wire::call::{Reply, Request, Status};
use sinew_wire::{CachePolicy, Headers, ProviderHealth};

use crate::CacheConfig;
use crate::table::CallId;

/// What a result takes beside its bytes and those of its key, about.
const AROUND: usize = 256;

/// What tells calls apart that may have different results.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Of those who may have given it. It is another one once one of them is gone, so that nothing outlives its provider.
    results: u64,
    name: Arc<str>,
    /// The values of the headers that count, and the argument.
    argument: Bytes,
}

/// A result.
#[derive(Debug)]
pub(crate) struct Kept {
    status: Status,
    code: u16,
    headers: Bytes,
    body: Bytes,
    ttl: Duration,
    until: Instant,
}

/// Results of this node's calls.
#[derive(Debug)]
pub(crate) struct Results {
    kept: Cache<Arc<Key>, Arc<Kept>>,
    /// Calls under way whose results are to be kept.
    flights: Mutex<HashMap<Arc<Key>, HashSet<CallId>>>,
    max_ttl: Duration,
    pub(crate) counters: CacheCounters,
}

/// How a call that may be answered by a result that is kept goes on.
#[derive(Debug)]
pub(crate) enum Found {
    Result(Arc<Kept>),
    /// An equal one is under way: it waits for that.
    Joined,
    /// It is the one for which others wait.
    Leads,
}

impl Key {
    pub(crate) fn new(name: &Arc<str>, results: u64, request: &Request<'_>, policy: &CachePolicy) -> Self {
        let mut argument = BytesMut::with_capacity(request.body.len());
        for header in &policy.vary {
            match request.headers.get(header) {
                // At most 4 KiB.
                Some(value) => {
                    argument.put_u16_le(value.len() as u16);
                    argument.put_slice(value);
                }
                None => argument.put_u16_le(u16::MAX),
            }
        }
        argument.put_slice(request.body);
        Self { results, name: Arc::clone(name), argument: argument.freeze() }
    }
}

impl Kept {
    /// As a reply to a call.
    pub(crate) fn reply(&self) -> Reply<'_> {
        Reply {
            call: 0,
            status: self.status,
            code: self.code,
            load: 0,
            retry_after_ms: 0,
            health: ProviderHealth::Good,
            headers: Headers::decode(&self.headers).unwrap_or_default(),
            body: &self.body,
        }
    }
}

impl Results {
    pub(crate) fn new(config: &CacheConfig, counters: CacheCounters) -> Self {
        let weight = |key: &Arc<Key>, kept: &Arc<Kept>| {
            let bytes = AROUND + key.argument.len() + key.name.len() + kept.headers.len() + kept.body.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(config.max_bytes).weigher(weight).expire_after(Lifetime).build();
        Self { kept, flights: Mutex::default(), max_ttl: config.max_ttl, counters }
    }

    /// What there is for a call. Joined, it stands with those that wait; if it does not wait for that, it
    /// [leaves](Self::leave).
    pub(crate) fn find(&self, key: &Arc<Key>, id: CallId, now: Instant) -> Found {
        if let Some(kept) = self.get(key, now) {
            return Found::Result(kept);
        }
        let mut flights = self.flights.lock();
        if let Some(waiting) = flights.get_mut(key) {
            waiting.insert(id);
            return Found::Joined;
        }
        // It may have landed just now.
        if let Some(kept) = self.get(key, now) {
            return Found::Result(kept);
        }
        flights.insert(Arc::clone(key), HashSet::new());
        Found::Leads
    }

    fn get(&self, key: &Arc<Key>, now: Instant) -> Option<Arc<Kept>> {
        self.kept.get(key).filter(|kept| now < kept.until)
    }

    /// A call does not wait any more for an equal one.
    pub(crate) fn leave(&self, key: &Key, id: CallId) {
        if let Some(waiting) = self.flights.lock().get_mut(key) {
            waiting.remove(&id);
        }
    }

    /// The call for which others wait has ended. Its result is kept if there is one that may be. Gives those that wait.
    pub(crate) fn landed(
        &self,
        key: &Arc<Key>,
        policy: &CachePolicy,
        whole: Option<&Reply<'_>>,
        now: Instant,
    ) -> HashSet<CallId> {
        if let Some(kept) = whole.and_then(|reply| self.keep(reply, policy, now)) {
            self.kept.insert(Arc::clone(key), Arc::new(kept));
        }
        self.flights.lock().remove(key).unwrap_or_default()
    }

    fn keep(&self, reply: &Reply<'_>, policy: &CachePolicy, now: Instant) -> Option<Kept> {
        let ttl_ms = match reply.status {
            Status::Ok => policy.ttl_ms,
            Status::Application => policy.negative_ttl_ms,
            _ => 0,
        };
        let ttl = Duration::from_millis(ttl_ms.into()).min(self.max_ttl);
        if ttl.is_zero() || reply.body.len() > policy.max_bytes as usize {
            return None;
        }
        Some(Kept {
            status: reply.status,
            code: reply.code,
            headers: Bytes::copy_from_slice(reply.headers.as_bytes()),
            body: Bytes::copy_from_slice(reply.body),
            ttl,
            until: now + ttl,
        })
    }

    /// Bytes of what is kept, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.weighted_size()
    }
}

/// Each result has a time of its own.
struct Lifetime;

impl Expiry<Arc<Key>, Arc<Kept>> for Lifetime {
    fn expire_after_create(&self, _: &Arc<Key>, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }

    fn expire_after_update(&self, _: &Arc<Key>, kept: &Arc<Kept>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.ttl)
    }
}
