//! Names in multiaddresses, resolved by the system, anew each time.
//!
//! Not libp2p's own resolver: it keeps answers for as long as their life says, and a container that was started again has
//! another address long before that.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::address;

/// How long the system may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses of one name that are used, at most.
pub(crate) const MAX_PER_NAME: usize = 16;

/// The address with the IP addresses of its name in place of it; itself, if it has none.
pub(crate) async fn resolve(address: Multiaddr) -> io::Result<Vec<Multiaddr>> {
    let (name, v4, v6) = match address.iter().next() {
        Some(Protocol::Dns(name)) => (name.into_owned(), true, true),
        Some(Protocol::Dns4(name)) => (name.into_owned(), true, false),
        Some(Protocol::Dns6(name)) => (name.into_owned(), false, true),
        _ => return Ok(vec![address]),
    };
    let found = timeout(TIMEOUT, lookup_host((name.as_str(), 0)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("name {name}: no answer in {TIMEOUT:?}")))?
        .map_err(|error| io::Error::new(error.kind(), format!("name {name}: {error}")))?;
    let mut resolved = Vec::new();
    for ip in found.map(|socket| socket.ip()) {
        let part = match ip {
            IpAddr::V4(ip) if v4 => Protocol::Ip4(ip),
            IpAddr::V6(ip) if v6 => Protocol::Ip6(ip),
            _ => continue,
        };
        let Some(one) = address.replace(0, |_| Some(part)) else { continue };
        if resolved.len() < MAX_PER_NAME && !resolved.contains(&one) {
            resolved.push(one);
        }
    }
    if resolved.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("name {name}: no address of this kind")));
    }
    Ok(resolved)
}

/// A transport that takes names too.
pub(crate) struct Named<T> {
    inner: Arc<Mutex<T>>,
}

impl<T> Named<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: Arc::new(Mutex::new(inner)) }
    }
}

impl<T> Transport for Named<T>
where
    T: Transport<Error = io::Error> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, io::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.lock().listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.lock().remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if !address::has_name(&address) {
            return Ok(self.inner.lock().dial(address, options)?.boxed());
        }
        let inner = Arc::clone(&self.inner);
        Ok(async move {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in resolve(address).await? {
                let dial = inner.lock().dial(address, options);
                match dial {
                    Ok(dial) => match dial.await {
                        Ok(output) => return Ok(output),
                        Err(error) => last = error,
                    },
                    Err(TransportError::Other(error)) => last = error,
                    Err(TransportError::MultiaddrNotSupported(_)) => {}
                }
            }
            Err(last)
        }
        .boxed())
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut *self.inner.lock()).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_and_plain_addresses() {
        let plain: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(resolve(plain.clone()).await.unwrap(), [plain]);
        let found = resolve("/dns4/localhost/udp/4500/quic-v1".parse().unwrap()).await.unwrap();
        assert!(found.contains(&"/ip4/127.0.0.1/udp/4500/quic-v1".parse().unwrap()), "{found:?}");
        assert!(found.iter().all(|address| matches!(address.iter().next(), Some(Protocol::Ip4(_)))));
    }

    #[tokio::test]
    async fn a_name_that_is_none() {
        assert!(resolve("/dns4/a name with spaces/tcp/1".parse().unwrap()).await.is_err());
    }
}
