use std::collections::vec_deque::{self, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::mem;

use crate::batch::{Batch, messages_covering, split};
use crate::index::Index;
use crate::policy::{DropReason, Limits, Policy};

/// Slots an empty queue keeps. A queue that fills and empties below it doesn't allocate; one that was full for once
/// doesn't hold on to the memory.
const KEPT_SLOTS: usize = 128;

/// A bounded queue of batches. What it can't hold is handed to the caller, never lost silently.
///
/// Messages stay in order. What is queued and what is given up is the same as if the messages of a batch had come one at
/// a time, but that a refusal covers the rest of the batch; batches are split where a limit runs through them. A push
/// or pop takes constant time, plus that for what is given up.
///
/// `K` is the key of [`Queue::push_latest`]; a queue of another policy has no use for it.
pub struct Queue<B, K = ()> {
    batches: VecDeque<B>,
    messages: usize,
    bytes: usize,
    limits: Limits,
    policy: Policy,
    /// Only under [`Policy::Latest`].
    index: Option<Index<K>>,
}

impl<B: Batch, K: Eq + Hash> Queue<B, K> {
    /// An empty queue. Allocates nothing until the first push.
    pub fn new(limits: Limits, policy: Policy) -> Self {
        let index = (policy == Policy::Latest).then(Index::new);
        Self { batches: VecDeque::new(), messages: 0, bytes: 0, limits, policy, index }
    }

    /// Queues a batch under the policy. What is given up, whole batches or parts, goes to `dropped`, oldest first.
    ///
    /// Fails under [`Policy::Block`] only, with the part for which there is no room now. A message that charges more
    /// than the whole queue may hold never comes back: it would wait for ever, so it is dropped.
    pub fn push(&mut self, batch: B, mut dropped: impl FnMut(B, DropReason)) -> Result<(), B> {
        if self.room().hold_all(&batch) {
            self.append(batch, None);
            return Ok(());
        }
        match self.policy {
            Policy::DropOldest | Policy::Latest => self.push_evicting(batch, &mut dropped),
            Policy::DropNewest => {
                if let Err(rest) = self.push_or_return(batch) {
                    dropped(rest, DropReason::QueueFull);
                }
            }
            Policy::Block => return self.push_blocking(batch, &mut dropped),
        }
        Ok(())
    }

    /// Queues the leading messages for which there is room, whatever the policy, and fails with the rest.
    ///
    /// A message that charges more than the whole queue may hold comes back every time: a caller that waits for room
    /// needs a deadline.
    pub fn push_or_return(&mut self, batch: B) -> Result<(), B> {
        let n = self.room().hold(&batch);
        if n == 0 {
            return Err(batch);
        }
        let (front, rest) = split(batch, n);
        self.append(front, None);
        rest.map_or(Ok(()), Err)
    }

    /// Queues the last message of a batch under a key that holds for the whole batch.
    ///
    /// A queued message of the same key is replaced where it stands, so that a hot key neither starves nor moves. A new
    /// key, or a message heavier than the one it replaces, makes room by giving up the oldest others. One that charges
    /// more than the whole queue may hold is dropped, and what was queued under its key stays.
    ///
    /// Meant for [`Policy::Latest`]; a queue of another policy has no keys, and evicts as under
    /// [`Policy::DropOldest`].
    pub fn push_latest(&mut self, key: K, mut batch: B, mut dropped: impl FnMut(B, DropReason)) {
        let earlier = batch.messages().saturating_sub(1);
        if earlier > 0 {
            dropped(batch.split_front(earlier), DropReason::Conflated);
        }
        if self.limits.hold(&batch) == 0 {
            return dropped(batch, DropReason::QueueFull);
        }
        let slot = |index: &Index<K>| index.slot(&key);
        while let Some(slot) = self.index.as_ref().and_then(slot)
            && let Some(queued) = self.batches.get_mut(slot)
        {
            let bytes = self.bytes.saturating_sub(queued.bytes()).saturating_add(batch.bytes());
            if bytes <= self.limits.bytes {
                self.bytes = bytes;
                return dropped(mem::replace(queued, batch), DropReason::Conflated);
            }
            if slot == 0 {
                return self.replace_front(key, batch, &mut dropped);
            }
            self.evict(0, bytes - self.limits.bytes, &mut dropped);
        }
        self.make_room(&batch, &mut dropped);
        self.append(batch, Some(key));
    }

    /// Takes the front batch, or as much of it as is worth at most `bytes`, but at least one message, so that one
    /// heavier than the whole credit can pass. `None` when the queue is empty.
    pub fn pop(&mut self, bytes: usize) -> Option<B> {
        let front = self.batches.front()?;
        let n = if front.bytes() <= bytes { front.messages() } else { front.messages_within(bytes).max(1) };
        self.take_front(n)
    }

    /// Empties the queue, oldest first, and gives its memory back. What the caller leaves in the iterator is dropped
    /// with it.
    pub fn drain(&mut self) -> vec_deque::IntoIter<B> {
        let drained = mem::replace(self, Self::new(self.limits, self.policy));
        drained.batches.into_iter()
    }

    /// Changes the byte limit. What is queued beyond it stays until the next push makes room.
    pub const fn set_byte_limit(&mut self, bytes: usize) {
        self.limits.bytes = bytes;
    }

    /// Messages queued.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes queued, as [`Batch::bytes`] charges them.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Batches queued, parts of split ones counted each.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether neither limit is reached.
    pub const fn has_room(&self) -> bool {
        self.messages < self.limits.messages && self.bytes < self.limits.bytes
    }

    /// The bounds.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The policy.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Bytes allocated for the queue's own tables, beside what the batches charge. Grows with the batches queued; an
    /// empty queue gives most of it back.
    pub fn memory(&self) -> usize {
        self.batches.capacity() * size_of::<B>() + self.index.as_ref().map_or(0, Index::memory)
    }

    const fn room(&self) -> Limits {
        Limits {
            messages: self.limits.messages.saturating_sub(self.messages),
            bytes: self.limits.bytes.saturating_sub(self.bytes),
        }
    }

    /// A batch larger than the whole queue passes through it piece by piece, so that its newest messages remain.
    fn push_evicting(&mut self, batch: B, dropped: &mut impl FnMut(B, DropReason)) {
        let mut next = Some(batch);
        while let Some(batch) = next {
            let n = self.limits.hold(&batch);
            let (piece, rest) = split(batch, n.max(1));
            if n == 0 {
                dropped(piece, DropReason::QueueFull);
            } else {
                self.make_room(&piece, dropped);
                self.append(piece, None);
            }
            next = rest;
        }
    }

    fn push_blocking(&mut self, batch: B, dropped: &mut impl FnMut(B, DropReason)) -> Result<(), B> {
        let mut next = Some(batch);
        while let Some(batch) = next {
            let Err(rest) = self.push_or_return(batch) else { break };
            if self.limits.hold(&rest) > 0 {
                return Err(rest);
            }
            let (hopeless, rest) = split(rest, 1);
            dropped(hopeless, DropReason::QueueFull);
            next = rest;
        }
        Ok(())
    }

    /// Puts a message in the place of the front one, at the cost of those behind it.
    fn replace_front(&mut self, key: K, batch: B, dropped: &mut impl FnMut(B, DropReason)) {
        if let Some(old) = self.take_front(1) {
            dropped(old, DropReason::Conflated);
        }
        self.make_room(&batch, dropped);
        self.charge(&batch);
        self.batches.push_front(batch);
        if let Some(index) = &mut self.index {
            index.push_front(Some(key));
        }
    }

    fn append(&mut self, batch: B, key: Option<K>) {
        self.charge(&batch);
        self.batches.push_back(batch);
        if let Some(index) = &mut self.index {
            index.push_back(key);
        }
    }

    fn charge(&mut self, batch: &B) {
        self.messages = self.messages.saturating_add(batch.messages());
        self.bytes = self.bytes.saturating_add(batch.bytes());
    }

    /// Gives up the oldest messages until a batch fits that is not larger than the whole queue.
    fn make_room(&mut self, batch: &B, dropped: &mut impl FnMut(B, DropReason)) {
        while !self.is_empty() {
            let messages = self.messages.saturating_add(batch.messages()).saturating_sub(self.limits.messages);
            let bytes = self.bytes.saturating_add(batch.bytes()).saturating_sub(self.limits.bytes);
            if messages == 0 && bytes == 0 {
                return;
            }
            self.evict(messages, bytes, dropped);
        }
    }

    /// Gives up so many messages and bytes of the front batch, or all of it when it has less.
    fn evict(&mut self, messages: usize, bytes: usize, dropped: &mut impl FnMut(B, DropReason)) {
        let n = self.batches.front().map_or(0, |front| messages_covering(front, bytes).max(messages));
        if let Some(oldest) = self.take_front(n) {
            dropped(oldest, DropReason::QueueFull);
        }
    }

    /// Takes `n` messages, at least 1, off the front batch, or all of it when it has less.
    fn take_front(&mut self, n: usize) -> Option<B> {
        let front = self.batches.front_mut()?;
        let taken = if n < front.messages() {
            front.split_front(n)
        } else {
            if let Some(index) = &mut self.index {
                index.pop_front();
            }
            self.batches.pop_front()?
        };
        self.messages = self.messages.saturating_sub(taken.messages());
        self.bytes = self.bytes.saturating_sub(taken.bytes());
        if self.batches.is_empty() && self.batches.capacity() > KEPT_SLOTS {
            self.shrink();
        }
        Some(taken)
    }

    #[cold]
    fn shrink(&mut self) {
        self.batches.shrink_to(KEPT_SLOTS);
        if let Some(index) = &mut self.index {
            index.shrink_to(KEPT_SLOTS);
        }
    }
}

/// Shows the counts, not the messages.
impl<B, K> fmt::Debug for Queue<B, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("policy", &self.policy)
            .field("limits", &self.limits)
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .field("batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}
