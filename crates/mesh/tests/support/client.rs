use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use sinew_flow::Budget;
use sinew_pubsub::{
    Next, Origin, Outbox, PubSub, Publisher, Run, Submission, Subscription, SubscriptionSpec, Wants, WriteBatch,
};
use sinew_topic::{Pattern, Topic};
use sinew_wire::deliver::DeliverHeader;
use sinew_wire::entry::{Entries, Entry};
use sinew_wire::{Control, Features, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, PeerId, Policy, PublishResult};

use super::{Node, PATIENCE};

/// An application beside a node: it publishes, and reads what its link would carry.
pub(crate) struct Client {
    hub: PubSub,
    budget: Arc<Budget>,
    outbox: Arc<Outbox>,
    publisher: Publisher,
    subscriptions: HashMap<u32, Arc<Subscription>>,
    next_seq: u64,
    unread: std::collections::VecDeque<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Message { subscription: u32, topic: String, publisher: PeerId, instance: u64, seq: u64, payload: String },
    Control(Control),
}

impl Client {
    pub(crate) fn new(node: &Node, instance: u64) -> Self {
        let outbox = Outbox::new(Features::default());
        let origin = Arc::new(Origin { peer: node.peer(), instance });
        let publisher = node.hub.publisher(origin, Arc::clone(&outbox));
        Self {
            hub: node.hub.clone(),
            budget: Arc::clone(&node.budget),
            outbox,
            publisher,
            subscriptions: HashMap::new(),
            next_seq: 1,
            unread: std::collections::VecDeque::new(),
        }
    }

    pub(crate) fn subscribe(&mut self, number: u32, pattern: &str, policy: Policy) {
        self.subscribe_with(number, pattern, |spec| spec.policy = policy);
    }

    pub(crate) fn subscribe_with(&mut self, number: u32, pattern: &str, adjust: impl FnOnce(&mut SubscriptionSpec)) {
        let mut spec = SubscriptionSpec {
            number,
            pattern: Pattern::parse(pattern).expect("a valid pattern"),
            group: None,
            policy: Policy::DropOldest,
            buffer: 0,
            last: false,
            window: 4 << 20,
        };
        adjust(&mut spec);
        let subscription = self.hub.subscribe(spec, &self.outbox, Instant::now(), || {}).expect("is admitted");
        self.subscriptions.insert(number, subscription);
    }

    pub(crate) fn unsubscribe(&mut self, number: u32) {
        let subscription = self.subscriptions.remove(&number).expect("a subscription");
        self.hub.unsubscribe(&subscription);
    }

    /// Publishes one run, and waits while it is held back.
    pub(crate) async fn publish(&mut self, topic: &str, payloads: &[&str]) {
        self.submit(topic, payloads, None);
        self.pass().await;
    }

    /// Publishes one run, and waits for what became of it.
    pub(crate) async fn confirmed(&mut self, topic: &str, payloads: &[&str]) -> PublishResult {
        self.submit(topic, payloads, Some(Wants::Confirmed));
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.advance_for(Duration::from_millis(5)).await;
            self.read();
            let is_result = |seen: &Seen| matches!(seen, Seen::Control(Control::PublishResult(_)));
            if let Some(at) = self.unread.iter().position(is_result)
                && let Some(Seen::Control(Control::PublishResult(result))) = self.unread.remove(at)
            {
                return result;
            }
            assert!(Instant::now() < deadline, "no result");
        }
    }

    fn submit(&mut self, topic: &str, payloads: &[&str], wants: Option<Wants>) {
        let now = Instant::now();
        let mut block = BytesMut::new();
        for payload in payloads {
            Entry { id: &[], headers: &[], payload: payload.as_bytes() }.encode(&mut block);
        }
        let first_seq = self.next_seq;
        self.next_seq += payloads.len() as u64;
        let entries: Bytes = block.freeze();
        let run = Run {
            topic: Topic::parse(topic).expect("a valid topic"),
            origin: Arc::clone(self.publisher.origin()),
            messages: payloads.len() as u32,
            first_seq,
            any_headers: false,
            any_id: false,
            received: now,
            expires: None,
            retained: false,
            ack: None,
            packed: None,
            memory: self.budget.try_reserve(entries.len() + Run::OVERHEAD),
            entries,
        };
        let deadline = PATIENCE;
        self.publisher.submit(Submission { run, wants, deadline, retain: false, require_subscribers: false }, now);
    }

    /// Waits until nothing of ours is held back.
    pub(crate) async fn pass(&mut self) {
        while self.publisher.is_parked() {
            self.advance_for(PATIENCE).await;
        }
    }

    async fn advance_for(&mut self, most: Duration) {
        let woken = self.publisher.woken();
        let deadline = self.publisher.deadline().unwrap_or_else(|| Instant::now() + most);
        tokio::select! {
            () = woken.notified(), if self.publisher.is_parked() => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
            () = tokio::time::sleep(most) => {}
        }
        self.publisher.advance(Instant::now());
    }

    /// The payload of the next message for a subscription.
    pub(crate) async fn payload(&mut self, number: u32) -> String {
        match self.next(number).await {
            Seen::Message { payload, .. } => payload,
            Seen::Control(control) => panic!("{control:?}"),
        }
    }

    /// The next message for a subscription, or that it lagged.
    pub(crate) async fn next(&mut self, number: u32) -> Seen {
        let waiting = async {
            loop {
                let is_for_it = |seen: &Seen| match seen {
                    Seen::Message { subscription, .. } | Seen::Control(Control::Lagged { subscription, .. }) => {
                        *subscription == number
                    }
                    Seen::Control(_) => false,
                };
                if let Some(at) = self.unread.iter().position(is_for_it) {
                    return self.unread.remove(at).expect("it was found there");
                }
                if !self.read() {
                    self.outbox.woken().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("something comes")
    }

    /// Whether nothing has come for a subscription.
    pub(crate) fn has_nothing(&mut self, number: u32) -> bool {
        self.read();
        !self.unread.iter().any(|seen| matches!(seen, Seen::Message { subscription, .. } if *subscription == number))
    }

    /// Takes what could be written now, confirms it, and returns its credit.
    fn read(&mut self) -> bool {
        let mut bytes = Vec::new();
        let mut batch = WriteBatch::default();
        while self.outbox.collect(Instant::now(), &mut batch, 256 << 10) == Next::Write {
            batch.chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        }
        let any = !bytes.is_empty();
        self.decode(&bytes);
        any
    }

    fn decode(&mut self, mut bytes: &[u8]) {
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("a frame");
            let (body, rest) = rest.split_at(header.len);
            bytes = rest;
            if header.kind != FrameKind::Deliver {
                self.unread.push_back(Seen::Control(Control::decode(body).expect("a control frame")));
                continue;
            }
            let (header, block) = DeliverHeader::decode(body).expect("a run");
            for (i, (_, entry)) in Entries::new(block).enumerate() {
                self.unread.push_back(Seen::Message {
                    subscription: header.subscription,
                    topic: header.topic.to_owned(),
                    publisher: header.publisher,
                    instance: header.instance,
                    seq: header.first_seq + i as u64,
                    payload: String::from_utf8_lossy(entry.payload).into_owned(),
                });
            }
            if header.ack != 0 {
                self.outbox.confirm(header.ack);
            }
            if let Some(subscription) = self.subscriptions.get(&header.subscription) {
                subscription.grant(header.entries_len.into()).expect("what was spent");
            }
        }
    }
}
