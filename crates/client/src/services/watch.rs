use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use hashbrown::HashMap;
use parking_lot::Mutex;
use sinew_wire::Control;

use crate::WatchError;
use crate::client::{Client, Handle};

/// Changed services that wait for an application that does not look. Beyond it, what waits is forgotten, and the watch begins
/// anew when the application looks.
const MAX_WAITING: usize = 16_384;

/// What a [`ServiceWatch`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// A service has so many instances in the realm now, 0 when it is gone. Changes that come quickly are told as one.
    Changed {
        /// The service.
        name: String,
        /// Its instances.
        instances: u32,
    },
    /// The client has reconnected, or changes were missed. All services follow anew; whatever of before is not among them is
    /// gone.
    Resync,
}

impl Client {
    /// Watches the services whose name begins with a prefix, compared byte by byte; empty for all: first those there are, then
    /// what changes.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::WatchError> {
    /// use sinew_client::ServiceEvent;
    ///
    /// let mut watch = client.watch_services("images.").await?;
    /// while let Some(event) = watch.next().await {
    ///     match event {
    ///         ServiceEvent::Changed { name, instances: 0 } => println!("{name} is gone"),
    ///         ServiceEvent::Changed { name, instances } => println!("{name}: {instances}"),
    ///         ServiceEvent::Resync => println!("from the beginning"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Resolves when the question has its place in the next write; waits while the client is not connected. A node that refuses
    /// ends the stream: [`ServiceWatch::end_reason`]. Cancel safe.
    ///
    /// # Errors
    /// The prefix is longer than a name or has control characters; or the client is closed.
    pub async fn watch_services(&self, prefix: impl Into<String> + Send) -> Result<ServiceWatch, WatchError> {
        let prefix = prefix.into();
        Control::WatchServices { request: 0, prefix: prefix.clone() }.validate().map_err(WatchError::Prefix)?;
        let backlog = self.shared().watch(prefix).await?;
        Ok(ServiceWatch { backlog, handle: Arc::clone(self.handle()) })
    }
}

/// Services of a prefix, and how they change: a [`Stream`] of [`ServiceEvent`].
///
/// It outlives connections: after a reconnect it goes on with [`ServiceEvent::Resync`]. A watch that is not read costs a bounded
/// list. Dropping it ends it. It keeps the client connected.
pub struct ServiceWatch {
    backlog: Arc<Backlog>,
    handle: Arc<Handle>,
}

impl ServiceWatch {
    /// The prefix.
    pub fn prefix(&self) -> &str {
        self.backlog.prefix()
    }

    /// The next event; `None` when the watch has ended. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<ServiceEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Why the watch has ended; `None` while it has not.
    pub fn end_reason(&self) -> Option<WatchError> {
        self.backlog.state.lock().ended.clone()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        let mut state = self.backlog.state.lock();
        if state.restart && state.ended.is_none() {
            state.restart = false;
            drop(state);
            self.handle.shared().watch_again(&self.backlog);
            state = self.backlog.state.lock();
        }
        if std::mem::take(&mut state.resync) {
            return Poll::Ready(Some(ServiceEvent::Resync));
        }
        if let Some(name) = state.order.pop_front()
            && let Some(instances) = state.waiting.remove(&name)
        {
            return Poll::Ready(Some(ServiceEvent::Changed { name, instances }));
        }
        if state.ended.is_some() {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ServiceWatch {
    fn drop(&mut self) {
        self.handle.shared().unwatch(&self.backlog);
    }
}

impl Stream for ServiceWatch {
    type Item = ServiceEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        self.get_mut().poll_event(cx)
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").field("prefix", &self.prefix()).finish_non_exhaustive()
    }
}

/// Changes between the reader of the link and the stream of one watch: each name once, with its newest number.
#[derive(Debug)]
pub(crate) struct Backlog {
    prefix: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the watch on the link of the moment. Another one each time it begins anew, so that what was on its way is
    /// known to be of before.
    request: u32,
    waiting: HashMap<String, u32>,
    order: VecDeque<String>,
    /// To be told before what waits.
    resync: bool,
    /// More came than may wait, or the node could not keep up: to begin anew when the application looks.
    restart: bool,
    ended: Option<WatchError>,
    waker: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn forget(&mut self) {
        self.waiting = HashMap::new();
        self.order = VecDeque::new();
    }
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Waits,
    /// It was one too many: the watch is over until the application looks.
    TooMany,
}

impl Backlog {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix, state: Mutex::default() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn request(&self) -> u32 {
        self.state.lock().request
    }

    /// The watch begins under this number, for the first time.
    pub(crate) fn begin(&self, request: u32) {
        self.state.lock().request = request;
    }

    /// It begins anew.
    pub(crate) fn begin_again(&self, request: u32) {
        let mut state = self.state.lock();
        state.request = request;
        state.forget();
        state.resync = true;
        state.restart = false;
        state.wake();
    }

    pub(crate) fn changed(&self, name: String, instances: u32) -> Seen {
        let mut state = self.state.lock();
        if let Some(waiting) = state.waiting.get_mut(&name) {
            *waiting = instances;
            return Seen::Waits;
        }
        if state.waiting.len() >= MAX_WAITING {
            state.forget();
            state.restart = true;
            state.wake();
            return Seen::TooMany;
        }
        state.order.push_back(name.clone());
        state.waiting.insert(name, instances);
        state.wake();
        Seen::Waits
    }

    /// The node could not keep up: to begin anew.
    pub(crate) fn outpaced(&self) {
        let mut state = self.state.lock();
        state.forget();
        state.restart = true;
        state.wake();
    }

    pub(crate) fn end(&self, reason: WatchError) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(reason);
        state.wake();
    }
}
