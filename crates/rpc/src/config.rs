use std::time::Duration;

use sinew_balance::{BalanceConfig, RetryConfig};

/// Bounds of the calls of a node. The defaults are those of the contract.
#[derive(Debug, Clone)]
pub struct CallsConfig {
    /// Calls of the node that are open at once: those of its clients, and those of other nodes to its providers.
    pub max_calls: usize,
    /// Calls of one client that are open at once.
    pub max_calls_per_client: usize,
    /// Deadline of a call whose caller names none.
    pub default_deadline: Duration,
    /// Longest deadline that a caller may name.
    pub max_deadline: Duration,
    /// Calls that a provider gets at once if it names no number.
    pub default_concurrency: u32,
    /// Calls that a provider gets at once whatever it names.
    pub max_concurrency: u32,
    /// Calls that wait in order for one provider.
    pub queue: usize,
    /// Calls that wait beyond that; of these the lowest priority is given up first, then the oldest.
    pub overflow: usize,
    /// Largest window of a call, in bytes of data frames; what callers ask for is cut to it, what is granted beyond it
    /// is a violation. Bounds what the node holds of a stream.
    pub max_window: u32,
    /// Calls that wait for a link to one other node.
    pub waiting_per_node: usize,
    /// Providers to which one call is handed one after the other, at most; hedges not counted.
    pub dispatches: u8,
    /// How many second attempts there may be, for each procedure.
    pub retry: RetryConfig,
    /// When a second provider is asked at the same time.
    pub hedge: HedgeConfig,
    /// How providers are chosen.
    pub balance: BalanceConfig,
    /// Memory of results.
    pub cache: CacheConfig,
    /// Procedures whose providers are remembered; those that are not called go first.
    pub procedures: usize,
    /// Stripes of the table of calls.
    pub stripes: usize,
}

/// When a call that asks for it is sent to a second provider as well: after the time within which 95 of 100 answers
/// come.
#[derive(Debug, Clone, Copy)]
pub struct HedgeConfig {
    /// Never sooner than this.
    pub at_least: Duration,
}

/// Memory of results.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// Bytes of all results together, with what they answer.
    pub max_bytes: u64,
    /// Longest time that a result is kept, whatever its provider says.
    pub max_ttl: Duration,
}

impl Default for CallsConfig {
    fn default() -> Self {
        Self {
            max_calls: 100_000,
            max_calls_per_client: 256,
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_secs(300),
            default_concurrency: 64,
            max_concurrency: 1_024,
            queue: 1_000,
            overflow: 10_000,
            max_window: 1 << 20,
            waiting_per_node: 1_024,
            dispatches: 3,
            retry: RetryConfig::default(),
            hedge: HedgeConfig { at_least: Duration::from_millis(1) },
            balance: BalanceConfig::default(),
            cache: CacheConfig { max_bytes: 64 << 20, max_ttl: Duration::from_secs(3_600) },
            procedures: 10_000,
            stripes: 64,
        }
    }
}
