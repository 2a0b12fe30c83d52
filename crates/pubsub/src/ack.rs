use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sinew_wire::{Control, PublishResult, RefusedRun};

use crate::outbox::Outbox;
use crate::remote::OpenResult;
use crate::report::Report;

/// What a publisher waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// That each delivery is queued for its subscriber, or known to be dropped (level fire with a report).
    Queued,
    /// That each subscriber confirms (level acked).
    Confirmed,
}

/// Whom an [`Ack`] tells.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The publisher's session.
    Session(Arc<Outbox>),
    /// The node that forwarded the run.
    Node(OpenResult),
}

/// What another node says of the deliveries of a run that was forwarded to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) matched: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) unknown: u64,
}

/// Counts what became of the deliveries of one run, and tells the publisher when nothing is open any more.
///
/// Every delivery is settled exactly once; what is still open at the deadline counts as unknown.
#[derive(Debug)]
pub struct Ack {
    wants: Wants,
    reply: Reply,
    deadline: Option<Instant>,
    tally: Mutex<Tally>,
}

#[derive(Debug)]
struct Tally {
    result: PublishResult,
    /// Deliveries not settled yet. `None` before [`Ack::begin`] and after the result was sent.
    open: Option<u64>,
    sent: bool,
    report: Option<Box<Report>>,
}

impl Ack {
    pub(crate) fn new(
        wants: Wants,
        reply: Reply,
        deadline: Option<Instant>,
        first_seq: u64,
        messages: u32,
    ) -> Arc<Self> {
        let result = PublishResult {
            first_seq,
            messages,
            matched: 0,
            delivered: 0,
            dropped: 0,
            unknown: 0,
            duplicates: 0,
            refusal: None,
        };
        Arc::new(Self {
            wants,
            reply,
            deadline,
            tally: Mutex::new(Tally { result, open: None, sent: false, report: None }),
        })
    }

    pub(crate) const fn wants(&self) -> Wants {
        self.wants
    }

    /// When the publisher stops waiting.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says how many deliveries are due. Comes before the first of them, so that the count can't reach zero early.
    pub(crate) fn begin(&self, matched: u64, duplicates: u32) {
        let mut tally = self.tally.lock();
        tally.result.matched = matched;
        tally.result.duplicates = duplicates;
        tally.open = Some(matched);
        self.send_if_settled(&mut tally);
    }

    /// Settles the run as a whole: nothing was done for it.
    pub(crate) fn refuse(&self, refusal: RefusedRun) {
        let mut tally = self.tally.lock();
        tally.result.refusal = Some(refusal);
        tally.open = Some(0);
        self.send_if_settled(&mut tally);
    }

    pub(crate) fn delivered(&self, n: u64) {
        self.settle(n, |result| &mut result.delivered);
    }

    pub(crate) fn dropped(&self, n: u64) {
        self.settle(n, |result| &mut result.dropped);
    }

    pub(crate) fn unknown(&self, n: u64) {
        self.settle(n, |result| &mut result.unknown);
    }

    /// Another node has settled `expected` deliveries, which turned out to be `outcome.matched`. Its numbers are those of
    /// a stranger: what does not add up counts as unknown.
    pub(crate) fn settled_elsewhere(&self, expected: u64, outcome: Outcome) {
        let mut tally = self.tally.lock();
        let Some(open) = tally.open else { return };
        let expected = expected.min(open);
        tally.open = Some(open - expected);
        let delivered = outcome.delivered.min(outcome.matched);
        let dropped = outcome.dropped.min(outcome.matched - delivered);
        let unknown = outcome.matched - delivered - dropped;
        let result = &mut tally.result;
        result.matched = result.matched.saturating_sub(expected).saturating_add(outcome.matched);
        result.delivered = result.delivered.saturating_add(delivered);
        result.dropped = result.dropped.saturating_add(dropped);
        result.unknown = result.unknown.saturating_add(unknown);
        self.send_if_settled(&mut tally);
    }

    /// The deadline: whatever is open stays unknown.
    pub(crate) fn expire(&self) {
        let mut tally = self.tally.lock();
        if let Some(open) = tally.open {
            tally.result.unknown = tally.result.unknown.saturating_add(open);
            tally.open = Some(0);
        }
        self.send_if_settled(&mut tally);
    }

    /// Has the live view told when the result is known, which may be now.
    pub(crate) fn report_to(&self, report: Report) {
        let mut tally = self.tally.lock();
        match tally.sent {
            true => report.emit(&tally.result),
            false => tally.report = Some(Box::new(report)),
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.tally.lock().sent
    }

    fn settle(&self, n: u64, field: impl FnOnce(&mut PublishResult) -> &mut u64) {
        let mut tally = self.tally.lock();
        let Some(open) = tally.open else { return };
        let n = n.min(open);
        let count = field(&mut tally.result);
        *count = count.saturating_add(n);
        tally.open = Some(open - n);
        self.send_if_settled(&mut tally);
    }

    fn send_if_settled(&self, tally: &mut Tally) {
        if tally.open == Some(0) {
            tally.open = None;
            tally.sent = true;
            if let Some(report) = tally.report.take() {
                report.emit(&tally.result);
            }
            match &self.reply {
                Reply::Session(outbox) => outbox.control(&Control::PublishResult(tally.result)),
                Reply::Node(open) => {
                    let PublishResult { matched, delivered, dropped, unknown, .. } = tally.result;
                    open.send(Outcome { matched, delivered, dropped, unknown });
                }
            }
        }
    }
}
