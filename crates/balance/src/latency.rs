use std::time::{Duration, Instant};

use crate::BalanceConfig;

/// What an instance is thought to take that has not answered yet, when no other one has either.
const UNKNOWN_MICROS: f32 = 1_000.0;

/// Answers that [`Typical::p95`] looks at.
const WINDOW: usize = 128;

/// Fewer answers say nothing about their slowest twentieth.
const ENOUGH: usize = 20;

/// So many answers between two looks at the window.
const EVERY: usize = 32;

/// Latency on a logarithmic scale: the natural logarithm of microseconds.
fn scaled(latency: Duration) -> f32 {
    (latency.as_secs_f32() * 1e6).max(1.0).ln()
}

fn unscaled(scaled: f32) -> Duration {
    Duration::try_from_secs_f32(scaled.exp() / 1e6).unwrap_or(Duration::MAX)
}

/// Smoothed latency of one instance.
///
/// It follows slower answers faster than quick ones, so that trouble is seen soon; and it does so by ratios, so that
/// one answer that took a hundred times as long counts as little more than three times, as it should.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    scaled: Option<f32>,
    at: Instant,
}

impl Latency {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { scaled: None, at: now }
    }

    /// Takes an answer in. `typical` is that of the procedure, as in [`Latency::now`].
    pub(crate) fn observe(&mut self, latency: Duration, typical: f32, config: &BalanceConfig, now: Instant) {
        let sample = scaled(latency);
        let before = self.scaled.map_or(sample, |_| self.now(typical, config, now));
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let pace = passed / config.smoothing.as_secs_f64().max(1e-9);
        let part = if sample > before { config.rise } else { config.fall };
        self.scaled = Some(before + (sample - before) * part.min(pace) as f32);
        self.at = self.at.max(now);
    }

    /// On the logarithmic scale, that of the procedure if it has not answered yet. What it was slower than the others
    /// is forgotten while it answers nothing: or it would never be asked again.
    pub(crate) fn now(&self, typical: f32, config: &BalanceConfig, now: Instant) -> f32 {
        let Some(scaled) = self.scaled else { return typical };
        let idle = now.saturating_duration_since(self.at);
        // The logarithm is only worth its time when something is to be forgotten.
        if scaled <= typical || idle < config.forget / 16 {
            return scaled;
        }
        typical + (scaled - typical) * (-idle.as_secs_f32() / config.forget.as_secs_f32().max(1e-3)).exp()
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.scaled.is_some()
    }

    /// As it was measured, for listings.
    pub(crate) fn measured(&self) -> Option<Duration> {
        self.scaled.map(unscaled)
    }
}

/// The latency of a procedure, whoever answers.
#[derive(Debug, Clone)]
pub(crate) struct Typical {
    mean: Option<f32>,
    window: [f32; WINDOW],
    seen: usize,
    p95: Option<f32>,
}

impl Typical {
    pub(crate) const fn new() -> Self {
        Self { mean: None, window: [0.0; WINDOW], seen: 0, p95: None }
    }

    pub(crate) fn observe(&mut self, latency: Duration) {
        let sample = scaled(latency);
        let mean = self.mean.get_or_insert(sample);
        *mean += (sample - *mean) / EVERY as f32;
        if let Some(place) = self.window.get_mut(self.seen % WINDOW) {
            *place = sample;
        }
        self.seen = self.seen.wrapping_add(1);
        if self.seen == ENOUGH || self.seen.is_multiple_of(EVERY) && self.seen > ENOUGH {
            self.look();
        }
    }

    /// On the logarithmic scale.
    pub(crate) fn mean(&self) -> f32 {
        self.mean.unwrap_or_else(|| UNKNOWN_MICROS.ln())
    }

    pub(crate) fn p95(&self) -> Option<Duration> {
        self.p95.map(unscaled)
    }

    fn look(&mut self) {
        let mut sorted = self.window;
        let Some(seen) = sorted.get_mut(..self.seen.min(WINDOW)) else { return };
        let rank = seen.len() * 95 / 100;
        let (_, found, _) = seen.select_nth_unstable_by(rank, f32::total_cmp);
        self.p95 = Some(self.p95.map_or(*found, |before| (before + *found) / 2.0));
    }
}
