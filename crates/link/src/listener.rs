use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Endpoint;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use crate::memory::Pipe;
use crate::quic::{ListenError, ServerConfigs};
use crate::tls::Credentials;
use crate::{AcceptError, Address, BindError, Identity, Link, LinkConfig, LinkError, memory, quic, socket, tcp};

/// Handshakes under way above which a QUIC peer has to show first that it can be reached at its address.
const RETRY_ABOVE: usize = 64;

/// Waits for peers on one address.
///
/// Dropping it ends the waiting. Links that came out of it live on.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    config: Arc<LinkConfig>,
    /// One permit per handshake under way.
    handshakes: Arc<Semaphore>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per listener")]
enum Socket {
    Quic {
        endpoint: Endpoint,
        configs: Arc<ServerConfigs>,
    },
    Tls {
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
    },
    #[cfg(unix)]
    Unix {
        bound: crate::unix::Bound,
        identity: Identity,
    },
    Memory(memory::Bound),
}

/// An attempt to connect. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming {
    attempt: Attempt,
    remote: String,
    config: Arc<LinkConfig>,
    handshake: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Attempt {
    Quic {
        incoming: quinn::Incoming,
        configs: Arc<ServerConfigs>,
    },
    Tls {
        stream: TcpStream,
        tls: Arc<rustls::ServerConfig>,
    },
    #[cfg(unix)]
    Unix {
        stream: tokio::net::UnixStream,
        identity: Identity,
    },
    Memory(Pipe),
}

impl Listener {
    /// Listens on an address. Needs a tokio runtime, also for as long as it lives.
    ///
    /// A host name is resolved, and the first of its addresses that can be bound is taken. In place of a Unix socket file that
    /// nobody answers on, a new one is made.
    pub async fn bind(address: &Address, identity: &Identity, config: &LinkConfig) -> Result<Self, BindError> {
        let (socket, address) = match address {
            Address::Quic { host, port } => {
                bind_ip(address, host, *port, |at| listen_quic(at, identity, config)).await?
            }
            Address::Tls { host, port } => bind_ip(address, host, *port, |at| listen_tls(at, identity)).await?,
            #[cfg(unix)]
            Address::Unix(path) => {
                let bound = crate::unix::bind(path)?;
                (Socket::Unix { bound, identity: identity.clone() }, address.clone())
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(BindError::Unsupported(address.clone())),
            Address::Memory(name) => {
                let bound = memory::bind(name, identity.peer_id());
                (Socket::Memory(bound.map_err(|error| BindError::from_io(address, error))?), address.clone())
            }
        };
        let handshakes = Arc::new(Semaphore::new(config.max_pending_handshakes));
        Ok(Self { socket, address, config: Arc::new(config.clone()), handshakes })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Waits for the next attempt. Never waits for a handshake: that is [`Incoming::establish`], to be called elsewhere.
    ///
    /// Beyond [`LinkConfig::max_pending_handshakes`] attempts are refused here, and never seen. Cancel safe.
    pub async fn accept(&mut self) -> Result<Incoming, AcceptError> {
        loop {
            let (attempt, remote) = self.socket.accept().await?;
            let Ok(handshake) = Arc::clone(&self.handshakes).try_acquire_owned() else {
                debug!(%remote, limit = self.config.max_pending_handshakes, "refused: too many handshakes under way");
                attempt.refuse();
                continue;
            };
            let pending = self.config.max_pending_handshakes.saturating_sub(self.handshakes.available_permits());
            if let Some(attempt) = attempt.validated(pending) {
                return Ok(Incoming { attempt, remote, config: Arc::clone(&self.config), handshake });
            }
        }
    }
}

/// Binds the first address of a host that can be bound.
async fn bind_ip(
    address: &Address,
    host: &str,
    port: u16,
    listen: impl Fn(SocketAddr) -> Result<(Socket, SocketAddr), ListenError>,
) -> Result<(Socket, Address), BindError> {
    let resolved = socket::resolve(host, port).await;
    let resolved = resolved.map_err(|source| BindError::Resolve { host: host.to_owned(), source })?;
    let mut failed = None;
    for at in resolved {
        match listen(at) {
            Ok((socket, at)) => return Ok((socket, address.with_port(at.port()))),
            Err(ListenError::Setup(problem)) => return Err(BindError::Setup { address: address.clone(), problem }),
            Err(ListenError::Io(error)) => failed = Some(error),
        }
    }
    Err(BindError::from_io(address, failed.expect("a resolved host has an address")))
}

fn listen_quic(at: SocketAddr, identity: &Identity, config: &LinkConfig) -> Result<(Socket, SocketAddr), ListenError> {
    let credentials = Arc::new(Credentials::new(identity).map_err(ListenError::Setup)?);
    let (endpoint, configs) = quic::listen(at, &credentials, config)?;
    let at = endpoint.local_addr()?;
    Ok((Socket::Quic { endpoint, configs: Arc::new(configs) }, at))
}

fn listen_tls(at: SocketAddr, identity: &Identity) -> Result<(Socket, SocketAddr), ListenError> {
    let credentials = Arc::new(Credentials::new(identity).map_err(ListenError::Setup)?);
    let tls = credentials.server_config().map_err(|error| ListenError::Setup(error.to_string()))?;
    let listener = socket::tcp_listener(at)?;
    let at = listener.local_addr()?;
    Ok((Socket::Tls { listener, tls: Arc::new(tls) }, at))
}

impl Socket {
    async fn accept(&mut self) -> Result<(Attempt, String), AcceptError> {
        loop {
            match self {
                Self::Quic { endpoint, configs } => {
                    let incoming = endpoint.accept().await.ok_or(AcceptError::Closed)?;
                    let remote = incoming.remote_address();
                    return Ok((Attempt::Quic { incoming, configs: Arc::clone(configs) }, text_of(remote)));
                }
                Self::Tls { listener, tls } => match listener.accept().await {
                    Ok((stream, remote)) => {
                        return Ok((Attempt::Tls { stream, tls: Arc::clone(tls) }, text_of(remote)));
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error.into()),
                },
                #[cfg(unix)]
                Self::Unix { bound, identity } => match bound.listener.accept().await {
                    Ok((stream, _)) => {
                        let remote = crate::unix::name_of_peer(&stream);
                        return Ok((Attempt::Unix { stream, identity: identity.clone() }, remote));
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error.into()),
                },
                Self::Memory(bound) => {
                    let pipe = bound.accept().await.ok_or(AcceptError::Closed)?;
                    return Ok((Attempt::Memory(pipe), memory::REMOTE.to_owned()));
                }
            }
        }
    }
}

/// An IPv4 peer of a dual-stack socket is shown as what it is.
fn text_of(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// The peer was gone before it was accepted: nobody's trouble.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

impl Attempt {
    fn refuse(self) {
        match self {
            Self::Quic { incoming, .. } => incoming.refuse(),
            Self::Tls { .. } => {}
            #[cfg(unix)]
            Self::Unix { .. } => {}
            Self::Memory(_) => {}
        }
    }

    /// Under load, sends a QUIC peer back to show its address: it comes again, validated. Costs no memory here.
    fn validated(self, pending: usize) -> Option<Self> {
        match self {
            Self::Quic { incoming, configs } if pending > RETRY_ABOVE && !incoming.remote_address_validated() => {
                let incoming = incoming.retry().err()?.into_incoming();
                Some(Self::Quic { incoming, configs })
            }
            attempt => Some(attempt),
        }
    }
}

impl Incoming {
    /// Where the peer is, for people: its IP address and port, user and process of a Unix peer, or that it is in this
    /// process. Not authenticated.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// Does the whole handshake, both proofs included, within [`LinkConfig::handshake_timeout`].
    ///
    /// Over QUIC this ends when the dialer has written its first bytes. Dropping it half-way closes the connection.
    pub async fn establish(self) -> Result<Link, LinkError> {
        let Self { attempt, remote, config, handshake } = self;
        let establishing = async {
            Ok(match attempt {
                Attempt::Quic { incoming, configs } => {
                    Link::quic(quic::accept(incoming, &configs).await?, remote, &config)
                }
                Attempt::Tls { stream, tls } => Link::tls(tcp::accept(stream, &tls).await?, remote, &config),
                #[cfg(unix)]
                Attempt::Unix { mut stream, identity } => {
                    let peer = crate::unix_auth::accept(&mut stream, &identity).await?;
                    Link::unix(peer, stream, remote, &config)
                }
                Attempt::Memory(pipe) => Link::memory(pipe, &config),
            })
        };
        let deadline = config.handshake_timeout;
        let link = timeout(deadline, establishing).await.unwrap_or(Err(LinkError::HandshakeTimeout(deadline)));
        drop(handshake);
        link
    }

    /// Sends the peer away: over QUIC with a refusal, else by hanging up.
    pub fn refuse(self) {
        self.attempt.refuse();
    }
}
