//! Messages on their way to one peer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages that wait for one peer, at most.
const MESSAGES: usize = 256;

/// Bytes that wait for one peer, at most.
const BYTES: usize = 1 << 20;

/// Memory of all messages that wait to be written.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    /// Takes a message in, if there is room for it.
    pub(crate) fn admit(self: &Arc<Self>, body: Bytes) -> Option<Outgoing> {
        let size = body.len();
        let admit = |used: usize| used.checked_add(size).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).ok()?;
        Some(Outgoing { body, size, budget: Arc::clone(self) })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }
}

/// A message that was taken in. Its memory is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing {
    body: Bytes,
    size: usize,
    budget: Arc<Budget>,
}

impl Outgoing {
    pub(crate) const fn body(&self) -> &Bytes {
        &self.body
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A bounded queue that drops its oldest.
#[derive(Default)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Outgoing>,
    bytes: usize,
}

impl Mailbox {
    /// Returns how many were dropped for it.
    pub(crate) fn push(&self, message: Outgoing) -> u64 {
        let mut queue = self.queue.lock();
        queue.bytes += message.size;
        queue.messages.push_back(message);
        let mut dropped = 0;
        while queue.messages.len() > MESSAGES || queue.bytes > BYTES {
            let Some(oldest) = queue.messages.pop_front() else { break };
            queue.bytes -= oldest.size;
            dropped += 1;
        }
        drop(queue);
        self.filled.notify_one();
        dropped
    }

    pub(crate) fn pop(&self) -> Option<Outgoing> {
        let mut queue = self.queue.lock();
        let message = queue.messages.pop_front()?;
        queue.bytes -= message.size;
        Some(message)
    }

    /// Waits for the next one. For one task.
    pub(crate) async fn next(&self) -> Outgoing {
        loop {
            if let Some(message) = self.pop() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().messages.is_empty()
    }

    /// Drops all, and returns how many.
    pub(crate) fn clear(&self) -> u64 {
        let mut queue = self.queue.lock();
        let dropped = queue.messages.len() as u64;
        *queue = Queue::default();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(budget: &Arc<Budget>, number: u32, size: usize) -> Outgoing {
        let mut body = vec![0; size];
        body[..4].copy_from_slice(&number.to_be_bytes());
        budget.admit(body.into()).unwrap()
    }

    #[test]
    fn the_oldest_go_first() {
        let (budget, mailbox) = (Budget::new(usize::MAX), Mailbox::default());
        let dropped: u64 = (0..300).map(|number| mailbox.push(message(&budget, number, 4))).sum();
        assert_eq!(dropped, 300 - MESSAGES as u64);
        assert_eq!(mailbox.pop().unwrap().body().as_ref(), 44_u32.to_be_bytes());
        assert_eq!((mailbox.clear(), budget.used()), (255, 0));
        assert!(mailbox.is_empty());
    }

    #[test]
    fn bytes_are_bounded() {
        let (budget, mailbox) = (Budget::new(usize::MAX), Mailbox::default());
        let dropped: u64 = (0..40).map(|number| mailbox.push(message(&budget, number, 60 << 10))).sum();
        assert_eq!(dropped, 40 - (BYTES / (60 << 10)) as u64);
        assert!(budget.used() <= BYTES);
    }

    #[test]
    fn all_together_are_bounded() {
        let budget = Budget::new(10);
        let first = budget.admit(Bytes::from_static(b"12345678")).unwrap();
        assert!(budget.admit(Bytes::from_static(b"123")).is_none());
        assert!(budget.admit(Bytes::from_static(b"12")).is_some());
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
