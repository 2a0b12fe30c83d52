//! What a node can be told, where each value came from, and what is wrong with it.

mod keys;
mod load;
mod secret;
mod several;
mod show;
mod units;
mod validate;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sinew_link::{Address, DEFAULT_PORT};

pub use keys::{KEYS, Key};
pub use load::{ConfigError, Loaded, Loader, Origin};
pub use secret::Secret;
pub use units::{format_duration, format_size, parse_duration, parse_size};
pub use validate::Invalid;

/// Port of the default admin server.
pub const ADMIN_PORT: u16 = 4600;

/// Port on which nodes find each other.
pub const MESH_PORT: u16 = 4500;

/// Name of the default client socket in the data directory.
pub const SOCKET_NAME: &str = "sinew.sock";

/// Name of the file with the admin token in the data directory.
pub const ADMIN_TOKEN_NAME: &str = "admin-token";

/// Name of the identity file in the data directory.
pub const IDENTITY_NAME: &str = "identity";

/// Everything a node can be told. [`KEYS`] has a row for each field, with its name in files, flags and environment.
///
/// ```
/// use sinew_node::Config;
///
/// let mut config = Config { realm: "plant-7".to_owned(), ..Config::default() };
/// config.limits.max_clients = 500;
/// config.validate()?;
/// # Ok::<(), sinew_node::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect. `None` for QUIC and TLS on port 4400 of the loopback address, and a Unix socket in the
    /// data directory if there is one.
    pub listen: Option<Vec<Address>>,
    /// Directory for what outlives the process, made with mode 0700. `None` keeps nothing on disk: the identity is a
    /// new one at every start.
    pub data_dir: Option<PathBuf>,
    /// File of the identity key, made when missing. `None` for `identity` in the data directory.
    pub identity: Option<PathBuf>,
    /// Where the admin server listens; `None` for no admin server.
    pub admin: Option<SocketAddr>,
    /// What those from other hosts have to show the admin server, except for health and metrics: 16 to 128 letters, digits and
    /// `-._~`. `None` makes one and keeps it in the data directory, if the admin server is within reach of other hosts.
    pub admin_token: Option<Secret>,
    /// The realm the node serves.
    pub realm: String,
    /// Admits anyone who names the realm, and with that allows listeners that other hosts can reach.
    pub open: bool,
    /// Stripes of the pub/sub state; 0 for one per core.
    pub shards: usize,
    /// Delivery workers, which serve topics with many subscribers; 0 for one per core.
    pub workers: usize,
    /// How long a drain may take until sessions are cut.
    pub drain_timeout: Duration,
    /// How the node finds the others of its realm and what it tells them.
    pub mesh: Mesh,
    /// How links are made.
    pub link: Link,
    /// What the node writes to its log. Read by the program, not by [`Node`](crate::Node), which leaves logging to
    /// whoever embeds it.
    pub log: Log,
    /// Where the node's part in traces of applications goes.
    pub trace: Trace,
    /// Bounds of everything that could grow.
    pub limits: Limits,
}

/// How a node finds the others of its realm, what it tells them, and the links to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Multiaddresses on which other nodes find this one. `None` for QUIC and TCP on port 4500 of the loopback address; an
    /// empty list for a node that stays alone.
    pub listen: Option<Vec<String>>,
    /// Multiaddresses of nodes to begin with, tried for ever. `/dns4/name/...` is looked up anew at each try.
    pub bootstrap: Vec<String>,
    /// Looks for nodes of the realm on the local network. Without effect while only loopback addresses are listened on.
    pub mdns: bool,
    /// Lets nodes that can't be reached directly be reached through this one. It says that others reach this one at the
    /// addresses it listens on, or at [`Mesh::external`]: not for a node behind a NAT.
    pub relay_server: bool,
    /// When the node asks relays to keep an address for it.
    pub use_relays: UseRelays,
    /// Multiaddresses at which others reach this node, beside those it listens on: a forwarded port, a public name.
    pub external: Vec<String>,
    /// Where the other nodes reach this one with messages. Empty for the client listeners, with the addresses of the
    /// interfaces in the place of `0.0.0.0`.
    pub advertise: Vec<Address>,
    /// A label that is shown beside the node: a site, a zone.
    pub region: String,
    /// Links to other nodes open at once; beyond it the one unused for longest is closed.
    pub pool_max: usize,
    /// A link that carried no message for so long is closed.
    pub pool_idle: Duration,
    /// How often idle links are looked for.
    pub pool_sweep: Duration,
}

/// When a node has itself reached through others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseRelays {
    /// When others found that they can't reach it, or can't say.
    WhenPrivate,
    /// From the start.
    Always,
    /// Not at all.
    Never,
}

/// How links are made, to clients and to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Lets the kernel cut large UDP writes into packets. Off for network drivers that get it wrong.
    pub segmentation_offload: bool,
}

/// What goes into the log, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Level, or directives per module: `info`, `warn,sinew_gateway=debug`.
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// A collector that takes OTLP over HTTP, as in `http://127.0.0.1:4318`; `None` exports nothing. Needs the feature `otlp`.
    ///
    /// What is exported is decided by applications: messages and calls that carry a sampled
    /// [trace context](https://www.w3.org/TR/trace-context/) in the header `traceparent`.
    pub otlp: Option<String>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Bounds of a node. Each has a default, and whoever runs into one is told its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients connected at once.
    pub max_clients: usize,
    /// Subscriptions of one client.
    pub max_subscriptions_per_client: usize,
    /// Subscriptions of the whole node.
    pub max_subscriptions: usize,
    /// Bytes of one payload; at most 1 MiB.
    pub max_message_bytes: u64,
    /// Bytes of the headers of one message; at most 4 KiB.
    pub max_header_bytes: u64,
    /// Handshakes under way at once.
    pub max_pending_handshakes: usize,
    /// Time to finish a handshake, hello included.
    pub handshake_timeout: Duration,
    /// A link on which nothing was received for so long is closed.
    pub idle_timeout: Duration,
    /// A link on which nothing was sent for so long gets a ping.
    pub keep_alive: Duration,
    /// Messages queued per subscription.
    pub max_queue_messages: usize,
    /// Bytes queued per subscription.
    pub max_queue_bytes: u64,
    /// Bytes of all queues together.
    pub queue_memory: u64,
    /// How long a full queue of policy `block` may hold its publishers back at a stretch.
    pub block_timeout: Duration,
    /// Bytes a client may have published that the node has not processed yet.
    pub publish_window: u64,
    /// Bytes a client may have on the way to it for one subscription.
    pub deliver_window: u64,
    /// Acknowledged publishes of one client that may be open.
    pub max_open_acks: usize,
    /// Longest deadline of an acknowledged publish.
    pub max_ack_deadline: Duration,
    /// Message ids remembered to suppress duplicates.
    pub dedup_ids: usize,
    /// How long a message id is remembered.
    pub dedup_window: Duration,
    /// Topics whose last value is retained.
    pub retained_values: usize,
    /// Bytes of all retained values together.
    pub retained_bytes: u64,
    /// Topics whose delivery plan is remembered.
    pub plan_cache: usize,
    /// Services and procedures announced on the node.
    pub max_services: usize,
    /// Services and procedures announced by one client.
    pub max_services_per_client: usize,
    /// Names of which details are fetched from other nodes at once.
    pub max_lookups: usize,
    /// Calls of the node that are open: those of its clients, and those of other nodes to its providers.
    pub max_calls: usize,
    /// Calls of one client that are open.
    pub max_calls_per_client: usize,
    /// How long a call may take whose caller does not say.
    pub call_deadline: Duration,
    /// Longest deadline that a caller may name.
    pub max_call_deadline: Duration,
    /// Bytes of a call's data that may be on their way in one direction.
    pub call_window: u64,
    /// Bytes of calls that may wait to be written to one client; four times as many to a node.
    pub call_queue: u64,
    /// Bytes of results of procedures that are kept.
    pub call_cache: u64,
    /// Calls that a provider gets at once if it does not say.
    pub provider_concurrency: usize,
    /// Calls that wait in order for one provider.
    pub provider_queue: usize,
    /// Calls that wait beyond that; of these the lowest priority is given up first, then the oldest.
    pub provider_overflow: usize,
    /// A provider that has calls to answer and says nothing for so long, though asked, is given up.
    pub provider_silence: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            data_dir: None,
            identity: None,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT))),
            admin_token: None,
            realm: "default".to_owned(),
            open: false,
            shards: 0,
            workers: 0,
            drain_timeout: Duration::from_secs(10),
            mesh: Mesh::default(),
            link: Link { segmentation_offload: true },
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
            trace: Trace::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            listen: None,
            bootstrap: Vec::new(),
            mdns: true,
            relay_server: false,
            use_relays: UseRelays::WhenPrivate,
            external: Vec::new(),
            advertise: Vec::new(),
            region: String::new(),
            pool_max: 1_000,
            pool_idle: Duration::from_secs(300),
            pool_sweep: Duration::from_secs(60),
        }
    }
}

impl Mesh {
    /// The multiaddresses to listen on, with the defaults filled in; none for a node that stays alone.
    pub fn listeners(&self) -> Vec<String> {
        let defaults =
            || [format!("/ip4/127.0.0.1/udp/{MESH_PORT}/quic-v1"), format!("/ip4/127.0.0.1/tcp/{MESH_PORT}")].to_vec();
        self.listen.clone().unwrap_or_else(defaults)
    }

    /// Whether only this host can reach the node on a multiaddress.
    pub fn is_loopback(multiaddress: &str) -> bool {
        let mut parts = multiaddress.split('/').skip(1);
        let (kind, host) = (parts.next(), parts.next().unwrap_or_default());
        match kind {
            Some("ip4" | "ip6") => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            Some("dns" | "dns4" | "dns6") => host == "localhost",
            _ => false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_subscriptions_per_client: 1_000,
            max_subscriptions: 100_000,
            max_message_bytes: sinew_wire::MAX_PAYLOAD as u64,
            max_header_bytes: sinew_wire::MAX_HEADERS as u64,
            max_pending_handshakes: 256,
            handshake_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(15),
            max_queue_messages: 65_536,
            max_queue_bytes: 4 << 20,
            queue_memory: 256 << 20,
            block_timeout: Duration::from_secs(5),
            publish_window: 1 << 20,
            deliver_window: 8 << 20,
            max_open_acks: 8_192,
            max_ack_deadline: Duration::from_secs(300),
            dedup_ids: 100_000,
            dedup_window: Duration::from_secs(120),
            retained_values: 10_000,
            retained_bytes: 32 << 20,
            plan_cache: 16_384,
            max_services: 100_000,
            max_services_per_client: 64,
            max_lookups: 1_024,
            max_calls: 100_000,
            max_calls_per_client: 256,
            call_deadline: Duration::from_secs(10),
            max_call_deadline: Duration::from_secs(300),
            call_window: 1 << 20,
            call_queue: 4 << 20,
            call_cache: 64 << 20,
            provider_concurrency: 64,
            provider_queue: 1_000,
            provider_overflow: 10_000,
            provider_silence: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// Where clients connect, with the defaults filled in.
    pub fn listeners(&self) -> Vec<Address> {
        if let Some(listen) = &self.listen {
            return listen.clone();
        }
        let host = || "127.0.0.1".to_owned();
        let mut listeners =
            vec![Address::Quic { host: host(), port: DEFAULT_PORT }, Address::Tls { host: host(), port: DEFAULT_PORT }];
        listeners.extend(self.data_dir.as_ref().map(|dir| Address::Unix(dir.join(SOCKET_NAME))));
        listeners
    }

    /// File of the identity key; `None` when nothing is kept on disk.
    pub fn identity_file(&self) -> Option<PathBuf> {
        self.identity.clone().or_else(|| self.data_dir.as_ref().map(|dir| dir.join(IDENTITY_NAME)))
    }
}
