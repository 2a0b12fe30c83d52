use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use sinew_link::{Address, Dialer};
use sinew_wire::{Hello, Refusal};

use crate::ConnectError;
use crate::builder::{Config, Reconnect};
use crate::establish::{Established, establish};
use crate::events::{ConnectionEvent, DisconnectReason};
use crate::session::{self, End};
use crate::shared::Shared;

/// A connection that has lasted for so long was a good one: if it is lost, the pauses begin anew.
const GOOD_TIME: Duration = Duration::from_secs(10);

/// The servers of a client. The one that worked last comes first.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Address>,
    first: usize,
}

impl Servers {
    pub(crate) fn new(list: Vec<Address>) -> Result<Self, ConnectError> {
        if list.is_empty() {
            return Err(ConnectError::NoServer);
        }
        Ok(Self { list, first: 0 })
    }

    /// The places of all of them, from the first on.
    fn round(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first, self.list.len());
        (0..count).map(move |at| (first + at) % count)
    }

    /// The one that works now does not want us any more.
    const fn turn(&mut self) {
        self.first = (self.first + 1) % self.list.len();
    }
}

/// The task that keeps a client connected: it reads, and when the link is lost, it makes another.
struct Driver {
    shared: Arc<Shared>,
    servers: Servers,
    dialer: Dialer,
    hello: Hello,
}

/// Connects, and starts the task that keeps it so. Boxed, so that all this is compiled here and not where it is awaited.
pub(crate) fn start(
    servers: Servers,
    dialer: Dialer,
    hello: Hello,
    config: Config,
) -> BoxFuture<'static, Result<Arc<Shared>, ConnectError>> {
    Box::pin(async move {
        let shared = Shared::new(config);
        let mut driver = Driver { shared: Arc::clone(&shared), servers, dialer, hello };
        let established = driver.try_all().await?;
        let session = session::attach(established, &shared);
        tokio::spawn(driver.run(session));
        Ok(shared)
    })
}

/// Whatever ends the driver, a panic included: everybody who waits for it is told.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Driver {
    async fn run(mut self, first: session::Session) {
        let _ended = Ended(Arc::clone(&self.shared));
        let mut session = first;
        let mut pauses = Pauses::new(self.shared.config.reconnect);
        loop {
            let since = Instant::now();
            let end = session.run().await;
            let unconfirmed = self.shared.detach();
            let reason = match end {
                End::Closed => return self.shared.emit(ConnectionEvent::Closed),
                End::Lost(reason) => reason,
            };
            if reason == DisconnectReason::Goodbye(Refusal::Draining) {
                self.servers.turn();
            }
            self.shared.emit(ConnectionEvent::Disconnected { reason, unconfirmed });
            if since.elapsed() >= GOOD_TIME {
                pauses = Pauses::new(self.shared.config.reconnect);
            }
            let stop = {
                let shared = Arc::clone(&self.shared);
                async move {
                    tokio::select! {
                        () = shared.closing.cancelled() => {}
                        () = shared.stopped.cancelled() => {}
                    }
                }
            };
            session = tokio::select! {
                biased;
                () = stop => return self.shared.emit(ConnectionEvent::Closed),
                reconnected = self.reconnect(&mut pauses) => match reconnected {
                    Ok(established) => session::attach(established, &self.shared),
                    Err(error) => return self.shared.emit(ConnectionEvent::Lost { error: Arc::new(error) }),
                },
            };
        }
    }

    /// Tries all servers, again and again, with pauses in front.
    async fn reconnect(&mut self, pauses: &mut Pauses) -> Result<Established, ConnectError> {
        let mut last = None;
        loop {
            let Some((attempt, delay)) = pauses.next() else {
                return Err(last.unwrap_or(ConnectError::GivenUp));
            };
            self.shared.emit(ConnectionEvent::Reconnecting { attempt, delay });
            tokio::time::sleep(delay).await;
            match self.try_all().await {
                Ok(established) => return Ok(established),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
    }

    /// Tries each server once. The error is the most telling one, and final only if all are.
    async fn try_all(&mut self) -> Result<Established, ConnectError> {
        let limit = self.shared.config.connect_timeout;
        let mut worst: Option<ConnectError> = None;
        for at in self.servers.round() {
            let server = &self.servers.list[at];
            match establish(&self.dialer, server, &self.hello, limit).await {
                Ok(established) => {
                    self.servers.first = at;
                    return Ok(established);
                }
                Err(error) => {
                    tracing::debug!(%server, %error, "not connected");
                    if worst.as_ref().is_none_or(|known| tells(&error) >= tells(known)) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or(ConnectError::NoServer))
    }
}

/// How much an error tells, when several servers have failed. One that may heal counts more than one that is final, so
/// that the client does not give up while a server may come back.
const fn tells(error: &ConnectError) -> u8 {
    match error {
        ConnectError::Refused { .. } if !error.is_final() => 3,
        ConnectError::Refused { .. } => 0,
        ConnectError::Protocol { .. } => 2,
        _ => 1,
    }
}

/// The pauses before attempts.
#[derive(Debug)]
struct Pauses {
    delays: ExponentialBackoff,
    attempts: u32,
    max_attempts: u32,
}

impl Pauses {
    fn new(reconnect: Reconnect) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(reconnect.min_delay)
            .with_max_delay(reconnect.max_delay.max(reconnect.min_delay))
            .with_factor(2.0)
            .with_jitter()
            // Without a seed all clients would pause for the same times.
            .with_jitter_seed(rand::random())
            .without_max_times()
            .build();
        Self { delays, attempts: 0, max_attempts: reconnect.max_attempts.unwrap_or(u32::MAX) }
    }
}

impl Iterator for Pauses {
    type Item = (u32, Duration);

    fn next(&mut self) -> Option<(u32, Duration)> {
        if self.attempts >= self.max_attempts {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.delays.next().map(|delay| (self.attempts, delay))
    }
}
