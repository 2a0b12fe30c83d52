use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_link::Address;

use super::{Config, LogFormat, Secret, UseRelays, format_duration, format_size, parse_duration, parse_size};

/// One thing a node can be told: the single source of its names, its documentation and its text form.
pub struct Key {
    /// Its path in the configuration file: `limits.max_clients`. Files may write `-` for `_`.
    pub name: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// A shorter name: that of its flag.
    alias: Option<&'static str>,
    field: Field,
}

/// The field a key stands for, by type. The accessors are mutable only; reading goes through a clone.
enum Field {
    Listen,
    MeshListen,
    Addresses(fn(&mut Config) -> &mut Vec<Address>),
    Texts(fn(&mut Config) -> &mut Vec<String>),
    Identity,
    Admin,
    AdminToken,
    TraceOtlp,
    LogFormat,
    UseRelays,
    Text(fn(&mut Config) -> &mut String),
    Path(fn(&mut Config) -> &mut Option<PathBuf>),
    Switch(fn(&mut Config) -> &mut bool),
    Count(fn(&mut Config) -> &mut usize),
    Size(fn(&mut Config) -> &mut u64),
    Time(fn(&mut Config) -> &mut Duration),
}

const fn key(name: &'static str, field: Field, help: &'static str) -> Key {
    Key { name, help, alias: None, field }
}

/// A key whose flag has a name of its own.
const fn flagged(name: &'static str, alias: &'static str, field: Field, help: &'static str) -> Key {
    Key { name, help, alias: Some(alias), field }
}

/// Every key, in the order they are shown.
pub const KEYS: &[Key] = &[
    key(
        "listen",
        Field::Listen,
        "where clients connect: quic://host:port, tls://host:port, unix:///path; several allowed",
    ),
    key("data_dir", Field::Path(|c| &mut c.data_dir), "directory for the identity and the client socket"),
    key("identity", Field::Identity, "file of the identity key, made when missing"),
    key("admin", Field::Admin, "HOST:PORT of the admin server (health, metrics, snapshots), or \"off\""),
    key(
        "admin_token",
        Field::AdminToken,
        "what those from other hosts show the admin server; made and kept in the data directory where one is needed",
    ),
    key("realm", Field::Text(|c| &mut c.realm), "realm the node serves"),
    key("open", Field::Switch(|c| &mut c.open), "admit anyone who names the realm, also from other hosts"),
    key("shards", Field::Count(|c| &mut c.shards), "stripes of the pub/sub state, 0 for one per core"),
    key("workers", Field::Count(|c| &mut c.workers), "delivery workers, 0 for one per core"),
    key("drain_timeout", Field::Time(|c| &mut c.drain_timeout), "how long a drain may take until sessions are cut"),
    flagged(
        "mesh.listen",
        "mesh",
        Field::MeshListen,
        "multiaddresses on which other nodes find this one, or \"off\" to stay alone; several allowed",
    ),
    flagged(
        "mesh.bootstrap",
        "bootstrap",
        Field::Texts(|c| &mut c.mesh.bootstrap),
        "multiaddresses of nodes to begin with, tried for ever; several allowed",
    ),
    key("mesh.mdns", Field::Switch(|c| &mut c.mesh.mdns), "look for nodes of the realm on the local network"),
    key(
        "mesh.relay_server",
        Field::Switch(|c| &mut c.mesh.relay_server),
        "let nodes that can't be reached directly be reached through this one",
    ),
    key("mesh.use_relays", Field::UseRelays, "when to be reached through others: when-private, always or never"),
    key(
        "mesh.external",
        Field::Texts(|c| &mut c.mesh.external),
        "multiaddresses at which others reach this node, beside those it listens on: a forwarded port",
    ),
    key(
        "mesh.advertise",
        Field::Addresses(|c| &mut c.mesh.advertise),
        "where other nodes send messages to: quic:// and tls:// addresses; found out when empty",
    ),
    key("mesh.region", Field::Text(|c| &mut c.mesh.region), "label shown beside the node: a site, a zone"),
    key("mesh.pool_max", Field::Count(|c| &mut c.mesh.pool_max), "links to other nodes open at once"),
    key("mesh.pool_idle", Field::Time(|c| &mut c.mesh.pool_idle), "a link unused for so long is closed"),
    key("mesh.pool_sweep", Field::Time(|c| &mut c.mesh.pool_sweep), "how often idle links are looked for"),
    key(
        "link.segmentation_offload",
        Field::Switch(|c| &mut c.link.segmentation_offload),
        "let the kernel cut large UDP writes into packets",
    ),
    key(
        "log.level",
        Field::Text(|c| &mut c.log.level),
        "error, warn, info, debug or trace; per module as in warn,sinew_gateway=debug",
    ),
    key("log.format", Field::LogFormat, "text for people, json for machines"),
    key(
        "trace.otlp",
        Field::TraceOtlp,
        "http://HOST:PORT of a collector for the traces that applications record (OTLP), or \"off\"",
    ),
    key("limits.max_clients", Field::Count(|c| &mut c.limits.max_clients), "clients connected at once"),
    key(
        "limits.max_subscriptions_per_client",
        Field::Count(|c| &mut c.limits.max_subscriptions_per_client),
        "subscriptions of one client",
    ),
    key(
        "limits.max_subscriptions",
        Field::Count(|c| &mut c.limits.max_subscriptions),
        "subscriptions of the whole node",
    ),
    key(
        "limits.max_message_bytes",
        Field::Size(|c| &mut c.limits.max_message_bytes),
        "bytes of one payload, at most 1MiB",
    ),
    key(
        "limits.max_header_bytes",
        Field::Size(|c| &mut c.limits.max_header_bytes),
        "bytes of the headers of one message, at most 4KiB",
    ),
    key(
        "limits.max_pending_handshakes",
        Field::Count(|c| &mut c.limits.max_pending_handshakes),
        "handshakes under way at once",
    ),
    key(
        "limits.handshake_timeout",
        Field::Time(|c| &mut c.limits.handshake_timeout),
        "time to finish a handshake, hello included",
    ),
    key(
        "limits.idle_timeout",
        Field::Time(|c| &mut c.limits.idle_timeout),
        "a link on which nothing was received for so long is closed",
    ),
    key(
        "limits.keep_alive",
        Field::Time(|c| &mut c.limits.keep_alive),
        "a link on which nothing was sent for so long gets a ping",
    ),
    key(
        "limits.max_queue_messages",
        Field::Count(|c| &mut c.limits.max_queue_messages),
        "messages queued per subscription",
    ),
    key("limits.max_queue_bytes", Field::Size(|c| &mut c.limits.max_queue_bytes), "bytes queued per subscription"),
    key("limits.queue_memory", Field::Size(|c| &mut c.limits.queue_memory), "bytes of all queues together"),
    key(
        "limits.block_timeout",
        Field::Time(|c| &mut c.limits.block_timeout),
        "how long a full queue of policy block may hold its publishers back at a stretch",
    ),
    key(
        "limits.publish_window",
        Field::Size(|c| &mut c.limits.publish_window),
        "bytes a client may have published that are not processed yet",
    ),
    key(
        "limits.deliver_window",
        Field::Size(|c| &mut c.limits.deliver_window),
        "bytes that may be on the way to a client for one subscription",
    ),
    key(
        "limits.max_open_acks",
        Field::Count(|c| &mut c.limits.max_open_acks),
        "acknowledged publishes of one client that may be open",
    ),
    key(
        "limits.max_ack_deadline",
        Field::Time(|c| &mut c.limits.max_ack_deadline),
        "longest deadline of an acknowledged publish",
    ),
    key("limits.dedup_ids", Field::Count(|c| &mut c.limits.dedup_ids), "message ids remembered to suppress duplicates"),
    key("limits.dedup_window", Field::Time(|c| &mut c.limits.dedup_window), "how long a message id is remembered"),
    key(
        "limits.retained_values",
        Field::Count(|c| &mut c.limits.retained_values),
        "topics whose last value is retained",
    ),
    key(
        "limits.retained_bytes",
        Field::Size(|c| &mut c.limits.retained_bytes),
        "bytes of all retained values together",
    ),
    key("limits.plan_cache", Field::Count(|c| &mut c.limits.plan_cache), "topics whose delivery plan is remembered"),
    key(
        "limits.max_services",
        Field::Count(|c| &mut c.limits.max_services),
        "services and procedures of the whole node",
    ),
    key(
        "limits.max_services_per_client",
        Field::Count(|c| &mut c.limits.max_services_per_client),
        "services and procedures of one client",
    ),
    key(
        "limits.max_lookups",
        Field::Count(|c| &mut c.limits.max_lookups),
        "services whose details are fetched from other nodes at once",
    ),
    key("limits.max_calls", Field::Count(|c| &mut c.limits.max_calls), "calls of the whole node that are open"),
    key(
        "limits.max_calls_per_client",
        Field::Count(|c| &mut c.limits.max_calls_per_client),
        "calls of one client that are open",
    ),
    key(
        "limits.call_deadline",
        Field::Time(|c| &mut c.limits.call_deadline),
        "how long a call may take whose caller does not say",
    ),
    key(
        "limits.max_call_deadline",
        Field::Time(|c| &mut c.limits.max_call_deadline),
        "longest deadline that a caller may name",
    ),
    key(
        "limits.call_window",
        Field::Size(|c| &mut c.limits.call_window),
        "bytes of one call's data on their way in one direction",
    ),
    key(
        "limits.call_queue",
        Field::Size(|c| &mut c.limits.call_queue),
        "bytes of calls that wait to be written to one client; four times as many to a node",
    ),
    key(
        "limits.call_cache",
        Field::Size(|c| &mut c.limits.call_cache),
        "bytes of results that are kept of procedures that allow it",
    ),
    key(
        "limits.provider_concurrency",
        Field::Count(|c| &mut c.limits.provider_concurrency),
        "calls that a provider gets at once if it does not say, at most 1024",
    ),
    key(
        "limits.provider_queue",
        Field::Count(|c| &mut c.limits.provider_queue),
        "calls that wait in order for one provider",
    ),
    key(
        "limits.provider_overflow",
        Field::Count(|c| &mut c.limits.provider_overflow),
        "calls that wait beyond that; the lowest priority is given up first, then the oldest",
    ),
    key(
        "limits.provider_silence",
        Field::Time(|c| &mut c.limits.provider_silence),
        "a provider with calls to answer that is silent for so long, though asked, is given up",
    ),
];

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// The key of this name, with `-` and `_` taken for the same.
    pub fn find(name: &str) -> Option<&'static Self> {
        let name = name.replace('-', "_");
        KEYS.iter().find(|key| key.name == name || key.alias == Some(&name))
    }

    /// The known name that looks most like `name`, for error messages.
    pub fn similar_to(name: &str) -> Option<&'static str> {
        // Longer than any name: nothing is similar, and the comparison stays cheap.
        if name.len() > 64 {
            return None;
        }
        let name = name.replace('-', "_");
        let close =
            |known: &str| distance(known, &name).min(distance(known.rsplit('.').next().unwrap_or(known), &name));
        let best = KEYS.iter().map(|key| (close(key.name), key.name)).min()?;
        (best.0 <= 2.max(name.len() / 4)).then_some(best.1)
    }

    /// Its environment variable: `SINEW_LIMITS_MAX_CLIENTS`, or that of its flag.
    pub fn variable(&self) -> String {
        format!("SINEW_{}", self.alias.unwrap_or(self.name).replace('.', "_").to_uppercase())
    }

    /// Whether it takes several values.
    pub const fn is_list(&self) -> bool {
        matches!(self.field, Field::Listen | Field::MeshListen | Field::Addresses(_) | Field::Texts(_))
    }

    /// Sets it from the text form; the error says what was expected.
    pub(super) fn set(&self, config: &mut Config, values: &[String]) -> Result<(), String> {
        match self.field {
            Field::Listen => config.listen = Some(parse_addresses(values)?),
            Field::MeshListen if values.iter().any(|value| value.trim() == "off") => {
                config.mesh.listen = Some(Vec::new())
            }
            Field::MeshListen => config.mesh.listen = Some(split(values).map(str::to_owned).collect()),
            Field::Addresses(field) => *field(config) = parse_addresses(values)?,
            Field::Texts(field) => *field(config) = split(values).map(str::to_owned).collect(),
            _ => return self.set_one(config, values),
        }
        Ok(())
    }

    fn set_one(&self, config: &mut Config, values: &[String]) -> Result<(), String> {
        let [text] = values else { return Err("expects one value, not a list".to_owned()) };
        let text = text.trim();
        match self.field {
            Field::Listen | Field::MeshListen | Field::Addresses(_) | Field::Texts(_) => {}
            Field::Identity => config.identity = Some(PathBuf::from(text)),
            Field::Admin => config.admin = parse_admin(text)?,
            Field::AdminToken => config.admin_token = Some(Secret::new(text)),
            Field::TraceOtlp => config.trace.otlp = (text != "off").then(|| text.to_owned()),
            Field::LogFormat => config.log.format = parse_log_format(text)?,
            Field::UseRelays => config.mesh.use_relays = parse_use_relays(text)?,
            Field::Text(field) => *field(config) = text.to_owned(),
            Field::Path(field) => *field(config) = Some(PathBuf::from(text)),
            Field::Switch(field) => *field(config) = parse_switch(text)?,
            Field::Count(field) => *field(config) = parse_count(text)?,
            Field::Size(field) => *field(config) = parse_size(text)?,
            Field::Time(field) => *field(config) = parse_duration(text)?,
        }
        Ok(())
    }

    /// The effective value, in the form it is read from; `null` for what is not set.
    pub fn value(&self, config: &Config) -> Value {
        let mut config = config.clone();
        match self.field {
            Field::Listen => config.listeners().iter().map(ToString::to_string).collect(),
            Field::MeshListen => match config.mesh.listeners() {
                none if none.is_empty() => json!("off"),
                some => json!(some),
            },
            Field::Addresses(field) => field(&mut config).iter().map(ToString::to_string).collect(),
            Field::Texts(field) => json!(field(&mut config)),
            Field::Identity => json!(config.identity_file()),
            Field::Admin => config.admin.map_or_else(|| json!("off"), |admin| json!(admin.to_string())),
            Field::AdminToken => json!(config.admin_token.map(|_| Secret::MASK)),
            Field::TraceOtlp => json!(config.trace.otlp.as_deref().unwrap_or("off")),
            Field::LogFormat => json!(match config.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }),
            Field::UseRelays => json!(match config.mesh.use_relays {
                UseRelays::WhenPrivate => "when-private",
                UseRelays::Always => "always",
                UseRelays::Never => "never",
            }),
            Field::Text(field) => json!(field(&mut config)),
            Field::Path(field) => json!(field(&mut config)),
            Field::Switch(field) => json!(field(&mut config)),
            Field::Count(field) => json!(field(&mut config)),
            Field::Size(field) => json!(format_size(*field(&mut config))),
            Field::Time(field) => json!(format_duration(*field(&mut config))),
        }
    }
}

fn parse_addresses(values: &[String]) -> Result<Vec<Address>, String> {
    let parse = |text: &str| text.parse::<Address>().map_err(|e| format!("{text:?}: {e}"));
    split(values).map(parse).collect()
}

/// The items of a list: several values, or several in one value with commas between them.
fn split(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

fn parse_admin(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    }
    text.parse()
        .map(Some)
        .map_err(|_| format!("{text:?} is not HOST:PORT with an IP address, such as 127.0.0.1:4600, nor \"off\""))
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither \"text\" nor \"json\"")),
    }
}

fn parse_use_relays(text: &str) -> Result<UseRelays, String> {
    match text {
        "when-private" => Ok(UseRelays::WhenPrivate),
        "always" => Ok(UseRelays::Always),
        "never" => Ok(UseRelays::Never),
        _ => Err(format!("{text:?} is none of \"when-private\", \"always\" and \"never\"")),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a whole number of 0 or more"))
}

/// Edits between two short texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let edit = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = edit.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
