use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::Service;

/// Branches of the root, and leaves of a branch. A hundred thousand names are a hundred to a leaf.
const FAN: usize = 32;

type Leaf = HashTable<Arc<Service>>;
type Branch = [Arc<Leaf>; FAN];

/// All services of a node, as of one moment. Cloning it shares it: a reader keeps what it has seen for as long as it likes, and
/// waits for nobody.
///
/// A hash table cut into leaves. A change copies the leaf, the branch and the root that lead to it if a reader holds them, and
/// nothing if none does.
#[derive(Debug, Clone)]
pub struct Snapshot {
    root: Arc<[Arc<Branch>; FAN]>,
    hasher: DefaultHashBuilder,
    names: usize,
}

impl Snapshot {
    pub(crate) fn new() -> Self {
        let leaf: Arc<Leaf> = Arc::default();
        let branch: Arc<Branch> = Arc::new(std::array::from_fn(|_| Arc::clone(&leaf)));
        let root = Arc::new(std::array::from_fn(|_| Arc::clone(&branch)));
        Self { root, hasher: DefaultHashBuilder::default(), names: 0 }
    }

    /// Names with an instance, those included whose leases have ended and which the registry has not been told to expire.
    pub const fn names(&self) -> usize {
        self.names
    }

    /// The service of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Service>> {
        let hash = self.hasher.hash_one(name);
        let (branch, leaf) = place(hash);
        self.root[branch][leaf].find(hash, |service| **service.name() == *name)
    }

    /// The service of this name, to be changed; a new one if there is none, to which the caller adds an instance.
    pub(crate) fn get_or_insert(&mut self, name: &Arc<str>) -> &mut Service {
        let hash = self.hasher.hash_one(&**name);
        if self.get(name).is_none() {
            self.names += 1;
        }
        let hasher = self.hasher.clone();
        let entry =
            self.leaf(hash).entry(hash, |service| service.name() == name, |other| hasher.hash_one(&**other.name()));
        let entry = entry.or_insert_with(|| Arc::new(Service::new(Arc::clone(name))));
        Arc::make_mut(entry.into_mut())
    }

    /// Changes the service of this name, and forgets it when that leaves no instance.
    pub(crate) fn change<R>(&mut self, name: &str, change: impl FnOnce(&mut Service) -> R) -> Option<R> {
        let hash = self.hasher.hash_one(name);
        let mut entry = self.leaf(hash).find_entry(hash, |service| **service.name() == *name).ok()?;
        let result = change(Arc::make_mut(entry.get_mut()));
        if entry.get().is_empty() {
            entry.remove();
            self.names -= 1;
        }
        Some(result)
    }

    fn leaf(&mut self, hash: u64) -> &mut Leaf {
        let (branch, leaf) = place(hash);
        Arc::make_mut(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.root)[branch])[leaf])
    }
}

/// Which branch and leaf. By bits in the middle: the table in the leaf goes by the lowest and the highest.
const fn place(hash: u64) -> (usize, usize) {
    ((hash >> 32) as usize % FAN, (hash >> 37) as usize % FAN)
}
