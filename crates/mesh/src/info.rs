use std::fmt;
use std::time::{Duration, Instant};

use sinew_link::Transport;
use sinew_membership::NodeInfo;

/// What a link runs over, as far as it matters to people: how good the path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Our own QUIC, straight to the node.
    Quic,
    /// Our own TLS over TCP, straight to the node.
    Tls,
    /// A stream of the overlay, straight to the node.
    Overlay,
    /// A stream of the overlay, through a relay.
    Relayed,
}

impl Path {
    pub(crate) const fn new(transport: Transport, relayed: bool) -> Self {
        match transport {
            Transport::Quic => Self::Quic,
            Transport::Tls | Transport::Unix | Transport::Memory => Self::Tls,
            Transport::Overlay if relayed => Self::Relayed,
            Transport::Overlay => Self::Overlay,
        }
    }

    /// The name in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
            Self::Overlay => "overlay",
            Self::Relayed => "relayed",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A link to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// What it runs over.
    pub path: Path,
    /// Where the peer is, for people.
    pub remote: String,
    /// Whether this node dialled.
    pub dialled: bool,
    /// Since when it is up.
    pub since: Instant,
}

/// Another node of the realm that is up, for listings. All numbers count from the moment when it was found to be up
/// ([`PeerInfo::since`]): one that was gone for a while begins anew.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// What it says of itself: who it is, its addresses, where it stands.
    pub info: NodeInfo,
    /// Version of its published state that it last signed.
    pub version: u64,
    /// Since when it has been known to be up.
    pub since: Instant,
    /// It does not answer, and will be taken for gone within seconds unless it does.
    pub suspect: bool,
    /// The link to it, while there is one: they are made on demand.
    pub link: Option<LinkInfo>,
    /// Whether the overlay has a connection to it, and if so whether a direct one.
    pub overlay: Option<bool>,
    /// The last round trip that was measured, over the link or the overlay.
    pub rtt: Option<Duration>,
    /// Patterns that its subscribers listen to.
    pub interest: usize,
    /// Messages forwarded to it, each counted once, whatever became of the links in between.
    pub sent_messages: u64,
    /// Messages that it forwarded to this node, each counted once.
    pub received_messages: u64,
    /// Bytes written to links with it, frames of calls and keep-alives included, handshakes not.
    pub sent_bytes: u64,
    /// Bytes of the frames that came over links with it, counted likewise.
    pub received_bytes: u64,
    /// Messages that wait to be forwarded to it.
    pub queued: usize,
    /// Frames on their way to it, or arrived and not confirmed.
    pub in_flight: usize,
    /// Messages for it that were dropped.
    pub dropped: u64,
}

/// Another node of the realm that is taken for gone, and has not said goodbye. It is tried again for some minutes.
#[derive(Debug, Clone)]
pub struct LostPeer {
    /// What it said of itself.
    pub info: NodeInfo,
    /// Since when it is taken for gone.
    pub since: Instant,
}

/// Answer of [`crate::Mesh::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Other nodes that are up.
    pub nodes: u32,
    /// Those of them that may not know of our interest yet.
    pub missing: u32,
}

/// The pool, for listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolInfo {
    /// Links there are.
    pub links: usize,
    /// Dials under way.
    pub dialling: usize,
    /// Most of both together.
    pub max: usize,
    /// What happened since the start.
    pub counters: sinew_link::pool::Counters,
}
