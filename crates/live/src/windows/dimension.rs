use std::borrow::Borrow;
use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

use super::marks::{self, BITS, Mark, OpenMarks};
use super::overall::per_second;
use super::tally::{Hit, SIXTY, Span, Sums, TEN, Tally};
use crate::frame::{self, MAX_ROWS, OTHER};
use crate::sketch::Sketch;

/// Most keys of a dimension that have had events in the last minute. The events of more are in the row of all others.
pub const MAX_KEYS: usize = 1024;

/// Most marks (counts of a bucket of a row in a second, six bytes each) of a dimension. Beyond it the percentiles of rows
/// are those of fewer seconds. 50,000 events/s of a thousand topics, with latencies far apart, come to 2.7 million.
pub(crate) const MAX_MARKS: usize = 3 << 20;

/// The row of all events of the dimension.
const ALL: u16 = 0;

/// Events of the last minute by one thing that they have in common, by seconds.
#[derive(Debug)]
pub(crate) struct Dimension<K> {
    rows: HashMap<K, u16>,
    /// By row. That of [`ALL`] has no key, nor has one that is free.
    counts: Vec<Counts<K>>,
    free: Vec<u16>,
    open: OpenMarks,
    /// The last whole seconds, newest last: at most sixty.
    slots: VecDeque<Slot>,
    marks: usize,
    cut: u64,
    scratch: Sketch<BITS>,
}

#[derive(Debug)]
struct Counts<K> {
    key: Option<K>,
    second: Tally,
    span: Span,
    sums: Sums,
}

#[derive(Debug, Default)]
struct Slot {
    /// By row, ascending.
    counts: Vec<(u16, Tally, Span)>,
    marks: Box<[Mark]>,
}

impl<K> Counts<K> {
    fn new(key: Option<K>) -> Self {
        Self { key, second: Tally::default(), span: Span::default(), sums: Sums::default() }
    }
}

impl<K: Eq + Hash + Ord + Clone + ToString> Dimension<K> {
    pub(crate) fn new() -> Self {
        Self {
            rows: HashMap::new(),
            counts: vec![Counts::new(None)],
            free: Vec::new(),
            open: OpenMarks::default(),
            slots: VecDeque::new(),
            marks: 0,
            cut: 0,
            scratch: Sketch::default(),
        }
    }

    /// The row of a key until the end of the second, or that of all if there is no room for one more.
    pub(crate) fn row<Q: Eq + Hash + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> u16
    where
        K: Borrow<Q>,
    {
        if let Some(row) = self.rows.get(key) {
            return *row;
        }
        if self.rows.len() >= MAX_KEYS {
            return ALL;
        }
        let counts = Counts::new(Some(key.to_owned()));
        let row = match self.free.pop() {
            Some(row) => row,
            None => self.counts.len() as u16,
        };
        match self.counts.get_mut(usize::from(row)) {
            Some(free) => *free = counts,
            None => self.counts.push(counts),
        }
        self.rows.insert(key.to_owned(), row);
        row
    }

    /// Counts an event in the row and among all.
    pub(crate) fn record(&mut self, row: u16, hit: &Hit) {
        for row in [ALL].into_iter().chain((row != ALL).then_some(row)) {
            let Some(counts) = self.counts.get_mut(usize::from(row)) else { continue };
            counts.second.count(hit);
            let Some(latency) = hit.latency_us else { continue };
            counts.span.cover(latency);
            if !self.open.push(row, latency, MAX_MARKS) {
                self.open.clear();
                self.cut += 1;
            }
        }
    }

    /// Ends the second.
    pub(crate) fn seal(&mut self) {
        if let Some(expired) = self.slots.len().checked_sub(TEN).and_then(|place| self.slots.get(place)) {
            subtract(&mut self.counts, expired, |sums| &mut sums.ten);
        }
        if self.slots.len() >= SIXTY
            && let Some(expired) = self.slots.pop_front()
        {
            self.marks -= expired.marks.len();
            subtract(&mut self.counts, &expired, |sums| &mut sums.sixty);
        }
        let mut slot = Slot { counts: Vec::new(), marks: self.open.take() };
        for (row, counts) in self.counts.iter_mut().enumerate().filter(|(_, counts)| counts.second.events > 0) {
            let (second, span) = (std::mem::take(&mut counts.second), std::mem::take(&mut counts.span));
            counts.sums.ten.add(&second);
            counts.sums.sixty.add(&second);
            slot.counts.push((row as u16, second, span));
        }
        self.marks += slot.marks.len();
        self.slots.push_back(slot);
        self.cut_marks();
        self.free_rows();
    }

    /// Throws away the marks of the oldest seconds until there are no more than may be.
    fn cut_marks(&mut self) {
        let mut oldest = self.slots.iter_mut();
        while self.marks > MAX_MARKS
            && let Some(slot) = oldest.next()
        {
            self.cut += u64::from(!slot.marks.is_empty());
            self.marks -= slot.marks.len();
            slot.marks = Box::default();
        }
    }

    /// Gives up the keys without events in the last minute.
    fn free_rows(&mut self) {
        for (row, counts) in self.counts.iter_mut().enumerate().filter(|(_, counts)| counts.sums.sixty.events == 0) {
            if let Some(key) = counts.key.take() {
                self.rows.remove(&key);
                self.free.push(row as u16);
            }
        }
    }

    /// The rows with the most events of the last `secs` seconds (1, 10 or 60), then that of all others.
    pub(crate) fn window(&mut self, secs: usize, covered: u32) -> Vec<frame::Row> {
        let mut rows: Vec<(u16, Tally)> = match (secs, self.slots.back()) {
            (1, last) => last.map(|slot| slot.counts.iter().map(|(row, tally, _)| (*row, *tally)).collect()),
            (TEN, _) => Some(self.sums(|sums| sums.ten)),
            _ => Some(self.sums(|sums| sums.sixty)),
        }
        .unwrap_or_default();
        // All events are first, if there are any.
        if rows.is_empty() {
            return Vec::new();
        }
        let (_, mut others) = rows.remove(0);
        let busiest = |(row, tally): &(u16, Tally)| (std::cmp::Reverse(tally.events), self.key(*row));
        rows.sort_unstable_by(|a, b| busiest(a).cmp(&busiest(b)));
        rows.truncate(MAX_ROWS);
        let mut shown = Vec::with_capacity(rows.len() + 1);
        for (row, tally) in &rows {
            others.subtract(tally);
            let key = self.key(*row).map(K::to_string).unwrap_or_default();
            shown.push(self.shown(key, *tally, &[*row], secs, covered));
        }
        if others.events > 0 {
            let not: Vec<_> = [ALL].into_iter().chain(rows.iter().map(|(row, _)| *row)).collect();
            shown.push(self.shown(OTHER.to_owned(), others, &not, secs, covered));
        }
        shown
    }

    fn key(&self, row: u16) -> Option<&K> {
        self.counts.get(usize::from(row))?.key.as_ref()
    }

    fn sums(&self, window: impl Fn(&Sums) -> Tally) -> Vec<(u16, Tally)> {
        let tallies = self.counts.iter().enumerate().map(|(row, counts)| (row as u16, window(&counts.sums)));
        tallies.filter(|(_, tally)| tally.events > 0).collect()
    }

    /// A row with the latencies of the first of `rows` less those of the others.
    fn shown(&mut self, key: String, tally: Tally, rows: &[u16], secs: usize, covered: u32) -> frame::Row {
        let Some((first, others)) = rows.split_first() else { return frame::Row::default() };
        self.scratch.clear();
        let mut span = Span::default();
        for slot in self.slots.iter().rev().take(secs) {
            marks::add_row(&slot.marks, *first, &mut self.scratch);
            others.iter().for_each(|row| marks::subtract_row(&slot.marks, *row, &mut self.scratch));
            if let Ok(place) = slot.counts.binary_search_by_key(first, |(row, ..)| *row) {
                span.join(&slot.counts[place].2);
            }
        }
        let quantiles = self.scratch.quantiles([0.5, 0.95, 0.99], span.least, span.most);
        let Tally { events, messages, failed, .. } = tally;
        frame::Row {
            key,
            events,
            messages,
            failed,
            rate: per_second(events, covered),
            p50_us: quantiles.map(|[p50, _, _]| p50),
            p95_us: quantiles.map(|[_, p95, _]| p95),
            p99_us: quantiles.map(|[_, _, p99]| p99),
        }
    }

    /// Marks of whole seconds.
    pub(crate) const fn marks(&self) -> usize {
        self.marks
    }

    /// How often latencies of a second were thrown away because there were too many.
    pub(crate) const fn cut(&self) -> u64 {
        self.cut
    }
}

fn subtract<K>(counts: &mut [Counts<K>], expired: &Slot, window: impl Fn(&mut Sums) -> &mut Tally) {
    for (row, tally, _) in &expired.counts {
        if let Some(counts) = counts.get_mut(usize::from(*row)) {
            window(&mut counts.sums).subtract(tally);
        }
    }
}
