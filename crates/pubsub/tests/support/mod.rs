//! A client of the service without a link: it reads what its writer would have written.

// Each test program uses a part of it.
#![allow(dead_code)]

pub(crate) mod mesh;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sinew_flow::Budget;
use sinew_observe::{DropReason, Metrics, Registry};
use sinew_pubsub::{
    ForwardConfig, Next, Origin, Outbox, PubSub, PubSubConfig, Publisher, Run, Submission, Subscription,
    SubscriptionSpec, Wants, WriteBatch,
};
use sinew_topic::{Pattern, Topic};
use sinew_wire::deliver::DeliverHeader;
use sinew_wire::entry::{Entries, Entry};
use sinew_wire::{Control, Features, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, PeerId, Policy, encode_header};

pub(crate) struct Service {
    pub(crate) hub: PubSub,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
}

impl Service {
    pub(crate) fn start(config: PubSubConfig) -> Self {
        Self::with_memory(config, 256 << 20)
    }

    pub(crate) fn with_memory(config: PubSubConfig, bytes: usize) -> Self {
        Self::with(config, ForwardConfig::default(), bytes)
    }

    pub(crate) fn with(config: PubSubConfig, forwarding: ForwardConfig, bytes: usize) -> Self {
        let metrics = Metrics::new(&mut Registry::default());
        let budget = Arc::new(Budget::new(bytes));
        let hub = PubSub::start_with(config, forwarding, Arc::clone(&budget), metrics.clone());
        Self { hub, budget, metrics }
    }

    pub(crate) fn client(&self, instance: u64) -> Client {
        let outbox = Outbox::new(Features::default());
        let origin = Arc::new(Origin { peer: PeerId::from_public_key([7; 32]), instance });
        let publisher = self.hub.publisher(origin, Arc::clone(&outbox));
        Client { hub: self.hub.clone(), budget: Arc::clone(&self.budget), outbox, publisher, next_seq: 1 }
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.metrics.dropped(reason).get()
    }
}

pub(crate) struct Client {
    hub: PubSub,
    budget: Arc<Budget>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) publisher: Publisher,
    next_seq: u64,
}

/// What a client would see on its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Message { subscription: u32, topic: String, seq: u64, payload: String, ack: u64 },
    Control(Control),
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) wants: Option<Wants>,
    pub(crate) retain: bool,
    pub(crate) require_subscribers: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) ids: Vec<&'static str>,
    pub(crate) keys: Vec<&'static str>,
    pub(crate) pack: bool,
}

impl Client {
    pub(crate) fn subscribe(&self, number: u32, pattern: &str) -> Arc<Subscription> {
        self.subscribe_with(number, pattern, |_| {})
    }

    pub(crate) fn subscribe_with(
        &self,
        number: u32,
        pattern: &str,
        adjust: impl FnOnce(&mut SubscriptionSpec),
    ) -> Arc<Subscription> {
        let mut spec = SubscriptionSpec {
            number,
            pattern: Pattern::parse(pattern).expect("a valid pattern"),
            group: None,
            policy: Policy::DropOldest,
            buffer: 0,
            last: false,
            window: 1 << 20,
        };
        adjust(&mut spec);
        self.hub.subscribe(spec, &self.outbox, Instant::now(), || {}).expect("is admitted")
    }

    pub(crate) fn publish(&mut self, topic: &str, payloads: &[&str]) {
        self.publish_with(topic, payloads, Options::default());
    }

    pub(crate) fn publish_with(&mut self, topic: &str, payloads: &[&str], options: Options) {
        let now = Instant::now();
        let run = self.run(topic, payloads, &options, now);
        let submission = Submission {
            run,
            wants: options.wants,
            deadline: options.deadline.unwrap_or(Duration::from_secs(10)),
            retain: options.retain,
            require_subscribers: options.require_subscribers,
        };
        self.publisher.submit(submission, now);
    }

    fn run(&mut self, topic: &str, payloads: &[&str], options: &Options, now: Instant) -> Run {
        let mut block = BytesMut::new();
        for (i, payload) in payloads.iter().enumerate() {
            let mut headers = BytesMut::new();
            if let Some(key) = options.keys.get(i) {
                encode_header("key", key.as_bytes(), &mut headers).expect("a small header");
            }
            let id = options.ids.get(i).map_or(&[][..], |id| id.as_bytes());
            Entry { id, headers: &headers, payload: payload.as_bytes() }.encode(&mut block);
        }
        let first_seq = self.next_seq;
        self.next_seq += payloads.len() as u64;
        let entries: Bytes = block.freeze();
        Run {
            topic: Topic::parse(topic).expect("a valid topic"),
            origin: Arc::clone(self.publisher.origin()),
            messages: payloads.len() as u32,
            first_seq,
            any_headers: !options.keys.is_empty(),
            any_id: !options.ids.is_empty(),
            received: now,
            expires: options.ttl.map(|ttl| now + ttl),
            retained: false,
            ack: None,
            packed: if options.pack { sinew_wire::pack::pack(&entries).map(Bytes::from) } else { None },
            memory: self.budget.try_reserve(entries.len() + Run::OVERHEAD),
            entries,
        }
    }

    /// Everything that could be written now.
    pub(crate) fn read(&self) -> Vec<Seen> {
        self.read_at(Instant::now())
    }

    pub(crate) fn read_at(&self, now: Instant) -> Vec<Seen> {
        let mut bytes = Vec::new();
        let mut batch = WriteBatch::default();
        while self.outbox.collect(now, &mut batch, 256 << 10) == Next::Write {
            batch.chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        }
        decode(&bytes)
    }

    /// The payloads of one subscription, in order.
    pub(crate) fn payloads(&self, number: u32) -> Vec<String> {
        let of_it = |seen| match seen {
            Seen::Message { subscription, payload, .. } if subscription == number => Some(payload),
            _ => None,
        };
        self.read().into_iter().filter_map(of_it).collect()
    }
}

fn decode(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("a frame");
        let (body, rest) = rest.split_at(header.len);
        match header.kind {
            FrameKind::Deliver => {
                let (header, block) = DeliverHeader::decode(body).expect("a run");
                let messages = Entries::new(block).enumerate().map(|(i, (_, entry))| Seen::Message {
                    subscription: header.subscription,
                    topic: header.topic.to_owned(),
                    seq: header.first_seq + i as u64,
                    payload: String::from_utf8_lossy(entry.payload).into_owned(),
                    ack: header.ack,
                });
                let before = seen.len();
                seen.extend(messages);
                assert_eq!(seen.len() - before, header.messages as usize, "the header counts right");
            }
            _ => seen.push(Seen::Control(Control::decode(body).expect("a control frame"))),
        }
        bytes = rest;
    }
    seen
}
