//! The way of messages to one peer: a mailbox, and a stream that a task of its own empties it into.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::{ConnectionId, Stream};
use sinew_wire::PeerId;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Inbound;
use crate::MAX_MESSAGE;
use crate::mailbox::Mailbox;
use crate::status::Meters;

/// A peer that takes no bytes for so long gets a new stream. Meanwhile its oldest messages are dropped.
const STALLED: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Lane {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) state: State,
}

pub(super) enum State {
    /// There is no stream. Not before this time.
    Closed(Instant),
    /// It is being opened, under this token.
    Opening(u64),
    /// A task writes.
    Open { token: u64, connection: ConnectionId, stop: CancellationToken },
}

impl Lane {
    pub(super) fn new(now: Instant) -> Self {
        Self { mailbox: Arc::default(), state: State::Closed(now) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mailbox.is_empty()
    }
}

/// What a writer leaves behind.
pub(super) struct Written {
    pub(super) peer: PeerId,
    pub(super) token: u64,
    /// It broke, and with it a message that was under way.
    pub(super) problem: Option<io::Error>,
}

/// Writes `length u16 (big endian) | body` for every message, until it is stopped or the stream breaks.
pub(super) async fn write(
    peer: PeerId,
    token: u64,
    mut stream: Stream,
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
    meters: Arc<Meters>,
) -> Written {
    // What was written is only on its way when it was flushed.
    let mut unflushed = 0;
    let problem = loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            message = mailbox.next() => message,
        };
        let body = message.body();
        let Ok(length) = u16::try_from(body.len()) else { continue };
        unflushed += 1;
        let writing = async {
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(body).await?;
            if mailbox.is_empty() {
                stream.flush().await?;
                unflushed = 0;
            }
            Ok(())
        };
        if let Err(error) = timeout(STALLED, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            break Some(error);
        }
        meters.messages_sent.fetch_add(1, Ordering::Relaxed);
        meters.message_bytes_sent.fetch_add(u64::from(length), Ordering::Relaxed);
    };
    if problem.is_some() {
        meters.dropped_connection_lost.fetch_add(unflushed, Ordering::Relaxed);
    } else {
        let _the_peer_need_not_wait = timeout(Duration::from_millis(500), stream.close()).await;
    }
    Written { peer, token, problem }
}

/// One of a bounded number. Given back when it is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// Takes a place, if fewer than `limit` are taken.
    pub(super) fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let take = |taken: usize| (taken < limit).then_some(taken + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads messages and passes them on, until the stream ends. While nobody takes them it does not read, and the sender drops
/// its oldest.
pub(super) async fn read(
    from: PeerId,
    mut stream: Stream,
    inbox: mpsc::Sender<Inbound>,
    _place: Counted,
    meters: Arc<Meters>,
) {
    loop {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).await.is_err() {
            return;
        }
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_MESSAGE {
            meters.refused_message_size.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(peer = %from, length, "a message too large");
            return;
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() || inbox.send((from, body.into())).await.is_err() {
            return;
        }
    }
}
