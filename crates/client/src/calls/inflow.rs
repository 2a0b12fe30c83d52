use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sinew_flow::{Overrun, ReceiveWindow};

/// Bytes that are given back at once, at the latest: half of it. A node may have cut the window that was asked for, so that
/// waiting for half of that could be waiting for ever.
const GRANT_WINDOW: u64 = 64 << 10;

/// Parts below it share memory.
const SMALL: usize = 512;

/// Memory that small parts share.
const BLOCK: usize = 4 << 10;

/// What came of the stream or the body of a call and was not taken yet: within the window, whatever the peer does.
#[derive(Debug)]
pub(crate) struct Inflow {
    parts: VecDeque<Part>,
    /// What is left of the block of small parts.
    block: BytesMut,
    window: ReceiveWindow,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    ends_item: bool,
    /// Empty items cost no credit, so they must not cost memory.
    times: u64,
}

/// Bytes of an item, or of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: Bytes,
    /// The item ends with them.
    pub(crate) ends_item: bool,
    /// Credit to give back.
    pub(crate) credit: Option<u32>,
}

impl Inflow {
    /// A peer may send so many bytes before credit is given back.
    pub(crate) fn new(window: u32) -> Self {
        let window = u64::from(window);
        let first = window.min(GRANT_WINDOW);
        Self { parts: VecDeque::new(), block: BytesMut::new(), window: ReceiveWindow::new(first, window - first) }
    }

    /// Keeps a copy of a part. Fails, and keeps nothing, when the peer had no credit for it.
    pub(crate) fn receive(&mut self, bytes: &[u8], ends_item: bool) -> Result<(), Overrun> {
        self.window.receive(bytes.len() as u64)?;
        if !bytes.is_empty() {
            let bytes = self.copy(bytes);
            self.parts.push_back(Part { bytes, ends_item, times: 1 });
            return Ok(());
        }
        match self.parts.back_mut() {
            _ if !ends_item => {}
            Some(last) if last.bytes.is_empty() => last.times = last.times.saturating_add(1),
            _ => self.parts.push_back(Part { bytes: Bytes::new(), ends_item, times: 1 }),
        }
        Ok(())
    }

    /// Takes the next part.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let first = self.parts.front_mut()?;
        if first.times > 1 {
            first.times -= 1;
            return Some(Taken { bytes: Bytes::new(), ends_item: true, credit: None });
        }
        let Part { bytes, ends_item, .. } = self.parts.pop_front()?;
        if self.parts.is_empty() {
            self.block = BytesMut::new();
        }
        // A window is less than 4 GiB, and no more comes back than was sent.
        let credit = self.window.consume(bytes.len() as u64).and_then(|credit| u32::try_from(credit).ok());
        Some(Taken { bytes, ends_item, credit })
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= SMALL {
            return Bytes::copy_from_slice(bytes);
        }
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(BLOCK);
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_holds() {
        let mut inflow = Inflow::new(100_000);
        assert_eq!(inflow.receive(&[0; 100_000], true), Ok(()));
        assert!(inflow.receive(&[0], true).is_err());
        assert_eq!(inflow.receive(&[], true), Ok(()));
        assert_eq!(inflow.take().and_then(|taken| taken.credit), Some(100_000));
        assert_eq!(inflow.receive(&[0; 100_000], true), Ok(()));
    }

    #[test]
    fn empty_items_cost_no_memory() {
        let mut inflow = Inflow::new(10);
        for _ in 0..1_000_000 {
            assert_eq!(inflow.receive(&[], true), Ok(()));
            assert_eq!(inflow.receive(&[], false), Ok(()));
        }
        assert_eq!(inflow.parts.len(), 1);
        for _ in 0..1_000_000 {
            assert_eq!(inflow.take(), Some(Taken { bytes: Bytes::new(), ends_item: true, credit: None }));
        }
        assert_eq!(inflow.take(), None);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            window in 1..200_000_u32,
            steps in prop::collection::vec((prop_oneof![0..4_usize, 0..1_000_usize, 0..70_000_usize], any::<bool>(), 0..4_usize), 1..60),
        ) {
            let mut inflow = Inflow::new(window);
            let mut waiting = VecDeque::new();
            let mut credit = u64::from(window);
            for (at, (len, ends_item, takes)) in steps.into_iter().enumerate() {
                let bytes = vec![at as u8; len];
                let received = inflow.receive(&bytes, ends_item);
                prop_assert_eq!(received.is_ok(), len as u64 <= credit);
                if received.is_ok() {
                    credit -= len as u64;
                    if len > 0 || ends_item {
                        waiting.push_back((bytes, ends_item));
                    }
                }
                for _ in 0..takes {
                    let taken = inflow.take();
                    let expected = waiting.pop_front();
                    credit += taken.as_ref().and_then(|taken| taken.credit).map_or(0, u64::from);
                    prop_assert_eq!(taken.map(|taken| (taken.bytes.to_vec(), taken.ends_item)), expected);
                }
            }
            while let Some(taken) = inflow.take() {
                credit += taken.credit.map_or(0, u64::from);
            }
            prop_assert!(credit <= u64::from(window) && credit * 2 > u64::from(window), "of {window} only {credit} came back");
        }
    }
}
