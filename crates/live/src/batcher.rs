use hashbrown::HashMap;
use sinew_wire::PeerId;
use sinew_wire::live::{Batch, Event, Kind, MAX_BATCH_BYTES, MAX_EVENTS, Outcome};

/// An event as its node sees it, before it is put into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed<'a> {
    /// As in [`Event::at_ms`].
    pub at_ms: u64,
    /// What it was.
    pub kind: Kind,
    /// The topic or procedure: a valid name.
    pub name: &'a str,
    /// Who answered the call.
    pub provider: Option<PeerId>,
    /// Messages of the run; 1 for a call.
    pub messages: u32,
    /// Other nodes that it went to.
    pub nodes: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// Microseconds from request to result, where there is one.
    pub latency_us: Option<u32>,
}

/// Puts events together to batches within their bounds, with each name once.
///
/// ```
/// use sinew_live::{Batcher, Ring, Routed};
/// use sinew_wire::live::{Kind, Outcome};
///
/// let mut ring = Ring::new(8);
/// ring.push("sensors.a");
/// let taken = ring.take();
/// let mut batcher = Batcher::new(1, "eu", taken.dropped);
/// let (kind, outcome, provider, latency_us) = (Kind::Publish, Outcome::Ok, None, None);
/// let mut batches = Vec::new();
/// for (seq, name) in taken.numbered() {
///     let event = Routed { at_ms: 0, kind, name, provider, messages: 1, nodes: 0, outcome, latency_us };
///     batches.extend(batcher.push(seq, &event));
/// }
/// batches.extend(batcher.finish());
/// assert_eq!(batches[0].names, ["sensors.a"]);
/// assert_eq!(batches[0].emitted, 1);
/// ```
#[derive(Debug)]
pub struct Batcher {
    epoch: u64,
    region: String,
    dropped: u64,
    open: Batch,
    bytes: usize,
    names: HashMap<String, u16>,
    peers: HashMap<PeerId, u16>,
}

impl Batcher {
    /// For the events of one [`crate::Taken`], which also tells `dropped`, of the node that started at `epoch` and has
    /// this region label.
    pub fn new(epoch: u64, region: &str, dropped: u64) -> Self {
        let region = region.to_owned();
        let (names, peers) = (HashMap::new(), HashMap::new());
        let open = empty(epoch, &region, dropped);
        Self { epoch, bytes: Batch::empty_bytes(&region), region, dropped, open, names, peers }
    }

    /// Adds an event, the numbers ascending. Returns the batch before it, if that has no room for it.
    #[must_use]
    pub fn push(&mut self, seq: u64, event: &Routed<'_>) -> Option<Batch> {
        let most = Batch::EVENT_BYTES + Batch::name_bytes(event.name) + PeerId::LEN;
        let full = self.open.events.len() >= MAX_EVENTS || self.bytes + most > MAX_BATCH_BYTES;
        let before = if full { self.finish() } else { None };
        let name = self.name(event.name);
        let provider = event.provider.map(|peer| self.peer(peer));
        let Routed { at_ms, kind, messages, nodes, outcome, latency_us, .. } = *event;
        self.open.events.push(Event { seq, at_ms, kind, name, provider, messages, nodes, outcome, latency_us });
        self.open.emitted = seq.saturating_add(1);
        self.bytes += Batch::EVENT_BYTES;
        before
    }

    /// The last batch, unless it would be empty.
    #[must_use]
    pub fn finish(&mut self) -> Option<Batch> {
        if self.open.events.is_empty() {
            return None;
        }
        self.names.clear();
        self.peers.clear();
        self.bytes = Batch::empty_bytes(&self.region);
        let next = empty(self.epoch, &self.region, self.dropped);
        Some(std::mem::replace(&mut self.open, next))
    }

    fn name(&mut self, name: &str) -> u16 {
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        let place = self.open.names.len() as u16;
        self.names.insert(name.to_owned(), place);
        self.open.names.push(name.to_owned());
        self.bytes += Batch::name_bytes(name);
        place
    }

    fn peer(&mut self, peer: PeerId) -> u16 {
        if let Some(place) = self.peers.get(&peer) {
            return *place;
        }
        let place = self.open.peers.len() as u16;
        self.peers.insert(peer, place);
        self.open.peers.push(peer);
        self.bytes += PeerId::LEN;
        place
    }
}

fn empty(epoch: u64, region: &str, dropped: u64) -> Batch {
    let (names, peers, events) = (Vec::new(), Vec::new(), Vec::new());
    Batch { epoch, region: region.to_owned(), emitted: 0, dropped, names, peers, events }
}
