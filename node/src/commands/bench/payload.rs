//! The head of every payload of a measurement, and the clock in it.

use rustix::time::{ClockId, clock_gettime};

/// Bytes of the head: send time and number, both 8 bytes, little endian.
pub(crate) const HEAD: usize = 16;

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a host.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from the start of the host, so that neither field is ever negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Writes the head into the front of a payload.
pub(crate) fn write(payload: &mut [u8], sent_ns: u64, number: u64) {
    payload[..8].copy_from_slice(&sent_ns.to_le_bytes());
    payload[8..HEAD].copy_from_slice(&number.to_le_bytes());
}

/// Send time and number; `None` for a payload of somebody else.
pub(crate) fn read(payload: &[u8]) -> Option<(u64, u64)> {
    let (sent, rest) = payload.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((u64::from_le_bytes(*sent), u64::from_le_bytes(*number)))
}
