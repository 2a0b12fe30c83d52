use std::time::Duration;

use sinew_link::pool::PoolConfig;
use sinew_membership::MembershipConfig;
use sinew_wire::Features;

/// Limits and times of the mesh. The defaults are for up to several hundred nodes.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// The realm: in every hello and every record.
    pub realm: String,
    /// What this node calls itself in its hello, for people.
    pub name: String,
    /// Limits and times of the membership.
    pub membership: MembershipConfig,
    /// How many links there may be, and how long an idle one stays.
    pub pool: PoolConfig,
    /// What this node can do beyond the base protocol.
    pub features: Features,
    /// Time for each step of a handshake: the answer to a hello, and to that. Default 3 s.
    pub handshake_timeout: Duration,
    /// How long a link from a node whose record is not known yet may wait for it. Default 3 s.
    pub stranger_timeout: Duration,
    /// How many such links may wait at once. Default 64.
    pub max_strangers: usize,
    /// Dials under way at once. Default 64.
    pub max_dials: usize,
    /// Time for a whole dial, all addresses and the overlay together. Default 10 s.
    pub dial_timeout: Duration,
    /// How long the addresses of a peer are tried before the overlay is asked for a stream as well. Default 1 s.
    pub direct_first: Duration,
    /// Pause between the first tries of a peer's addresses. Default 250 ms.
    pub stagger: Duration,
    /// A peer from which nothing was heard for so long is asked for a sign of life, while something is on its way to it.
    /// Default 2 s.
    pub ping_after: Duration,
    /// After so long without one the link is lost, and dialled again. Default 5 s.
    pub dead_after: Duration,
    /// The same two times for a link with calls under way: who has sent them wants to know soon. Defaults 400 ms and 2 s.
    pub call_ping_after: Duration,
    /// See [`MeshConfig::call_ping_after`].
    pub call_dead_after: Duration,
    /// Bytes of calls that may wait to be written to one node. Default 16 MiB.
    pub call_queue: usize,
    /// The same for a link with nothing on its way: it is asked after this time, and lost after twice of it. Default 15 s.
    pub keep_alive: Duration,
    /// How often a better path is looked for while a link runs over the overlay, or over TLS though the peer has a QUIC
    /// address; of the latter ever more seldom, up to 16 times as long. Default 30 s.
    pub upgrade_interval: Duration,
    /// Decides about jitter; of two nodes with the same seed nothing worse comes than dialling at the same time.
    pub seed: u64,
}

impl MeshConfig {
    /// The defaults, for a realm.
    pub fn new(realm: impl Into<String>) -> Self {
        let realm = realm.into();
        Self {
            membership: MembershipConfig::new(realm.clone()),
            realm,
            name: String::new(),
            pool: PoolConfig::default(),
            features: Features::OURS,
            handshake_timeout: Duration::from_secs(3),
            stranger_timeout: Duration::from_secs(3),
            max_strangers: 64,
            max_dials: 64,
            dial_timeout: Duration::from_secs(10),
            direct_first: Duration::from_secs(1),
            stagger: Duration::from_millis(250),
            ping_after: Duration::from_secs(2),
            dead_after: Duration::from_secs(5),
            call_ping_after: Duration::from_millis(400),
            call_dead_after: Duration::from_secs(2),
            call_queue: 16 << 20,
            keep_alive: Duration::from_secs(15),
            upgrade_interval: Duration::from_secs(30),
            seed: 0,
        }
    }
}
