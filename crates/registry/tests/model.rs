//! The registry against the simplest thing that does the same: a list of leases, searched from one end to the other.

#![expect(clippy::disallowed_methods, reason = "a test begins at some time; from there on it passes time in")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sinew_registry::{AnnounceError, ChangeSet, Ended, LeaseId, Limits, Offer, Owner, Registry, Snapshot};
use sinew_wire::PeerId;

const NAMES: [&str; 4] = ["a", "a.b", "b", "c.d.e"];

fn limits() -> Limits {
    Limits {
        services: 12,
        per_publisher: 5,
        metadata_bytes: 20,
        metadata_total: 60,
        min_ttl: Duration::from_millis(10),
        max_ttl: Duration::from_millis(100),
        default_ttl: Duration::from_millis(30),
    }
}

/// Sessions 0 to 7 belong to 4 client objects, two sessions to each; these belong to 2 publishers.
fn owner(session: u64) -> Owner {
    let client = session % 4;
    Owner { session, peer: PeerId::from_public_key([(client % 2) as u8; 32]), instance: client }
}

#[derive(Debug, Clone)]
enum Step {
    Announce { session: u64, lease: u32, name: usize, ttl: u64, metadata: usize },
    Renew(LeaseId),
    Withdraw(LeaseId),
    Lost(u64),
    Pass(u64),
    Expire(usize),
    Keep,
    Tell(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || (0..8_u64, 0..4_u32).prop_map(|(session, lease)| LeaseId { session, lease });
    let ttl = prop_oneof![8 => 10..=100_u64, 1 => Just(0), 1 => Just(9), 1 => Just(101), 1 => Just(u64::MAX)];
    prop_oneof![
        8 => (id(), 0..NAMES.len(), ttl, 0..22_usize).prop_map(|(id, name, ttl, metadata)| Step::Announce {
            session: id.session, lease: id.lease, name, ttl, metadata
        }),
        3 => id().prop_map(Step::Renew),
        2 => id().prop_map(Step::Withdraw),
        1 => (0..8_u64).prop_map(Step::Lost),
        2 => (0..40_u64).prop_map(Step::Pass),
        2 => (0..5_usize).prop_map(Step::Expire),
        1 => Just(Step::Keep),
        2 => (0..3_usize).prop_map(Step::Tell),
    ]
}

#[derive(Debug, Clone)]
struct Row {
    owner: Owner,
    lease: u32,
    name: &'static str,
    ttl: Duration,
    metadata: usize,
    expires: Instant,
}

impl Row {
    fn id(&self) -> LeaseId {
        LeaseId { session: self.owner.session, lease: self.lease }
    }
}

/// Bytes of metadata and the end of each lease of a name.
type Rows = BTreeMap<LeaseId, (usize, Instant)>;

#[derive(Default)]
struct Model {
    rows: Vec<Row>,
}

impl Model {
    fn announce(&mut self, row: Row) -> Result<(), &'static str> {
        let limits = limits();
        if row.ttl < limits.min_ttl || row.ttl > limits.max_ttl {
            return Err("ttl");
        }
        if row.metadata > limits.metadata_bytes {
            return Err("metadata");
        }
        if self.rows.iter().any(|other| other.id() == row.id() && other.name != row.name) {
            return Err("in use");
        }
        let same = |other: &Row| {
            (other.owner.peer, other.owner.instance, other.lease) == (row.owner.peer, row.owner.instance, row.lease)
        };
        let rest: Vec<_> = self.rows.iter().filter(|other| !same(other)).cloned().collect();
        if rest.iter().filter(|other| other.owner.peer == row.owner.peer).count() >= limits.per_publisher {
            return Err("publisher");
        }
        if rest.len() >= limits.services {
            return Err("services");
        }
        if rest.iter().map(|other| other.metadata).sum::<usize>() + row.metadata > limits.metadata_total {
            return Err("total");
        }
        self.rows = rest;
        self.rows.push(row);
        Ok(())
    }

    fn remove(&mut self, gone: impl Fn(&Row) -> bool) -> BTreeSet<LeaseId> {
        let ids = self.rows.iter().filter(|row| gone(row)).map(Row::id).collect();
        self.rows.retain(|row| !gone(row));
        ids
    }

    fn of(&self, name: &str) -> Rows {
        let rows = self.rows.iter().filter(|row| row.name == name);
        rows.map(|row| (row.id(), (row.metadata, row.expires))).collect()
    }
}

fn ids(ended: &[Ended]) -> BTreeSet<LeaseId> {
    ended.iter().map(|ended| ended.id).collect()
}

/// Everything that a snapshot says about a name, expired or not.
fn seen(snapshot: &Snapshot, name: &str, long_ago: Instant, start: usize) -> Rows {
    let Some(service) = snapshot.get(name) else { return BTreeMap::new() };
    assert!(!service.is_empty() && **service.name() == *name);
    let rows: Vec<_> = service.live_from(start, long_ago).collect();
    assert_eq!(rows.len(), service.len());
    rows.into_iter()
        .map(|instance| {
            let bytes = instance.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
            (instance.id(), (bytes, instance.expires))
        })
        .collect()
}

fn agree(registry: &Registry, model: &Model, long_ago: Instant) {
    assert_eq!(registry.len(), model.rows.len());
    assert_eq!(registry.is_empty(), model.rows.is_empty());
    assert_eq!(registry.next_deadline(), model.rows.iter().map(|row| row.expires).min());
    let snapshot = registry.snapshot();
    let mut listed = Vec::new();
    for name in NAMES {
        let rows = model.of(name);
        assert_eq!(registry.instances(name) as usize, rows.len());
        assert_eq!(seen(&snapshot, name, long_ago, model.rows.len()), rows);
        if !rows.is_empty() {
            listed.push((Arc::from(name), rows.len() as u32));
        }
    }
    assert_eq!(snapshot.names(), listed.len());
    assert_eq!(registry.names(), listed.len());
    assert_eq!(registry.list(None, usize::MAX), listed);
    if let Some((first, _)) = listed.first() {
        assert_eq!(registry.list(Some(&**first), 1), listed[1..listed.len().min(2)]);
    }
}

fn pairs(bytes: usize) -> Vec<(String, String)> {
    if bytes == 0 { Vec::new() } else { vec![("k".to_owned(), "v".repeat(bytes - 1))] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_list_does(steps in prop::collection::vec(step(), 1..120)) {
        let start = Instant::now();
        let mut now = start + Duration::from_secs(1);
        let (mut registry, mut model) = (Registry::new(limits()), Model::default());
        let mut kept: Option<(Snapshot, Vec<Rows>)> = None;
        let (mut changes, mut told) = (ChangeSet::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Announce { session, lease, name, ttl, metadata } => {
                    let name = NAMES[name];
                    let (asked, metadata_of) = (Duration::from_millis(ttl), pairs(metadata));
                    let offer = Offer { lease, name, ttl: asked, metadata: metadata_of, procedure: None };
                    let ttl = if ttl == 0 { limits().default_ttl } else { Duration::from_millis(ttl) };
                    let expires = now.checked_add(ttl).unwrap_or(now);
                    let row = Row { owner: owner(session), lease, name, ttl, metadata, expires };
                    let result = registry.announce(owner(session), offer, now);
                    let expected = model.announce(row);
                    match (result, expected) {
                        (Ok(announced), Ok(())) => {
                            assert_eq!((&*announced.name, announced.ttl), (name, ttl));
                            assert_eq!(announced.instances as usize, model.of(name).len());
                            changes.set(&announced.name, announced.instances);
                            if let Some(ended) = announced.ended {
                                assert_ne!((ended.id.session, ended.number), (session, announced.number));
                                changes.set(&ended.name, ended.instances);
                            }
                        }
                        (Err(error), Err(expected)) => {
                            let found = match error {
                                AnnounceError::Ttl { .. } => "ttl",
                                AnnounceError::MetadataBytes { .. } => "metadata",
                                AnnounceError::LeaseInUse(_) => "in use",
                                AnnounceError::PerPublisher { .. } => "publisher",
                                AnnounceError::Services { .. } => "services",
                                AnnounceError::MetadataTotal { .. } => "total",
                                other => panic!("unexpected {other}"),
                            };
                            assert_eq!(found, expected);
                        }
                        (result, expected) => panic!("{result:?} instead of {expected:?}"),
                    }
                }
                Step::Renew(id) => {
                    let row = model.rows.iter_mut().find(|row| row.id() == id && row.expires > now);
                    assert_eq!(registry.renew(id, now).ok(), row.as_ref().map(|row| row.ttl));
                    if let Some(row) = row {
                        row.expires = now + row.ttl;
                    }
                }
                Step::Withdraw(id) => {
                    let ended = registry.withdraw(id);
                    assert_eq!(ended.is_ok(), !model.remove(|row| row.id() == id).is_empty());
                    if let Ok(ended) = ended {
                        changes.set(&ended.name, ended.instances);
                    }
                }
                Step::Lost(session) => {
                    let ended = registry.session_lost(session);
                    assert_eq!(ids(&ended), model.remove(|row| row.owner.session == session));
                    ended.iter().for_each(|ended| _ = changes.set(&ended.name, ended.instances));
                }
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Expire(max) => {
                    let mut due: Vec<_> = model.rows.iter().filter(|row| row.expires <= now).map(|row| (row.expires, row.id())).collect();
                    due.sort_unstable();
                    due.truncate(max);
                    let due: BTreeSet<_> = due.into_iter().map(|(_, id)| id).collect();
                    let ended = registry.expire(now, max);
                    assert_eq!(&ids(&ended), &due);
                    model.remove(|row| due.contains(&row.id()));
                    ended.iter().for_each(|ended| _ = changes.set(&ended.name, ended.instances));
                }
                Step::Keep => {
                    let rows = NAMES.map(|name| model.of(name)).to_vec();
                    kept = Some((registry.snapshot(), rows));
                }
                Step::Tell(max) => {
                    for (name, instances) in changes.take(max) {
                        let before = match instances {
                            Some(instances) => told.insert(name, instances),
                            None => told.remove(&name),
                        };
                        assert_ne!(before, instances, "nothing is told twice");
                    }
                }
            }
            agree(&registry, &model, start);
            // A reader sees what it saw, whatever has happened since.
            if let Some((snapshot, rows)) = &kept {
                for (name, rows) in NAMES.iter().zip(rows) {
                    assert_eq!(&seen(snapshot, name, start, 0), rows);
                }
            }
        }
        for (name, instances) in changes.take(usize::MAX) {
            match instances {
                Some(instances) => _ = told.insert(name, instances),
                None => _ = told.remove(&name),
            }
        }
        assert!(changes.is_empty());
        assert_eq!(told.into_iter().collect::<Vec<_>>(), registry.list(None, usize::MAX));
    }
}
