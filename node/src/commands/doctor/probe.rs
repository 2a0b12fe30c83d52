//! Whether somebody listens at an address. No session is begun, and nothing is left behind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use sinew_node::Address;
use tokio::net::{TcpStream, UdpSocket, UnixStream, lookup_host};
use tokio::time::{Instant, timeout};

/// How often a datagram is sent again that may have been lost.
const AGAIN: Duration = Duration::from_millis(300);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A version that is reserved for asking which ones there are (RFC 9000, section 15).
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

/// A QUIC endpoint answers only datagrams as long as a first packet has to be.
const FIRST_PACKET: usize = 1200;

/// The connection ids of the question; the answer has them the other way round.
const TO: [u8; 8] = *b"sinewdoc";
const FROM: [u8; 8] = *b"whoisup?";

/// How long the answer took.
pub(super) async fn probe(address: &Address, limit: Duration) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let answer = async {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(drop).map_err(anyhow::Error::from),
            Address::Tls { host, port } => {
                TcpStream::connect(&*resolve(host, *port).await?).await.map(drop).map_err(anyhow::Error::from)
            }
            Address::Quic { host, port } => first_quic(&resolve(host, *port).await?).await,
            Address::Memory(_) => bail!("only the node's own process can connect to it"),
        }
    };
    match timeout(limit, answer).await {
        Ok(answer) => answer.map(|()| begun.elapsed()),
        Err(_) => bail!("no answer within {} ms", limit.as_millis()),
    }
}

/// What a listener is told to listen on, as an address to connect to.
async fn resolve(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let found = lookup_host((host, port)).await.with_context(|| format!("{host} is not found"))?;
    let here = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    Ok(found.take(MAX_ADDRESSES).map(here).collect())
}

/// The first of these addresses that answers.
async fn first_quic(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let mut problem = anyhow::anyhow!("the name has no address");
    let tries = addresses.iter().map(|address| Box::pin(ask_quic(*address)));
    let mut tries = tries.collect::<futures::stream::FuturesUnordered<_>>();
    while let Some(answer) = futures::StreamExt::next(&mut tries).await {
        match answer {
            Ok(()) => return Ok(()),
            Err(error) => problem = error.into(),
        }
    }
    Err(problem)
}

/// Asks until a QUIC endpoint says which versions it speaks, or the network that nobody is there.
async fn ask_quic(address: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let mut answer = [0; 1500];
    loop {
        socket.send(&question()).await?;
        if let Ok(received) = timeout(AGAIN, socket.recv(&mut answer)).await
            && is_answer(answer.get(..received?).unwrap_or_default())
        {
            return Ok(());
        }
    }
}

/// A first packet of a version that nobody speaks.
fn question() -> Vec<u8> {
    let mut packet = vec![0xc0];
    packet.extend_from_slice(&NO_VERSION);
    for id in [TO, FROM] {
        packet.push(id.len() as u8);
        packet.extend_from_slice(&id);
    }
    packet.resize(FIRST_PACKET, 0);
    packet
}

/// A version negotiation packet that answers ours: long header, version 0, our connection ids.
fn is_answer(packet: &[u8]) -> bool {
    let mut ours = vec![0, 0, 0, 0];
    for id in [FROM, TO] {
        ours.push(id.len() as u8);
        ours.extend_from_slice(&id);
    }
    packet.first().is_some_and(|first| first & 0x80 != 0) && packet.get(1..).is_some_and(|rest| rest.starts_with(&ours))
}

/// Where a multiaddress leads to, as far as it can be asked: UDP with QUIC, or TCP. `None` for relayed and other ones.
pub(super) fn of_multiaddress(text: &str) -> Option<Address> {
    if text.contains("/p2p-circuit") {
        return None;
    }
    let mut parts = text.split('/').skip(1);
    let host = match (parts.next()?, parts.next()?) {
        ("ip4" | "ip6" | "dns" | "dns4" | "dns6", host) => host.to_owned(),
        _ => return None,
    };
    match (parts.next()?, parts.next()?.parse().ok()?, parts.next()) {
        ("udp", port, Some("quic-v1")) => Some(Address::Quic { host, port }),
        ("tcp", port, _) => Some(Address::Tls { host, port }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiaddresses_are_taken_apart() {
        let of = |text| of_multiaddress(text).map(|address| address.to_string());
        assert_eq!(of("/ip4/127.0.0.1/udp/4500/quic-v1/p2p/12D3KooW").as_deref(), Some("quic://127.0.0.1:4500"));
        assert_eq!(of("/ip6/::1/tcp/4500").as_deref(), Some("tls://[::1]:4500"));
        assert_eq!(of("/dns4/node1/tcp/4500/p2p/x").as_deref(), Some("tls://node1:4500"));
        for text in [
            "",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/udp/x/quic-v1",
            "/unix/a/b/c",
            "/ip4/1.2.3.4/udp/1/quic-v1/p2p/x/p2p-circuit",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn only_an_answer_to_our_question_is_one() {
        let mut answer = vec![0x80, 0, 0, 0, 0, 8];
        answer.extend_from_slice(&FROM);
        answer.push(8);
        answer.extend_from_slice(&TO);
        answer.extend_from_slice(&[0, 0, 0, 1]);
        assert!(is_answer(&answer));
        assert!(!is_answer(&question()), "an echo");
        assert!(!is_answer(&answer[..20]) && !is_answer(b"") && !is_answer(b"\x80"));
    }

    #[tokio::test]
    async fn who_listens_without_speaking_quic_is_no_quic_listener() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let port = silent.local_addr().expect("it is bound").port();
        let quic = Address::Quic { host: "127.0.0.1".to_owned(), port };
        assert!(probe(&quic, AGAIN * 2).await.is_err());
        drop(silent);
        let closed = probe(&quic, Duration::from_secs(5)).await.expect_err("nobody is there").to_string();
        assert!(closed.contains("refused"), "{closed}");
    }
}
