use std::fmt;
use std::time::Duration;

use sinew_link::{Address, AddressError, Dialer, Identity, LinkConfig};
use sinew_wire::{Features, FrameLimits, Hello, MAX_PAYLOAD, PROTOCOL_VERSION, Role};

use crate::driver::{self, Servers};
use crate::{Client, ConnectError};

/// Options for a [`Client`]: who, where to, and how patient.
///
/// ```no_run
/// # async fn example() -> Result<(), sinew_client::ConnectError> {
/// use std::time::Duration;
///
/// let client = sinew_client::Client::builder()
///     .servers(["quic://node-a:4400", "quic://node-b:4400"])
///     .name("thermostat 7")
///     .connect_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "does nothing until connected"]
pub struct Builder {
    servers: Result<Vec<Address>, AddressError>,
    realm: String,
    name: String,
    identity: Option<Identity>,
    dialer: Option<Dialer>,
    max_message_bytes: usize,
    config: Config,
}

/// What the tasks of a client go by.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) compression: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) reconnect: Reconnect,
    pub(crate) max_in_flight: usize,
    pub(crate) max_calls: usize,
    pub(crate) max_call_bytes: usize,
    pub(crate) call_deadline: Duration,
    pub(crate) frame_limits: FrameLimits,
    pub(crate) max_payload: usize,
}

/// How a lost connection is tried again: pauses that double, each stretched by a random part of itself, so that the clients of
/// a node that restarts do not come back in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The first pause. Default 100 ms.
    pub min_delay: Duration,
    /// What the pauses grow to. Default 5 s.
    pub max_delay: Duration,
    /// How often all servers are tried before the client gives up; `None` for ever, which is the default, and 0 for
    /// never.
    pub max_attempts: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { min_delay: Duration::from_millis(100), max_delay: Duration::from_secs(5), max_attempts: None }
    }
}

impl Reconnect {
    /// Never again.
    pub const fn never() -> Self {
        Self { min_delay: Duration::ZERO, max_delay: Duration::ZERO, max_attempts: Some(0) }
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            servers: Ok(Vec::new()),
            realm: "default".to_owned(),
            name: String::new(),
            identity: None,
            dialer: None,
            max_message_bytes: MAX_PAYLOAD,
            config: Config {
                compression: false,
                connect_timeout: Duration::from_secs(5),
                close_timeout: Duration::from_secs(5),
                reconnect: Reconnect::default(),
                max_in_flight: 4096,
                max_calls: 256,
                max_call_bytes: 64 << 20,
                call_deadline: Duration::from_secs(10),
                frame_limits: FrameLimits::default(),
                max_payload: MAX_PAYLOAD,
            },
        }
    }

    /// Adds a server: `quic://host:port`, `tls://host:port`, `unix:///path`, or `memory://name` for a node in the same process;
    /// or several, separated by commas.
    ///
    /// They are tried in the order in which they were added; when a connection is lost, beginning with the one that
    /// worked last.
    pub fn server(mut self, address: impl AsRef<str>) -> Self {
        if let Ok(servers) = &mut self.servers {
            for one in address.as_ref().split(',').map(str::trim).filter(|one| !one.is_empty()) {
                match one.parse() {
                    Ok(address) => servers.push(address),
                    Err(error) => {
                        self.servers = Err(error);
                        break;
                    }
                }
            }
        }
        self
    }

    /// Adds servers: as [`Builder::server`] for each.
    pub fn servers(self, addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        addresses.into_iter().fold(self, Self::server)
    }

    /// The realm to be in. Default: `default`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// A name for people, shown where clients are listed: up to 128 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Who the client is. Default: a new identity for each client.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Dials as another client of this process does: as the same identity and, over QUIC, from the same UDP socket. The buffers
    /// of a socket take megabytes, which counts where a process has hundreds of clients.
    ///
    /// In place of [`Builder::identity`]. [`Builder::max_message_bytes`] has to be that of the other client, and its
    /// [`Builder::connect_timeout`] holds for handshakes too.
    pub fn beside(mut self, other: &Client) -> Self {
        self.dialer = Some(other.dialer().clone());
        self
    }

    /// Packs runs of more than 1 KiB by lz4 where that makes them smaller, for slow networks. Costs time of both ends; off by
    /// default. What comes packed is read in either case.
    pub const fn compression(mut self, on: bool) -> Self {
        self.config.compression = on;
        self
    }

    /// Time for one server to answer: dialling, both proofs of identity, and the node's welcome. Default 5 s.
    pub const fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.connect_timeout = limit;
        self
    }

    /// Time that [`Client::close`] may take. Default 5 s.
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.config.close_timeout = limit;
        self
    }

    /// What to do when the connection is lost. The first connection is not tried again: that fails at once.
    pub const fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.config.reconnect = reconnect;
        self
    }

    /// Publishes that may wait for their result at once; more of them wait in line, as they do if the node allows fewer. From 1
    /// on; default 4,096, which is half of what a node allows unless configured.
    pub const fn max_in_flight(mut self, publishes: usize) -> Self {
        self.config.max_in_flight = if publishes == 0 { 1 } else { publishes };
        self
    }

    /// Calls that may be open at once; more of them wait in line, within their deadlines. From 1 on; default 256, which is what a
    /// node allows unless configured.
    pub const fn max_calls(mut self, calls: usize) -> Self {
        self.config.max_calls = if calls == 0 { 1 } else { calls };
        self
    }

    /// Largest argument, result, or item of a stream to send and to take in calls, in bytes. Default 64 MiB.
    pub const fn max_call_bytes(mut self, bytes: usize) -> Self {
        self.config.max_call_bytes = bytes;
        self
    }

    /// How long a call may take that [names no deadline](crate::CallBuilder::deadline) itself. Default 10 s.
    pub const fn call_deadline(mut self, deadline: Duration) -> Self {
        self.config.call_deadline = deadline;
        self
    }

    /// Largest payload to accept from a node and to publish, in bytes, for nodes that allow more than the default of 1 MiB.
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Connects to the first server that takes the client, each tried once. Must be called in a tokio runtime with time and
    /// I/O enabled.
    ///
    /// Cancel safe: dropped early, there is no connection.
    ///
    /// # Errors
    /// No server, realm or name not valid; or, when all servers have failed, the most telling of their errors: a refusal before
    /// a failed link.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let Self { servers, realm, name, identity, dialer, max_message_bytes, mut config } = self;
        let servers = Servers::new(servers?)?;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: Role::Client,
            realm,
            instance: rand::random(),
            name,
            features: Features::OURS,
        };
        hello.validate().map_err(ConnectError::Options)?;
        config.frame_limits = FrameLimits::for_payload(max_message_bytes);
        config.max_payload = max_message_bytes;
        let link = LinkConfig {
            frame_limits: config.frame_limits,
            handshake_timeout: config.connect_timeout,
            ..LinkConfig::default()
        };
        let dialer = dialer.unwrap_or_else(|| Dialer::new(identity.unwrap_or_else(Identity::generate), link));
        let shared = driver::start(servers, dialer.clone(), hello, config).await?;
        Ok(Client::new(shared, dialer))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("servers", &self.servers).field("realm", &self.realm).finish_non_exhaustive()
    }
}
