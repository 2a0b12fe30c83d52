use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use sinew_link::Address;
use sinew_topic::Pattern;
use sinew_wire::{PeerId, Refusal};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::ReusableBoxFuture;

use crate::ConnectError;

/// Events that an observer may leave unread before it misses some.
pub(crate) const CAPACITY: usize = 64;

/// What happens to the connection of a client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A node has taken the client in.
    Connected {
        /// Where.
        server: Address,
        /// Which node.
        node: PeerId,
        /// Its number for this connection.
        session: u64,
    },
    /// The connection is gone.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
        /// At most so many messages of level fire did not arrive at the node. Publishes that wait for a result
        /// get [`PublishError::Disconnected`](crate::PublishError::Disconnected) each, and are not among them.
        unconfirmed: u64,
    },
    /// The client will try all servers again after a pause.
    Reconnecting {
        /// Which attempt it will be since the connection was lost, from 1.
        attempt: u32,
        /// The pause.
        delay: Duration,
    },
    /// All subscriptions of before are in place again.
    Resubscribed {
        /// How many.
        subscriptions: usize,
    },
    /// The node has ended a subscription, or refused it after a reconnect. Its stream has ended.
    SubscriptionLost {
        /// Its pattern.
        pattern: Pattern,
        /// What the node said.
        reason: Refusal,
    },
    /// The node has ended the lease of a service, or refused it after a reconnect, for good: it is announced no longer.
    ServiceLost {
        /// Its name.
        name: String,
        /// What the node said.
        reason: Refusal,
    },
    /// The client gives up: every server refuses it for good, or it has tried as often as it may.
    Lost {
        /// The last error.
        error: Arc<ConnectError>,
    },
    /// The application has closed the client.
    Closed,
    /// This observer was too slow and has missed so many events.
    Missed(u64),
}

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The node said goodbye, and why.
    Goodbye(Refusal),
    /// The link ended without a word: the node was killed, or the network is gone.
    Broken(String),
    /// The node broke the protocol.
    Protocol(String),
    /// Nothing was heard of the node for so long.
    Silent(Duration),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye(refusal) => write!(f, "the node said goodbye: {refusal}"),
            Self::Broken(how) => write!(f, "the link broke: {how}"),
            Self::Protocol(how) => write!(f, "the node broke the protocol: {how}"),
            Self::Silent(time) => write!(f, "nothing heard of the node for {time:?}"),
        }
    }
}

type Received = (Result<ConnectionEvent, RecvError>, broadcast::Receiver<ConnectionEvent>);

/// The events of a connection, from the moment on when it was asked for: a [`Stream`] that ends with the client.
pub struct Events {
    /// `None` after the last event.
    next: Option<ReusableBoxFuture<'static, Received>>,
}

impl Events {
    pub(crate) fn new(receiver: Option<broadcast::Receiver<ConnectionEvent>>) -> Self {
        Self { next: receiver.map(|receiver| ReusableBoxFuture::new(receive(receiver))) }
    }

    /// The next event; `None` after the last one. Cancel safe: no event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (event, receiver) = ready!(next.poll(cx));
        Poll::Ready(match event {
            Ok(event) => {
                next.set(receive(receiver));
                Some(event)
            }
            Err(RecvError::Lagged(missed)) => {
                next.set(receive(receiver));
                Some(ConnectionEvent::Missed(missed))
            }
            Err(RecvError::Closed) => {
                self.next = None;
                None
            }
        })
    }
}

async fn receive(mut receiver: broadcast::Receiver<ConnectionEvent>) -> Received {
    let event = receiver.recv().await;
    (event, receiver)
}

impl Stream for Events {
    type Item = ConnectionEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.get_mut().poll_event(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
