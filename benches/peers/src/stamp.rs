/// Bytes at the front of a payload that carry send time and sequence number.
pub const MIN_PAYLOAD: usize = 16;

/// Writes send time and sequence number to the front of `payload`.
pub fn write_stamp(payload: &mut [u8], sent_ns: u64, seq: u64) {
    payload[..8].copy_from_slice(&sent_ns.to_le_bytes());
    payload[8..MIN_PAYLOAD].copy_from_slice(&seq.to_le_bytes());
}

/// Reads send time and sequence number; `None` if the payload is too short.
pub fn read_stamp(payload: &[u8]) -> Option<(u64, u64)> {
    let (sent, rest) = payload.split_first_chunk()?;
    let seq = rest.first_chunk()?;
    Some((u64::from_le_bytes(*sent), u64::from_le_bytes(*seq)))
}
