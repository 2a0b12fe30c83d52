//! What nodes tell of themselves: never a panic, every index in place, and what was decoded encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_wire::MAX_TOPIC;
use sinew_wire::live::{Batch, MAX_EVENTS, MAX_LIST, MAX_SLOW, State};

fuzz_target!(|body: &[u8]| {
    if let Ok(batch) = Batch::decode(body) {
        assert!(batch.events.len() <= MAX_EVENTS && batch.names.iter().all(|name| name.len() <= MAX_TOPIC));
        for event in &batch.events {
            assert!(event.seq < batch.emitted && usize::from(event.name) < batch.names.len());
            assert!(event.provider.is_none_or(|place| usize::from(place) < batch.peers.len()));
        }
        assert_eq!(batch.encode(), body);
    }
    if let Ok(state) = State::decode(body) {
        assert!(state.links.len() <= MAX_LIST && state.slow.len() <= MAX_SLOW);
        assert_eq!(state.encode(), body);
    }
});
