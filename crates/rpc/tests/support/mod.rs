//! Nodes in one process: real lanes and real frames, and between them a pump that plays the links.

#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use sinew_discovery::{AnnounceSpec, Grant, Provider, Providers, ProvidersError};
use sinew_flow::Budget;
use sinew_link::Lane;
use sinew_observe::{Metrics, Registry};
use sinew_rpc::{Calls, CallsConfig, Directory, Looking, Owner, Port};
use sinew_wire::call::{CallFrame, Data, DataFlags, Flags, Reply, Request, Status, Strategy};
use sinew_wire::{FrameHeader, FrameLimits, HEADER_LEN, Headers, PeerId, Procedure, ProviderHealth, Refusal, Serve};
use tokio::sync::Notify;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// What all nodes know of each other, at once.
#[derive(Clone, Default)]
pub(crate) struct Realm(Arc<Mutex<Leases>>);

#[derive(Default)]
struct Leases {
    rows: Vec<Row>,
    revision: u64,
    ids: u64,
    /// Numbers that ended, by node.
    ended: HashMap<PeerId, (Vec<u64>, Arc<Notify>)>,
    forgotten: usize,
    sets: HashMap<String, Arc<Providers>>,
    /// Sets are not brought up to date while this is set.
    frozen: bool,
}

struct Row {
    session: u64,
    lease: u32,
    name: String,
    provider: Provider,
}

impl Realm {
    pub(crate) fn session_lost(&self, node: PeerId, session: u64) {
        self.0.lock().end(node, |row| row.session == session);
    }

    /// From now on nobody hears of what changes, until it is forgotten.
    pub(crate) fn freeze(&self) {
        self.0.lock().frozen = true;
    }

    /// From now on everybody hears of it again.
    pub(crate) fn thaw(&self) {
        let mut leases = self.0.lock();
        leases.frozen = false;
        leases.changed();
    }

    pub(crate) fn forgotten(&self) -> usize {
        self.0.lock().forgotten
    }
}

impl Leases {
    fn end(&mut self, node: PeerId, which: impl Fn(&Row) -> bool) {
        let is_it = |row: &Row| row.provider.node == node && which(row);
        let gone: Vec<u64> = self.rows.iter().filter(|row| is_it(row)).map(|row| row.provider.id).collect();
        self.rows.retain(|row| !is_it(row));
        let (ended, notify) = self.ended.entry(node).or_default();
        ended.extend(gone);
        notify.notify_one();
        self.changed();
    }

    fn changed(&mut self) {
        if !self.frozen {
            self.revision += 1;
            self.sets.clear();
        }
    }

    fn set(&mut self, name: &str) -> Option<Arc<Providers>> {
        if let Some(set) = self.sets.get(name) {
            return Some(Arc::clone(set));
        }
        let instances: Vec<Provider> =
            self.rows.iter().filter(|row| row.name == name).map(|row| row.provider.clone()).collect();
        if instances.is_empty() {
            return None;
        }
        self.revision += 1;
        let set = Arc::new(Providers { revision: self.revision, instances });
        self.sets.insert(name.to_owned(), Arc::clone(&set));
        Some(set)
    }
}

pub(crate) struct NodeDirectory {
    pub(crate) realm: Realm,
    pub(crate) node: PeerId,
}

impl Directory for NodeDirectory {
    fn announce(&self, owner: Owner, spec: AnnounceSpec) -> Result<Grant, Refusal> {
        let mut leases = self.realm.0.lock();
        let ttl = Duration::from_secs(60);
        let known = leases.rows.iter_mut().find(|row| row.session == owner.session && row.lease == spec.lease);
        let procedure = Arc::new(spec.procedure.unwrap_or_default());
        if let Some(row) = known {
            row.provider.procedure = procedure;
            let id = row.provider.id;
            leases.changed();
            return Ok(Grant { ttl, id });
        }
        leases.ids += 1;
        let id = leases.ids;
        let provider = Provider {
            node: self.node,
            id,
            provider: owner.peer,
            instance: owner.instance,
            region: "".into(),
            procedure,
            health: ProviderHealth::Good,
        };
        leases.rows.push(Row { session: owner.session, lease: spec.lease, name: spec.name, provider });
        leases.changed();
        Ok(Grant { ttl, id })
    }

    fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal> {
        self.realm.0.lock().end(self.node, |row| row.session == session && row.lease == lease);
        Ok(())
    }

    fn set_health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal> {
        let mut leases = self.realm.0.lock();
        let row = leases.rows.iter_mut().find(|row| row.session == session && row.lease == lease);
        row.expect("is held").provider.health = health;
        leases.changed();
        Ok(())
    }

    fn providers<'a>(&'a self, name: &'a str, _: Duration) -> Looking<'a, Result<Arc<Providers>, ProvidersError>> {
        Box::pin(async move { self.realm.0.lock().set(name).ok_or(ProvidersError::NotFound) })
    }

    fn providers_now(&self, name: &str) -> Option<Arc<Providers>> {
        self.realm.0.lock().set(name)
    }

    fn revision(&self) -> u64 {
        self.realm.0.lock().revision
    }

    fn forget(&self, name: &str) {
        let mut leases = self.realm.0.lock();
        leases.forgotten += 1;
        leases.revision += 1;
        leases.sets.remove(name);
    }

    fn ended(&self) -> Looking<'_, Vec<u64>> {
        Box::pin(async move {
            loop {
                let (ended, notify) = {
                    let mut leases = self.realm.0.lock();
                    let (ended, notify) = leases.ended.entry(self.node).or_default();
                    (std::mem::take(ended), Arc::clone(notify))
                };
                if !ended.is_empty() {
                    return ended;
                }
                notify.notified().await;
            }
        })
    }
}

/// A node of the realm.
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    pub(crate) calls: Calls,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
}

/// A client of a node, as the tests play it.
pub(crate) struct Client {
    pub(crate) session: u64,
    pub(crate) owner: Owner,
    pub(crate) node: usize,
    pub(crate) lane: Arc<Lane>,
    pub(crate) port: Option<Port>,
}

/// Both directions of a link between two nodes.
struct Pair {
    ends: [usize; 2],
    /// Lane and port of each end.
    lanes: [Arc<Lane>; 2],
    ports: [Option<Port>; 2],
}

/// Nodes, their links, and their clients.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) realm: Realm,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pairs: Vec<Pair>,
}

pub(crate) fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

impl World {
    pub(crate) fn new(nodes: u8, config: &CallsConfig) -> Self {
        let mut world = Self::default();
        for n in 0..nodes {
            world.add_node(200 + n, config.clone());
        }
        for a in 0..nodes.into() {
            for b in a + 1..nodes.into() {
                world.connect(a, b);
            }
        }
        world
    }

    pub(crate) fn add_node(&mut self, n: u8, config: CallsConfig) -> usize {
        let metrics = Metrics::new(&mut Registry::default());
        let budget = Arc::new(Budget::new(64 << 20));
        let directory = NodeDirectory { realm: self.realm.clone(), node: peer(n) };
        let calls = Calls::start_with(config, peer(n), directory, Arc::clone(&budget), metrics.clone());
        self.nodes.push(Node { peer: peer(n), calls, budget, metrics });
        self.nodes.len() - 1
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let lanes = [Lane::new(4 << 20), Lane::new(4 << 20)];
        let port = |from: usize, to: usize, lane: &Arc<Lane>| {
            Some(self.nodes[from].calls.node(self.nodes[to].peer, Arc::clone(lane)))
        };
        let ports = [port(a, b, &lanes[0]), port(b, a, &lanes[1])];
        self.pairs.push(Pair { ends: [a, b], lanes, ports });
    }

    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        for pair in self.pairs.extract_if(.., |pair| pair.ends == [a, b] || pair.ends == [b, a]) {
            for lane in &pair.lanes {
                let _bytes = lane.close();
            }
        }
    }

    pub(crate) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.pairs.iter().any(|pair| pair.ends == [a, b] || pair.ends == [b, a])
    }

    pub(crate) fn client(&mut self, node: usize) -> usize {
        self.client_with(node, 4 << 20)
    }

    pub(crate) fn client_with(&mut self, node: usize, lane: usize) -> usize {
        let session = self.clients.len() as u64 + 1;
        let lane = Lane::new(lane);
        let owner = Owner { session, peer: peer(session as u8), instance: session };
        let port = Some(self.nodes[node].calls.client(owner, Arc::clone(&lane)));
        self.clients.push(Client { session, owner, node, lane, port });
        self.clients.len() - 1
    }

    /// The session of a client ends, as the gateway does it.
    pub(crate) fn leave(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let _bytes = client.lane.close();
        client.port = None;
        self.realm.session_lost(self.nodes[client.node].peer, client.session);
    }

    pub(crate) fn serve(&self, client: usize, name: &str, procedure: Procedure) {
        let Client { owner, node, .. } = &self.clients[client];
        let serve = Serve { lease: 1, name: name.to_owned(), ttl_ms: 0, metadata: Vec::new(), procedure };
        self.nodes[*node].calls.serve(*owner, serve).expect("is granted");
    }

    /// A provider of `name` at a node.
    pub(crate) fn provider(&mut self, node: usize, name: &str, procedure: Procedure) -> usize {
        let client = self.client(node);
        self.serve(client, name, procedure);
        client
    }

    pub(crate) fn try_send(&mut self, client: usize, frame: &CallFrame<'_>) -> Result<(), Refusal> {
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        let port = self.clients[client].port.as_mut().expect("is connected");
        port.frame(&out[HEADER_LEN..], Instant::now())
    }

    pub(crate) fn send(&mut self, client: usize, frame: &CallFrame<'_>) {
        self.try_send(client, frame).expect("breaks no rule");
    }

    pub(crate) fn call(&mut self, client: usize, number: u64, name: &str, body: &[u8]) {
        self.send(client, &CallFrame::Request(Request { body, ..request(number, name) }));
    }

    pub(crate) fn answer(&mut self, provider: usize, call: u64, status: Status, body: &[u8]) {
        self.send(provider, &CallFrame::Reply(Reply { body, ..Reply::failure(call, status, "") }));
    }

    /// Lets everything pass that waits between nodes.
    pub(crate) fn pump(&mut self) {
        while (0..self.pairs.len()).any(|pair| self.pump_one(pair, 0) | self.pump_one(pair, 1)) {}
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Lets pass what waits in one direction of a link. Whether there was something.
    pub(crate) fn pump_one(&mut self, pair: usize, from: usize) -> bool {
        let Pair { lanes, ports, .. } = &mut self.pairs[pair];
        let frames = frames(&lanes[from]);
        let port = ports[1 - from].as_mut().expect("is up");
        for frame in &frames {
            port.frame(&frame.0, Instant::now()).expect("nodes keep the rules");
        }
        !frames.is_empty()
    }

    /// Pumps until the tasks have nothing to do any more.
    pub(crate) async fn calm(&mut self) {
        for _ in 0..10 {
            self.pump();
            tokio::task::yield_now().await;
        }
        self.pump();
    }

    /// What a client has got, after all has passed.
    pub(crate) async fn got(&mut self, client: usize) -> Vec<Frame> {
        self.calm().await;
        frames(&self.clients[client].lane)
    }

    /// The next frames for a client, waited for.
    pub(crate) async fn some(&mut self, client: usize) -> Vec<Frame> {
        let begun = Instant::now();
        loop {
            let got = self.got(client).await;
            if !got.is_empty() {
                return got;
            }
            assert!(begun.elapsed() < PATIENCE, "waited too long for a frame");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next frame for a client, waited for.
    pub(crate) async fn next(&mut self, client: usize) -> Frame {
        let mut got = self.some(client).await;
        assert_eq!(got.len(), 1, "is one frame");
        got.remove(0)
    }

    /// Nothing is left of any call.
    pub(crate) fn assert_clean(&self) {
        for node in &self.nodes {
            assert_eq!(node.calls.open(), 0, "no call is left");
            assert_eq!(node.budget.used(), 0, "no memory is held");
            let view = node.calls.view();
            assert_eq!(view.queued, 0);
            assert!(view.providers.iter().all(|provider| provider.running == 0), "{view:?}");
            let in_flight = view.procedures.iter().flat_map(|procedure| &procedure.instances).map(|one| one.in_flight);
            assert_eq!(in_flight.sum::<u32>(), 0, "{:?}", view.procedures);
        }
        let clients = self.clients.iter().filter_map(|client| client.port.as_ref());
        let pairs = self.pairs.iter().flat_map(|pair| pair.ports.iter().flatten());
        assert!(clients.chain(pairs).all(|port| port.open() == 0 && port.asked() == 0), "no link has a call");
    }
}

/// The body of a call frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl Frame {
    pub(crate) fn frame(&self) -> CallFrame<'_> {
        CallFrame::decode(&self.0).expect("is a frame")
    }

    pub(crate) fn request(&self) -> Request<'_> {
        let CallFrame::Request(request) = self.frame() else { panic!("no request: {:?}", self.frame()) };
        request
    }

    pub(crate) fn reply(&self) -> Reply<'_> {
        let CallFrame::Reply(reply) = self.frame() else { panic!("no reply: {:?}", self.frame()) };
        reply
    }

    pub(crate) fn data(&self) -> Data<'_> {
        let CallFrame::Data(data) = self.frame() else { panic!("no data: {:?}", self.frame()) };
        data
    }
}

pub(crate) fn frames(lane: &Lane) -> Vec<Frame> {
    let mut chunks = Vec::new();
    lane.collect(&mut chunks, usize::MAX);
    let bytes = chunks.concat();
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        let header = FrameHeader::decode(*header, &FrameLimits::default()).expect("a header");
        let (body, behind) = behind.split_at(header.len);
        frames.push(Frame(body.to_vec()));
        rest = behind;
    }
    frames
}

pub(crate) fn request(call: u64, name: &str) -> Request<'_> {
    Request {
        call,
        flags: Flags::default(),
        strategy: Strategy::Balanced,
        priority: 0,
        target: 0,
        caller: PeerId::from_public_key([0; 32]),
        deadline_ms: 0,
        window: 256 << 10,
        answers: 0,
        name,
        key: &[],
        headers: Headers::default(),
        body: &[],
    }
}

pub(crate) fn data(call: u64, flags: DataFlags, body: &[u8]) -> CallFrame<'_> {
    CallFrame::Data(Data { call, flags, body })
}

pub(crate) fn idempotent() -> Procedure {
    Procedure { idempotent: true, ..Procedure::default() }
}
