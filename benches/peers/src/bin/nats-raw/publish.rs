use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::thread;

use anyhow::anyhow;
use sinew_peers::{Pace, PublishOptions, now_ns, print_sent, write_stamp};

use crate::wire;

/// Bytes of one write, unless a single message is larger.
const WRITE: usize = 64 << 10;

/// Sends everything, waits until the server has read it, and reports.
pub fn run(options: &PublishOptions) -> anyhow::Result<()> {
    let streams = (0..options.publishers)
        .map(|publisher| Ok((wire::connect(&options.server)?, options.share(publisher))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let start = now_ns();
    thread::scope(|scope| {
        let publishers: Vec<_> =
            streams.into_iter().map(|(stream, share)| scope.spawn(|| publish(stream, share, options))).collect();
        publishers
            .into_iter()
            .try_for_each(|publisher| publisher.join().map_err(|_| anyhow!("a publisher panicked"))?)
    })?;
    print_sent(options.count, start);
    Ok(())
}

fn publish(mut stream: TcpStream, share: Range<u64>, options: &PublishOptions) -> anyhow::Result<()> {
    let mut batch = Batch::new(&options.topic, options.size);
    let pace = Pace::start(options.rate_each());
    let (mut index, count) = (0, share.end - share.start);
    while index < count {
        let due = pace.due_after(index, batch.capacity.min(count - index));
        if due == 0 {
            thread::sleep(pace.until(index));
            continue;
        }
        // Unpaced, one look at the clock serves the whole write.
        let now = options.rate.is_none().then(now_ns);
        for n in 0..due {
            batch.stamp(n as usize, now.unwrap_or_else(|| pace.due_ns(index + n)), share.start + index + n);
        }
        stream.write_all(batch.bytes(due as usize))?;
        index += due;
    }
    wire::round_trip(&mut stream)
}

/// A block of `PUB` operations in which only the stamps change.
struct Batch {
    bytes: Vec<u8>,
    stride: usize,
    payload_at: usize,
    capacity: u64,
}

impl Batch {
    fn new(topic: &str, size: usize) -> Self {
        let mut one = format!("PUB {topic} {size}\r\n").into_bytes();
        let payload_at = one.len();
        one.resize(payload_at + size, b'x');
        one.extend_from_slice(b"\r\n");
        let stride = one.len();
        let capacity = (WRITE / stride).max(1);
        Self { bytes: one.repeat(capacity), stride, payload_at, capacity: capacity as u64 }
    }

    fn stamp(&mut self, at: usize, sent_ns: u64, seq: u64) {
        write_stamp(&mut self.bytes[at * self.stride + self.payload_at..], sent_ns, seq);
    }

    fn bytes(&self, messages: usize) -> &[u8] {
        &self.bytes[..messages * self.stride]
    }
}
