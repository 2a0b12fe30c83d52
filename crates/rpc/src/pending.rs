//! Data of a caller that come before the request could be handed over.

use bytes::{BufMut, Bytes, BytesMut};
use sinew_flow::Reservation;
use sinew_wire::call::{DataFlags, INITIAL_WINDOW};

/// Most frames that wait: a caller that sends items of one byte fills its window with as many.
const MAX_FRAMES: usize = INITIAL_WINDOW as usize;

/// Bytes in front of each frame's body.
const HEAD: usize = 5;

/// Frames in the order in which they came, in one piece of memory. Bounded by the caller's first window.
#[derive(Debug)]
pub(crate) struct Pending {
    frames: BytesMut,
    count: usize,
    memory: Reservation,
}

impl Pending {
    pub(crate) fn new(memory: Reservation) -> Self {
        Self { frames: BytesMut::new(), count: 0, memory }
    }

    /// Keeps a frame. `false` when there is no room for it.
    pub(crate) fn push(&mut self, flags: DataFlags, body: &[u8]) -> bool {
        let bytes = self.frames.len() + HEAD + body.len();
        if self.count >= MAX_FRAMES || !self.memory.resize(bytes) {
            return false;
        }
        self.count += 1;
        let end_item = u8::from(flags.contains(DataFlags::END_ITEM));
        let end = u8::from(flags.contains(DataFlags::END));
        self.frames.put_u8(end_item | end << 1);
        self.frames.put_u32_le(body.len() as u32);
        self.frames.put_slice(body);
        true
    }

    /// The frames, one after the other.
    pub(crate) fn into_frames(self) -> impl Iterator<Item = (DataFlags, Bytes)> {
        let mut rest = self.frames.freeze();
        let memory = self.memory;
        std::iter::from_fn(move || {
            let _held_until_all_are_taken = &memory;
            let (&[bits, a, b, c, d], _) = rest.split_first_chunk::<HEAD>()?;
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            let _head = rest.split_to(HEAD);
            let body = rest.split_to(len.min(rest.len()));
            let mut flags = DataFlags::CALLER;
            if bits & 1 != 0 {
                flags = flags.with(DataFlags::END_ITEM);
            }
            if bits & 2 != 0 {
                flags = flags.with(DataFlags::END);
            }
            Some((flags, body))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use sinew_flow::Budget;

    use super::*;

    proptest! {
        #[test]
        fn what_was_kept_comes_back(
            frames in prop::collection::vec((any::<bool>(), any::<bool>(), 0..300_usize), 0..50),
        ) {
            let budget = Arc::new(Budget::new(1 << 20));
            let mut pending = Pending::new(budget.try_reserve(0).expect("nothing is always there"));
            let mut expected = Vec::new();
            for (n, (end_item, end, len)) in frames.into_iter().enumerate() {
                let mut flags = DataFlags::CALLER;
                flags = if end_item { flags.with(DataFlags::END_ITEM) } else { flags };
                flags = if end { flags.with(DataFlags::END) } else { flags };
                let body = vec![n as u8; len];
                prop_assert!(pending.push(flags, &body));
                expected.push((flags, Bytes::from(body)));
            }
            prop_assert_eq!(pending.into_frames().collect::<Vec<_>>(), expected);
            prop_assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn frames_without_bytes_are_bounded_too() {
        let budget = Arc::new(Budget::new(usize::MAX));
        let mut pending = Pending::new(budget.try_reserve(0).expect("nothing is always there"));
        let kept = (0..).take_while(|_| pending.push(DataFlags::CALLER, &[])).count();
        assert_eq!(kept, MAX_FRAMES);
    }
}
