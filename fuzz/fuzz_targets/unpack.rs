//! Packed entries: never a panic, never another length than announced, never above the limit; what unpacks packs and
//! unpacks again to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_wire::{FrameLimits, pack};

const LIMITS: FrameLimits = FrameLimits { control: 0, run: 64 << 10, call: 0 };

fuzz_target!(|input: (u32, &[u8])| {
    let (announced, packed) = input;
    // Most of the time a length that has a chance.
    for entries_len in [announced, announced % (64 << 10), announced % 256] {
        let Ok(entries) = pack::unpack(packed, entries_len, &LIMITS) else { continue };
        assert_eq!(entries.len(), entries_len as usize);
        assert!(entries.len() <= LIMITS.run);
        if let Some(again) = pack::pack(&entries) {
            assert_eq!(pack::unpack(&again, entries_len, &LIMITS), Ok(entries));
        }
    }
});
