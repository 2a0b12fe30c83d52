//! The DHT: what we provide, and who provides what.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use libp2p::PeerId as Theirs;
use libp2p::kad::{
    AddProviderOk, Event, GetProvidersOk, InboundRequest, ProviderRecord, QueryId, QueryResult, QueryStats, RecordKey,
    store::RecordStore,
};
use rand::RngExt;
use sinew_wire::PeerId;
use tokio::sync::oneshot;

use super::Task;
use super::meter;
use crate::shared::Key;
use crate::store::{ADDRESSES, Offered};
use crate::{DhtError, peer_id};

/// Look-ups under way at once.
const LOOKUPS: usize = 256;

/// Publications under way at once; others wait.
const PUBLICATIONS: usize = 32;

/// Publications a second when all are made anew, because nodes joined.
const PUBLICATIONS_PER_SECOND: f64 = 200.0;

/// Nodes that keep a record, beyond which a node that joins seldom is one of them.
const KEEPERS: usize = 20;

/// How long to wait for more nodes to join before everything is published anew.
const SETTLE: Duration = Duration::from_millis(300);

/// Between two such publications at least.
const RENEW: Duration = Duration::from_secs(5);

/// Providers of one key that an answer has, at most.
const FOUND: usize = 1024;

/// How long the nodes are waited for that have not answered a look-up, once as many others have. A node that was killed is
/// connected for some seconds yet, as far as anybody knows, and is in the tables of others for longer.
const STALLED: Duration = Duration::from_secs(2);

/// How often what is over is thrown away.
const EXPIRY: Duration = Duration::from_secs(30);

enum Query {
    Publish { key: Key, reply: Option<oneshot::Sender<Result<(), DhtError>>> },
    Lookup(Lookup),
}

struct Lookup {
    found: HashSet<Theirs>,
    deadline: Instant,
    /// How many nodes had answered, or could not, and since when it is so many.
    progress: (u32, Instant),
    reply: oneshot::Sender<Result<Vec<PeerId>, DhtError>>,
}

impl Lookup {
    fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now || self.reply.is_closed()
    }

    /// Whether those that have not answered are not worth waiting for.
    fn is_stalled(&mut self, stats: &QueryStats, now: Instant) -> bool {
        let done = stats.num_successes() + stats.num_failures();
        if self.progress.0 != done {
            self.progress = (done, now);
        }
        let answered = stats.num_successes() > 0 && stats.num_successes() >= stats.num_pending();
        answered && now.saturating_duration_since(self.progress.1) >= STALLED
    }

    fn answer(self, timed_out: bool) {
        let found: Vec<PeerId> = self.found.iter().filter_map(peer_id::ours).collect();
        let nothing = timed_out && found.is_empty();
        let _gone = self.reply.send(if nothing { Err(DhtError::TimedOut) } else { Ok(found) });
    }
}

/// What the task knows of it.
pub(super) struct Dht {
    queries: HashMap<QueryId, Query>,
    publications: usize,
    /// Nodes in the routing table.
    pub(super) table: usize,
    /// Nodes joined, and everything is to be published anew at this time.
    renew: Option<Instant>,
    renewed: Option<Instant>,
    expire: Instant,
    /// The next time that something is to be published, as far as known.
    next: Option<Instant>,
}

impl Dht {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queries: HashMap::new(),
            publications: 0,
            table: 0,
            renew: None,
            renewed: None,
            expire: now + EXPIRY,
            next: None,
        }
    }
}

impl Task {
    pub(super) fn provide(&mut self, key: Key, reply: oneshot::Sender<Result<(), DhtError>>, now: Instant) {
        let inserted = self.shared.provided.lock().insert(key, now + self.config.provider_interval);
        let answer = match inserted {
            Ok(()) if self.dht.table == 0 => {
                // It is published when the first node joins; until then others may ask us.
                let record = ProviderRecord::new(RecordKey::new(&key), self.theirs, Vec::new());
                let stored = self.swarm.behaviour_mut().kad.store_mut().offer(record);
                (stored == Offered::Stored).then_some(()).ok_or(DhtError::TooMany(crate::shared::PROVIDED))
            }
            Ok(()) => return self.publish(key, Some(reply), now),
            Err(error) => Err(error),
        };
        self.dht.next = Some(now);
        let _gone = reply.send(answer);
    }

    fn publish(&mut self, key: Key, reply: Option<oneshot::Sender<Result<(), DhtError>>>, now: Instant) {
        match self.swarm.behaviour_mut().kad.start_providing(RecordKey::new(&key)) {
            Ok(id) => {
                meter!(self, queries);
                self.dht.publications += 1;
                self.dht.queries.insert(id, Query::Publish { key, reply });
            }
            Err(_) => {
                meter!(self, queries_failed);
                if let Some(reply) = reply {
                    let _gone = reply.send(Err(DhtError::TooMany(crate::shared::PROVIDED)));
                }
            }
        }
        let interval = self.config.provider_interval.mul_f64(rand::rng().random_range(0.9..=1.0));
        if let Some(due) = self.shared.provided.lock().due.get_mut(&key) {
            *due = now + interval;
        }
        self.dht.next = Some(self.dht.next.map_or(now + interval, |next| next.min(now + interval)));
    }

    pub(super) fn providers(
        &mut self,
        key: Key,
        deadline: Instant,
        reply: oneshot::Sender<Result<Vec<PeerId>, DhtError>>,
    ) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let answer = if self.dht.queries.len() - self.dht.publications >= LOOKUPS {
            Err(DhtError::Busy)
        } else if self.dht.table > 0 {
            let id = kad.get_providers(RecordKey::new(&key));
            meter!(self, queries);
            let progress = (0, Instant::now());
            self.dht.queries.insert(id, Query::Lookup(Lookup { found: HashSet::new(), deadline, progress, reply }));
            return;
        } else if kad.store_mut().is_known(&key) {
            let now = Instant::now();
            let known = kad.store_mut().providers(&RecordKey::new(&key));
            let valid = known.into_iter().filter(|record| !record.is_expired(now));
            Ok(valid.filter_map(|record| peer_id::ours(&record.provider)).collect())
        } else {
            Err(DhtError::NoPeers)
        };
        let _gone = reply.send(answer);
    }

    pub(super) fn on_kad(&mut self, event: Event, now: Instant) {
        match event {
            Event::InboundRequest { request } => self.on_inbound(request),
            Event::OutboundQueryProgressed { id, result, step, .. } => {
                if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) = &result
                    && let Some(Query::Lookup(lookup)) = self.dht.queries.get_mut(&id)
                {
                    let room = FOUND.saturating_sub(lookup.found.len());
                    lookup.found.extend(providers.iter().take(room));
                }
                if step.last {
                    self.finish_query(id, &result);
                }
            }
            Event::RoutingUpdated { is_new_peer, .. } => {
                self.count_table();
                if is_new_peer && self.dht.table <= KEEPERS {
                    let earliest = self.dht.renewed.map_or(now, |renewed| renewed + RENEW).max(now + SETTLE);
                    self.dht.renew.get_or_insert(earliest);
                }
            }
            Event::UnroutablePeer { .. }
            | Event::RoutablePeer { .. }
            | Event::PendingRoutablePeer { .. }
            | Event::ModeChanged { .. } => {}
        }
    }

    pub(super) fn count_table(&mut self) {
        self.dht.table = self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
    }

    fn on_inbound(&mut self, request: InboundRequest) {
        match request {
            InboundRequest::AddProvider { record: Some(mut record) } => {
                // The sender is the provider: the protocol lets no other record through.
                let peer = peer_id::ours(&record.provider).and_then(|id| self.peers.get(&id));
                let Some(peer) = peer.filter(|peer| peer.is_member()) else {
                    meter!(self, refused_provider_quota);
                    return;
                };
                record.addresses.retain(|address| crate::address::check(address).is_ok());
                if record.addresses.is_empty() {
                    record.addresses = peer.listen.iter().take(ADDRESSES).cloned().collect();
                }
                match self.swarm.behaviour_mut().kad.store_mut().offer(record) {
                    Offered::Stored => {}
                    Offered::Key => meter!(self, refused_provider_key),
                    Offered::Quota => meter!(self, refused_provider_quota),
                }
            }
            InboundRequest::PutRecord { .. } => meter!(self, refused_records),
            InboundRequest::AddProvider { record: None }
            | InboundRequest::FindNode { .. }
            | InboundRequest::GetProvider { .. }
            | InboundRequest::GetRecord { .. } => {}
        }
    }

    fn finish_query(&mut self, id: QueryId, result: &QueryResult) {
        match self.dht.queries.remove(&id) {
            Some(Query::Publish { key, reply }) => {
                self.dht.publications -= 1;
                let published = matches!(result, QueryResult::StartProviding(Ok(AddProviderOk { .. })));
                if !published {
                    meter!(self, queries_failed);
                    // Again soon, paced like all of them.
                    if let Some(due) = self.shared.provided.lock().due.get_mut(&key) {
                        let soon = Instant::now() + Duration::from_secs(10);
                        *due = soon.min(*due);
                        self.dht.next = Some(self.dht.next.map_or(soon, |next| next.min(soon)));
                    }
                }
                if let Some(reply) = reply {
                    let _gone = reply.send(if published { Ok(()) } else { Err(DhtError::TimedOut) });
                }
            }
            Some(Query::Lookup(lookup)) => {
                let timed_out = matches!(result, QueryResult::GetProviders(Err(_)));
                if timed_out {
                    meter!(self, queries_failed);
                }
                lookup.answer(timed_out);
            }
            None => {}
        }
    }

    /// Publishes what is due, ends look-ups, and throws away what is over.
    pub(super) fn tend_dht(&mut self, now: Instant) {
        let withdrawn = self.shared.provided.lock().take_withdrawn();
        for key in withdrawn {
            self.swarm.behaviour_mut().kad.stop_providing(&RecordKey::new(&key));
        }
        self.end_lookups(now);
        if self.dht.renew.take_if(|renew| *renew <= now).is_some() {
            self.dht.renewed = Some(now);
            self.renew_all(now);
        }
        if self.dht.table > 0 && self.dht.next.is_some_and(|next| next <= now) {
            self.publish_due(now);
        }
        if self.dht.expire <= now {
            self.dht.expire = now + EXPIRY;
            self.swarm.behaviour_mut().kad.store_mut().expire(now);
        }
    }

    /// Ends look-ups that take too long, and those that only wait for nodes that do not answer. The table forgets such a node
    /// when its connection turns out to be dead; until then, and wherever others name it, it would cost each look-up seconds.
    fn end_lookups(&mut self, now: Instant) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let late = self.dht.queries.extract_if(|_, query| matches!(query, Query::Lookup(one) if one.is_late(now)));
        for (id, query) in late {
            meter!(self, queries_failed);
            if let Query::Lookup(lookup) = query {
                lookup.answer(true);
            }
            if let Some(mut query) = kad.query_mut(&id) {
                query.finish();
            }
        }
        for (id, query) in &mut self.dht.queries {
            if let Query::Lookup(lookup) = query
                && let Some(mut query) = kad.query_mut(id)
                && lookup.is_stalled(query.stats(), now)
            {
                meter!(self, queries_cut);
                // Its end is told like that of any other.
                query.finish();
            }
        }
    }

    /// Everything is due soon, spread so that it does not come at once.
    fn renew_all(&mut self, now: Instant) {
        let mut provided = self.shared.provided.lock();
        let spread = provided.due.len() as f64 / PUBLICATIONS_PER_SECOND;
        for due in provided.due.values_mut() {
            let soon = now + Duration::from_secs_f64(rand::rng().random_range(0.0..=spread));
            *due = soon.min(*due);
        }
        self.dht.next = Some(now);
    }

    fn publish_due(&mut self, now: Instant) {
        let room = PUBLICATIONS.saturating_sub(self.dht.publications);
        let mut due = Vec::new();
        let mut next = None;
        for (key, at) in &self.shared.provided.lock().due {
            if *at <= now && due.len() < room {
                due.push(*key);
            } else {
                next = Some(next.map_or(*at, |next: Instant| next.min(*at)));
            }
        }
        self.dht.next = next;
        for key in due {
            self.publish(key, None, now);
        }
    }
}
