use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_link::Address;

use super::{Config, LogFormat, format_duration, format_size, parse_duration, parse_size};

/// One thing a node can be told: the single source of its names, its documentation and its text form.
pub struct Key {
    /// Its path in the configuration file: `limits.max_clients`. Files may write `-` for `_`.
    pub name: &'static str,
    /// What it is for.
    pub help: &'static str,
    field: Field,
}

/// The field a key stands for, by type. The accessors are mutable only; reading goes through a clone.
enum Field {
    Listen,
    Identity,
    Admin,
    LogFormat,
    Text(fn(&mut Config) -> &mut String),
    Path(fn(&mut Config) -> &mut Option<PathBuf>),
    Switch(fn(&mut Config) -> &mut bool),
    Count(fn(&mut Config) -> &mut usize),
    Size(fn(&mut Config) -> &mut u64),
    Time(fn(&mut Config) -> &mut Duration),
}

const fn key(name: &'static str, field: Field, help: &'static str) -> Key {
    Key { name, help, field }
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
    key("realm", Field::Text(|c| &mut c.realm), "realm the node serves"),
    key("open", Field::Switch(|c| &mut c.open), "admit anyone who names the realm, also from other hosts"),
    key("shards", Field::Count(|c| &mut c.shards), "stripes of the pub/sub state, 0 for one per core"),
    key("workers", Field::Count(|c| &mut c.workers), "delivery workers, 0 for one per core"),
    key("drain_timeout", Field::Time(|c| &mut c.drain_timeout), "how long a drain may take until sessions are cut"),
    key(
        "log.level",
        Field::Text(|c| &mut c.log.level),
        "error, warn, info, debug or trace; per module as in warn,sinew_gateway=debug",
    ),
    key("log.format", Field::LogFormat, "text for people, json for machines"),
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
        KEYS.iter().find(|key| key.name == name)
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

    /// Its environment variable: `SINEW_LIMITS_MAX_CLIENTS`.
    pub fn variable(&self) -> String {
        format!("SINEW_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Whether it takes several values.
    pub const fn is_list(&self) -> bool {
        matches!(self.field, Field::Listen)
    }

    /// Sets it from the text form; the error says what was expected.
    pub(super) fn set(&self, config: &mut Config, values: &[String]) -> Result<(), String> {
        if let Field::Listen = self.field {
            config.listen = Some(parse_addresses(values)?);
            return Ok(());
        }
        let [text] = values else { return Err("expects one value, not a list".to_owned()) };
        let text = text.trim();
        match self.field {
            Field::Listen => {}
            Field::Identity => config.identity = Some(PathBuf::from(text)),
            Field::Admin => config.admin = parse_admin(text)?,
            Field::LogFormat => config.log.format = parse_log_format(text)?,
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
            Field::Identity => json!(config.identity_file()),
            Field::Admin => config.admin.map_or_else(|| json!("off"), |admin| json!(admin.to_string())),
            Field::LogFormat => json!(match config.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
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
    values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|s| !s.is_empty()).map(parse).collect()
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
