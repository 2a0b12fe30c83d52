use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tracing::info;

/// Connections the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;

/// Addresses of one name that are tried. More are a mistake, or somebody's joke.
const MAX_ADDRESSES: usize = 8;

/// The addresses of a host, in the resolver's order. Never empty.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// A bound UDP socket with large buffers: on a busy link they are what keeps a burst from being lost.
pub(crate) fn udp(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Linux reports twice what it grants, for its own book-keeping.
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if granted < buffer {
        info!(wanted = buffer, granted, "UDP buffers are smaller than wanted: raise net.core.rmem_max and wmem_max");
    }
    Ok(socket.into())
}

/// A listening TCP socket.
pub(crate) fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the run before.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
