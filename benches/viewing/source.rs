use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_live::{Batcher, Routed};
use sinew_node::{Address, Config, LiveProbe, Node, PeerId};
use sinew_observe::RoutingEvent;
use sinew_topic::Topic;
use sinew_wire::live::EVENTS_TOPIC;

use crate::Result;
use crate::recipe::{self, Happening};

/// How often some events are sent a second time.
const AGAIN: Duration = Duration::from_millis(200);

/// What the nodes route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events per second of each node.
    pub(crate) rate: u64,
    /// How long.
    pub(crate) secs: u64,
    /// Events that are due are made at once, so often.
    pub(crate) burst: Duration,
    /// Of a hundred events, those that are sent twice.
    pub(crate) duplicates: u64,
}

/// A node that routes.
pub(crate) struct Source {
    pub(crate) node: Node,
    pub(crate) probe: LiveProbe,
    pub(crate) peer: PeerId,
    /// Events made.
    pub(crate) emitted: u64,
    /// Events sent a second time.
    pub(crate) again: u64,
    /// Events looked at for that.
    looked: u64,
    /// The number of its first event.
    first: u64,
}

/// Starts nodes that join the realm of the node at this address.
pub(crate) async fn start(n: usize, bootstrap: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for number in 0..n {
        let mut config = Config {
            listen: Some(vec!["quic://127.0.0.1:0".parse::<Address>()?]),
            admin: None,
            shards: 1,
            workers: 1,
            ..Config::default()
        };
        config.mesh.listen = Some(vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()]);
        config.mesh.bootstrap = vec![bootstrap.to_owned()];
        config.mesh.mdns = false;
        config.mesh.region = recipe::region(number).to_owned();
        let node = Node::start(config).await?;
        let (probe, peer) = (node.live_probe(), node.peer_id());
        sources.push(Source { node, probe, peer, emitted: 0, again: 0, looked: 0, first: 0 });
    }
    Ok(sources)
}

/// Makes the events of all nodes when they are due. Returns how late the latest were.
pub(crate) fn emit(mut sources: Vec<Source>, load: Load) -> (Vec<Source>, Duration) {
    let names = recipe::names();
    let peers: Vec<_> = sources.iter().map(|source| source.peer).collect();
    sources.iter_mut().for_each(|source| source.first = source.probe.events.emitted());
    let begin = Instant::now();
    let (mut due, mut late, mut again_at) = (load.burst, Duration::ZERO, AGAIN);
    while due <= Duration::from_secs(load.secs) {
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let events = due.as_millis() as u64 * load.rate / 1000;
        for (number, source) in sources.iter_mut().enumerate() {
            source.emit_up_to(events, number, &names, &peers);
        }
        late = late.max(begin.elapsed().saturating_sub(due));
        if load.duplicates > 0 && due >= again_at {
            let repeat =
                |(number, source): (usize, &mut Source)| source.repeat(number, load.duplicates, &names, &peers);
            sources.iter_mut().enumerate().for_each(repeat);
            again_at += AGAIN;
        }
        due += load.burst;
    }
    (sources, late)
}

impl Source {
    /// Events that its ring gave up.
    pub(crate) fn dropped(&self) -> u64 {
        self.probe.events.dropped()
    }

    fn emit_up_to(&mut self, events: u64, number: usize, names: &[Vec<Arc<str>>; 2], peers: &[PeerId]) {
        while self.emitted < events {
            let k = self.emitted;
            self.probe.events.emit(|| {
                let Happening { kind, name, provider, messages, outcome, latency_us } =
                    recipe::happening(number, k, peers.len());
                RoutingEvent {
                    kind,
                    name: Arc::clone(&names[kind as usize][name]),
                    provider: provider.map(|place| peers[place]),
                    messages,
                    nodes: 1,
                    outcome,
                    latency: latency_us.map(|us| Duration::from_micros(us.into())),
                }
            });
            self.emitted += 1;
        }
    }

    /// Sends some of the events since it did so last as if a batch came twice.
    fn repeat(&mut self, number: usize, percent: u64, names: &[Vec<Arc<str>>; 2], peers: &[PeerId]) {
        let mut announcer = self.probe.pubsub.announcer(self.peer);
        let topic = Topic::parse(EVENTS_TOPIC).expect("a name");
        let mut batcher = Batcher::new(self.probe.epoch, recipe::region(number), 0);
        let mut batches = Vec::new();
        for k in (self.looked..self.emitted).filter(|k| recipe::mix(*k) % 100 < percent) {
            let Happening { kind, name, provider, messages, outcome, latency_us } =
                recipe::happening(number, k, peers.len());
            let (name, provider) = (&*names[kind as usize][name], provider.map(|place| peers[place]));
            let event = Routed { at_ms: 0, kind, name, provider, messages, nodes: 1, outcome, latency_us };
            batches.extend(batcher.push(self.first + k, &event));
            self.again += 1;
        }
        batches.extend(batcher.finish());
        for batch in batches {
            announcer.publish(&topic, &batch.encode(), Instant::now()).expect("below every limit");
        }
        self.looked = self.emitted;
    }

    /// Bytes that its events take on the way: of the first four thousand, in batches of a tenth of a second.
    pub(crate) fn bytes_per_event(&self, number: usize, rate: u64, nodes: &[PeerId]) -> f64 {
        let names = recipe::names();
        let per_batch = (rate / 10).clamp(1, 4_000);
        let (mut bytes, mut events) = (0, 0);
        while events < 4_000 {
            let mut batcher = Batcher::new(self.probe.epoch, recipe::region(number), 0);
            for k in events..events + per_batch {
                let Happening { kind, name, provider, messages, outcome, latency_us } =
                    recipe::happening(number, k, nodes.len());
                let (name, provider) = (&*names[kind as usize][name], provider.map(|place| nodes[place]));
                let event = Routed { at_ms: 0, kind, name, provider, messages, nodes: 1, outcome, latency_us };
                bytes += batcher.push(k, &event).map_or(0, |batch| batch.encode().len());
            }
            bytes += batcher.finish().map_or(0, |batch| batch.encode().len());
            events += per_batch;
        }
        bytes as f64 / events as f64
    }
}
