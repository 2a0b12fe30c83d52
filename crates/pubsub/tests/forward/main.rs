//! Between nodes: who gets what, in which order, and what a broken link costs.

mod confirmed;
mod copies;
mod interest;
mod live;
mod lost;
mod properties;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use sinew_pubsub::Wants;
use sinew_wire::{Control, PublishResult};
use support::{Client, Options, Seen};

fn rt() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn wide_open(spec: &mut sinew_pubsub::SubscriptionSpec) {
    spec.window = 8 << 20;
}

/// Publisher instance and sequence number of every message seen, and the sum of what was missed.
fn tally(client: &Client, number: u32) -> (BTreeMap<String, Vec<u64>>, u64) {
    let mut topics: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut missed = 0;
    for seen in client.read() {
        match seen {
            Seen::Message { subscription, topic, payload, .. } if subscription == number => {
                let publisher = payload.split('.').next().unwrap_or_default();
                let sent: u64 = payload.split('.').nth(1).and_then(|n| n.parse().ok()).expect("a number");
                topics.entry(format!("{publisher}/{topic}")).or_default().push(sent);
            }
            Seen::Control(Control::Lagged { subscription, missed: more }) if subscription == number => missed += more,
            _ => {}
        }
    }
    (topics, missed)
}

fn results(client: &Client) -> Vec<PublishResult> {
    let result = |seen| match seen {
        Seen::Control(Control::PublishResult(result)) => Some(result),
        _ => None,
    };
    client.read().into_iter().filter_map(result).collect()
}

fn acked() -> Options {
    Options { wants: Some(Wants::Confirmed), ..Options::default() }
}

fn report() -> Options {
    Options { wants: Some(Wants::Queued), ..Options::default() }
}

/// Reads everything and confirms it.
fn confirm_all(client: &Client) -> usize {
    let mut messages = 0;
    let mut tokens = Vec::new();
    for seen in client.read() {
        if let Seen::Message { ack, .. } = seen {
            messages += 1;
            tokens.push(ack);
        }
    }
    tokens.dedup();
    tokens.into_iter().filter(|token| *token != 0).for_each(|token| client.outbox.confirm(token));
    messages
}

fn pattern(text: &str) -> sinew_topic::Pattern {
    sinew_topic::Pattern::parse(text).expect("valid")
}

fn direct(direct: u32) -> sinew_pubsub::NodeInterest {
    sinew_pubsub::NodeInterest { direct, ..Default::default() }
}
