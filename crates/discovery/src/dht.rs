use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashSet;

/// Which names of this node the DHT is told of: a bounded number, while others wait for a place.
#[derive(Debug)]
pub(crate) struct DhtNames {
    max: usize,
    /// Published, or about to be.
    provided: HashSet<Arc<str>>,
    waiting: BTreeSet<Arc<str>>,
    /// Published, and to be taken back. They hold their place until then.
    stopping: HashSet<Arc<str>>,
}

impl DhtNames {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, provided: HashSet::new(), waiting: BTreeSet::new(), stopping: HashSet::new() }
    }

    /// A name has instances, or none any more.
    pub(crate) fn set(&mut self, name: &Arc<str>, present: bool) {
        if !present {
            self.waiting.remove(name);
            if self.provided.remove(name) {
                self.stopping.insert(Arc::clone(name));
            }
        } else if self.stopping.remove(name) {
            self.provided.insert(Arc::clone(name));
        } else if !self.provided.contains(name) {
            self.waiting.insert(Arc::clone(name));
        }
    }

    /// The next name to publish, if there is a place for it.
    pub(crate) fn next(&mut self) -> Option<Arc<str>> {
        if self.provided.len() + self.stopping.len() >= self.max {
            return None;
        }
        let name = self.waiting.pop_first()?;
        self.provided.insert(Arc::clone(&name));
        Some(name)
    }

    /// Names to take back now.
    pub(crate) fn stops(&mut self) -> impl Iterator<Item = Arc<str>> {
        self.stopping.drain()
    }

    /// A publication has failed: the name waits again, if it is still wanted.
    pub(crate) fn failed(&mut self, name: &Arc<str>) {
        if self.provided.remove(name) {
            self.waiting.insert(Arc::clone(name));
        }
    }

    pub(crate) fn provided(&self) -> usize {
        self.provided.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_provided_and_the_others_wait_for_a_place() {
        let mut names = DhtNames::new(2);
        let [a, b, c]: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        [&a, &b, &c].into_iter().for_each(|name| names.set(name, true));
        assert_eq!([names.next(), names.next(), names.next()], [Some(a.clone()), Some(b.clone()), None]);
        assert_eq!((names.provided(), names.waiting()), (2, 1));
        names.set(&a, true);
        assert_eq!(names.waiting(), 1, "it is there already");

        names.set(&a, false);
        assert_eq!(names.next(), None, "its place is not free yet");
        assert_eq!(names.stops().collect::<Vec<_>>(), [Arc::clone(&a)]);
        assert_eq!(names.next(), Some(c.clone()));

        names.set(&b, false);
        names.set(&b, true);
        assert_eq!(names.stops().count(), 0, "it has come back before it was taken back");

        names.failed(&b);
        assert_eq!((names.waiting(), names.next()), (1, Some(b)));
        names.set(&c, false);
        names.failed(&c);
        assert_eq!(names.waiting(), 0, "nobody wants it any more");
    }
}
