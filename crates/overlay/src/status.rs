use std::time::{Duration, Instant};

use sinew_wire::PeerId;

/// Whether others can dial this node, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Nat {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// It was dialled at an address that it claims, or is configured to know one.
    Public,
    /// Others tried all addresses it might have, and none led here.
    Private,
}

impl Nat {
    /// For people and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// A connected peer of the realm.
#[derive(Debug, Clone)]
pub struct OverlayPeer {
    /// The peer.
    pub peer: PeerId,
    /// Multiaddresses of the connections that are open, the one in use first.
    pub addresses: Vec<String>,
    /// Whether a connection leads to it directly, not only through a relay.
    pub direct: bool,
    /// The last round trip, once one was measured.
    pub rtt: Option<Duration>,
    /// Since when it has been connected.
    pub since: Instant,
    /// What it calls itself: at most 64 characters, none of them control characters.
    pub agent: String,
}

/// How one address of [`OverlayConfig::bootstrap`](crate::OverlayConfig::bootstrap) fares.
#[derive(Debug, Clone)]
pub struct BootstrapStatus {
    /// As it was configured.
    pub address: String,
    /// The peer it led to, while that is connected.
    pub peer: Option<PeerId>,
    /// It leads to ourselves and to nobody else, and is left alone.
    pub ourselves: bool,
    /// Attempts that failed since it was last connected.
    pub failures: u32,
    /// Why the last one failed.
    pub problem: Option<String>,
}

/// A look at the overlay, for people, health checks and metrics.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Whether others can dial this node.
    pub nat: Nat,
    /// One per configured address, in their order.
    pub bootstrap: Vec<BootstrapStatus>,
    /// Connected peers of the realm.
    pub peers: usize,
    /// Open connections, those of peers that are not identified yet included.
    pub connections: usize,
    /// Nodes in the routing table of the DHT.
    pub table: usize,
    /// Keys that this node provides.
    pub provided: usize,
    /// Provider records that it keeps for others.
    pub records: usize,
    /// Relays that keep an address for this node.
    pub relays: Vec<PeerId>,
    /// Reservations of others that this node keeps as a relay.
    pub reservations: usize,
    /// Links that run over the overlay now.
    pub links: usize,
    /// Commands that wait for the task.
    pub commands_queued: usize,
    /// How many may wait.
    pub commands_capacity: usize,
    /// Bytes of messages that wait to be written.
    pub messages_queued_bytes: usize,
    /// How many may wait.
    pub messages_capacity_bytes: usize,
    /// What has been counted since the start.
    pub counters: Counters,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers since the start. They only rise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All of them with their names, for metrics.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// Where the overlay counts.
        #[derive(Debug, Default)]
        pub(crate) struct Meters {
            $(pub(crate) $name: std::sync::atomic::AtomicU64,)*
        }

        impl Meters {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(std::sync::atomic::Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages handed to the transport.
    messages_sent,
    /// Bytes of them.
    message_bytes_sent,
    /// Messages that came and were passed on.
    messages_received,
    /// Bytes of them.
    message_bytes_received,
    /// Messages not sent, because the queue of their peer was full: the oldest were dropped.
    dropped_queue_full,
    /// Messages not sent, because their peer could not be reached.
    dropped_unreachable,
    /// Messages that were on their way when the connection broke.
    dropped_connection_lost,
    /// Streams of messages refused, because a message announced too many bytes.
    refused_message_size,
    /// Requests sent.
    requests_sent,
    /// Requests that came and were passed on.
    requests_received,
    /// Requests of ours that failed.
    requests_failed,
    /// Requests of others refused, because nobody took them in time or the memory for them was full.
    refused_requests_busy,
    /// Requests or replies refused, because they announced too many bytes.
    refused_request_size,
    /// Links opened by us.
    links_opened,
    /// Links opened by others.
    links_accepted,
    /// Links of others refused, because too many waited to be taken.
    refused_links_busy,
    /// Streams of peers refused, because they had too many.
    refused_streams,
    /// Dials begun, those that libp2p began by itself included.
    dials,
    /// Dials that failed.
    dials_failed,
    /// Dials not made, because the last ones to that peer had just failed.
    dials_held_back,
    /// Connections that were opened, both directions.
    connections_opened,
    /// Connections that were closed.
    connections_closed,
    /// Connections refused, because there were too many.
    refused_connections,
    /// Peers of another realm that were disconnected.
    refused_realm,
    /// Connections of peers refused, because they had been of another realm a short while ago.
    refused_remembered,
    /// Peers refused, because their key is not an Ed25519 key.
    refused_key,
    /// Peers disconnected, because they did not say who they are in time.
    refused_unidentified,
    /// Connections closed, because the peer did not answer pings.
    pings_lost,
    /// Connections closed, because nothing used them.
    closed_idle,
    /// Connections closed, because another one to the same peer does.
    closed_duplicate,
    /// Records that others wanted us to keep; we keep none but provider records.
    refused_records,
    /// Provider records refused, because their key is no hash.
    refused_provider_key,
    /// Provider records refused, because a quota was used up: of their key, of their peer, or of this node.
    refused_provider_quota,
    /// Addresses given to us that are none, or of a kind that is not dialled.
    refused_addresses,
    /// Queries of the DHT begun.
    queries,
    /// Queries of the DHT that failed or timed out.
    queries_failed,
    /// Queries of the DHT that ended without the nodes that did not answer, because others had.
    queries_cut,
    /// Holes punched.
    holes_punched,
    /// Holes that could not be punched.
    holes_failed,
    /// Reservations with relays that were granted to us, renewals included.
    reservations_granted,
    /// Reservations with relays that were refused or lost.
    reservations_lost,
}
