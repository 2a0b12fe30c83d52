use std::time::Duration;

use crate::block::RunLimits;

/// Bounds of the pub/sub service. The defaults are those of the contract.
#[derive(Debug, Clone)]
pub struct PubSubConfig {
    /// Stripes of the state; topics are spread over them by their first token.
    pub shards: usize,
    /// Delivery workers, which serve topics with many subscribers.
    pub workers: usize,
    /// Subscriptions of the whole node.
    pub max_subscriptions: usize,
    /// Messages queued per subscription; a client may ask for less.
    pub max_queue_messages: usize,
    /// Entry bytes queued per subscription.
    pub max_queue_bytes: usize,
    /// Largest delivery window a client may open per subscription, in entry bytes.
    pub max_window: u64,
    /// Topics whose plan is remembered, over all shards.
    pub plan_cache: usize,
    /// Retained values, over all shards. Beyond it the one that was updated longest ago goes.
    pub retained_values: usize,
    /// Entry bytes of all retained values together.
    pub retained_bytes: usize,
    /// Message ids remembered for de-duplication, over all shards.
    pub dedup_ids: usize,
    /// How long an id is remembered.
    pub dedup_window: Duration,
    /// How long a full queue of policy `block` may hold its publishers back at a stretch.
    pub block_timeout: Duration,
    /// Acknowledged or reported runs of one publisher that may be open.
    pub max_open_acks: usize,
}

impl Default for PubSubConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shards: cores,
            workers: cores,
            max_subscriptions: 100_000,
            max_queue_messages: 65_536,
            max_queue_bytes: 4 << 20,
            max_window: 8 << 20,
            plan_cache: 16_384,
            retained_values: 10_000,
            retained_bytes: 32 << 20,
            dedup_ids: 100_000,
            dedup_window: Duration::from_secs(120),
            block_timeout: Duration::from_secs(5),
            max_open_acks: 8_192,
        }
    }
}

/// Bounds of what passes between this node and the others.
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// Messages queued per node, for runs that may be dropped, and again as many for those that hold their publishers
    /// back.
    pub max_queue_messages: usize,
    /// Entry bytes queued per node, counted likewise.
    pub max_queue_bytes: usize,
    /// Entry bytes that another node may have on their way to this one, and most of the window that it grants in turn
    /// that is made use of.
    pub window: u64,
    /// Publishers of one other node that are remembered; those that are idle go first.
    pub max_origins: usize,
    /// Entry bytes of one publisher that may wait here for a subscriber, before its node is asked to hold it back.
    pub hold_bytes: usize,
    /// Patterns that one other node may be interested in.
    pub max_patterns: usize,
    /// Runs of one other node whose result may be open.
    pub max_open_results: usize,
    /// What messages and frames from another node may be at most. The same as for those of clients, all over the realm.
    pub limits: RunLimits,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            max_queue_messages: 262_144,
            max_queue_bytes: 16 << 20,
            window: 8 << 20,
            max_origins: 4_096,
            hold_bytes: 256 << 10,
            max_patterns: 100_000,
            max_open_results: 65_536,
            limits: RunLimits::default(),
        }
    }
}
