//! What the live view is told of a run that a client of this node has published.

use std::time::Instant;

use sinew_observe::{Events, RoutingEvent};
use sinew_topic::Topic;
use sinew_wire::live::{Kind, Outcome};
use sinew_wire::{PublishResult, RefusedRun};

/// The run.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) topic: Topic,
    pub(crate) messages: u32,
    /// Other nodes that got a copy.
    pub(crate) nodes: usize,
}

impl Published {
    pub(crate) fn emit(self, events: &Events, outcome: Outcome, since: Option<Instant>) {
        let Self { topic, messages, nodes } = self;
        events.emit(|| RoutingEvent {
            kind: Kind::Publish,
            name: topic.into(),
            provider: None,
            messages,
            nodes,
            outcome,
            latency: since.map(|since| since.elapsed()),
        });
    }
}

/// The run, and whom to tell of its result.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) events: Events,
    pub(crate) published: Published,
    pub(crate) received: Instant,
}

impl Report {
    /// The result is known.
    pub(crate) fn emit(self, result: &PublishResult) {
        let outcome = match result.refusal {
            Some(RefusedRun::NoSubscribers) => Outcome::Unheard,
            Some(_) => Outcome::Dropped,
            None if result.dropped > 0 || result.unknown > 0 => Outcome::Dropped,
            None if result.matched == 0 && result.duplicates < result.messages => Outcome::Unheard,
            None => Outcome::Ok,
        };
        self.published.emit(&self.events, outcome, Some(self.received));
    }
}
