//! From the ring of a node to the batches that it sends.

use std::collections::VecDeque;

use proptest::prelude::*;
use sinew_live::{Batcher, Ring, Routed};
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, Kind, MAX_BATCH_BYTES, MAX_EVENTS, Outcome};

proptest! {
    #[test]
    fn the_oldest_go_and_each_is_counted(capacity in 1_usize..20, steps in prop::collection::vec(0_u8..12, 0..300)) {
        let mut ring = Ring::new(capacity);
        let (mut model, mut emitted, mut dropped) = (VecDeque::new(), 0_u64, 0);
        for step in steps {
            if step > 0 {
                ring.push(emitted);
                model.push_back(emitted);
                emitted += 1;
                if model.len() > capacity {
                    model.pop_front();
                    dropped += 1;
                }
            } else {
                let taken = ring.take();
                prop_assert_eq!((taken.emitted, taken.dropped), (emitted, dropped));
                let expected: Vec<_> = model.drain(..).map(|item| (item, item)).collect();
                prop_assert_eq!(taken.numbered().collect::<Vec<_>>(), expected);
            }
            prop_assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!((ring.emitted(), ring.dropped()), (emitted, dropped));
        }
    }
}

fn routed(name: &str, provider: Option<PeerId>) -> Routed<'_> {
    Routed {
        at_ms: u64::MAX,
        kind: Kind::Call,
        name,
        provider,
        messages: u32::MAX,
        nodes: u16::MAX,
        outcome: Outcome::Ok,
        latency_us: Some(u32::MAX),
    }
}

/// All batches of these names, checked to come back as they are from their bytes.
fn batches(names: &[String], providers: usize) -> Vec<Batch> {
    let mut batcher = Batcher::new(7, &"r".repeat(128), 1);
    let mut all = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&((place % providers.max(1)) as u64).to_le_bytes());
        let provider = (providers > 0).then(|| PeerId::from_public_key(key));
        all.extend(batcher.push(1 + place as u64, &routed(name, provider)));
    }
    all.extend(batcher.finish());
    for batch in &all {
        let bytes = batch.encode();
        assert!(bytes.len() <= MAX_BATCH_BYTES, "{} bytes", bytes.len());
        assert_eq!(Batch::decode(&bytes).as_ref(), Ok(batch));
        assert_eq!(batch.emitted, batch.events.last().expect("none is empty").seq + 1);
        assert_eq!(batch.dropped, 1);
    }
    let seqs: Vec<_> = all.iter().flat_map(|batch| &batch.events).map(|event| event.seq).collect();
    assert!(seqs.iter().copied().eq(1..=names.len() as u64), "each event is in one batch, in order");
    all
}

#[test]
fn batches_end_at_their_bounds() {
    let same = vec!["a.b".to_owned(); 10_000];
    let few = batches(&same, 1);
    assert_eq!(
        few.iter().map(|batch| batch.events.len()).collect::<Vec<_>>(),
        [MAX_EVENTS, MAX_EVENTS, 10_000 - 2 * MAX_EVENTS]
    );
    assert!(few.iter().all(|batch| batch.names.len() == 1 && batch.peers.len() == 1));

    let long: Vec<_> = (0..3_000).map(|n| format!("{n:0>512}")).collect();
    assert!(batches(&long, 3_000).len() > 5, "long names fill a batch before its events do");
    assert!(batches(&[], 0).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_events_fit(names in prop::collection::vec("[a-z]{1,3}|[a-z]{400,512}", 0..2_000), providers in 0_usize..2_000) {
        let made = batches(&names, providers);
        let back: Vec<_> = made.iter().flat_map(|batch| batch.events.iter().map(|event| &batch.names[usize::from(event.name)])).collect();
        prop_assert!(back.into_iter().eq(names.iter()));
    }
}
