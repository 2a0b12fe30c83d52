//! What is called when.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::Semaphore;

use crate::{Result, now_ns};

/// Arguments: all different, all the same, or as often as Zipf's law has it.
pub(crate) enum Keys {
    Numbers,
    One(String),
    /// The share of the first keys together, of each: the n-th comes 1/n times as often as the first.
    Zipf(Vec<f64>),
}

impl Keys {
    pub(crate) fn of(text: &str) -> Result<Self> {
        let Some(keys) = text.strip_prefix("zipf:") else { return Ok(Self::One(text.to_owned())) };
        let mut sum = 0.0;
        let mut shares: Vec<f64> = Vec::new();
        for rank in 1..=keys.parse::<u32>()? {
            sum += 1.0 / f64::from(rank);
            shares.push(sum);
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Ok(Self::Zipf(shares))
    }

    pub(crate) fn argument(&self, number: usize) -> String {
        match self {
            Self::Numbers => number.to_string(),
            Self::One(key) => key.clone(),
            Self::Zipf(shares) => {
                let chance: f64 = rand::rng().random();
                format!("key-{}", shares.partition_point(|share| *share < chance))
            }
        }
    }
}

/// Calls are due at fixed times, however long the earlier ones take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_ns: u64,
    period_ns: f64,
}

impl Schedule {
    pub(crate) fn from_now(rate: f64) -> Self {
        Self { start_ns: now_ns(), period_ns: 1e9 / rate }
    }

    pub(crate) fn due_ns(self, number: usize) -> u64 {
        self.start_ns + (number as f64 * self.period_ns) as u64
    }

    /// Gives a permit whenever a call is due. A thread of its own: the timer of the runtime counts milliseconds.
    pub(crate) fn clock(self, count: usize) -> Result<Arc<Semaphore>> {
        let due = Arc::new(Semaphore::new(0));
        let permits = Arc::clone(&due);
        std::thread::Builder::new().name("clock".to_owned()).spawn(move || {
            for number in 0..count {
                let left = self.due_ns(number).saturating_sub(now_ns());
                if left > 0 {
                    std::thread::sleep(Duration::from_nanos(left));
                }
                permits.add_permits(1);
            }
        })?;
        Ok(due)
    }
}
