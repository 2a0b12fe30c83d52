//! The tasks of quinn, one of which is run at once by whoever has written a little to its connection.
//!
//! quinn has a task for each connection, its driver, which sends what was written. A write wakes it, and still holds the
//! lock of the connection meanwhile. On a runtime of several threads that is where a message loses its time: another
//! thread is woken for the driver, finds the lock taken, and has to be woken again. (tokio keeps a woken task on its
//! thread, but not when it is the fourth in a row: what comes in has passed the tasks of the endpoint, of the other
//! connection, of its reader and of this writer.) So after a small write the driver is run in place. Its task stays: for
//! all else that wakes it, and for what it leaves to do.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// tokio, with drivers that can be run in place.
#[derive(Debug)]
pub(crate) struct InlineRuntime;

impl Runtime for InlineRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Driving) {
        let driver = Driver { future: Mutex::new(Some(future)), missed: AtomicBool::new(false), task: OnceLock::new() };
        tokio::spawn(Task(Arc::new(driver)));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}

/// Does a part of a write, and then runs what it has woken of quinn in place. Must be called inside of a tokio runtime.
pub(crate) fn run<T>(write: impl FnOnce() -> T) -> T {
    let catching = Catching::begin();
    let written = write();
    if let Some(driver) = catching.end() {
        driver.run_in_place();
    }
    written
}

type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future of quinn, polled by its task or in place, by one at a time.
struct Driver {
    /// `None` when it has come to its end, or has panicked.
    future: Mutex<Option<Driving>>,
    /// The task found it taken, and has to come again.
    missed: AtomicBool,
    /// What wakes the task; there since its first turn.
    task: OnceLock<Waker>,
}

impl Driver {
    /// Polls it. Returns whether it has come to its end, and nothing if somebody else polls it.
    fn poll(self: &Arc<Self>) -> Option<bool> {
        let mut future = self.future.try_lock()?;
        let ended = match future.take() {
            None => true,
            Some(mut driving) => {
                let waker = Waker::from(Arc::clone(self));
                let ended = driving.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
                if !ended {
                    *future = Some(driving);
                }
                ended
            }
        };
        drop(future);
        if self.missed.swap(false, Ordering::SeqCst) {
            self.wake_task();
        }
        Some(ended)
    }

    /// In the middle of another task. What is more than one turn is left to its own.
    fn run_in_place(self: &Arc<Self>) {
        if self.poll() != Some(false) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        // Before its first turn there is nothing to wake: that comes by itself.
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !catch(self) {
            self.wake_task();
        }
    }
}

/// The task of a driver.
struct Task(Arc<Driver>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &self.0;
        driver.task.get_or_init(|| cx.waker().clone());
        let ended = driver.poll().or_else(|| {
            // Who has it looks at this after giving it back; if that was in between, it is free now.
            driver.missed.store(true, Ordering::SeqCst);
            driver.poll()
        });
        if ended == Some(true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

thread_local! {
    static CAUGHT: Cell<Caught> = const { Cell::new(Caught::Closed) };
}

/// What the write that is under way on this thread has woken.
#[derive(Default)]
enum Caught {
    /// There is none.
    #[default]
    Closed,
    Nothing,
    One(Arc<Driver>),
}

/// Whether the driver will be run in place. One is: a write wakes no other.
fn catch(driver: &Arc<Driver>) -> bool {
    // Nothing is caught when the thread ends.
    CAUGHT
        .try_with(|caught| {
            let (now, is_caught) = match caught.take() {
                Caught::Closed => (Caught::Closed, false),
                Caught::Nothing => (Caught::One(Arc::clone(driver)), true),
                Caught::One(first) => {
                    let is_caught = Arc::ptr_eq(&first, driver);
                    (Caught::One(first), is_caught)
                }
            };
            caught.set(now);
            is_caught
        })
        .unwrap_or(false)
}

/// While it is there, a driver is caught. However it ends, a driver that was is not forgotten.
struct Catching;

impl Catching {
    fn begin() -> Self {
        let before = CAUGHT.replace(Caught::Nothing);
        debug_assert!(matches!(before, Caught::Closed), "a write within a write");
        Self
    }

    fn end(self) -> Option<Arc<Driver>> {
        if let Caught::One(driver) = CAUGHT.take() { Some(driver) } else { None }
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        // Only if the write has panicked: otherwise it was taken.
        if let Caught::One(driver) = CAUGHT.take() {
            driver.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// A connection as far as a driver and those who write to it have to do with it.
    #[derive(Default)]
    struct Connection {
        written: AtomicU64,
        seen: AtomicU64,
        turns: AtomicU64,
        closed: AtomicBool,
        driver: Mutex<Option<Waker>>,
    }

    impl Connection {
        /// With a driver that looks what was written, and comes again so many times of its own accord.
        fn open(again: u64) -> Arc<Self> {
            let connection = Arc::new(Self::default());
            let driven = Arc::clone(&connection);
            let mut left = again;
            InlineRuntime.spawn(Box::pin(poll_fn(move |cx| {
                driven.turns.fetch_add(1, Ordering::SeqCst);
                *driven.driver.lock() = Some(cx.waker().clone());
                driven.seen.store(driven.written.load(Ordering::SeqCst), Ordering::SeqCst);
                if driven.seen.load(Ordering::SeqCst) > 0 && left > 0 {
                    left -= 1;
                    cx.waker().wake_by_ref();
                }
                if driven.closed.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })));
            connection
        }

        /// After its driver's first turn.
        async fn opened(again: u64) -> Arc<Self> {
            let connection = Self::open(again);
            connection.until(|connection| connection.turns.load(Ordering::SeqCst) == 1).await;
            connection
        }

        fn write(&self) {
            self.written.fetch_add(1, Ordering::SeqCst);
            // Not while the lock is held.
            let driver = self.driver.lock().clone();
            driver.expect("has had a turn").wake();
        }

        fn turns(&self) -> u64 {
            self.turns.load(Ordering::SeqCst)
        }

        fn seen(&self) -> u64 {
            self.seen.load(Ordering::SeqCst)
        }

        async fn until(&self, holds: impl Fn(&Self) -> bool) {
            let waiting = async {
                while !holds(self) {
                    yield_now().await;
                }
            };
            timeout(Duration::from_secs(20), waiting).await.expect("comes to be so");
        }
    }

    #[tokio::test]
    async fn who_has_written_runs_the_driver_before_its_own_task_has_a_turn() {
        let connection = Connection::opened(0).await;
        run(|| connection.write());
        assert_eq!((connection.seen(), connection.turns()), (1, 2));
        // And its task had nothing left to do.
        yield_now().await;
        assert_eq!(connection.turns(), 2);
        // Woken in any other way, it runs where it always did.
        connection.write();
        assert_eq!(connection.turns(), 2);
        connection.until(|connection| connection.seen() == 2).await;
    }

    #[tokio::test]
    async fn one_driver_is_run_in_place_and_another_one_is_woken() {
        let (one, other) = (Connection::opened(0).await, Connection::opened(0).await);
        run(|| {
            one.write();
            other.write();
            one.write();
        });
        assert_eq!((one.seen(), one.turns(), other.turns()), (2, 2, 1));
        other.until(|other| other.seen() == 1).await;
    }

    #[tokio::test]
    async fn a_driver_that_is_not_done_goes_on_in_its_task() {
        let connection = Connection::opened(3).await;
        run(|| connection.write());
        assert_eq!(connection.turns(), 2, "one turn in place");
        connection.until(|connection| connection.turns() == 5).await;
    }

    #[tokio::test]
    async fn the_task_ends_with_its_driver() {
        let connection = Connection::opened(0).await;
        connection.closed.store(true, Ordering::SeqCst);
        run(|| connection.write());
        assert_eq!(connection.seen(), 1);
        // What the future had is given back, and so is all that its task had.
        let waker = connection.driver.lock().take().expect("had a turn");
        assert_eq!(Arc::strong_count(&connection), 1);
        waker.wake();
        yield_now().await;
        let metrics = tokio::runtime::Handle::current().metrics();
        connection.until(|_| metrics.num_alive_tasks() == 0).await;
    }

    #[tokio::test]
    async fn a_write_that_panics_has_woken_its_driver_all_the_same() {
        let connection = Connection::opened(0).await;
        let written = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                connection.write();
                panic!("of the test");
            })
        }));
        assert!(written.is_err());
        connection.until(|connection| connection.seen() == 1).await;
        // And nothing is caught any more.
        connection.write();
        connection.until(|connection| connection.seen() == 2).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_finds_a_driver_taken_has_it_look_again() {
        let connection = Connection::opened(0).await;
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (connection, runtime) = (Arc::clone(&connection), tokio::runtime::Handle::current());
                std::thread::spawn(move || {
                    let _inside = runtime.enter();
                    for n in 0..20_000 {
                        if (n + thread) % 3 == 0 { connection.write() } else { run(|| connection.write()) }
                    }
                })
            })
            .collect();
        connection.until(|connection| connection.seen() == 80_000).await;
        for thread in threads {
            thread.join().expect("does not panic");
        }
    }
}
