//! A sender, a receiver and the wire between them, with the credit going back.

use std::collections::VecDeque;

use proptest::prelude::*;
use sinew_flow::{Overgranted, Overrun, ReceiveWindow, SendWindow};

#[derive(Debug, Clone)]
enum Step {
    /// Sends a message of that size if there is credit.
    Send(usize),
    /// The application takes so many bytes.
    Consume(u64),
    /// The oldest grant arrives at the sender.
    Return,
    Flush,
}

fn steps(max_message: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..=max_message).prop_map(Step::Send),
        3 => (0..60_u64).prop_map(Step::Consume),
        2 => Just(Step::Return),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_halves_agree_and_stay_in_bounds((size, max, steps) in (1..100_u64, 1..50_usize)
        .prop_flat_map(|(size, max)| (Just(size), Just(max), steps(max))))
    {
        let mut sender = SendWindow::new(size);
        let mut receiver = ReceiveWindow::new(size, max as u64);
        let mut unconsumed = 0;
        let mut consumed = 0;
        let mut grants = VecDeque::new();
        for step in steps {
            match step {
                Step::Send(bytes) if sender.available() > 0 => {
                    sender.spend(bytes);
                    unconsumed += bytes as u64;
                    prop_assert_eq!(receiver.receive(bytes as u64), Ok(()));
                }
                Step::Send(_) => prop_assert!(sender.outstanding() >= size),
                Step::Consume(bytes) => {
                    let bytes = bytes.min(unconsumed);
                    unconsumed -= bytes;
                    consumed += bytes;
                    let grant = receiver.consume(bytes);
                    let due = consumed > 0 && consumed >= size / 2;
                    prop_assert_eq!(grant, due.then(|| std::mem::take(&mut consumed)));
                    grants.extend(grant);
                }
                Step::Return => {
                    if let Some(grant) = grants.pop_front() {
                        prop_assert_eq!(sender.grant(grant), Ok(()));
                    }
                }
                Step::Flush => {
                    let grant = receiver.flush();
                    prop_assert_eq!(grant.unwrap_or(0), std::mem::take(&mut consumed));
                    grants.extend(grant);
                }
            }
            // Every byte sent waits for the application, for company, or for its grant to arrive.
            let returning: u64 = grants.iter().sum();
            prop_assert_eq!(receiver.outstanding(), unconsumed + consumed);
            prop_assert_eq!(sender.outstanding(), receiver.outstanding() + returning);
            prop_assert_eq!(sender.available(), size.saturating_sub(sender.outstanding()));
            prop_assert!(sender.outstanding() < size + max as u64);
        }
        // However it stood, once everything is consumed and returned the sender may send again.
        grants.extend(receiver.consume(unconsumed));
        for grant in grants {
            prop_assert_eq!(sender.grant(grant), Ok(()));
        }
        prop_assert!(sender.available() > 0);
    }
}

#[test]
fn a_peer_that_returns_too_much_is_told_so() {
    let mut window = SendWindow::new(100);
    window.spend(30);
    let error = window.grant(31).expect_err("only 30 were sent");
    assert_eq!(error, Overgranted { granted: 31, outstanding: 30 });
    assert_eq!(error.to_string(), "31 bytes of credit returned, only 30 were outstanding");
    assert_eq!((window.grant(30), window.available()), (Ok(()), 100));
    assert!(window.grant(u64::MAX).is_err());
}

#[test]
fn a_peer_that_overruns_the_window_is_told_so() {
    let mut window = ReceiveWindow::new(100, 20);
    assert_eq!(window.receive(120), Ok(()));
    let error = window.receive(1).expect_err("one beyond");
    assert_eq!(error, Overrun { outstanding: 121, allowed: 120 });
    assert_eq!(error.to_string(), "121 bytes sent without credit returned, at most 120 are allowed");
    assert!(window.receive(u64::MAX).is_err());
    assert_eq!((window.consume(u64::MAX), window.outstanding(), window.flush()), (Some(120), 0, None));
}

#[test]
fn a_window_of_one_byte_passes_one_message_at_a_time() {
    let (mut sender, mut receiver) = (SendWindow::new(1), ReceiveWindow::new(1, 50));
    for _ in 0..3 {
        sender.spend(50);
        receiver.receive(50).expect("overdrawn by one message");
        assert_eq!(sender.available(), 0);
        let grant = receiver.consume(50).expect("more than half the window");
        sender.grant(grant).expect("what was sent");
        assert_eq!(sender.available(), 1);
    }
}
