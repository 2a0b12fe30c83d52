use std::time::Instant;

/// How many second attempts there may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Retries for each call, such as 0.1.
    pub ratio: f64,
    /// Retries a second that are always there, so that procedures that are called rarely can retry at all.
    pub floor: f64,
    /// Most retries that can be saved up.
    pub saved: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { ratio: 0.1, floor: 10.0, saved: 1_000.0 }
    }
}

/// Bounds retries to a part of the calls, so that they can't multiply an overload.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    config: RetryConfig,
    /// Retries that calls have earned.
    earned: f64,
    /// What is there of the floor: at most one second's worth.
    floor: f64,
    at: Instant,
}

impl RetryBudget {
    /// A budget in which only the floor is there.
    pub const fn new(config: RetryConfig, now: Instant) -> Self {
        Self { config, earned: 0.0, floor: config.floor, at: now }
    }

    /// Notes a call, which earns its part of a retry.
    pub fn called(&mut self) {
        self.earned = (self.earned + self.config.ratio).min(self.config.saved);
    }

    /// Takes one retry out, if there is one.
    #[must_use = "whether there may be a retry"]
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.floor = (self.floor + passed * self.config.floor).min(self.config.floor);
        self.at = self.at.max(now);
        let purse = if self.earned >= 1.0 { &mut self.earned } else { &mut self.floor };
        let there = *purse >= 1.0;
        if there {
            *purse -= 1.0;
        }
        there
    }
}
