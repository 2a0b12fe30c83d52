//! When a socket can send again: watched only while somebody waits for it.
//!
//! A send that finds the kernel's buffer full says so, and whoever wants to send waits for the next report of room. For
//! that the socket is registered once more, under a descriptor of its own, from when the first one waits until the last
//! one is told. A fresh registration reports also what is so already: room that came between the failed send and the
//! registration is not missed. And nobody joins one whose report was heard: an old report is not taken for a new one.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::UdpPoller;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::{debug, trace};

/// When to try again if the socket cannot be watched, as when the process is out of descriptors. To fail is no way out:
/// quinn then abandons the connection without telling anybody.
const RETRY: Duration = Duration::from_millis(1);

/// Whether a socket has room for another datagram. Shared by all connections over it.
#[derive(Debug)]
pub(crate) struct Writability {
    socket: Arc<OwnedFd>,
    /// A send has found no room, and nobody has heard since that there is some. May be out of date either way: who
    /// finds no room sets it again, and who waits though there is room is told at once.
    blocked: AtomicBool,
    /// The socket, registered for writing: there while somebody waits.
    watch: Mutex<Weak<AsyncFd<Arc<OwnedFd>>>>,
}

impl Writability {
    /// Of a socket that does not block.
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Arc<Self> {
        Arc::new(Self { socket, blocked: AtomicBool::new(false), watch: Mutex::default() })
    }

    /// Sends, and remembers when there was no room. Need not be called inside of a runtime.
    pub(crate) fn try_send(&self, send: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<()> {
        let sent = send(&self.socket);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            trace!("no room in the send buffer");
            self.blocked.store(true, Ordering::Release);
        }
        sent
    }

    /// For one connection. Must be polled inside of a tokio runtime.
    pub(crate) fn poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { writability: self, waiting: None })
    }

    /// Waits until there is room. Called only after a send has found none.
    async fn room(self: Arc<Self>) -> io::Result<()> {
        match self.watch() {
            Ok(watch) => {
                drop(watch.writable().await?);
                self.found(&watch);
            }
            Err(error) => {
                debug!(%error, "cannot watch a socket for room to send");
                sleep(RETRY).await;
            }
        }
        Ok(())
    }

    /// Joins those who wait, or is the first.
    fn watch(&self) -> io::Result<Arc<AsyncFd<Arc<OwnedFd>>>> {
        let mut current = self.watch.lock();
        if let Some(watch) = current.upgrade() {
            return Ok(watch);
        }
        let watch = Arc::new(register(Arc::new(self.socket.try_clone()?), Interest::WRITABLE)?);
        *current = Arc::downgrade(&watch);
        Ok(watch)
    }

    /// This watch has reported room: whoever finds none from now on needs another.
    fn found(&self, watch: &Arc<AsyncFd<Arc<OwnedFd>>>) {
        let mut current = self.watch.lock();
        if current.as_ptr() == Arc::as_ptr(watch) {
            *current = Weak::new();
            self.blocked.store(false, Ordering::Release);
        }
    }
}

/// Registers a descriptor for reading or writing only, which tokio's own sockets cannot. Must be called inside of a
/// tokio runtime.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor may change, or be closed before the drop"
)]
pub(crate) fn register(descriptor: Arc<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::with_interest(descriptor, interest)
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for one connection.
struct Poller {
    writability: Arc<Writability>,
    waiting: Option<Waiting>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { writability, waiting } = &mut *self;
        if waiting.is_none() && !writability.blocked.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let room = waiting.get_or_insert_with(|| Box::pin(Arc::clone(writability).room()));
        let waited = ready!(room.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(waited)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::net::UnixDatagram;

    use socket2::SockRef;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A socket that sends to one that does not read by itself, so that it has room for a few datagrams only.
    fn narrow() -> (Arc<Writability>, UnixDatagram) {
        let (from, to) = UnixDatagram::pair().expect("a pair");
        for socket in [&from, &to] {
            socket.set_nonblocking(true).expect("is set");
        }
        SockRef::from(&from).set_send_buffer_size(16 << 10).expect("is set");
        (Writability::new(Arc::new(from.into())), to)
    }

    impl Writability {
        fn send(&self) -> io::Result<()> {
            self.try_send(|socket| SockRef::from(socket).send(&[7; 1200]).map(drop))
        }

        fn fill(&self) {
            let mut sent = 0;
            while self.send().is_ok() {
                sent += 1;
            }
            assert!(sent > 0, "there was room");
        }

        fn is_watched(&self) -> bool {
            self.watch.lock().strong_count() > 0
        }
    }

    fn drain(socket: &UnixDatagram) {
        while socket.recv(&mut [0; 2000]).is_ok() {}
    }

    async fn waits(poller: &mut Pin<Box<dyn UdpPoller>>) -> bool {
        poll_fn(|cx| Poll::Ready(poller.as_mut().poll_writable(cx).is_pending())).await
    }

    async fn is_woken(poller: &mut Pin<Box<dyn UdpPoller>>) {
        let woken = timeout(SOON, poll_fn(|cx| poller.as_mut().poll_writable(cx))).await;
        woken.expect("is woken").expect("is watched");
    }

    #[tokio::test]
    async fn who_finds_no_room_is_woken_when_there_is_some_over_and_over() {
        let (from, to) = narrow();
        let mut pollers = [Arc::clone(&from).poller(), Arc::clone(&from).poller()];
        for _ in 0..3 {
            for poller in &mut pollers {
                assert!(!waits(poller).await && !from.is_watched(), "nothing to wait for");
            }
            from.fill();
            for poller in &mut pollers {
                assert!(waits(poller).await && from.is_watched(), "there is no room");
            }
            drain(&to);
            for poller in &mut pollers {
                is_woken(poller).await;
            }
            assert!(!from.is_watched(), "nobody waits any more");
        }
    }

    #[tokio::test]
    async fn room_that_comes_before_anybody_waits_is_not_missed() {
        let (from, to) = narrow();
        let mut poller = Arc::clone(&from).poller();
        from.fill();
        drain(&to);
        is_woken(&mut poller).await;
        assert!(!from.is_watched());
    }

    #[tokio::test]
    async fn an_old_report_is_not_taken_for_a_new_one() {
        let (from, to) = narrow();
        let mut pollers = [Arc::clone(&from).poller(), Arc::clone(&from).poller()];
        from.fill();
        let [slow, quick] = &mut pollers;
        assert!(waits(slow).await);
        drain(&to);
        // It is reported that there is room; who waited longer has not looked yet, and the other fills it again.
        is_woken(quick).await;
        from.fill();
        assert!(waits(quick).await, "there is no room");
        is_woken(slow).await;
        from.send().expect_err("there is no room");
        assert!(waits(slow).await, "it waits for the next report");
        drain(&to);
        for poller in &mut pollers {
            is_woken(poller).await;
        }
        assert!(!from.is_watched());
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_last_who_waits() {
        let (from, to) = narrow();
        from.fill();
        let mut pollers = vec![Arc::clone(&from).poller(), Arc::clone(&from).poller()];
        for poller in &mut pollers {
            assert!(waits(poller).await);
        }
        pollers.pop();
        assert!(from.is_watched(), "one waits");
        pollers.pop();
        assert!(!from.is_watched(), "nobody waits");
        let mut poller = Arc::clone(&from).poller();
        assert!(waits(&mut poller).await, "there is still no room");
        drain(&to);
        is_woken(&mut poller).await;
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_tried_again_after_a_while() {
        // Files cannot be watched.
        let from = Writability::new(Arc::new(tempfile::tempfile().expect("a file").into()));
        let mut poller = Arc::clone(&from).poller();
        from.try_send(|_| Err(io::ErrorKind::WouldBlock.into())).expect_err("so it is");
        for _ in 0..2 {
            assert!(waits(&mut poller).await);
            is_woken(&mut poller).await;
        }
    }
}
