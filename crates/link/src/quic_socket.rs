//! The UDP socket of a QUIC endpoint: it wakes the process when something came, and not because something went.
//!
//! The socket that quinn makes is registered for reading and writing at once. Each datagram that leaves its send buffer
//! makes it "writable again" and wakes the process for nothing, once for each packet of a call. Here writing is watched
//! only while a send waits for room ([`Writability`]). All else is as in quinn's: segmentation offload, ECN, and that
//! packets are not fragmented are the duty of [`UdpSocketState`].

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

use crate::writability::{Writability, register};

/// Where one call takes all datagrams that are there, and epoll reports each that comes later.
const BATCHES_ARE_WHOLE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A UDP socket of a QUIC endpoint.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    /// Registered for reading only.
    io: AsyncFd<Arc<OwnedFd>>,
    address: SocketAddr,
    state: UdpSocketState,
    writability: Arc<Writability>,
}

impl QuicSocket {
    /// Of a bound socket. Must be called inside of a tokio runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        let socket = Arc::new(OwnedFd::from(socket));
        let io = register(Arc::clone(&socket), Interest::READABLE)?;
        Ok(Self { io, address, state, writability: Writability::new(socket) })
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.writability).poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.writability.try_send(|socket| self.state.send(socket.into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            match self.state.recv(self.io.get_ref().into(), bufs, meta) {
                Ok(count) => {
                    // It could have taken more, so there are no more, and the call that says so is spared.
                    if BATCHES_ARE_WHOLE && count < bufs.len().min(BATCH_SIZE) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // Like quinn's own: what the network says of one peer must not end the endpoint of all. But others have
                // their turn before the next attempt.
                Err(error) => {
                    debug!(%error, "cannot read from a UDP socket");
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use quinn::{Runtime, TokioRuntime};
    use tokio::time::timeout;

    use super::*;

    fn bound() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")
    }

    /// The first bytes of so many datagrams, in as many turns as it takes.
    async fn read(from: &QuicSocket, count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < count {
            let mut space = vec![[0; 64]; BATCH_SIZE];
            let mut bufs: Vec<_> = space.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            let mut meta = vec![RecvMeta::default(); BATCH_SIZE];
            let reading = poll_fn(|cx| from.poll_recv(cx, &mut bufs, &mut meta));
            let messages = timeout(Duration::from_secs(10), reading).await.expect("comes").expect("is read");
            got.extend(space.iter().take(messages).map(|buf| buf[0]));
        }
        got
    }

    #[tokio::test]
    async fn all_that_comes_is_read_in_order_burst_after_burst() {
        let (from, to) = (bound(), QuicSocket::new(bound()).expect("is watched"));
        let address = to.local_addr().expect("is bound");
        for burst in [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1, 3 * BATCH_SIZE, 1] {
            let sent: Vec<u8> = (0..burst).map(|n| n as u8).collect();
            for &byte in &sent {
                from.send_to(&[byte], address).expect("is sent");
            }
            assert_eq!(read(&to, burst).await, sent);
        }
    }

    #[tokio::test]
    async fn it_can_do_what_the_socket_of_quinn_can() {
        let ours = QuicSocket::new(bound()).expect("is watched");
        let theirs = TokioRuntime.wrap_udp_socket(bound()).expect("is watched");
        let can = |socket: &dyn AsyncUdpSocket| {
            (socket.max_transmit_segments(), socket.max_receive_segments(), socket.may_fragment())
        };
        assert_eq!(can(&ours), can(&*theirs));
    }
}
