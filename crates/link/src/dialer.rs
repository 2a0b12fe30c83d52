use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use quinn::Endpoint;
use sinew_wire::PeerId;
use tokio::time::timeout;

use crate::tls::Credentials;
use crate::{Address, DialError, Identity, Link, LinkConfig, LinkError, memory, quic, socket, tcp};

/// Makes links. Cheap to clone; all clones share their UDP sockets, one per address family, made when first needed.
#[derive(Debug, Clone)]
pub struct Dialer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    config: LinkConfig,
    made: Mutex<Made>,
}

/// What is made when first needed.
#[derive(Debug, Default)]
struct Made {
    credentials: Option<Arc<Credentials>>,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Dialer {
    /// Dials as this identity. Nothing is opened yet.
    pub fn new(identity: Identity, config: LinkConfig) -> Self {
        Self(Arc::new(Inner { identity, config, made: Mutex::default() }))
    }

    /// Who it dials as.
    pub fn peer_id(&self) -> PeerId {
        self.0.identity.peer_id()
    }

    /// Makes a link to whoever listens on an address.
    ///
    /// All addresses of a name are tried in order, each for at most [`LinkConfig::handshake_timeout`]. Dropping it half-way
    /// gives up.
    pub async fn dial(&self, address: &Address) -> Result<Link, DialError> {
        self.dial_any(address, None).await
    }

    /// Makes a link to one peer. To anybody else, the dialer does not even prove who it is.
    pub async fn dial_peer(&self, address: &Address, peer: PeerId) -> Result<Link, DialError> {
        self.dial_any(address, Some(peer)).await
    }

    async fn dial_any(&self, address: &Address, expected: Option<PeerId>) -> Result<Link, DialError> {
        let (host, port) = match address {
            Address::Quic { host, port } | Address::Tls { host, port } => (host, *port),
            #[cfg(unix)]
            Address::Unix(path) => return self.dial_unix(address, path, expected).await,
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(DialError::Unsupported(address.clone())),
            Address::Memory(name) => return self.dial_memory(address, name, expected).await,
        };
        let deadline = self.0.config.handshake_timeout;
        let resolved = timeout(deadline, socket::resolve(host, port)).await;
        let resolved = resolved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let resolved = resolved.map_err(|source| DialError::Resolve { host: host.clone(), source })?;
        let mut failed = None;
        for at in resolved {
            let dialled = match address {
                Address::Quic { .. } => self.dial_quic(address, at, expected).await,
                _ => self.dial_tls(address, at, expected).await,
            };
            match dialled {
                Ok(link) => return Ok(link),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("a resolved host has an address"))
    }

    async fn dial_quic(&self, address: &Address, at: SocketAddr, expected: Option<PeerId>) -> Result<Link, DialError> {
        let endpoint = self.endpoint(at).map_err(|error| DialError::from_io(address, error))?;
        let failed = |error| DialError::from_link(address, error, expected);
        let credentials = self.credentials().map_err(failed)?;
        let config = &self.0.config;
        let established = quic::connect(&endpoint, at, &credentials, expected, config).await.map_err(failed)?;
        Ok(Link::quic(established, at.to_string(), config))
    }

    async fn dial_tls(&self, address: &Address, at: SocketAddr, expected: Option<PeerId>) -> Result<Link, DialError> {
        let failed = |error| DialError::from_link(address, error, expected);
        let credentials = self.credentials().map_err(failed)?;
        let config = &self.0.config;
        let dialling = async {
            let stream = tcp::dial(at).await.map_err(|error| DialError::from_io(address, error))?;
            let established = tcp::connect(stream, &credentials, expected).await.map_err(failed)?;
            Ok(Link::tls(established, at.to_string(), config))
        };
        self.in_time(address, dialling).await
    }

    #[cfg(unix)]
    async fn dial_unix(
        &self,
        address: &Address,
        path: &std::path::Path,
        expected: Option<PeerId>,
    ) -> Result<Link, DialError> {
        let dialling = async {
            let stream = tokio::net::UnixStream::connect(path).await;
            let mut stream = stream.map_err(|error| DialError::from_io(address, error))?;
            let remote = crate::unix::name_of_peer(&stream);
            let peer = crate::unix_auth::connect(&mut stream, &self.0.identity, expected).await;
            let peer = peer.map_err(|error| DialError::from_link(address, error, expected))?;
            Ok(Link::unix(peer, stream, remote, &self.0.config))
        };
        self.in_time(address, dialling).await
    }

    async fn dial_memory(&self, address: &Address, name: &str, expected: Option<PeerId>) -> Result<Link, DialError> {
        let dialling = async {
            let pipe = memory::dial(name, self.peer_id(), expected).await;
            let pipe = pipe.map_err(|error| DialError::from_link(address, error, expected))?;
            Ok(Link::memory(pipe, &self.0.config))
        };
        self.in_time(address, dialling).await
    }

    async fn in_time(
        &self,
        address: &Address,
        dialling: impl Future<Output = Result<Link, DialError>>,
    ) -> Result<Link, DialError> {
        let after = self.0.config.handshake_timeout;
        let timed_out = || Err(DialError::TimedOut { address: address.clone(), after });
        timeout(after, dialling).await.unwrap_or_else(|_| timed_out())
    }

    fn credentials(&self) -> Result<Arc<Credentials>, LinkError> {
        let mut made = self.0.made.lock();
        if let Some(credentials) = &made.credentials {
            return Ok(Arc::clone(credentials));
        }
        let credentials = Arc::new(Credentials::new(&self.0.identity).map_err(LinkError::Handshake)?);
        made.credentials = Some(Arc::clone(&credentials));
        Ok(credentials)
    }

    fn endpoint(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let mut made = self.0.made.lock();
        let (slot, any) = match to {
            SocketAddr::V4(_) => (&mut made.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&mut made.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = quic::dialling_endpoint(any, &self.0.config)?;
        *slot = Some(endpoint.clone());
        Ok(endpoint)
    }
}
