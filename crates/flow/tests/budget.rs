//! The budget, alone and under threads.

use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use sinew_flow::{Budget, Reservation};

#[test]
fn threads_never_exceed_it_and_sum_to_zero() {
    const LIMIT: usize = 1_000;
    let budget = Arc::new(Budget::new(LIMIT));
    thread::scope(|scope| {
        let workers: Vec<_> = (1..=4_usize)
            .map(|seed| {
                let budget = &budget;
                scope.spawn(move || {
                    let mut held: Vec<Reservation> = Vec::new();
                    let mut refused = 0;
                    for round in 0..20_000_usize {
                        let bytes = round.wrapping_mul(seed * 7 + 1) % 400;
                        match budget.try_reserve(bytes) {
                            Some(reservation) => held.push(reservation),
                            None => {
                                refused += 1;
                                held.clear();
                            }
                        }
                        if let Some(last) = held.last_mut()
                            && !last.resize(bytes / 2 + round % 50)
                        {
                            refused += 1;
                        }
                        assert!(budget.used() <= LIMIT);
                    }
                    refused
                })
            })
            .collect();
        let refused: u64 = workers.into_iter().map(|worker| worker.join().expect("worker")).sum();
        assert_eq!(budget.refused(), refused);
    });
    assert_eq!((budget.used(), budget.free()), (0, LIMIT));
}

#[test]
fn no_number_is_too_large_for_it() {
    let budget = Arc::new(Budget::new(usize::MAX));
    let mut all = budget.try_reserve(usize::MAX).expect("free");
    assert!(budget.try_reserve(1).is_none() && budget.try_reserve(usize::MAX).is_none());
    assert!(budget.try_reserve(0).is_some(), "nothing always fits");
    assert!(all.resize(1));
    assert_eq!((budget.free(), budget.refused()), (usize::MAX - 1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_sum_of_its_reservations(
        limit in 0..200_usize,
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0..60_usize, 0..3_u8), 0..100),
    ) {
        let budget = Arc::new(Budget::new(limit));
        let mut held: Vec<Reservation> = Vec::new();
        for (which, bytes, step) in steps {
            let sum: usize = held.iter().map(Reservation::bytes).sum();
            match step {
                0 => {
                    let reservation = budget.try_reserve(bytes);
                    prop_assert_eq!(reservation.is_some(), sum + bytes <= limit);
                    held.extend(reservation);
                }
                _ if held.is_empty() => {}
                1 => {
                    let reservation = which.get_mut(&mut held);
                    let others = sum - reservation.bytes();
                    prop_assert_eq!(reservation.resize(bytes), others + bytes <= limit);
                }
                _ => drop(held.swap_remove(which.index(held.len()))),
            }
            prop_assert_eq!(budget.used(), held.iter().map(Reservation::bytes).sum::<usize>());
            prop_assert!(budget.used() <= budget.limit());
        }
        drop(held);
        prop_assert_eq!(budget.used(), 0);
    }
}
