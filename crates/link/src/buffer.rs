use sinew_wire::{DecodeError, Frame, FrameHeader, FrameLimits, HEADER_LEN};

/// What a reader starts with: enough for control frames, little enough for ten thousand silent clients.
const SMALL: usize = 4 << 10;

/// Bytes of a link that are not handed out yet, in one piece of memory that is used again and again.
///
/// It grows only when bytes have filled it: by load up to `ceiling`, and beyond it for a single frame that has begun
/// to arrive. Never by what a header announces alone.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    ceiling: usize,
    limits: FrameLimits,
    /// The last read filled all the room: more was waiting.
    was_full: bool,
}

impl FrameBuffer {
    pub(crate) fn new(ceiling: usize, limits: FrameLimits) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, ceiling: ceiling.max(SMALL), limits, was_full: false }
    }

    /// Bytes that wait for the rest of their frame, or to be taken.
    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Length of the frame at the front with its header, if the header is there.
    fn front(&self) -> Result<Option<(FrameHeader, usize)>, DecodeError> {
        let Some(header) = self.bytes[self.start..self.end].first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = FrameHeader::decode(*header, &self.limits)?;
        Ok(Some((header, HEADER_LEN + header.len)))
    }

    pub(crate) fn has_frame(&self) -> Result<bool, DecodeError> {
        Ok(self.front()?.is_some_and(|(_, whole)| whole <= self.len()))
    }

    /// Takes the frame at the front, if all of it is there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, DecodeError> {
        let Some((header, whole)) = self.front()? else { return Ok(None) };
        if whole > self.len() {
            return Ok(None);
        }
        let body = self.start + HEADER_LEN;
        self.start += whole;
        Ok(Some(Frame { kind: header.kind, body: &self.bytes[body..self.start] }))
    }

    /// Room to read into, never empty. To be called when no whole frame is left.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            // The rest of a batch: the beginning of one frame.
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let size = self.bytes.len();
        if size == 0 {
            self.bytes.resize(SMALL, 0);
        } else if self.end == size {
            self.bytes.resize(size * 2, 0);
        } else if self.was_full && size < self.ceiling {
            self.bytes.resize((size * 2).min(self.ceiling), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were read into [`Self::room`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len(), "nobody reads more than there is room for");
        self.was_full = self.end == self.bytes.len();
    }

    /// Gives memory back that is not in use now.
    pub(crate) fn shrink(&mut self) {
        if self.len() == 0 {
            self.bytes = Vec::new();
            (self.start, self.end) = (0, 0);
        }
        self.was_full = false;
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use sinew_wire::FrameKind;

    use super::*;

    fn buffer() -> FrameBuffer {
        FrameBuffer::new(32 << 10, FrameLimits::default())
    }

    fn encode(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        for body in bodies {
            FrameHeader { kind: FrameKind::Publish, len: body.len() }.encode(&mut bytes);
            bytes.extend_from_slice(body);
        }
        bytes.to_vec()
    }

    /// Reads `bytes` as a stream that hands out at most so many at a time, in turn.
    fn read(buffer: &mut FrameBuffer, mut bytes: &[u8], reads: &[usize], shrink: bool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for size in reads.iter().cycle() {
            let room = buffer.room();
            assert!(!room.is_empty());
            let count = room.len().min(*size).min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
            while let Some(frame) = buffer.next_frame().unwrap() {
                frames.push(frame.body.to_vec());
            }
            if shrink {
                buffer.shrink();
            }
            if bytes.is_empty() {
                break;
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            bodies in prop::collection::vec(
                prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..60), 1 => prop::collection::vec(any::<u8>(), 0..9000)],
                1..40,
            ),
            reads in prop::collection::vec(1usize..20_000, 1..20),
            shrink: bool,
        ) {
            let bytes = encode(&bodies);
            prop_assert_eq!(read(&mut buffer(), &bytes, &reads, shrink), bodies);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut buffer = buffer();
            buffer.room()[..bytes.len()].copy_from_slice(&bytes);
            buffer.filled(bytes.len());
            while let Ok(Some(_)) = buffer.next_frame() {}
            prop_assert_eq!(buffer.bytes.len(), SMALL);
        }
    }

    #[test]
    fn grows_with_the_bytes_and_not_with_the_header() {
        let mut buffer = buffer();
        let announced = encode(&[vec![0; 1 << 20]]);
        for (sent, expected) in [(5, SMALL), (SMALL, 2 * SMALL), (40_000, 64 << 10), (700_000, 1 << 20)] {
            while buffer.len() < sent {
                let have = buffer.len();
                let room = buffer.room();
                let count = room.len().min(sent - have);
                room[..count].copy_from_slice(&announced[have..have + count]);
                buffer.filled(count);
            }
            buffer.room();
            assert_eq!(buffer.bytes.len(), expected, "after {sent} bytes");
        }
    }

    #[test]
    fn a_busy_one_grows_to_its_ceiling_and_an_idle_one_gives_all_back() {
        let mut buffer = buffer();
        let bytes = encode(&vec![vec![1; 95]; 10_000]);
        assert_eq!(read(&mut buffer, &bytes, &[usize::MAX], false).len(), 10_000);
        assert_eq!(buffer.bytes.len(), 32 << 10);
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(buffer.room().len(), SMALL);
    }
}
