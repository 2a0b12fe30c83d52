use std::collections::VecDeque;

use super::tally::{Hit, SIXTY, Span, Sums, TEN, Tally};
use crate::frame::Window;
use crate::sketch::{Packed, Sketch};

/// Bits of the sketch of all latencies.
const BITS: u32 = 11;

/// All events of the last minute, by seconds.
#[derive(Debug, Default)]
pub(crate) struct Overall {
    tally: Tally,
    span: Span,
    sketch: Sketch<BITS>,
    /// The last whole seconds, newest last: at most sixty.
    slots: VecDeque<Slot>,
    sums: Sums,
    one: Sketch<BITS>,
    ten: Sketch<BITS>,
    sixty: Sketch<BITS>,
}

#[derive(Debug)]
struct Slot {
    tally: Tally,
    span: Span,
    latencies: Packed,
}

impl Overall {
    pub(crate) fn record(&mut self, hit: &Hit) {
        self.tally.count(hit);
        if let Some(latency) = hit.latency_us {
            self.span.cover(latency);
            self.sketch.record(latency);
        }
    }

    /// Ends the second.
    pub(crate) fn seal(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        let slot = Slot { tally, span: std::mem::take(&mut self.span), latencies: self.sketch.pack() };
        self.sketch.clear();
        if let Some(expired) = self.slots.len().checked_sub(TEN).and_then(|place| self.slots.get(place)) {
            self.sums.ten.subtract(&expired.tally);
            self.ten.subtract(&expired.latencies);
        }
        if self.slots.len() >= SIXTY
            && let Some(expired) = self.slots.pop_front()
        {
            self.sums.sixty.subtract(&expired.tally);
            self.sixty.subtract(&expired.latencies);
        }
        self.sums.ten.add(&slot.tally);
        self.sums.sixty.add(&slot.tally);
        self.one.clear();
        [&mut self.one, &mut self.ten, &mut self.sixty].into_iter().for_each(|sum| sum.add(&slot.latencies));
        self.slots.push_back(slot);
    }

    /// The last `secs` seconds: 1, 10 or 60.
    pub(crate) fn window(&self, secs: usize, covered: u32) -> Window {
        let (tally, sketch) = match secs {
            1 => (self.slots.back().map(|slot| slot.tally).unwrap_or_default(), &self.one),
            TEN => (self.sums.ten, &self.ten),
            _ => (self.sums.sixty, &self.sixty),
        };
        let mut span = Span::default();
        self.slots.iter().rev().take(secs).for_each(|slot| span.join(&slot.span));
        let quantiles = sketch.quantiles([0.5, 0.95, 0.99], span.least, span.most);
        let Tally { events, messages, calls, failed } = tally;
        Window {
            secs: covered,
            events,
            messages,
            publishes: events - calls,
            calls,
            failed,
            success: (events > 0).then(|| (events - failed) as f64 / events as f64),
            rate: per_second(events, covered),
            message_rate: per_second(messages, covered),
            p50_us: quantiles.map(|[p50, _, _]| p50),
            p95_us: quantiles.map(|[_, p95, _]| p95),
            p99_us: quantiles.map(|[_, _, p99]| p99),
            max_us: quantiles.map(|_| span.most),
            ..Window::default()
        }
    }
}

pub(crate) fn per_second(n: u64, secs: u32) -> f64 {
    if secs == 0 { 0.0 } else { n as f64 / f64::from(secs) }
}
