//! Packed entries, and what a stranger may send instead.

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::pack::{MIN_BYTES, pack, unpack};
use sinew_wire::{DecodeError, FrameLimits, Limit};

fn unpack_to(packed: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    unpack(packed, u32::try_from(len).expect("tests are small"), &FrameLimits::default())
}

fn is_invalid(result: &Result<Vec<u8>, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Invalid { field: "packed entries", .. }))
}

proptest! {
    #[test]
    fn roundtrip(unit in vec(any::<u8>(), 1..200), times in 1..200_usize) {
        let entries = unit.repeat(times);
        if let Some(packed) = pack(&entries) {
            prop_assert!(entries.len() >= MIN_BYTES);
            prop_assert!(packed.len() <= entries.len() - entries.len() / 8);
            prop_assert_eq!(unpack_to(&packed, entries.len()), Ok(entries));
        } else {
            prop_assert!(entries.len() < MIN_BYTES || times < 3);
        }
    }

    #[test]
    fn arbitrary_bytes(packed in vec(any::<u8>(), 0..300), len in 0..5000_usize) {
        match unpack_to(&packed, len) {
            Ok(entries) => prop_assert_eq!(entries.len(), len),
            Err(error) => prop_assert!(is_invalid(&Err(error))),
        }
    }

    #[test]
    fn damage_never_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let entries = b"21.5 degrees in the kitchen, ".repeat(100);
        let mut packed = pack(&entries).expect("shrinks");
        let at = at.index(packed.len());
        packed[at] = byte;
        packed.truncate(cut.index(packed.len() + 1));
        if let Ok(unpacked) = unpack_to(&packed, entries.len()) {
            prop_assert_eq!(unpacked.len(), entries.len());
        }
    }
}

#[test]
fn not_worth_packing() {
    assert_eq!(pack(&[0; MIN_BYTES - 1]), None);
    assert!(pack(&[0; MIN_BYTES]).is_some());
    // No byte repeats the pattern of its neighbours: nothing to gain.
    let noise: Vec<u8> = (0..4096_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    assert_eq!(pack(&noise), None);
}

#[test]
fn announced_size_above_the_limit() {
    let packed = pack(&[0; 4096]).expect("shrinks");
    let limits = FrameLimits { control: 0, run: 4095, call: 0 };
    let too_large = |actual| DecodeError::TooLarge { limit: Limit::FrameBytes, actual, allowed: 4095 };
    assert_eq!(unpack(&packed, 4096, &limits), Err(too_large(4096)));
    assert_eq!(unpack(&packed, u32::MAX, &limits), Err(too_large(u32::MAX.into())));
}

#[test]
fn bomb() {
    // 1 MiB of zeros in about 4 KiB: within the limit it is as good as any other run.
    let zeros = vec![0; 1 << 20];
    let packed = pack(&zeros).expect("shrinks");
    assert!(packed.len() < 5000, "{} bytes", packed.len());
    assert_eq!(unpack_to(&packed, zeros.len()).as_ref(), Ok(&zeros));
    // It neither writes beyond what was announced, nor leaves announced bytes unwritten.
    for announced in [0, 1, 1000, zeros.len() - 1, zeros.len() + 1] {
        assert!(is_invalid(&unpack_to(&packed, announced)), "{announced}");
    }
}

/// A few bytes can't make a node allocate the largest run.
#[test]
fn announced_size_beyond_what_lz4_expands_to() {
    let too_short =
        Err(DecodeError::Invalid { field: "packed entries", problem: "are too short for the announced length" });
    assert_eq!(unpack_to(b"", 1), too_short);
    assert_eq!(unpack_to(&[0; 16], 16 * 255 + 1), too_short);
    assert_ne!(unpack_to(&[0; 16], 16 * 255), too_short);
}

#[test]
fn nothing_packed() {
    assert!(is_invalid(&unpack_to(b"", 0)) || unpack_to(b"", 0) == Ok(Vec::new()));
}
