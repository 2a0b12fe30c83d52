use crate::InstanceId;
use crate::chance::mix;

/// Points of a key on the ring. With so many, the fullest instance gets hardly more keys than the others.
const PROBES: u64 = 21;

/// Which keys belong to which instance, so that few keys move when one comes or goes: consistent hashing with one point
/// for each instance, and several for each key, of which the one counts that is nearest to an instance. (Appleton and
/// O'Reilly, "Multi-probe consistent hashing".) All nodes come to the same result.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self { points: Vec::new() }
    }

    /// Adds instances. Cheaper for many at once.
    pub(crate) fn insert<'a>(&mut self, added: impl Iterator<Item = (&'a InstanceId, u32)>) {
        let before = self.points.len();
        self.points.extend(added.map(|(id, slot)| (point(id), slot)));
        if self.points.len() > before {
            self.points.sort_unstable();
        }
    }

    /// Keeps those for which `stays` says so.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(u32) -> bool) {
        self.points.retain(|(_, slot)| stays(*slot));
    }

    /// The instance to which the key belongs, of those that `takes` takes.
    pub(crate) fn find<T>(&self, key: &[u8], takes: impl Fn(u32) -> Option<T>) -> Option<T> {
        let key = hash(key);
        let points = (0..PROBES).map(|n| mix(key.wrapping_add(mix(n))));
        let near = points.filter_map(|point| {
            let (at, slot) = self.behind(point)?;
            Some((at.wrapping_sub(point), takes(slot)?))
        });
        let nearest = near.min_by_key(|(distance, _)| *distance).map(|(_, taken)| taken);
        nearest.or_else(|| self.anybody_from(key, takes))
    }

    /// The next point, around the ring.
    fn behind(&self, point: u64) -> Option<(u64, u32)> {
        let next = self.points.partition_point(|(at, _)| *at < point);
        self.points.get(next).or_else(|| self.points.first()).copied()
    }

    /// Those near the key are out of the question: the next one that is not. Not constant, but few are left then.
    fn anybody_from<T>(&self, key: u64, takes: impl Fn(u32) -> Option<T>) -> Option<T> {
        let start = self.points.partition_point(|(at, _)| *at < key);
        let (before, behind) = self.points.split_at(start);
        behind.iter().chain(before).find_map(|(_, slot)| takes(*slot))
    }
}

fn point(id: &InstanceId) -> u64 {
    mix(hash(id.node.public_key()) ^ mix(id.id))
}

/// FNV-1a, mixed. Who knows it can choose keys that meet, which costs nobody but himself.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}
