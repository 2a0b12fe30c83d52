//! The two directions of an open call, as whoever makes or executes it uses them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use sinew_wire::call::MAX_CHUNK;

use crate::calls::SendError;
use crate::calls::inflow::Taken;
use crate::calls::pipe::{Next, Pipe};
use crate::shared::{Sent, Shared};

/// Puts the parts that come together to items, and gives back credit.
pub(crate) struct Intake<E> {
    shared: Arc<Shared>,
    pub(crate) pipe: Arc<Pipe<E>>,
    /// What came of the item.
    partial: BytesMut,
    /// Credit to be given before anything is taken.
    extra: u32,
}

/// What [`Intake::poll_item`] finds.
#[derive(Debug)]
pub(crate) enum Item {
    Whole(Bytes),
    /// The peer has sent all, though the call goes on. What came behind the last item is with it.
    Complete(Bytes),
    /// The call has ended. What came behind the last item is with it.
    Ended(Bytes),
    /// More than is taken, of one item.
    TooLarge,
}

impl<E> Intake<E> {
    pub(crate) fn new(shared: Arc<Shared>, pipe: Arc<Pipe<E>>, extra: u32) -> Self {
        Self { shared, pipe, partial: BytesMut::new(), extra }
    }

    pub(crate) fn poll_item(&mut self, cx: &Context<'_>) -> Poll<Item> {
        if self.extra > 0 {
            self.shared.give_credit(&self.pipe, std::mem::take(&mut self.extra));
        }
        loop {
            let Taken { bytes, ends_item, credit } = match ready!(self.pipe.poll_part(cx)) {
                Next::Part(part) => part,
                Next::Complete => return Poll::Ready(Item::Complete(std::mem::take(&mut self.partial).freeze())),
                Next::Ended => return Poll::Ready(Item::Ended(std::mem::take(&mut self.partial).freeze())),
            };
            if let Some(credit) = credit {
                self.shared.give_credit(&self.pipe, credit);
            }
            if self.partial.len() + bytes.len() > self.shared.config.max_call_bytes {
                return Poll::Ready(Item::TooLarge);
            }
            if ends_item && self.partial.is_empty() {
                return Poll::Ready(Item::Whole(bytes));
            }
            self.partial.extend_from_slice(&bytes);
            if ends_item {
                return Poll::Ready(Item::Whole(std::mem::take(&mut self.partial).freeze()));
            }
        }
    }

    /// A whole body: `first`, and all that comes before the end, or before the peer has sent all.
    pub(crate) async fn body(&mut self, first: &[u8]) -> Item {
        self.partial.extend_from_slice(first);
        loop {
            match poll_fn(|cx| self.poll_item(cx)).await {
                // In a body there are no items.
                Item::Whole(bytes) => self.partial = bytes.into(),
                other => return other,
            }
        }
    }
}

/// The call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

/// Sends items, or parts of a body, under credit.
pub(crate) struct Outflow<E> {
    shared: Arc<Shared>,
    pipe: Arc<Pipe<E>>,
    /// What is left of an item of which a part was sent.
    rest: Bytes,
}

impl<E> Outflow<E> {
    pub(crate) const fn new(shared: Arc<Shared>, pipe: Arc<Pipe<E>>) -> Self {
        Self { shared, pipe, rest: Bytes::new() }
    }

    /// The same for an item of the application.
    pub(crate) async fn checked_item(&mut self, item: Bytes) -> Result<(), SendError> {
        let limit = self.shared.config.max_call_bytes;
        if item.len() > limit {
            return Err(SendError::TooLarge { actual: item.len(), limit });
        }
        self.item(item).await.map_err(|Over| SendError::Ended)
    }

    /// Sends a whole item. Dropped early, nothing was sent, or what is left goes out with the next one.
    pub(crate) async fn item(&mut self, mut item: Bytes) -> Result<(), Over> {
        self.rest().await?;
        // Nothing of it is sent before this is ready, and from then on the rest is kept.
        self.part(&mut item, true).await?;
        self.rest = item;
        self.rest().await
    }

    /// Sends what is left of an item.
    pub(crate) async fn rest(&mut self) -> Result<(), Over> {
        while !self.rest.is_empty() {
            // What is sent is taken off in the same moment: dropped early, it is still the rest.
            let mut rest = self.rest.clone();
            self.part(&mut rest, true).await?;
            self.rest = rest;
        }
        Ok(())
    }

    /// Sends parts of a body until no more is left of it than fits into one frame.
    pub(crate) async fn all_but_last(&self, body: &mut Bytes) -> Result<(), Over> {
        while body.len() > MAX_CHUNK {
            self.part(body, false).await?;
        }
        Ok(())
    }

    /// Sends the last part of a caller's body, or the end of its stream.
    pub(crate) async fn last(&self, mut body: Bytes) -> Result<(), Over> {
        loop {
            let room = self.shared.call_room();
            match self.shared.send_last(&self.pipe, &mut body) {
                Sent::Done => return Ok(()),
                Sent::Part => {}
                Sent::Over => return Err(Over),
                Sent::Full => room.await,
                Sent::Dry => poll_fn(|cx| self.pipe.poll_credit(cx)).await,
            }
        }
    }

    /// Sends one part of `bytes`, and advances it. Dropped early, nothing was sent.
    async fn part(&self, bytes: &mut Bytes, item: bool) -> Result<(), Over> {
        loop {
            let room = self.shared.call_room();
            match self.shared.send_part(&self.pipe, bytes, item) {
                Sent::Done | Sent::Part => return Ok(()),
                Sent::Over => return Err(Over),
                Sent::Full => room.await,
                Sent::Dry => poll_fn(|cx| self.pipe.poll_credit(cx)).await,
            }
        }
    }
}

/// Splits off the first bytes.
pub(crate) fn advance(bytes: &mut Bytes, by: usize) {
    bytes.advance(by.min(bytes.len()));
}
