use std::ops::RangeInclusive;
use std::time::Duration;

use sinew_link::Address;

use super::{Config, Mesh, format_duration, format_size};

/// Most listeners of one node.
const MAX_LISTENERS: usize = 16;

/// Longest URL that makes sense, without its scheme.
const MAX_URL: usize = 256;

/// Longest multiaddress that makes sense.
const MAX_MULTIADDRESS: usize = 256;

/// Bytes of an admin token: too many to guess, and few enough for a header.
const TOKEN_LEN: RangeInclusive<usize> = 16..=128;

/// Longest path of a Unix socket, in bytes: what the system's address holds besides its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Most shards or workers: far beyond any number of cores that helps.
const MAX_TASKS: usize = 1024;

/// A value that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct Invalid {
    /// Name of the key.
    pub key: &'static str,
    /// What is wrong with its value, and what to do.
    pub problem: String,
}

fn ensure(ok: bool, key: &'static str, problem: impl FnOnce() -> String) -> Result<(), Invalid> {
    if ok { Ok(()) } else { Err(Invalid { key, problem: problem() }) }
}

impl Config {
    /// Checks every value, alone and against the others. [`Node::start`](crate::Node::start) does it too.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_realm()?;
        self.validate_listeners()?;
        self.validate_mesh()?;
        for (key, n) in [("shards", self.shards), ("workers", self.workers)] {
            ensure(n <= MAX_TASKS, key, || format!("{n} is more than {MAX_TASKS}"))?;
        }
        ensure(self.drain_timeout <= HOUR, "drain_timeout", || too_long(self.drain_timeout))?;
        ensure(!self.log.level.is_empty(), "log.level", || "is empty".to_owned())?;
        self.validate_trace()?;
        self.validate_counts()?;
        self.validate_times()?;
        self.validate_sizes()
    }

    fn validate_realm(&self) -> Result<(), Invalid> {
        let realm = &self.realm;
        ensure(!realm.is_empty() && realm.len() <= 64, "realm", || format!("{realm:?} is not 1 to 64 bytes long"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure(realm.chars().all(plain), "realm", || {
            format!("{realm:?} has something other than letters, digits, '-', '_' and '.' in it")
        })
    }

    fn validate_listeners(&self) -> Result<(), Invalid> {
        let listeners = self.listeners();
        ensure(!listeners.is_empty(), "listen", || "is empty: nobody could connect".to_owned())?;
        ensure(listeners.len() <= MAX_LISTENERS, "listen", || {
            format!("{} listeners are more than {MAX_LISTENERS}", listeners.len())
        })?;
        for (i, address) in listeners.iter().enumerate() {
            let again = listeners[..i].contains(address) && !has_any_port(address);
            ensure(!again, "listen", || format!("{address} is there twice"))?;
            ensure(self.open || address.is_loopback(), "listen", || {
                beyond_loopback(&address.to_string(), &self.realm)
            })?;
            if let Address::Unix(path) = address {
                let len = path.as_os_str().len();
                ensure(len <= MAX_SOCKET_PATH, "listen", || {
                    format!("{address} has a path of {len} bytes; a socket's may have {MAX_SOCKET_PATH}")
                })?;
            }
        }
        if let Some(token) = &self.admin_token {
            let token = token.reveal();
            ensure(TOKEN_LEN.contains(&token.len()), "admin_token", || {
                format!("is {} bytes long, not {} to {}", token.len(), TOKEN_LEN.start(), TOKEN_LEN.end())
            })?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
            ensure(token.chars().all(plain), "admin_token", || {
                "has something other than letters, digits, '-', '.', '_' and '~' in it".to_owned()
            })?;
        }
        let admin = self.admin.filter(|admin| !admin.ip().is_loopback());
        ensure(self.open || admin.is_none(), "admin", || {
            beyond_loopback(&admin.map(|a| a.to_string()).unwrap_or_default(), &self.realm)
        })
    }

    fn validate_trace(&self) -> Result<(), Invalid> {
        let Some(url) = &self.trace.otlp else { return Ok(()) };
        ensure(cfg!(feature = "otlp"), "trace.otlp", || "this program was built without the feature otlp".to_owned())?;
        let host = url.strip_prefix("http://").unwrap_or_default();
        let plain = host.len() <= MAX_URL && host.bytes().all(|byte| byte.is_ascii_graphic());
        ensure(plain && !host.is_empty() && !host.starts_with('/'), "trace.otlp", || {
            format!("{url:?} is not a URL such as http://127.0.0.1:4318; TLS is left to a collector on this host")
        })
    }

    fn validate_mesh(&self) -> Result<(), Invalid> {
        let mesh = &self.mesh;
        let listeners = mesh.listeners();
        for (key, addresses) in
            [("mesh.listen", &listeners), ("mesh.bootstrap", &mesh.bootstrap), ("mesh.external", &mesh.external)]
        {
            ensure(addresses.len() <= MAX_LISTENERS, key, || {
                format!("{} addresses are more than {MAX_LISTENERS}", addresses.len())
            })?;
            for address in addresses {
                ensure(address.starts_with('/') && address.len() <= MAX_MULTIADDRESS, key, || {
                    format!("{address:?} is not a multiaddress such as /ip4/127.0.0.1/udp/4500/quic-v1")
                })?;
            }
        }
        for address in &listeners {
            ensure(self.open || Mesh::is_loopback(address), "mesh.listen", || beyond_loopback(address, &self.realm))?;
        }
        ensure(mesh.advertise.len() <= MAX_LISTENERS, "mesh.advertise", || {
            format!("{} addresses are more than {MAX_LISTENERS}", mesh.advertise.len())
        })?;
        for address in &mesh.advertise {
            ensure(!matches!(address, Address::Unix(_) | Address::Memory(_)), "mesh.advertise", || {
                format!("{address} means nothing to another host")
            })?;
        }
        ensure(mesh.region.len() <= 64 && !mesh.region.chars().any(char::is_control), "mesh.region", || {
            format!("{:?} is not at most 64 bytes of plain text", mesh.region)
        })?;
        ensure(mesh.pool_max > 0, "mesh.pool_max", || "has to be at least 1".to_owned())?;
        for (key, time) in [("mesh.pool_idle", mesh.pool_idle), ("mesh.pool_sweep", mesh.pool_sweep)] {
            ensure(time >= Duration::from_millis(10), key, || "has to be at least 10ms".to_owned())?;
            ensure(time <= HOUR * 24, key, || too_long(time))?;
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        for (key, n) in [
            ("limits.max_clients", limits.max_clients),
            ("limits.max_subscriptions_per_client", limits.max_subscriptions_per_client),
            ("limits.max_subscriptions", limits.max_subscriptions),
            ("limits.max_pending_handshakes", limits.max_pending_handshakes),
            ("limits.max_queue_messages", limits.max_queue_messages),
            ("limits.max_open_acks", limits.max_open_acks),
            ("limits.plan_cache", limits.plan_cache),
            ("limits.max_services", limits.max_services),
            ("limits.max_services_per_client", limits.max_services_per_client),
            ("limits.max_lookups", limits.max_lookups),
            ("limits.max_calls", limits.max_calls),
            ("limits.max_calls_per_client", limits.max_calls_per_client),
            ("limits.provider_concurrency", limits.provider_concurrency),
            ("limits.provider_queue", limits.provider_queue),
        ] {
            ensure(n > 0, key, || "has to be at least 1".to_owned())?;
        }
        let concurrency = limits.provider_concurrency;
        ensure(concurrency <= MAX_CONCURRENCY, "limits.provider_concurrency", || {
            format!("{concurrency} is more than {MAX_CONCURRENCY}")
        })
    }

    fn validate_times(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        for (key, time) in [
            ("limits.handshake_timeout", limits.handshake_timeout),
            ("limits.idle_timeout", limits.idle_timeout),
            ("limits.keep_alive", limits.keep_alive),
            ("limits.block_timeout", limits.block_timeout),
            ("limits.max_ack_deadline", limits.max_ack_deadline),
            ("limits.dedup_window", limits.dedup_window),
            ("limits.call_deadline", limits.call_deadline),
            ("limits.max_call_deadline", limits.max_call_deadline),
            ("limits.provider_silence", limits.provider_silence),
        ] {
            ensure(time >= Duration::from_millis(1), key, || "has to be at least 1ms".to_owned())?;
            ensure(time <= HOUR * 24, key, || too_long(time))?;
        }
        let (deadline, max) = (limits.call_deadline, limits.max_call_deadline);
        ensure(deadline <= max, "limits.call_deadline", || {
            format!("{} is more than limits.max_call_deadline ({})", format_duration(deadline), format_duration(max))
        })?;
        ensure(limits.provider_silence >= MIN_SILENCE, "limits.provider_silence", || {
            format!("has to be at least {}", format_duration(MIN_SILENCE))
        })?;
        let (idle, ping) = (limits.idle_timeout, limits.keep_alive);
        ensure(ping * 2 <= idle, "limits.keep_alive", || {
            let (idle, ping) = (format_duration(idle), format_duration(ping));
            format!("{ping} is more than half of limits.idle_timeout ({idle}): links would be cut between two pings")
        })
    }

    fn validate_sizes(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        for (key, size, max) in [
            ("limits.max_message_bytes", limits.max_message_bytes, sinew_wire::MAX_PAYLOAD as u64),
            ("limits.max_header_bytes", limits.max_header_bytes, sinew_wire::MAX_HEADERS as u64),
        ] {
            ensure(size > 0, key, || "has to be at least 1B".to_owned())?;
            ensure(size <= max, key, || {
                format!("{} is more than the protocol carries, {}", format_size(size), format_size(max))
            })?;
        }
        // One message of full size has to fit, or it could never be published or queued.
        let message = limits.max_message_bytes + limits.max_header_bytes;
        for (key, size) in
            [("limits.max_queue_bytes", limits.max_queue_bytes), ("limits.queue_memory", limits.queue_memory)]
        {
            ensure(size >= message, key, || {
                format!(
                    "{} is less than one message with headers may have, {}",
                    format_size(size),
                    format_size(message)
                )
            })?;
        }
        for (key, size) in [
            ("limits.publish_window", limits.publish_window),
            ("limits.deliver_window", limits.deliver_window),
            ("limits.call_window", limits.call_window),
            ("limits.call_queue", limits.call_queue),
        ] {
            ensure(size >= MIN_WINDOW, key, || {
                format!("{} is less than {}", format_size(size), format_size(MIN_WINDOW))
            })?;
            ensure(size <= MAX_WINDOW, key, || {
                format!("{} is more than {}", format_size(size), format_size(MAX_WINDOW))
            })?;
        }
        Ok(())
    }
}

/// Calls that a provider gets at once at most, whatever it says.
const MAX_CONCURRENCY: usize = 1_024;

/// A shorter silence is nothing unusual of a process.
const MIN_SILENCE: Duration = Duration::from_millis(500);

const HOUR: Duration = Duration::from_secs(3600);

/// Smaller windows would put a round trip between any two runs.
const MIN_WINDOW: u64 = 64 << 10;

/// Larger windows would let one client fill the memory of both ends.
const MAX_WINDOW: u64 = 1 << 30;

fn too_long(time: Duration) -> String {
    format!("{} is too long", format_duration(time))
}

fn beyond_loopback(address: &str, realm: &str) -> String {
    format!(
        "{address} can be reached from other hosts, and realm {realm:?} has no key that would tell its members from \
         strangers. Listen on 127.0.0.1, [::1] or a Unix socket, or start with --open (SINEW_OPEN=true, open = true) \
         to admit anyone who names the realm"
    )
}

const fn has_any_port(address: &Address) -> bool {
    matches!(address, Address::Quic { port: 0, .. } | Address::Tls { port: 0, .. })
}
