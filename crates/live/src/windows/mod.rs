//! Sums over the last 1, 10 and 60 whole seconds, of all events and by what they have in common.

mod dimension;
mod marks;
mod overall;
mod tally;

use std::time::Instant;

use sinew_wire::PeerId;
use sinew_wire::live::{Batch, Event, Kind};

use self::dimension::Dimension;
pub use self::dimension::MAX_KEYS;
use self::overall::Overall;
use self::tally::{Hit, SIXTY, TEN};
use crate::frame;

/// The last minute, by seconds since it was made.
#[derive(Debug)]
pub(crate) struct Windows {
    start: Instant,
    /// The second under way.
    second: u64,
    overall: Overall,
    regions: Dimension<String>,
    nodes: Dimension<PeerId>,
    topics: Dimension<String>,
    procedures: Dimension<String>,
    providers: Dimension<PeerId>,
    rows: Rows,
    /// Of the last whole second: the sums change no more often.
    shown: Option<frame::Windows>,
}

/// Rows of what one batch names, each looked up when it is first needed.
#[derive(Debug, Default)]
struct Rows {
    region: u16,
    node: u16,
    topics: Vec<Option<u16>>,
    procedures: Vec<Option<u16>>,
    providers: Vec<Option<u16>>,
}

impl Windows {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            second: 0,
            overall: Overall::default(),
            regions: Dimension::new(),
            nodes: Dimension::new(),
            topics: Dimension::new(),
            procedures: Dimension::new(),
            providers: Dimension::new(),
            rows: Rows::default(),
            shown: None,
        }
    }

    /// Makes ready for events of this batch. They are counted in the second of `now`.
    pub(crate) fn begin(&mut self, from: PeerId, batch: &Batch, now: Instant) {
        self.advance(now);
        let rows = &mut self.rows;
        for (rows, names) in [
            (&mut rows.topics, batch.names.len()),
            (&mut rows.procedures, batch.names.len()),
            (&mut rows.providers, batch.peers.len()),
        ] {
            rows.clear();
            rows.resize(names, None);
        }
        rows.region = self.regions.row(batch.region.as_str());
        rows.node = self.nodes.row(&from);
    }

    /// Counts an event of the batch that was begun last.
    pub(crate) fn record(&mut self, batch: &Batch, event: &Event) {
        let hit = Hit::from(event);
        self.overall.record(&hit);
        self.regions.record(self.rows.region, &hit);
        self.nodes.record(self.rows.node, &hit);
        let name = usize::from(event.name);
        let (dimension, rows) = match event.kind {
            Kind::Publish => (&mut self.topics, &mut self.rows.topics),
            Kind::Call => (&mut self.procedures, &mut self.rows.procedures),
        };
        if let (Some(text), Some(row)) = (batch.names.get(name), rows.get_mut(name)) {
            let row = *row.get_or_insert_with(|| dimension.row(text.as_str()));
            dimension.record(row, &hit);
        }
        let provider = event.provider.map(usize::from);
        if let Some(place) = provider
            && let (Some(peer), Some(row)) = (batch.peers.get(place), self.rows.providers.get_mut(place))
        {
            let row = *row.get_or_insert_with(|| self.providers.row(peer));
            self.providers.record(row, &hit);
        }
    }

    /// The sums over the last whole seconds before `now`.
    pub(crate) fn frame(&mut self, now: Instant) -> frame::Windows {
        self.advance(now);
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let shown = frame::Windows { one: self.window(1), ten: self.window(TEN), sixty: self.window(SIXTY) };
        self.shown = Some(shown.clone());
        shown
    }

    fn window(&mut self, secs: usize) -> frame::Window {
        let covered = self.second.min(secs as u64) as u32;
        frame::Window {
            by_region: self.regions.window(secs, covered),
            by_node: self.nodes.window(secs, covered),
            by_topic: self.topics.window(secs, covered),
            by_procedure: self.procedures.window(secs, covered),
            by_provider: self.providers.window(secs, covered),
            ..self.overall.window(secs, covered)
        }
    }

    /// Ends the seconds that are over.
    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let over = second.saturating_sub(self.second);
        if over == 0 {
            return;
        }
        // After a minute without a look at the clock everything has expired, however much longer it was.
        for _ in 0..over.min(SIXTY as u64 + 1) {
            self.overall.seal();
            self.regions.seal();
            self.nodes.seal();
            self.topics.seal();
            self.procedures.seal();
            self.providers.seal();
        }
        self.second = second;
        self.shown = None;
    }

    /// Marks of all dimensions, and how often some were cut.
    pub(crate) fn marks(&self) -> (usize, u64) {
        let (texts, peers) = ([&self.regions, &self.topics, &self.procedures], [&self.nodes, &self.providers]);
        let marks = texts.map(Dimension::marks).iter().chain(&peers.map(Dimension::marks)).sum();
        (marks, texts.map(Dimension::cut).iter().chain(&peers.map(Dimension::cut)).sum())
    }
}
