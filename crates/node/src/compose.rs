//! What each part of the node is told, from the one configuration.

use std::thread::available_parallelism;

use sinew_discovery::{DiscoveryConfig, Limits};
use sinew_gateway::GatewayConfig;
use sinew_link::LinkConfig;
use sinew_link::pool::PoolConfig;
use sinew_mesh::MeshConfig;
use sinew_overlay::{OverlayConfig, Reserve};
use sinew_pubsub::{ForwardConfig, PubSubConfig, RunLimits};
use sinew_rpc::{CacheConfig, CallsConfig};
use sinew_wire::entry::EntryLimits;
use sinew_wire::{FrameLimits, PeerId};

use crate::{Config, Mesh, UseRelays};

pub(crate) fn link(config: &Config) -> LinkConfig {
    LinkConfig {
        frame_limits: FrameLimits::for_payload(bytes(config.limits.max_message_bytes)),
        handshake_timeout: config.limits.handshake_timeout,
        max_pending_handshakes: config.limits.max_pending_handshakes,
        // The session closes a silent link first, and with a reason.
        idle_timeout: config.limits.idle_timeout + config.limits.idle_timeout / 4,
        segmentation_offload: config.link.segmentation_offload,
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

/// Nodes of a realm forward what each of them takes from its clients, so its limits have to be the same on all of them.
pub(crate) fn forward(config: &Config) -> ForwardConfig {
    ForwardConfig { limits: RunLimits::for_message(message(config)), ..ForwardConfig::default() }
}

fn message(config: &Config) -> EntryLimits {
    EntryLimits { payload: bytes(config.limits.max_message_bytes), headers: bytes(config.limits.max_header_bytes) }
}

pub(crate) fn gateway(config: &Config, node: PeerId) -> GatewayConfig {
    let limits = &config.limits;
    GatewayConfig {
        node,
        realm: config.realm.clone(),
        max_clients: limits.max_clients,
        max_subscriptions_per_client: limits.max_subscriptions_per_client,
        message: message(config),
        max_pending_handshakes: limits.max_pending_handshakes,
        handshake_timeout: limits.handshake_timeout,
        keep_alive: limits.keep_alive,
        idle_timeout: limits.idle_timeout,
        publish_window: limits.publish_window,
        max_open_acks: limits.max_open_acks,
        max_deadline: limits.max_ack_deadline,
        provider_silence: limits.provider_silence,
        call_queue: bytes(limits.call_queue),
    }
}

pub(crate) fn calls(config: &Config) -> CallsConfig {
    let limits = &config.limits;
    let defaults = CallsConfig::default();
    let or_most = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    CallsConfig {
        max_calls: limits.max_calls,
        max_calls_per_client: limits.max_calls_per_client,
        default_deadline: limits.call_deadline,
        max_deadline: limits.max_call_deadline,
        default_concurrency: or_most(limits.provider_concurrency),
        queue: limits.provider_queue,
        overflow: limits.provider_overflow,
        max_window: or_most(bytes(limits.call_window)),
        cache: CacheConfig { max_bytes: limits.call_cache, ..defaults.cache },
        ..defaults
    }
}

pub(crate) fn overlay(config: &Config) -> OverlayConfig {
    let mesh = &config.mesh;
    let listen = mesh.listeners();
    OverlayConfig {
        realm: config.realm.clone(),
        mdns: mesh.mdns && !listen.iter().all(|address| Mesh::is_loopback(address)),
        listen,
        bootstrap: mesh.bootstrap.clone(),
        relay_server: mesh.relay_server,
        reserve: match mesh.use_relays {
            UseRelays::WhenPrivate => Reserve::WhenPrivate,
            UseRelays::Always => Reserve::Always,
            UseRelays::Never => Reserve::Never,
        },
        external: mesh.external.clone(),
        link: link(config),
        ..OverlayConfig::default()
    }
}

pub(crate) fn discovery(config: &Config) -> DiscoveryConfig {
    let overlay = overlay(config);
    DiscoveryConfig {
        realm: config.realm.clone(),
        region: config.mesh.region.clone(),
        expects_peers: overlay.mdns || !overlay.bootstrap.is_empty(),
        limits: Limits {
            services: config.limits.max_services,
            per_publisher: config.limits.max_services_per_client,
            ..Limits::default()
        },
        fetches: config.limits.max_lookups,
        ..DiscoveryConfig::default()
    }
}

pub(crate) fn mesh(config: &Config) -> MeshConfig {
    let mesh = &config.mesh;
    let pool = PoolConfig { max: mesh.pool_max, idle: mesh.pool_idle, sweep: mesh.pool_sweep, ..PoolConfig::default() };
    MeshConfig {
        pool,
        seed: rand::random(),
        call_dead_after: config.limits.provider_silence,
        call_queue: bytes(config.limits.call_queue.saturating_mul(4)),
        ..MeshConfig::new(config.realm.clone())
    }
}

/// A size as this machine counts memory.
pub(crate) fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
