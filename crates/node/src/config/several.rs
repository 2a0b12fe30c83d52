use std::net::SocketAddr;

use sinew_link::Address;

use super::{Config, Invalid};

impl Config {
    /// The configuration of node `index` of several on this host, from that of the first: every port counts up by one for
    /// each node, and each keeps its things in a directory of its own, `node-0`, `node-1`, below the data directory. Ports
    /// of 0 stay, the system chooses them.
    ///
    /// Fails when a port would be above 65535, or when a Unix socket or an identity file was named, which can't be shared.
    pub fn nth(&self, index: u16) -> Result<Self, Invalid> {
        let mut config = self.clone();
        if self.identity.is_some() {
            return Err(Invalid { key: "identity", problem: "can't be that of several nodes".to_owned() });
        }
        config.data_dir = self.data_dir.as_ref().map(|dir| dir.join(format!("node-{index}")));
        config.admin = match self.admin {
            Some(admin) => Some(SocketAddr::new(admin.ip(), shift("admin", admin.port(), index)?)),
            None => None,
        };
        config.listen = match &self.listen {
            Some(listen) => Some(listen.iter().map(|address| nth_address(address, index)).collect::<Result<_, _>>()?),
            None => {
                let defaults = Self { listen: None, data_dir: None, ..self.clone() }.listeners();
                let shifted = defaults.iter().map(|address| nth_address(address, index));
                let mut listen = shifted.collect::<Result<Vec<_>, _>>()?;
                listen.extend(config.data_dir.as_ref().map(|dir| Address::Unix(dir.join(super::SOCKET_NAME))));
                Some(listen)
            }
        };
        let mesh = self.mesh.listeners();
        let shifted = mesh.iter().map(|multiaddress| nth_multiaddress(multiaddress, index));
        config.mesh.listen = Some(shifted.collect::<Result<_, _>>()?);
        Ok(config)
    }
}

fn nth_address(address: &Address, index: u16) -> Result<Address, Invalid> {
    let port_of = |port| shift("listen", port, index);
    Ok(match address {
        Address::Quic { host, port } => Address::Quic { host: host.clone(), port: port_of(*port)? },
        Address::Tls { host, port } => Address::Tls { host: host.clone(), port: port_of(*port)? },
        Address::Unix(_) | Address::Memory(_) => {
            return Err(Invalid { key: "listen", problem: format!("{address} can't be that of several nodes") });
        }
    })
}

/// The port follows the part `udp` or `tcp`.
fn nth_multiaddress(multiaddress: &str, index: u16) -> Result<String, Invalid> {
    let mut parts: Vec<String> = multiaddress.split('/').map(str::to_owned).collect();
    for i in 1..parts.len() {
        if matches!(parts[i - 1].as_str(), "udp" | "tcp")
            && let Ok(port) = parts[i].parse()
        {
            parts[i] = shift("mesh.listen", port, index)?.to_string();
        }
    }
    Ok(parts.join("/"))
}

fn shift(key: &'static str, port: u16, index: u16) -> Result<u16, Invalid> {
    if port == 0 {
        return Ok(0);
    }
    let problem = || Invalid { key, problem: format!("port {port} leaves no room for {} nodes", u32::from(index) + 1) };
    port.checked_add(index).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use sinew_link::DEFAULT_PORT;

    use super::*;

    #[test]
    fn the_third_node_has_its_own_ports_and_directory() {
        let first = Config { data_dir: Some("/var/lib/sinew".into()), ..Config::default() };
        let third = first.nth(2).expect("there is room");
        let listen = third.listeners().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            listen,
            [
                format!("quic://127.0.0.1:{}", DEFAULT_PORT + 2),
                format!("tls://127.0.0.1:{}", DEFAULT_PORT + 2),
                "unix:///var/lib/sinew/node-2/sinew.sock".to_owned()
            ]
        );
        assert_eq!(third.mesh.listeners(), ["/ip4/127.0.0.1/udp/4502/quic-v1", "/ip4/127.0.0.1/tcp/4502"]);
        assert_eq!(third.admin, Some(SocketAddr::from(([127, 0, 0, 1], 4602))));
        third.validate().expect("is valid");
    }

    #[test]
    fn any_port_stays_any_port_and_what_can_not_be_shared_is_refused() {
        let mut config =
            Config { listen: Some(vec!["quic://127.0.0.1:0".parse().expect("an address")]), ..Config::default() };
        config.mesh.listen = Some(vec!["/ip4/127.0.0.1/tcp/0".to_owned()]);
        let second = config.nth(1).expect("there is room");
        assert_eq!(second.listen, config.listen);
        assert_eq!(second.mesh.listen, config.mesh.listen);
        let key = |config: &Config| config.nth(1).expect_err("is refused").key;
        config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 65535)));
        assert_eq!(key(&config), "admin");
        config.admin = None;
        config.listen = Some(vec![Address::Unix("/run/s.sock".into())]);
        assert_eq!(key(&config), "listen");
        config.identity = Some("/etc/key".into());
        assert_eq!(key(&config), "identity");
    }
}
