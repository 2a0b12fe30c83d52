use std::time::Duration;

use sinew_wire::FrameLimits;

/// Limits and sizes of links. Listeners and dialers take the same.
///
/// The defaults of the transport were measured: `docs/decisions/0003-quic-transport.md`.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Largest bodies a reader accepts, checked on the header of a frame.
    pub frame_limits: FrameLimits,
    /// Time for a whole handshake, the peers' proofs included. Default 3 s.
    pub handshake_timeout: Duration,
    /// Time for the last bytes of [`LinkWriter::finish`](crate::LinkWriter::finish) to arrive. Default 3 s.
    pub finish_timeout: Duration,
    /// A QUIC connection without a packet for so long is lost. Sessions ping each other well inside of it, and close a
    /// silent link themselves, with a reason, after 60 s; so it is a little longer. Default 75 s.
    pub idle_timeout: Duration,
    /// Handshakes under way at once, per listener; what comes beyond is refused. Default 256.
    pub max_pending_handshakes: usize,
    /// Send and receive buffer to ask the kernel for, per UDP socket, in bytes. Default 4 MiB.
    pub socket_buffer: usize,
    /// Bytes a link may have written that the peer has not acknowledged (QUIC). Memory per busy link. Default 2 MiB.
    pub send_window: u32,
    /// Bytes a peer may have sent that the reader has not taken (QUIC). Memory per stalled link. Default 2 MiB.
    pub receive_window: u32,
    /// Bytes that all QUIC links of one listener may have in flight together, in each direction: with many links the windows
    /// of each shrink to its share, though not below 64 KiB. Default 128 MiB.
    pub shared_windows: u64,
    /// Let the kernel cut large UDP writes into packets. Off for drivers that get it wrong. Default on.
    pub segmentation_offload: bool,
    /// Largest UDP payload to look for between two processes of one host, in bytes, 1200 to 65527. Large ones are what makes
    /// QUIC fast there; above 6550 they go out without segmentation offload. Default 6500.
    pub local_udp_payload: u16,
    /// Largest UDP payload to look for on a path to another host, in bytes, 1200 to 65527. What the path really carries is
    /// probed. Raise it to 8952 where a network has jumbo frames. Default 1452.
    pub remote_udp_payload: u16,
    /// What the buffer of a busy reader grows to, in bytes, unless a single frame is larger. Default 256 KiB.
    pub read_buffer: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            frame_limits: FrameLimits::default(),
            handshake_timeout: Duration::from_secs(3),
            finish_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(75),
            max_pending_handshakes: 256,
            socket_buffer: 4 << 20,
            send_window: 2 << 20,
            receive_window: 2 << 20,
            shared_windows: 128 << 20,
            segmentation_offload: true,
            local_udp_payload: 6500,
            remote_udp_payload: 1452,
            read_buffer: 256 << 10,
        }
    }
}
