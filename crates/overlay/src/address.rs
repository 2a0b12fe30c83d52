//! Multiaddresses: which are served, and what is in them.

use std::net::SocketAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Far more than an address over a relay has.
const MAX_LEN: usize = 512;

/// Parses an address that can be dialled, or say why it cannot.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, String> {
    if text.len() > MAX_LEN {
        return Err(format!("{} bytes; at most {MAX_LEN} are read", text.len()));
    }
    let address: Multiaddr = text.parse().map_err(|error: libp2p::multiaddr::Error| error.to_string())?;
    check(&address)?;
    Ok(address)
}

/// `host/transport[/p2p/ID]`, and behind it, for relayed ones, `/p2p-circuit[/p2p/ID]`.
pub(crate) fn check(address: &Multiaddr) -> Result<(), String> {
    if address.len() > MAX_LEN {
        return Err(format!("{} bytes; at most {MAX_LEN} are read", address.len()));
    }
    let mut parts = address.iter().peekable();
    match parts.next() {
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => {}
        Some(other) => return Err(format!("begins with {other}; /ip4, /ip6, /dns, /dns4 and /dns6 are served")),
        None => return Err("empty".into()),
    }
    match parts.next() {
        Some(Protocol::Tcp(_)) => {}
        Some(Protocol::Udp(_)) if parts.next() == Some(Protocol::QuicV1) => {}
        _ => return Err("needs /tcp/PORT or /udp/PORT/quic-v1 behind the host".into()),
    }
    let relay = parts.next_if(|part| matches!(part, Protocol::P2p(_)));
    if parts.next_if(|part| matches!(part, Protocol::P2pCircuit)).is_some() {
        if relay.is_none() {
            return Err("needs /p2p/ID of the relay before /p2p-circuit".into());
        }
        parts.next_if(|part| matches!(part, Protocol::P2p(_)));
    }
    match parts.next() {
        None => Ok(()),
        Some(rest) => Err(format!("{rest} is not served there")),
    }
}

/// The address without the `/p2p/ID` at its end, and that id.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

/// The relay in a relayed address.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut before = None;
    for part in address {
        match part {
            Protocol::P2p(peer) => before = Some(peer),
            Protocol::P2pCircuit => return before,
            _ => {}
        }
    }
    None
}

pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Of no use to anybody else: not an address, or one that needs to know the interface.
pub(crate) fn is_local_only(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified() || ip.is_unicast_link_local(),
        _ => false,
    }
}

/// Over QUIC; a relayed one, if the way to the relay is.
pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    matches!(address.iter().nth(2), Some(Protocol::QuicV1))
}

/// The socket of a QUIC address.
pub(crate) fn quic_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()?) {
        (Protocol::Udp(port), Protocol::QuicV1) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Whether a name stands where an IP address is needed.
pub(crate) fn has_name(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn what_is_served() {
        for good in [
            "/ip4/127.0.0.1/tcp/4500".to_owned(),
            "/ip6/::1/udp/4500/quic-v1".to_owned(),
            format!("/dns4/node/tcp/4500/p2p/{ID}"),
            format!("/dns/node/udp/4500/quic-v1/p2p/{ID}/p2p-circuit"),
            format!("/ip4/10.0.0.1/tcp/1/p2p/{ID}/p2p-circuit/p2p/{ID}"),
        ] {
            assert_eq!(parse(&good).map(|address| address.to_string()), Ok(good));
        }
    }

    #[test]
    fn what_is_not() {
        for bad in [
            String::new(),
            "localhost:4500".into(),
            "/ip4/127.0.0.1".into(),
            "/ip4/127.0.0.1/udp/4500".into(),
            "/ip4/127.0.0.1/udp/4500/quic".into(),
            "/unix/tmp".into(),
            "/dnsaddr/bootstrap.example".into(),
            format!("/p2p/{ID}"),
            "/ip4/127.0.0.1/tcp/4500/p2p-circuit".into(),
            format!("/ip4/127.0.0.1/tcp/4500/p2p/{ID}/tcp/1"),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{ID}/p2p-circuit/p2p/{ID}/p2p-circuit"),
            format!("/dns4/{}/tcp/1", "a".repeat(600)),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts() {
        let relayed = parse(&format!("/ip4/10.0.0.1/tcp/1/p2p/{ID}/p2p-circuit")).unwrap();
        assert_eq!(relay_of(&relayed), Some(ID.parse().unwrap()));
        assert!(is_relayed(&relayed) && !is_quic(&relayed));
        assert!(is_quic(&parse("/ip4/10.0.0.1/udp/1/quic-v1").unwrap()));
        let (bare, peer) = split_peer(parse(&format!("/dns4/node/tcp/1/p2p/{ID}")).unwrap());
        assert_eq!((bare.to_string().as_str(), peer), ("/dns4/node/tcp/1", Some(ID.parse().unwrap())));
        assert!(has_name(&bare) && relay_of(&bare).is_none());
        assert_eq!(split_peer(bare.clone()), (bare, None));
    }
}
