use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::options::share;
use crate::{SubscribeOptions, now_ns, read_stamp};

/// After the first message, so much silence ends a measurement.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Longer latencies count as this one: one minute.
pub(crate) const LONGEST_NS: u64 = 60_000_000_000;

/// What one process received, over all its subscribers.
#[derive(Debug)]
pub struct Receipts {
    count: u64,
    publishers: u64,
    subscribers: Vec<Subscriber>,
    latency_ns: Histogram<u64>,
    bytes: u64,
    complete: u64,
    first_received_ns: u64,
    last_received_ns: u64,
}

/// What one subscriber has seen.
#[derive(Debug)]
struct Subscriber {
    seen: Vec<u64>,
    unique: u64,
    duplicated: u64,
    reordered: u64,
    /// Per publisher, the sequence number that comes next in order.
    next: Vec<u64>,
}

/// The line a receiver prints: the fields of `sinew bench sub`.
#[derive(Debug, Serialize)]
struct Report {
    received: u64,
    expected: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    secs: f64,
    msgs_per_s: f64,
    mb_per_s: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Receipts {
    /// Nothing received yet.
    pub fn new(options: &SubscribeOptions) -> Self {
        let subscriber = || Subscriber {
            seen: vec![0; options.count.div_ceil(64) as usize],
            unique: 0,
            duplicated: 0,
            reordered: 0,
            next: (0..options.publishers).map(|p| share(options.count, options.publishers, p).start).collect(),
        };
        Self {
            count: options.count,
            publishers: options.publishers,
            subscribers: (0..options.subscribers).map(|_| subscriber()).collect(),
            latency_ns: Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order"),
            bytes: 0,
            complete: 0,
            first_received_ns: u64::MAX,
            last_received_ns: 0,
        }
    }

    /// Counts one message. `received_ns` may be shared by all messages of one read.
    pub fn take(&mut self, subscriber: usize, payload: &[u8], received_ns: u64) {
        let Some((sent_ns, seq)) = read_stamp(payload) else { return };
        if seq >= self.count {
            return;
        }
        let publisher = match self.publishers {
            1 => 0,
            publishers => (seq * publishers / self.count) as usize,
        };
        let unique = self.subscribers[subscriber].take(publisher, seq);
        self.bytes += payload.len() as u64;
        self.complete += u64::from(unique && self.subscribers[subscriber].unique == self.count);
        self.latency_ns.saturating_record(received_ns.saturating_sub(sent_ns));
        self.first_received_ns = self.first_received_ns.min(received_ns);
        self.last_received_ns = received_ns;
    }

    /// Whether every subscriber has every message.
    pub fn is_complete(&self) -> bool {
        self.complete == self.subscribers.len() as u64
    }

    /// Whether something came, and then nothing for [`SILENCE`].
    pub fn is_silent(&self) -> bool {
        self.last_received_ns != 0 && now_ns().saturating_sub(self.last_received_ns) >= SILENCE.as_nanos() as u64
    }

    /// Prints the result as one JSON object.
    pub fn print(&self) {
        let unique: u64 = self.subscribers.iter().map(|s| s.unique).sum();
        let duplicated: u64 = self.subscribers.iter().map(|s| s.duplicated).sum();
        let expected = self.count * self.subscribers.len() as u64;
        let received = unique + duplicated;
        let secs = self.last_received_ns.saturating_sub(self.first_received_ns).max(1) as f64 / 1e9;
        let at = |quantile| self.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        print_json(&Report {
            received,
            expected,
            lost: expected - unique,
            duplicated,
            reordered: self.subscribers.iter().map(|s| s.reordered).sum(),
            secs,
            msgs_per_s: received as f64 / secs,
            mb_per_s: self.bytes as f64 / secs / 1e6,
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.latency_ns.max() as f64 / 1e3,
        });
    }
}

impl Subscriber {
    /// Whether `seq` is new here.
    fn take(&mut self, publisher: usize, seq: u64) -> bool {
        let (word, bit) = ((seq / 64) as usize, 1 << (seq % 64));
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return false;
        }
        self.seen[word] |= bit;
        self.unique += 1;
        let next = &mut self.next[publisher];
        self.reordered += u64::from(seq < *next);
        *next = (*next).max(seq + 1);
        true
    }
}

/// Tells the script that messages sent from now on will arrive.
pub fn print_ready() {
    eprintln!("ready");
}

/// Prints what a publisher sent since `start_ns`.
pub fn print_sent(sent: u64, start_ns: u64) {
    let secs = now_ns().saturating_sub(start_ns).max(1) as f64 / 1e9;
    print_json(&serde_json::json!({ "sent": sent, "secs": secs, "msgs_per_s": sent as f64 / secs }));
}

pub(crate) fn print_json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("numbers serialise"));
}
