use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

/// Something queued as a unit that holds one or more messages.
pub trait Batch: Sized {
    /// How many messages it holds, at least 1.
    fn messages(&self) -> usize;

    /// What the queue charges for it, in bytes.
    fn bytes(&self) -> usize;

    /// Takes the first `n` messages off and returns them. Called with `0 < n < messages()`.
    fn split_front(&mut self, n: usize) -> Self;

    /// How many leading messages fit into `bytes`; 0 when not even the first does.
    fn messages_within(&self, bytes: usize) -> usize;
}

/// What a queue does with a batch for which it has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Makes room by giving up the oldest messages.
    DropOldest,
    /// Takes what fits and gives up the rest.
    DropNewest,
    /// Holds one message per key; see [`Queue::push_latest`]. Batches pushed without a key are treated as under
    /// [`Policy::DropOldest`].
    Latest,
    /// Takes what fits and hands back the rest.
    Block,
}

/// Bounds of a queue. Both hold at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages.
    pub messages: usize,
    /// Most bytes, as [`Batch::bytes`] charges them.
    pub bytes: usize,
}

/// Why a queue gave a batch up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue was full: the oldest was evicted, or the newest refused. Also a single message larger than the whole
    /// queue.
    QueueFull,
    /// A newer message of the same key took its place.
    Conflated,
}

impl DropReason {
    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Conflated => "conflated",
        }
    }
}

/// A bounded queue of batches. What it can't hold is handed to the caller, never lost silently.
///
/// `K` is the key of [`Queue::push_latest`]; a queue of another policy has no use for it.
#[derive(Debug)]
pub struct Queue<B, K = ()> {
    batches: VecDeque<B>,
    messages: usize,
    bytes: usize,
    limits: Limits,
    policy: Policy,
    /// Keys of the batches, front to back; as long as `batches` under [`Policy::Latest`], else empty.
    keys: VecDeque<Option<K>>,
    /// Number of the batch with this key, counted from the first batch ever queued.
    by_key: HashMap<K, u64>,
    /// Number of the front batch.
    front: u64,
}

impl<B: Batch, K: Eq + Hash + Clone> Queue<B, K> {
    /// An empty queue. Allocates nothing until the first push.
    pub fn new(limits: Limits, policy: Policy) -> Self {
        Self {
            batches: VecDeque::new(),
            messages: 0,
            bytes: 0,
            limits,
            policy,
            keys: VecDeque::new(),
            by_key: HashMap::new(),
            front: 0,
        }
    }

    /// Queues a batch under the policy. Whatever is given up, whole batches or parts, goes to `dropped`; what
    /// [`Policy::Block`] has no room for comes back.
    pub fn push(&mut self, batch: B, mut dropped: impl FnMut(B, DropReason)) -> Result<(), B> {
        match self.policy {
            Policy::Block => return self.push_or_return(batch),
            Policy::DropNewest => {
                if let Err(rest) = self.push_or_return(batch) {
                    dropped(rest, DropReason::QueueFull);
                }
            }
            Policy::DropOldest | Policy::Latest => {
                if let Some(fitting) = self.newest_that_could_fit(batch, &mut dropped) {
                    self.make_room(fitting.messages(), fitting.bytes(), &mut dropped);
                    self.append(fitting, None);
                }
            }
        }
        Ok(())
    }

    /// Queues the leading part for which there is room, whatever the policy, and returns the rest.
    pub fn push_or_return(&mut self, mut batch: B) -> Result<(), B> {
        if batch.messages() <= self.messages_left() && batch.bytes() <= self.bytes_left() {
            self.append(batch, None);
            return Ok(());
        }
        let n = batch.messages_within(self.bytes_left()).min(self.messages_left());
        if n == 0 {
            return Err(batch);
        }
        // The whole batch did not fit, but rounding in `messages_within` must not make us split off all of it.
        let front = batch.split_front(n.min(batch.messages() - 1));
        self.append(front, None);
        Err(batch)
    }

    /// Queues a single message under a key. A queued message of the same key is replaced where it stands, so that a hot
    /// key neither starves nor pushes ahead; a new key makes room by giving up the oldest.
    pub fn push_latest(&mut self, key: K, batch: B, mut dropped: impl FnMut(B, DropReason)) {
        if batch.bytes() > self.limits.bytes || self.limits.messages == 0 {
            return dropped(batch, DropReason::QueueFull);
        }
        let known = self.by_key.get(&key).map(|number| (number - self.front) as usize);
        if let Some(slot) = known.and_then(|index| self.batches.get_mut(index)) {
            self.bytes = self.bytes - slot.bytes() + batch.bytes();
            let old = std::mem::replace(slot, batch);
            dropped(old, DropReason::Conflated);
            // Larger than the one it replaced, it may need the room of others.
            self.make_room(0, 0, &mut dropped);
        } else {
            self.make_room(1, batch.bytes(), &mut dropped);
            self.by_key.insert(key.clone(), self.front + self.batches.len() as u64);
            self.append(batch, Some(key));
        }
    }

    /// Takes the front batch, or as much of it as is worth at most `bytes`, but at least one message, so that a
    /// message larger than the whole credit can pass.
    pub fn pop(&mut self, bytes: usize) -> Option<B> {
        let front = self.batches.front_mut()?;
        if front.bytes() > bytes && front.messages() > 1 {
            let n = front.messages_within(bytes).clamp(1, front.messages() - 1);
            return Some(self.take_front_part(n));
        }
        self.take_front()
    }

    /// Removes everything, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = B> + '_ {
        std::iter::from_fn(|| self.take_front())
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

    /// Batches queued.
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

    const fn messages_left(&self) -> usize {
        self.limits.messages.saturating_sub(self.messages)
    }

    const fn bytes_left(&self) -> usize {
        self.limits.bytes.saturating_sub(self.bytes)
    }

    fn append(&mut self, batch: B, key: Option<K>) {
        self.messages += batch.messages();
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
        if self.policy == Policy::Latest {
            self.keys.push_back(key);
        }
    }

    /// Gives up the leading messages of a batch that is larger than the whole queue.
    fn newest_that_could_fit(&self, mut batch: B, dropped: &mut impl FnMut(B, DropReason)) -> Option<B> {
        while batch.messages() > self.limits.messages || batch.bytes() > self.limits.bytes {
            let excess = batch.messages().saturating_sub(self.limits.messages);
            let too_heavy = batch.messages_within(batch.bytes().saturating_sub(self.limits.bytes));
            let n = excess.max(too_heavy).max(1);
            if n >= batch.messages() {
                dropped(batch, DropReason::QueueFull);
                return None;
            }
            dropped(batch.split_front(n), DropReason::QueueFull);
        }
        Some(batch)
    }

    /// Gives up the oldest messages until so many more fit.
    fn make_room(&mut self, messages: usize, bytes: usize, dropped: &mut impl FnMut(B, DropReason)) {
        loop {
            let excess = (self.messages + messages).saturating_sub(self.limits.messages);
            let too_heavy = (self.bytes + bytes).saturating_sub(self.limits.bytes);
            if excess == 0 && too_heavy == 0 {
                return;
            }
            let Some(front) = self.batches.front() else { return };
            let n = excess.max(front.messages_within(too_heavy)).max(1);
            let given_up = if n < front.messages() { Some(self.take_front_part(n)) } else { self.take_front() };
            if let Some(batch) = given_up {
                dropped(batch, DropReason::QueueFull);
            }
        }
    }

    fn take_front_part(&mut self, n: usize) -> B {
        let part = self.batches[0].split_front(n);
        self.messages -= part.messages();
        self.bytes -= part.bytes();
        part
    }

    fn take_front(&mut self) -> Option<B> {
        let batch = self.batches.pop_front()?;
        self.messages -= batch.messages();
        self.bytes -= batch.bytes();
        self.front += 1;
        if let Some(Some(key)) = self.keys.pop_front() {
            self.by_key.remove(&key);
        }
        Some(batch)
    }
}
