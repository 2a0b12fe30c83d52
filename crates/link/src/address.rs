use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Port of client listeners, where an address names none.
pub const DEFAULT_PORT: u16 = 4400;

/// Where a link begins or ends: `quic://host:port`, `tls://host:port`, `unix:///path` or `memory://name`.
///
/// The host is a DNS name, an IPv4 address, or an IPv6 address in brackets. Without a port it is [`DEFAULT_PORT`]; port
/// 0 lets a listener choose one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// QUIC over UDP.
    Quic {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// UDP port.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A listener in the same process, by a name of letters, digits, `.`, `-` and `_`.
    Memory(String),
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No `scheme://` in front.
    #[error("{0:?} has no scheme: quic://host:port, tls://host:port, unix:///path or memory://name")]
    NoScheme(String),
    /// A scheme that is none of ours.
    #[error("unknown scheme {0:?}: quic, tls, unix or memory")]
    UnknownScheme(String),
    /// No host, or one with characters that no host has.
    #[error("{0:?} is not a host")]
    BadHost(String),
    /// The port is not a number from 0 to 65535.
    #[error("{0:?} is not a port")]
    BadPort(String),
    /// An IPv6 address without brackets: where the port begins would be a guess.
    #[error("an IPv6 address is written in brackets: [{0}]")]
    Brackets(String),
    /// The path of a Unix socket is not absolute.
    #[error("{0:?} is not an absolute path: unix:///path")]
    BadPath(String),
    /// No name of a listener in this process.
    #[error("{0:?} is not a name of letters, digits, '.', '-' and '_': memory://name")]
    BadName(String),
}

impl Address {
    /// Whether only this host can be behind it: this process, a Unix socket, `localhost`, or a loopback IP address. Other
    /// names are not looked up.
    pub fn is_loopback(&self) -> bool {
        let (Self::Quic { host, .. } | Self::Tls { host, .. }) = self else { return true };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return ip.to_canonical().is_loopback();
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
    }

    /// Who has it when it is in use.
    pub(crate) const fn holder(&self) -> &'static str {
        if matches!(self, Self::Memory(_)) { "another listener of this process" } else { "another process" }
    }

    /// The same address with the port that a listener was given.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Quic { host, .. } => Self::Quic { host: host.clone(), port },
            Self::Tls { host, .. } => Self::Tls { host: host.clone(), port },
            Self::Unix(path) => Self::Unix(path.clone()),
            Self::Memory(name) => Self::Memory(name.clone()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Quic { host, port } => ("quic", host, port),
            Self::Tls { host, port } => ("tls", host, port),
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Memory(name) => return write!(f, "memory://{name}"),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AddressError::NoScheme(text.to_owned()))?;
        match scheme {
            "quic" => host_and_port(rest).map(|(host, port)| Self::Quic { host, port }),
            "tls" => host_and_port(rest).map(|(host, port)| Self::Tls { host, port }),
            "unix" if Path::new(rest).is_absolute() && !rest.contains('\0') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(AddressError::BadPath(rest.to_owned())),
            "memory" if is_name(rest) => Ok(Self::Memory(rest.to_owned())),
            "memory" => Err(AddressError::BadName(rest.to_owned())),
            other => Err(AddressError::UnknownScheme(other.to_owned())),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), AddressError> {
    let bad_host = || AddressError::BadHost(text.to_owned());
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad_host)?;
        // A link-local address names its interface behind a percent sign.
        let (ip, zone) = host.split_once('%').unwrap_or((host, "0"));
        if ip.parse::<Ipv6Addr>().is_err() || !is_name(zone) {
            return Err(bad_host());
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(bad_host()),
        }
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if port.is_some_and(|port| port.contains(':')) && text.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::Brackets(text.to_owned()));
        }
        if !is_name(host) {
            return Err(bad_host());
        }
        (host, port)
    };
    let port = match port {
        // `parse` alone would take a sign.
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| AddressError::BadPort(digits.to_owned()))?
        }
        Some(other) => return Err(AddressError::BadPort(other.to_owned())),
        None => DEFAULT_PORT,
    };
    Ok((host.to_owned(), port))
}

/// DNS names, IPv4 addresses and interface names: a resolver says more. Names of listeners in this process.
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') || !b.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn reads_and_writes_the_same_text() {
        for text in [
            "quic://127.0.0.1:4400",
            "tls://node.example:1",
            "quic://[::1]:65535",
            "unix:///run/sinew/a b.sock",
            "memory://my-app_2",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("tls://[fe80::1%eth0]:7").unwrap().to_string(), "tls://[fe80::1%eth0]:7");
    }

    #[test]
    fn the_port_has_a_default() {
        assert_eq!(parse("quic://host").unwrap(), Address::Quic { host: "host".into(), port: 4400 });
        assert_eq!(parse("tls://[::1]/").unwrap(), Address::Tls { host: "::1".into(), port: 4400 });
    }

    #[test]
    fn refuses_what_is_none() {
        assert_eq!(parse("127.0.0.1:4400"), Err(AddressError::NoScheme("127.0.0.1:4400".into())));
        assert_eq!(parse("nats://x"), Err(AddressError::UnknownScheme("nats".into())));
        assert_eq!(parse("quic://::1"), Err(AddressError::Brackets("::1".into())));
        assert_eq!(parse("quic://h:+1"), Err(AddressError::BadPort("+1".into())));
        assert_eq!(parse("quic://h:65536"), Err(AddressError::BadPort("65536".into())));
        assert_eq!(parse("quic://h:"), Err(AddressError::BadPort("".into())));
        assert_eq!(parse("unix://run/x"), Err(AddressError::BadPath("run/x".into())));
        assert_eq!(parse("memory://"), Err(AddressError::BadName("".into())));
        assert_eq!(parse("memory://a/b"), Err(AddressError::BadName("a/b".into())));
        for text in
            ["quic://", "quic://:1", "quic://a/b:1", "tls://me@host:1", "tls://[::1", "tls://[::1]x", "tls://[x]:1"]
        {
            assert!(matches!(parse(text), Err(AddressError::BadHost(_))), "{text}");
        }
    }

    #[test]
    fn knows_loopback() {
        for text in [
            "quic://localhost",
            "tls://LocalHost.:1",
            "tls://a.localhost",
            "quic://127.9.9.9",
            "quic://[::1]",
            "unix:///x",
            "memory://x",
        ] {
            assert!(parse(text).unwrap().is_loopback(), "{text}");
        }
        assert!(parse("quic://[::ffff:127.0.0.1]").unwrap().is_loopback());
        for text in ["quic://0.0.0.0", "tls://example.org", "quic://[::]", "tls://10.0.0.1", "tls://notlocalhost"] {
            assert!(!parse(text).unwrap().is_loopback(), "{text}");
        }
    }
}
