use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;
use sinew_flow::{Overrun, ReceiveWindow};
use sinew_topic::{NameError, Pattern, Topic};
use sinew_wire::{Control, Policy, Subscribe};
use tokio::sync::oneshot;

use crate::SubscribeError;
use crate::delivery::Block;

/// What a subscription asks the node for.
#[derive(Debug, Clone)]
pub(crate) struct SubscribeOptions {
    pub(crate) pattern: Pattern,
    pub(crate) group: Option<String>,
    pub(crate) policy: Policy,
    pub(crate) buffer: u32,
    pub(crate) last: bool,
    pub(crate) window: u64,
}

/// What the stream of a subscription is made of.
#[derive(Debug)]
pub(crate) enum Item {
    Run(Arc<Block>),
    Lagged(u64),
    Resumed,
}

/// A link, as a subscription sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkWindow {
    /// Its number.
    pub(crate) link: u64,
    /// How far the node may overdraw a delivery window, in bytes.
    pub(crate) max_overdraw: u64,
}

/// What a subscription was before something happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Was {
    Asked,
    Active,
    Resuming,
    Ended,
}

/// Entry bytes that the application has taken for which credit returns as soon as it has taken everything, and not only at
/// half a window: the node may have granted a smaller window than was asked for, and would wait for ever.
const DRY_BYTES: u64 = 32 << 10;

/// What [`Inbox::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Items,
    /// Nothing yet. The frame is credit to send, if there is any.
    Nothing(Option<(u64, Control)>),
    /// Nothing, and nothing will come.
    Ended,
}

/// Runs between the reader of the link and the stream of one subscription.
///
/// Bounded by the delivery window, which the node may not overrun, and once more the same for what came over earlier
/// links. So a subscriber that does not read costs its window and holds up nobody.
#[derive(Debug)]
pub(crate) struct Inbox {
    number: u32,
    options: SubscribeOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    link: u64,
    window: ReceiveWindow,
    /// Entry bytes that the application has taken, and no credit returned for.
    unreturned: u64,
    queue: VecDeque<Item>,
    /// Entry bytes of the runs in `queue`.
    queued: u64,
    /// The last topic: most runs have the same one as the run before.
    topic: Option<Topic>,
    /// Stands in the reader's list of those to wake.
    touched: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Phase {
    /// The node has not answered yet.
    Asked(oneshot::Sender<Result<(), SubscribeError>>),
    Active,
    /// It was active on an earlier link, and the node has not answered on this one.
    Resuming,
    Ended(SubscribeError),
}

impl Phase {
    const fn was(&self) -> Was {
        match self {
            Self::Asked(_) => Was::Asked,
            Self::Active => Was::Active,
            Self::Resuming => Was::Resuming,
            Self::Ended(_) => Was::Ended,
        }
    }
}

impl Inbox {
    pub(crate) fn new(
        number: u32,
        options: SubscribeOptions,
        answer: oneshot::Sender<Result<(), SubscribeError>>,
    ) -> Self {
        let state = State {
            phase: Phase::Asked(answer),
            link: 0,
            window: ReceiveWindow::new(0, 0),
            unreturned: 0,
            queue: VecDeque::new(),
            queued: 0,
            topic: None,
            touched: false,
            waker: None,
        };
        Self { number, options, state: Mutex::new(state) }
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    pub(crate) const fn pattern(&self) -> &Pattern {
        &self.options.pattern
    }

    /// What the node is asked.
    pub(crate) fn request(&self) -> Subscribe {
        let SubscribeOptions { pattern, group, policy, buffer, last, window } = self.options.clone();
        let pattern = pattern.as_str().to_owned();
        Subscribe { subscription: self.number, pattern, group, policy, buffer, last, window }
    }

    /// A full window on a new link. What is still here from earlier ones stays, up to one window; what is more turns into
    /// a number of missed messages, the oldest first.
    pub(crate) fn begin_link(&self, window: LinkWindow) -> Was {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Active) {
            state.phase = Phase::Resuming;
        }
        state.link = window.link;
        state.window = ReceiveWindow::new(self.options.window, window.max_overdraw);
        state.unreturned = 0;
        state.trim(self.options.window);
        state.phase.was()
    }

    /// The node has confirmed it.
    pub(crate) fn confirm(&self) -> Was {
        let mut state = self.state.lock();
        let was = state.phase.was();
        match std::mem::replace(&mut state.phase, Phase::Active) {
            Phase::Asked(answer) => {
                let _cancelled = answer.send(Ok(()));
            }
            Phase::Active => {}
            Phase::Resuming => {
                state.push(Item::Resumed);
                wake(state);
            }
            ended @ Phase::Ended(_) => state.phase = ended,
        }
        was
    }

    /// Nothing more will come; what is here can still be taken. The first reason stays.
    pub(crate) fn end(&self, reason: SubscribeError) -> Was {
        let mut state = self.state.lock();
        let was = state.phase.was();
        match std::mem::replace(&mut state.phase, Phase::Ended(reason.clone())) {
            Phase::Asked(answer) => {
                let _cancelled = answer.send(Err(reason));
            }
            Phase::Active | Phase::Resuming => {}
            ended @ Phase::Ended(_) => state.phase = ended,
        }
        wake(state);
        was
    }

    /// Nobody will take anything any more.
    pub(crate) fn abandon(&self) -> Was {
        let was = self.end(SubscribeError::Closed);
        let mut state = self.state.lock();
        state.queue = VecDeque::new();
        state.queued = 0;
        was
    }

    /// Why it has ended, if it has.
    pub(crate) fn ended(&self) -> Option<SubscribeError> {
        match &self.state.lock().phase {
            Phase::Ended(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// This name as a topic; free of cost when it is the one used last.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, NameError> {
        let mut state = self.state.lock();
        match &state.topic {
            Some(topic) if topic.as_str() == name => Ok(topic.clone()),
            _ => {
                let topic = Topic::parse(name)?;
                state.topic = Some(topic.clone());
                Ok(topic)
            }
        }
    }

    /// A run has come. Returns whether the reader must call [`Inbox::wake`] when it has read everything it can. The error
    /// is the node's: it sent more than the window allows.
    pub(crate) fn deliver(&self, run: Arc<Block>) -> Result<bool, Overrun> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return Ok(false);
        }
        let bytes = run.entries().len() as u64;
        state.window.receive(bytes)?;
        state.queued += bytes;
        state.push(Item::Run(run));
        Ok(!std::mem::replace(&mut state.touched, true))
    }

    /// The node has dropped messages at this point of the stream. Returns the same as [`Inbox::deliver`].
    pub(crate) fn lag(&self, missed: u64) -> bool {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return false;
        }
        state.push(Item::Lagged(missed));
        !std::mem::replace(&mut state.touched, true)
    }

    /// Wakes the stream: once for all that came with one read.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        state.touched = false;
        wake(state);
    }

    /// Moves everything that is here into `into`, which is empty. When nothing is here yet, the waker of `cx` is called
    /// once there is.
    pub(crate) fn take(&self, into: &mut VecDeque<Item>, cx: &mut Context<'_>) -> Taken {
        debug_assert!(into.is_empty());
        let mut state = self.state.lock();
        if !state.queue.is_empty() {
            std::mem::swap(&mut state.queue, into);
            state.queued = 0;
            return Taken::Items;
        }
        if matches!(state.phase, Phase::Ended(_)) {
            return Taken::Ended;
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let credit = if state.unreturned >= DRY_BYTES { state.window.flush() } else { None };
        Taken::Nothing(credit.map(|bytes| (state.link, self.credit(&mut state, bytes))))
    }

    /// The application has taken so many entry bytes that came over this link. Returns the credit to send, if it is worth
    /// a frame.
    pub(crate) fn consume(&self, link: u64, bytes: u64) -> Option<Control> {
        let mut state = self.state.lock();
        if state.link != link {
            return None;
        }
        state.unreturned += bytes;
        let bytes = state.window.consume(bytes)?;
        Some(self.credit(&mut state, bytes))
    }

    const fn credit(&self, state: &mut State, bytes: u64) -> Control {
        state.unreturned = 0;
        Control::DeliverCredit { subscription: self.number, bytes }
    }
}

/// Wakes whoever waits, after the lock is gone.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// Appends an item. Neighbours that are no runs become one, so that the window bounds them too.
    fn push(&mut self, item: Item) {
        match (self.queue.back_mut(), item) {
            (Some(Item::Lagged(before)), Item::Lagged(missed)) => *before = before.saturating_add(missed),
            (Some(Item::Resumed), Item::Resumed) => {}
            (_, item) => self.queue.push_back(item),
        }
    }

    fn trim(&mut self, allowed: u64) {
        let mut missed = 0_u64;
        while self.queued > allowed
            && let Some(oldest) = self.queue.pop_front()
        {
            match oldest {
                Item::Run(run) => {
                    self.queued -= run.entries().len() as u64;
                    missed = missed.saturating_add(u64::from(run.messages()));
                }
                Item::Lagged(earlier) => missed = missed.saturating_add(earlier),
                Item::Resumed => {}
            }
        }
        if missed > 0 {
            self.queue.push_front(Item::Lagged(missed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::{Bytes, BytesMut};
    use sinew_wire::PeerId;
    use sinew_wire::entry::Entry;

    use super::*;

    fn inbox(window: u64) -> (Inbox, oneshot::Receiver<Result<(), SubscribeError>>) {
        let pattern = Pattern::parse("a").expect("is a pattern");
        let options =
            SubscribeOptions { pattern, group: None, policy: Policy::default(), buffer: 0, last: false, window };
        let (answer, answered) = oneshot::channel();
        let inbox = Inbox::new(1, options, answer);
        inbox.begin_link(LinkWindow { link: 1, max_overdraw: 100 });
        (inbox, answered)
    }

    /// One message of 100 bytes.
    fn run(seq: u64, link: u64) -> Arc<Block> {
        let mut entries = BytesMut::new();
        Entry { id: &[], headers: &[], payload: &[0; 92] }.encode(&mut entries);
        Arc::new(Block {
            topic: Topic::parse("a").expect("is a topic"),
            publisher: PeerId::from_public_key([1; 32]),
            instance: 1,
            first_seq: seq,
            retained: false,
            messages: 1,
            entries: Bytes::from(entries),
            ack: 0,
            link,
        })
    }

    fn take(inbox: &Inbox) -> Vec<String> {
        let mut items = VecDeque::new();
        inbox.take(&mut items, &mut Context::from_waker(Waker::noop()));
        let text = |item| match item {
            Item::Run(run) => run.first_seq.to_string(),
            Item::Lagged(missed) => format!("-{missed}"),
            Item::Resumed => "resumed".to_owned(),
        };
        items.into_iter().map(text).collect()
    }

    #[test]
    fn items_keep_their_order_and_gaps_add_up() {
        let (inbox, _answered) = inbox(1_000);
        assert!(inbox.deliver(run(1, 1)).expect("fits"));
        assert!(!inbox.lag(2), "is in the reader's list already");
        inbox.lag(3);
        inbox.deliver(run(2, 1)).expect("fits");
        inbox.wake();
        assert!(inbox.lag(4));
        assert_eq!(take(&inbox), ["1", "-5", "2", "-4"]);
        assert!(take(&inbox).is_empty());
    }

    #[test]
    fn the_window_may_be_overdrawn_by_one_message() {
        let (inbox, _answered) = inbox(150);
        inbox.deliver(run(1, 1)).expect("fits");
        inbox.deliver(run(2, 1)).expect("overdraws");
        inbox.deliver(run(3, 1)).expect_err("too much");
        // Taking them out is not enough: the application must have them.
        take(&inbox);
        inbox.deliver(run(3, 1)).expect_err("too much");
        assert_eq!(inbox.consume(1, 100), Some(Control::DeliverCredit { subscription: 1, bytes: 100 }));
        inbox.deliver(run(3, 1)).expect("fits");
        assert_eq!(inbox.consume(0, 100), None, "that link is gone");
    }

    #[test]
    fn credit_returns_when_there_is_nothing_left_to_take() {
        let (inbox, _answered) = inbox(1 << 20);
        let mut items = VecDeque::new();
        let mut take = |taken: u64| {
            assert_eq!(inbox.consume(1, taken), None, "is less than half a window");
            inbox.take(&mut items, &mut Context::from_waker(Waker::noop()))
        };
        for _ in 0..400 {
            inbox.state.lock().window.receive(100).expect("fits");
        }
        assert_eq!(take(DRY_BYTES - 1), Taken::Nothing(None));
        let credit = Control::DeliverCredit { subscription: 1, bytes: DRY_BYTES };
        assert_eq!(take(1), Taken::Nothing(Some((1, credit))));
        assert_eq!(take(1), Taken::Nothing(None));
    }

    #[test]
    fn phases_follow_the_answers_of_the_node() {
        let (inbox, mut answered) = inbox(1_000);
        assert_eq!(inbox.begin_link(LinkWindow { link: 2, max_overdraw: 0 }), Was::Asked);
        assert_eq!(inbox.confirm(), Was::Asked);
        assert_eq!(answered.try_recv(), Ok(Ok(())));
        assert_eq!(inbox.begin_link(LinkWindow { link: 3, max_overdraw: 0 }), Was::Resuming);
        assert_eq!(inbox.confirm(), Was::Resuming);
        assert_eq!(inbox.confirm(), Was::Active);
        assert_eq!(inbox.end(SubscribeError::Closed), Was::Active);
        assert_eq!(take(&inbox), ["resumed"]);
        assert_eq!(inbox.begin_link(LinkWindow { link: 4, max_overdraw: 0 }), Was::Ended);
        assert_eq!(inbox.ended(), Some(SubscribeError::Closed));
        let end = inbox.take(&mut VecDeque::new(), &mut Context::from_waker(Waker::noop()));
        assert_eq!(end, Taken::Ended);
        assert!(!inbox.deliver(run(1, 4)).expect("is ignored"));
    }

    #[test]
    fn what_is_left_of_many_links_is_one_window() {
        let (inbox, _answered) = inbox(200);
        inbox.confirm();
        for link in 1..=3 {
            inbox.begin_link(LinkWindow { link, max_overdraw: 100 });
            inbox.confirm();
            inbox.deliver(run(link * 10, link)).expect("fits");
            inbox.deliver(run(link * 10 + 1, link)).expect("fits");
        }
        assert_eq!(take(&inbox), ["-2", "resumed", "20", "21", "resumed", "30", "31"]);
    }
}
