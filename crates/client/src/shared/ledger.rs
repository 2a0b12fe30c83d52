use std::collections::VecDeque;

/// Entry bytes from which on a mark is worth its place: bounds the marks to one window divided by this.
const MARK_BYTES: u64 = 16 << 10;

/// Counts which messages the node has confirmed to have processed, so that a lost connection can be told in messages.
///
/// The node confirms in entry bytes, as publish credit, or everything up to some point, with a pong. Only messages of which
/// nobody awaits the result are counted. All counts are of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Entry bytes published.
    bytes: u64,
    /// Messages published without asking for a result.
    messages: u64,
    /// Entry bytes for which credit came back.
    credited: u64,
    /// Of `messages`, so many were processed for certain.
    confirmed: u64,
    /// Points in the stream: bytes and messages published up to there.
    marks: VecDeque<(u64, u64)>,
}

impl Ledger {
    /// Notes one published message.
    #[inline]
    pub(crate) fn publish(&mut self, bytes: usize, has_result: bool) {
        self.bytes += bytes as u64;
        self.messages += u64::from(!has_result);
    }

    /// Notes that a batch ends here: the finest grain of [`Ledger::credit`].
    pub(crate) fn mark(&mut self) {
        let here = (self.bytes, self.messages);
        let begin = self.marks.iter().rev().nth(1).map_or(self.credited, |(bytes, _)| *bytes);
        match self.marks.back_mut() {
            Some(last) if last.0.saturating_sub(begin) < MARK_BYTES => *last = here,
            _ => self.marks.push_back(here),
        }
    }

    /// Messages published so far; for [`Ledger::confirm`].
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    /// So many more entry bytes were processed.
    pub(crate) fn credit(&mut self, bytes: u64) {
        self.credited = self.credited.saturating_add(bytes);
        while let Some((end, messages)) = self.marks.front().copied()
            && end <= self.credited
        {
            self.marks.pop_front();
            self.confirm(messages);
        }
    }

    /// Everything was processed up to the point where [`Ledger::messages`] was this.
    pub(crate) fn confirm(&mut self, messages: u64) {
        self.confirmed = self.confirmed.max(messages);
    }

    /// Messages of which it is not known that they were processed.
    pub(crate) const fn unconfirmed(&self) -> u64 {
        self.messages - self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(ledger: &mut Ledger, messages: usize, bytes: usize) {
        for _ in 0..messages {
            ledger.publish(bytes, false);
        }
        ledger.mark();
    }

    #[test]
    fn credit_confirms_whole_batches() {
        let mut ledger = Ledger::default();
        publish(&mut ledger, 2, 10_000);
        publish(&mut ledger, 3, 10_000);
        assert_eq!(ledger.unconfirmed(), 5);
        ledger.credit(19_999);
        assert_eq!(ledger.unconfirmed(), 5);
        ledger.credit(1);
        assert_eq!(ledger.unconfirmed(), 3);
        ledger.credit(30_000);
        assert_eq!(ledger.unconfirmed(), 0);
    }

    #[test]
    fn a_pong_confirms_up_to_its_ping() {
        let mut ledger = Ledger::default();
        publish(&mut ledger, 2, 100);
        let pinged = ledger.messages();
        publish(&mut ledger, 1, 100);
        ledger.confirm(pinged);
        assert_eq!(ledger.unconfirmed(), 1);
        ledger.credit(100);
        assert_eq!(ledger.unconfirmed(), 1, "credit for less takes nothing back");
    }

    #[test]
    fn messages_with_a_result_are_not_counted() {
        let mut ledger = Ledger::default();
        ledger.publish(100, true);
        ledger.publish(100, false);
        ledger.mark();
        assert_eq!(ledger.unconfirmed(), 1);
        ledger.credit(200);
        assert_eq!(ledger.unconfirmed(), 0);
    }

    #[test]
    fn marks_are_bounded_by_the_window_and_not_by_the_batches() {
        let mut ledger = Ledger::default();
        let window = 1 << 20;
        for _ in 0..window / 16 {
            publish(&mut ledger, 1, 16);
        }
        assert!(ledger.marks.len() as u64 <= window as u64 / MARK_BYTES + 1, "{}", ledger.marks.len());
        ledger.credit(window as u64);
        assert_eq!((ledger.unconfirmed(), ledger.marks.len()), (0, 0));
    }
}
