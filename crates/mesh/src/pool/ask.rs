use std::sync::{Arc, OnceLock};

use sinew_link::pool::{Closed, LinkId};
use sinew_wire::{PeerId, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::info::{LinkInfo, PoolInfo};

/// Questions that may wait for the pool. It answers at once, so they hardly ever do.
const ASKS: usize = 1_024;

/// What links and dials tell the pool, and ask it.
#[derive(Debug)]
pub(super) enum Ask {
    /// A peer that is a member has dialled and said hello.
    Hello { peer: PeerId, epoch: u64, link: LinkInfo, answer: oneshot::Sender<Result<Admission, Refusal>> },
    /// A dial has reached its peer: may it say hello?
    Reached { peer: PeerId, dial: u64, answer: oneshot::Sender<()> },
    /// The peer has accepted it.
    Accepted { peer: PeerId, dial: u64, link: LinkInfo, answer: oneshot::Sender<Result<Admission, Refusal>> },
    /// It came to nothing.
    Failed { peer: PeerId, dial: u64, failure: Failure },
    /// A link has ended.
    Ended { peer: PeerId, link: LinkId, reason: Closed },
    /// How many links there are.
    Info { answer: oneshot::Sender<PoolInfo> },
    /// No more links, and the present ones shall say goodbye.
    Drain,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The peer has a link of its own under way, which wins.
    Yielded,
    /// It could not be reached, or has refused.
    Failed,
}

/// A link that the pool has taken in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) link: LinkId,
    pub(crate) close: Close,
}

/// Tells a link to end, and why. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Close(Arc<(CancellationToken, OnceLock<Closed>)>);

impl Close {
    pub(crate) fn now(&self, reason: Closed) {
        let _first_one_stays = self.0.1.set(reason);
        self.0.0.cancel();
    }

    /// Waits until the pool wants the link to end. Cancel safe.
    pub(crate) async fn wanted(&self) -> Closed {
        self.0.0.cancelled().await;
        self.0.1.get().copied().unwrap_or(Closed::Draining)
    }
}

/// Handle of the pool task.
#[derive(Debug, Clone)]
pub(crate) struct Pool(mpsc::Sender<Ask>);

/// What the pool task takes.
#[derive(Debug)]
pub(crate) struct Asks(pub(super) mpsc::Receiver<Ask>);

impl Pool {
    pub(crate) fn new() -> (Self, Asks) {
        let (sender, receiver) = mpsc::channel(ASKS);
        (Self(sender), Asks(receiver))
    }

    /// May a peer that has said hello have its link?
    pub(crate) async fn hello(&self, peer: PeerId, epoch: u64, link: LinkInfo) -> Result<Admission, Refusal> {
        self.ask(|answer| Ask::Hello { peer, epoch, link, answer }).await.unwrap_or(Err(Refusal::Draining))
    }

    /// May this dial say hello? Does not return if it is to be given up.
    pub(super) async fn reached(&self, peer: PeerId, dial: u64) {
        if self.ask(|answer| Ask::Reached { peer, dial, answer }).await.is_none() {
            // The pool has given it up, and is about to cancel it.
            std::future::pending().await
        }
    }

    pub(super) async fn accepted(&self, peer: PeerId, dial: u64, link: LinkInfo) -> Result<Admission, Refusal> {
        self.ask(|answer| Ask::Accepted { peer, dial, link, answer }).await.unwrap_or(Err(Refusal::Draining))
    }

    pub(super) async fn failed(&self, peer: PeerId, dial: u64, failure: Failure) {
        self.tell(Ask::Failed { peer, dial, failure }).await;
    }

    pub(crate) async fn ended(&self, peer: PeerId, link: LinkId, reason: Closed) {
        self.tell(Ask::Ended { peer, link, reason }).await;
    }

    pub(crate) async fn info(&self) -> PoolInfo {
        self.ask(|answer| Ask::Info { answer }).await.unwrap_or_default()
    }

    pub(crate) async fn drain(&self) {
        self.tell(Ask::Drain).await;
    }

    async fn tell(&self, ask: Ask) {
        // A pool that is no more has no use for it.
        let _ended = self.0.send(ask).await;
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ask(sender)).await.ok()?;
        receiver.await.ok()
    }
}
