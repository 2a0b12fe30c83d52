use std::net::IpAddr;

use sinew_link::Address;

/// Where the other nodes reach the client listeners: what the configuration says, or else the listeners themselves, with the
/// addresses of the interfaces, as the overlay found them, in the place of `0.0.0.0` and `[::]`.
///
/// Unix sockets are not for other nodes, and a loopback address is only told when there is no other.
pub(crate) fn addresses(configured: &[Address], listeners: &[Address], overlay: &[String]) -> Vec<String> {
    if !configured.is_empty() {
        return configured.iter().map(ToString::to_string).collect();
    }
    let interfaces = interfaces(overlay);
    let mut found: Vec<Address> = listeners.iter().flat_map(|listener| reachable(listener, &interfaces)).collect();
    if found.iter().any(|address| !address.is_loopback()) {
        found.retain(|address| !address.is_loopback());
    }
    found.iter().map(ToString::to_string).collect()
}

/// The IP addresses at the head of multiaddresses, each once.
fn interfaces(overlay: &[String]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for multiaddress in overlay.iter().filter(|address| !address.contains("/p2p-circuit")) {
        let mut parts = multiaddress.split('/').skip(1);
        if let (Some("ip4" | "ip6"), Some(Ok(ip))) = (parts.next(), parts.next().map(str::parse))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

fn reachable(listener: &Address, interfaces: &[IpAddr]) -> Vec<Address> {
    let (host, with_host): (_, &dyn Fn(String) -> Address) = match listener {
        Address::Quic { host, port } => (host, &|host| Address::Quic { host, port: *port }),
        Address::Tls { host, port } => (host, &|host| Address::Tls { host, port: *port }),
        Address::Unix(_) | Address::Memory(_) => return Vec::new(),
    };
    match host.parse::<IpAddr>() {
        Ok(any) if any.is_unspecified() => {
            // A socket on [::] takes IPv4 too.
            let served = interfaces.iter().filter(|ip| any.is_ipv6() || ip.is_ipv4());
            served.map(|ip| with_host(ip.to_string())).collect()
        }
        _ => vec![listener.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(addresses: &[&str]) -> Vec<Address> {
        addresses.iter().map(|address| address.parse().expect("is an address")).collect()
    }

    const OVERLAY: [&str; 5] = [
        "/ip4/10.0.0.5/udp/4500/quic-v1/p2p/12D3KooW",
        "/ip4/10.0.0.5/tcp/4500/p2p/12D3KooW",
        "/ip6/fd00::5/tcp/4500",
        "/ip4/192.0.2.1/udp/4500/quic-v1/p2p/12D3KooW/p2p-circuit/p2p/12D3KooX",
        "/dns4/node1/tcp/4500",
    ];

    fn told(configured: &[&str], listeners: &[&str]) -> Vec<String> {
        addresses(&parse(configured), &parse(listeners), &OVERLAY.map(str::to_owned))
    }

    #[test]
    fn any_address_becomes_those_of_the_interfaces() {
        let listeners = ["quic://0.0.0.0:4400", "tls://[::]:4400", "unix:///run/s.sock", "quic://127.0.0.1:4401"];
        let expected = ["quic://10.0.0.5:4400", "tls://10.0.0.5:4400", "tls://[fd00::5]:4400"];
        assert_eq!(told(&[], &listeners), expected);
    }

    #[test]
    fn a_node_of_one_host_tells_its_loopback_addresses() {
        assert_eq!(told(&[], &["quic://127.0.0.1:4400", "unix:///run/s.sock"]), ["quic://127.0.0.1:4400"]);
    }

    #[test]
    fn what_is_configured_is_told_and_nothing_else() {
        assert_eq!(told(&["quic://mesh.example:4400"], &["quic://0.0.0.0:4400"]), ["quic://mesh.example:4400"]);
    }
}
