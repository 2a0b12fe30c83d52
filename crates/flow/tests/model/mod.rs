//! What a queue must do, written for one message at a time.

use std::collections::VecDeque;

use sinew_flow::{Batch, DropReason, Limits, Policy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) bytes: usize,
}

/// A batch in the simplest form; panics where a queue breaks the contract of [`Batch`].
#[derive(Debug)]
pub(crate) struct Run(pub(crate) Vec<Message>);

impl Batch for Run {
    fn messages(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        total(&self.0)
    }

    fn split_front(&mut self, n: usize) -> Self {
        assert!(0 < n && n < self.0.len(), "split at {n} of {}", self.0.len());
        let rest = self.0.split_off(n);
        Self(std::mem::replace(&mut self.0, rest))
    }

    fn messages_within(&self, bytes: usize) -> usize {
        (0..=self.0.len()).rev().find(|n| total(&self.0[..*n]) <= bytes).unwrap_or(0)
    }
}

pub(crate) fn total(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.bytes).sum()
}

pub(crate) type Dropped = Vec<(Message, DropReason)>;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) queued: VecDeque<(Option<u8>, Message)>,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
}

impl Model {
    pub(crate) const fn new(limits: Limits, policy: Policy) -> Self {
        Self { queued: VecDeque::new(), limits, policy }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.queued.iter().map(|(_, message)| message.bytes).sum()
    }

    /// Returns the part that was not taken.
    pub(crate) fn push(&mut self, run: &[Message], dropped: &mut Dropped) -> Vec<Message> {
        for (i, message) in run.iter().enumerate() {
            match self.policy {
                Policy::DropOldest | Policy::Latest => self.push_evicting(None, *message, dropped),
                _ if self.fits(*message) => self.queued.push_back((None, *message)),
                Policy::DropNewest => {
                    dropped.extend(run[i..].iter().map(|refused| (*refused, DropReason::QueueFull)));
                    break;
                }
                Policy::Block if self.ever_fits(*message) => return run[i..].to_vec(),
                Policy::Block => dropped.push((*message, DropReason::QueueFull)),
            }
        }
        Vec::new()
    }

    pub(crate) fn push_or_return(&mut self, run: &[Message]) -> Vec<Message> {
        for (i, message) in run.iter().enumerate() {
            if !self.fits(*message) {
                return run[i..].to_vec();
            }
            self.queued.push_back((None, *message));
        }
        Vec::new()
    }

    pub(crate) fn push_latest(&mut self, key: u8, run: &[Message], dropped: &mut Dropped) {
        let (last, earlier) = run.split_last().expect("not empty");
        dropped.extend(earlier.iter().map(|message| (*message, DropReason::Conflated)));
        let known = self.queued.iter().position(|(known, _)| *known == Some(key));
        let Some(mut slot) = known.filter(|_| self.ever_fits(*last)) else {
            return self.push_evicting(Some(key), *last, dropped);
        };
        while self.bytes() - self.queued[slot].1.bytes + last.bytes > self.limits.bytes {
            let oldest_other = usize::from(slot == 0);
            dropped.push((self.queued.remove(oldest_other).expect("there").1, DropReason::QueueFull));
            slot = slot.saturating_sub(1);
        }
        let old = std::mem::replace(&mut self.queued[slot].1, *last);
        dropped.push((old, DropReason::Conflated));
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        self.queued.pop_front().map(|(_, message)| message)
    }

    fn push_evicting(&mut self, key: Option<u8>, message: Message, dropped: &mut Dropped) {
        if !self.ever_fits(message) {
            return dropped.push((message, DropReason::QueueFull));
        }
        while !self.fits(message) {
            dropped.push((self.pop().expect("an empty queue has room"), DropReason::QueueFull));
        }
        self.queued.push_back((key, message));
    }

    fn fits(&self, message: Message) -> bool {
        self.queued.len() < self.limits.messages && self.bytes() + message.bytes <= self.limits.bytes
    }

    const fn ever_fits(&self, message: Message) -> bool {
        self.limits.messages > 0 && message.bytes <= self.limits.bytes
    }
}
