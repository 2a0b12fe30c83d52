//! Where services report what happens, for as long as somebody takes it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sinew_live::{Ring, Taken};

/// What can be reported.
pub trait Reported {
    /// Reports that may wait to be taken.
    const CAPACITY: usize;
}

/// Takes reports from services, and hands them to whoever wants them. Cloning it shares them.
///
/// While nobody wants them, a report is one relaxed load. Otherwise it goes into a ring of [`Reported::CAPACITY`], which
/// gives up the oldest when it is full, and counts it.
pub struct Outlet<T>(Arc<Inner<T>>);

struct Inner<T> {
    wanted: AtomicBool,
    ring: Mutex<Ring<T>>,
}

impl<T: Reported> Outlet<T> {
    /// Reports that the ring holds.
    pub const CAPACITY: usize = T::CAPACITY;

    /// Whether somebody wants them. Costs a relaxed load.
    pub fn wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// Somebody wants them from now on, or nobody does.
    pub fn want(&self, wanted: bool) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Reports something, if anybody wants it. Never waits for more than others that do the same.
    pub fn emit<R: Into<T>>(&self, report: impl FnOnce() -> R) {
        if self.wanted() {
            let report = report().into();
            self.0.ring.lock().push(report);
        }
    }

    /// Takes what has been reported since it was last taken, less what the ring has given up.
    pub fn take(&self) -> Taken<T> {
        self.0.ring.lock().take()
    }

    /// How many there have been since the node started.
    pub fn emitted(&self) -> u64 {
        self.0.ring.lock().emitted()
    }

    /// How many of them the ring has given up.
    pub fn dropped(&self) -> u64 {
        self.0.ring.lock().dropped()
    }

    /// How many wait to be taken.
    pub fn depth(&self) -> u64 {
        self.0.ring.lock().len() as u64
    }
}

impl<T: Reported> Default for Outlet<T> {
    fn default() -> Self {
        Self(Arc::new(Inner { wanted: AtomicBool::new(false), ring: Mutex::new(Ring::new(T::CAPACITY)) }))
    }
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Outlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("wanted", &self.0.wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 1_000;

    #[derive(Debug, PartialEq)]
    struct Number(usize);

    impl Reported for Number {
        const CAPACITY: usize = CAPACITY;
    }

    #[test]
    fn while_nobody_wants_any_nothing_is_made() {
        let outlet = Outlet::<Number>::default();
        outlet.emit(|| -> Number { panic!("nobody wants it") });
        assert!(outlet.take().items.is_empty());
        assert_eq!((outlet.emitted(), outlet.dropped(), outlet.depth()), (0, 0, 0));
    }

    #[test]
    fn a_full_ring_gives_up_the_oldest_and_counts_exactly() {
        const MORE: usize = 100;
        let outlet = Outlet::<Number>::default();
        outlet.want(true);
        for n in 0..CAPACITY + MORE {
            outlet.emit(|| Number(n));
        }
        assert_eq!(outlet.depth(), CAPACITY as u64);
        outlet.want(false);
        outlet.emit(|| Number(0));
        let taken = outlet.take();
        assert_eq!((taken.emitted, taken.dropped), ((CAPACITY + MORE) as u64, MORE as u64));
        let expected: Vec<_> = (MORE..CAPACITY + MORE).map(|n| (n as u64, Number(n))).collect();
        assert_eq!(taken.numbered().collect::<Vec<_>>(), expected);
        assert_eq!((outlet.emitted(), outlet.dropped()), ((CAPACITY + MORE) as u64, MORE as u64));
        assert_eq!(outlet.depth(), 0);
    }
}
