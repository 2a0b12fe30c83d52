use std::time::Duration;

use sinew_registry::Limits;

/// What a node's discovery goes by. Defaults are for a realm of a few hundred nodes.
#[derive(Debug, Clone)]
pub struct DiscoveryConfig {
    /// The realm: keys of the DHT are hashes of it and a name. Default `default`.
    pub realm: String,
    /// Region label of this node, given with its instances. Default empty.
    pub region: String,
    /// Whether there should be other nodes: the node is told of some, or looks for them in its network. It decides what a
    /// node without peers says of a service that it has not: see [`Discovery::lookup`](crate::Discovery::lookup).
    /// Default false.
    pub expects_peers: bool,
    /// Bounds of the leases of this node.
    pub limits: Limits,
    /// Most pairs of a name and another node that the directory holds. What is beyond it is left to the DHT, and counted.
    /// Default 200,000.
    pub directory_entries: usize,
    /// Most names kept in the DHT. Those beyond it wait until one of these is gone. Default 1,000.
    pub dht_names: usize,
    /// Most publications to the DHT under way at once. Default 8.
    pub dht_publications: usize,
    /// Most queries of the DHT under way at once; others wait in line, for as long as their look-up may take. Default 32.
    pub dht_queries: usize,
    /// Most names of which details are fetched at once; a look-up beyond it is refused. Default 1,024.
    pub fetches: usize,
    /// Most nodes asked for the details of one name: others of many each time. Default 16.
    pub nodes_asked: usize,
    /// Most instances taken from one node. Default 64, which is as many as an answer to a client usually holds.
    pub instances_taken: usize,
    /// Most names whose details are cached, absent ones included. Default 10,000.
    pub cache_names: usize,
    /// How long details of other nodes are used, counted from when they were fetched, if nothing says before that they have
    /// changed. At most as long as the shortest of their leases. Default 10 s.
    pub cache_ttl: Duration,
    /// How long it is remembered that nobody has a service, if nothing says before that somebody has. Default 2 s.
    pub absent_ttl: Duration,
    /// How long a look-up takes whose caller names no deadline. Default 5 s.
    pub lookup_timeout: Duration,
    /// How long a node may take for its details, or the DHT for its answer. Longest deadline of a look-up. Default 10 s.
    pub fetch_timeout: Duration,
    /// Most watchers. Default 10,000.
    pub watchers: usize,
    /// Most changed names that wait for one watcher. Beyond it the watcher begins anew. Default 1,024.
    pub watch_backlog: usize,
    /// Questions of one node answered in a second; and as many at once as half of it. Who is refused asks again, four times
    /// within a second. Default 2,000.
    pub asks_per_second: u32,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            realm: "default".to_owned(),
            region: String::new(),
            expects_peers: false,
            limits: Limits::default(),
            directory_entries: 200_000,
            dht_names: 1_000,
            dht_publications: 8,
            dht_queries: 32,
            fetches: 1_024,
            nodes_asked: 16,
            instances_taken: 64,
            cache_names: 10_000,
            cache_ttl: Duration::from_secs(10),
            absent_ttl: Duration::from_secs(2),
            lookup_timeout: Duration::from_secs(5),
            fetch_timeout: Duration::from_secs(10),
            watchers: 10_000,
            watch_backlog: 1_024,
            asks_per_second: 2_000,
        }
    }
}
