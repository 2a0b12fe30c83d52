//! The records that this node keeps for the DHT: provider records, within quotas, and no others.
//!
//! Time comes in with the records; what is over goes when it is asked for, or with [`Store::expire`].

use std::borrow::Cow;
use std::iter::{Empty, empty};
use std::time::Instant;

use hashbrown::HashMap;
use libp2p::kad::store::{Error, RecordStore, Result as StoreResult};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use crate::KEY_LEN;

type Key = [u8; KEY_LEN];

/// Addresses kept of one provider.
pub(crate) const ADDRESSES: usize = 4;

/// How much a store keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quotas {
    /// Providers of one key.
    pub(crate) per_key: usize,
    /// Keys of one provider.
    pub(crate) per_peer: usize,
    /// Records in all, our own not counted.
    pub(crate) total: usize,
    /// Keys of our own.
    pub(crate) own: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { per_key: 64, per_peer: 65_536, total: 262_144, own: 131_072 }
    }
}

/// What became of a record that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    Stored,
    /// Its key is no hash.
    Key,
    /// A quota is used up.
    Quota,
}

struct Kept {
    provider: PeerId,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Provider {
    keys: usize,
    /// Once for all keys.
    addresses: Vec<Multiaddr>,
}

/// See the module.
pub(crate) struct Store {
    own: PeerId,
    quotas: Quotas,
    keys: HashMap<Key, Vec<Kept>>,
    providers: HashMap<PeerId, Provider>,
    /// Records of others.
    total: usize,
}

impl Store {
    pub(crate) fn new(own: PeerId, quotas: Quotas) -> Self {
        Self { own, quotas, keys: HashMap::new(), providers: HashMap::new(), total: 0 }
    }

    /// Keeps a record, if there is room. A record that is kept already lives on; nobody is pushed out.
    pub(crate) fn offer(&mut self, record: ProviderRecord) -> Offered {
        let Ok(key) = Key::try_from(record.key.as_ref()) else { return Offered::Key };
        let peer = record.provider;
        let mine = peer == self.own;
        let held = self.providers.get(&peer).map_or(0, |provider| provider.keys);
        let (per_peer, full) = match mine {
            true => (self.quotas.own, false),
            false => (self.quotas.per_peer, self.total >= self.quotas.total),
        };
        let at = self.keys.get_mut(&key);
        let known = at.as_ref().is_some_and(|kept| kept.iter().any(|one| one.provider == peer));
        if !known {
            let crowded = at.as_ref().is_some_and(|kept| kept.len() >= self.quotas.per_key) && !mine;
            if crowded || full || held >= per_peer {
                return Offered::Quota;
            }
            self.keys.entry(key).or_default().push(Kept { provider: peer, expires: record.expires });
            self.total += usize::from(!mine);
        } else if let Some(one) = at.and_then(|kept| kept.iter_mut().find(|one| one.provider == peer)) {
            one.expires = record.expires;
        }
        let provider = self.providers.entry(peer).or_default();
        provider.keys += usize::from(!known);
        if !record.addresses.is_empty() {
            provider.addresses = record.addresses;
            provider.addresses.truncate(ADDRESSES);
        }
        Offered::Stored
    }

    /// Drops what is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Self { own, keys, providers, total, .. } = self;
        keys.retain(|_, kept| {
            kept.retain(|one| {
                let stays = one.expires.is_none_or(|expires| expires > now);
                if !stays {
                    forget(providers, own, total, &one.provider);
                }
                stays
            });
            !kept.is_empty()
        });
    }

    /// Records of others.
    pub(crate) const fn len(&self) -> usize {
        self.total
    }

    pub(crate) fn is_known(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
    }
}

/// One record of a provider is gone.
fn forget(providers: &mut HashMap<PeerId, Provider>, own: &PeerId, total: &mut usize, peer: &PeerId) {
    if peer != own {
        *total = total.saturating_sub(1);
    }
    if let Some(provider) = providers.get_mut(peer) {
        provider.keys = provider.keys.saturating_sub(1);
        if provider.keys == 0 {
            providers.remove(peer);
        }
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> StoreResult<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> StoreResult<()> {
        if self.offer(record) == Offered::Stored { Ok(()) } else { Err(Error::MaxProvidedKeys) }
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let kept = Key::try_from(key.as_ref()).ok().and_then(|key| self.keys.get(&key));
        let record = |one: &Kept| ProviderRecord {
            key: key.clone(),
            provider: one.provider,
            expires: one.expires,
            addresses: self.providers.get(&one.provider).map_or_else(Vec::new, |provider| provider.addresses.clone()),
        };
        kept.into_iter().flatten().map(record).collect()
    }

    /// Nothing: we publish our own records again ourselves.
    fn provided(&self) -> Self::ProvidedIter<'_> {
        empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Ok(key) = Key::try_from(key.as_ref()) else { return };
        let Some(kept) = self.keys.get_mut(&key) else { return };
        let before = kept.len();
        kept.retain(|one| one.provider != *provider);
        if kept.len() < before {
            forget(&mut self.providers, &self.own, &mut self.total, provider);
        }
        if kept.is_empty() {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const QUOTAS: Quotas = Quotas { per_key: 3, per_peer: 5, total: 12, own: 4 };

    fn key(number: u8) -> RecordKey {
        RecordKey::new(&[number; KEY_LEN])
    }

    fn record(number: u8, provider: PeerId, expires: Instant) -> ProviderRecord {
        ProviderRecord { key: key(number), provider, expires: Some(expires), addresses: Vec::new() }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Offer { key: u8, peer: usize, life: u64 },
        Remove { key: u8, peer: usize },
        Expire { after: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..8_u8, 0..6_usize, 1..50_u64).prop_map(|(key, peer, life)| Step::Offer { key, peer, life }),
            1 => (0..8_u8, 0..6_usize).prop_map(|(key, peer)| Step::Remove { key, peer }),
            1 => (1..20_u64).prop_map(|after| Step::Expire { after }),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a flat table: what is kept, that quotas hold, and that nothing is left behind.
        #[test]
        fn like_a_flat_table(steps in steps()) {
            let peers: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
            let mut store = Store::new(peers[0], QUOTAS);
            let mut model: BTreeMap<(u8, usize), Instant> = BTreeMap::new();
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Offer { key, peer, life } => {
                        let expires = now + Duration::from_secs(life);
                        let of_key = model.keys().filter(|(other, _)| *other == key).count();
                        let of_peer = model.keys().filter(|(_, other)| *other == peer).count();
                        let others = model.keys().filter(|(_, other)| *other != 0).count();
                        let room = match peer {
                            0 => of_peer < QUOTAS.own,
                            _ => of_key < QUOTAS.per_key && of_peer < QUOTAS.per_peer && others < QUOTAS.total,
                        };
                        let expected = if model.contains_key(&(key, peer)) || room { Offered::Stored } else { Offered::Quota };
                        prop_assert_eq!(store.offer(record(key, peers[peer], expires)), expected);
                        if expected == Offered::Stored {
                            model.insert((key, peer), expires);
                        }
                    }
                    Step::Remove { key: number, peer } => {
                        store.remove_provider(&key(number), &peers[peer]);
                        model.remove(&(number, peer));
                    }
                    Step::Expire { after } => {
                        now += Duration::from_secs(after);
                        store.expire(now);
                        model.retain(|_, expires| *expires > now);
                    }
                }
                for number in 0..8 {
                    let kept: BTreeSet<PeerId> = store.providers(&key(number)).into_iter().map(|one| one.provider).collect();
                    let expected: BTreeSet<PeerId> =
                        model.keys().filter(|(other, _)| *other == number).map(|(_, peer)| peers[*peer]).collect();
                    prop_assert_eq!(kept, expected);
                }
                prop_assert_eq!(store.len(), model.keys().filter(|(_, peer)| *peer != 0).count());
                prop_assert_eq!(store.providers.values().map(|one| one.keys).sum::<usize>(), model.len());
            }
            store.expire(now + Duration::from_secs(1000));
            prop_assert!(store.keys.is_empty() && store.providers.is_empty() && store.total == 0);
        }
    }

    #[test]
    fn other_keys_and_other_records_are_refused() {
        let mut store = Store::new(PeerId::random(), QUOTAS);
        let odd = ProviderRecord::new(RecordKey::new(b"short"), PeerId::random(), Vec::new());
        assert_eq!(store.offer(odd), Offered::Key);
        assert!(store.put(Record::new(key(1), vec![1])).is_err());
        assert!(store.get(&key(1)).is_none() && store.records().next().is_none());
    }
}
