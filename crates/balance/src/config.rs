use std::time::Duration;

/// How providers are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceConfig {
    /// When an instance gets no calls.
    pub breaker: BreakerConfig,
    /// A newcomer among others gets a share that grows from nearly none to a full one over this time; zero for a full
    /// one at once.
    pub slow_start: Duration,
    /// Two latencies count as equal when the greater is less than so many times the other: then the load decides. One
    /// that is slower than that gets calls when the other one's concurrency is used up. At least 1.
    pub alike: f64,
    /// An instance of the caller's node is left for another one when it takes so many times as long, or when its
    /// concurrency is used up and the other one costs less. At least 1.
    pub local_bias: f64,
    /// How far a slower answer moves an instance's latency, as a part of the way on a logarithmic scale: above 0, at
    /// most 1.
    pub rise: f64,
    /// How far a quicker answer moves it.
    pub fall: f64,
    /// Answers that come close together tell of one event: in less than this time none moves a latency all the way that
    /// `rise` and `fall` allow.
    pub smoothing: Duration,
    /// An instance that answers nothing for this long has forgotten two thirds of what it was slower than the others.
    pub forget: Duration,
    /// One choice in so many is made without looking at the costs, so that one that was slow once is seen to have
    /// recovered. 0 for none.
    pub explore: u32,
    /// Concurrency that is assumed of an instance that states none.
    pub default_concurrency: u32,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            breaker: BreakerConfig::default(),
            slow_start: Duration::from_secs(10),
            alike: 2.0,
            local_bias: 4.0,
            rise: 0.25,
            fall: 0.125,
            smoothing: Duration::from_millis(40),
            forget: Duration::from_secs(2),
            explore: 128,
            default_concurrency: 64,
        }
    }
}

/// When an instance gets no calls, and when it gets them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Opens after so many failures of any kind in a row, at least 1.
    pub failures: u32,
    /// Opens after so many network failures without a success between, at least 1.
    pub network_failures: u32,
    /// Opens after so many timeouts without a success between, at least 1.
    pub timeouts: u32,
    /// How long it is open the first time.
    pub open: Duration,
    /// Each time a probe fails it stays open twice as long, but never longer than this.
    pub max_open: Duration,
    /// So many probes have to succeed, one after the other, before it gets calls as before. At least 1.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            network_failures: 3,
            timeouts: 2,
            open: Duration::from_secs(1),
            max_open: Duration::from_secs(60),
            probes: 2,
        }
    }
}
