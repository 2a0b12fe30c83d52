use std::time::Duration;

use sinew_link::LinkConfig;

/// When a node asks relays of its realm to keep an address for it, so that others reach it through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reserve {
    /// When others found that they cannot dial it ([`Nat::Private`](crate::Nat::Private)), or could not say within 5 s.
    #[default]
    WhenPrivate,
    /// With every relay that it meets, up to two.
    Always,
    /// Only with those that [`OverlayConfig::listen`] names.
    Never,
}

/// What an overlay is to do. Defaults are for a node with a few hundred others.
#[derive(Debug, Clone)]
pub struct OverlayConfig {
    /// The realm: it is part of the name of every protocol, so that nothing crosses realms. 1 to 64 characters of `a-z`,
    /// `A-Z`, `0-9`, `.`, `_` and `-`. Default `default`.
    pub realm: String,
    /// Multiaddresses to listen on. `/ip4/0.0.0.0/udp/4500/quic-v1` and `/ip4/0.0.0.0/tcp/4500` are usual; port 0 takes a
    /// free one; `<relay>/p2p/ID/p2p-circuit` asks that relay for a reservation, again and again until it is granted.
    /// Default none: the node can dial, but nobody can dial it.
    pub listen: Vec<String>,
    /// Multiaddresses of nodes to begin with. They are dialled in parallel, and again, for ever, whenever no connection to
    /// them is there. Names (`/dns`, `/dns4`, `/dns6`) are resolved anew each time; `/p2p/ID` may be left out.
    pub bootstrap: Vec<String>,
    /// Look for nodes in the local network with multicast DNS. Default off.
    pub mdns: bool,
    /// Relay the connections of others. It says that this node can be dialled at [`OverlayConfig::external`], or, where that
    /// is empty, at its listen addresses. Default off.
    pub relay_server: bool,
    /// When to use relays. Default [`Reserve::WhenPrivate`].
    pub reserve: Reserve,
    /// Multiaddresses at which this node is known to be reachable, beside what it listens on: a port that is forwarded, a
    /// public name.
    pub external: Vec<String>,
    /// Connections at once, both directions together. Beyond it new ones are refused. Default 1024.
    pub max_connections: u32,
    /// A connection without messages, requests and links for so long is closed. The small traffic of the overlay itself does
    /// not count. Default 120 s.
    pub idle_timeout: Duration,
    /// Life of a provider record at the nodes that keep it. Default 20 min.
    pub provider_ttl: Duration,
    /// When our own provider records are published again. Well inside the life of them. Default 6 min.
    pub provider_interval: Duration,
    /// What the node calls itself, shown to others as [`OverlayPeer::agent`](crate::OverlayPeer::agent). At most 64 bytes
    /// are sent. Default `sinew/<version>`.
    pub agent: String,
    /// Limits of links over the overlay.
    pub link: LinkConfig,
}

impl Default for OverlayConfig {
    fn default() -> Self {
        Self {
            realm: "default".into(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            relay_server: false,
            reserve: Reserve::default(),
            external: Vec::new(),
            max_connections: 1024,
            idle_timeout: Duration::from_secs(120),
            provider_ttl: Duration::from_secs(20 * 60),
            provider_interval: Duration::from_secs(6 * 60),
            agent: concat!("sinew/", env!("CARGO_PKG_VERSION")).into(),
            link: LinkConfig::default(),
        }
    }
}
