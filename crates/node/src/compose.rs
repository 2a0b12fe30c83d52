//! What each part of the node is told, from the one configuration.

use std::thread::available_parallelism;

use sinew_gateway::GatewayConfig;
use sinew_link::LinkConfig;
use sinew_pubsub::PubSubConfig;
use sinew_wire::entry::EntryLimits;
use sinew_wire::{FrameLimits, PeerId};

use crate::Config;

pub(crate) fn link(config: &Config) -> LinkConfig {
    LinkConfig {
        frame_limits: FrameLimits::for_payload(bytes(config.limits.max_message_bytes)),
        handshake_timeout: config.limits.handshake_timeout,
        max_pending_handshakes: config.limits.max_pending_handshakes,
        // The session closes a silent link first, and with a reason.
        idle_timeout: config.limits.idle_timeout + config.limits.idle_timeout / 4,
        ..LinkConfig::default()
    }
}

pub(crate) fn pubsub(config: &Config) -> PubSubConfig {
    let cores = available_parallelism().map_or(1, usize::from);
    let or_cores = |n: usize| if n == 0 { cores } else { n };
    let limits = &config.limits;
    PubSubConfig {
        shards: or_cores(config.shards),
        workers: or_cores(config.workers),
        max_subscriptions: limits.max_subscriptions,
        max_queue_messages: limits.max_queue_messages,
        max_queue_bytes: bytes(limits.max_queue_bytes),
        max_window: limits.deliver_window,
        plan_cache: limits.plan_cache,
        retained_values: limits.retained_values,
        retained_bytes: bytes(limits.retained_bytes),
        dedup_ids: limits.dedup_ids,
        dedup_window: limits.dedup_window,
        block_timeout: limits.block_timeout,
        max_open_acks: limits.max_open_acks,
    }
}

pub(crate) fn gateway(config: &Config, node: PeerId) -> GatewayConfig {
    let limits = &config.limits;
    GatewayConfig {
        node,
        realm: config.realm.clone(),
        max_clients: limits.max_clients,
        max_subscriptions_per_client: limits.max_subscriptions_per_client,
        message: EntryLimits { payload: bytes(limits.max_message_bytes), headers: bytes(limits.max_header_bytes) },
        max_pending_handshakes: limits.max_pending_handshakes,
        handshake_timeout: limits.handshake_timeout,
        keep_alive: limits.keep_alive,
        idle_timeout: limits.idle_timeout,
        publish_window: limits.publish_window,
        max_deadline: limits.max_ack_deadline,
    }
}

/// A size as this machine counts memory.
pub(crate) fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
