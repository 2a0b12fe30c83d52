//! The task that owns the swarm. It awaits the swarm, its queues and its clock, and nothing else.
//!
//! | file | duty |
//! |---|---|
//! | `mod` | state, loop, listeners |
//! | `bootstrap` | addresses to begin with |
//! | `close` | the end |
//! | `connections` | who is connected, and of which realm |
//! | `dht` | provider records |
//! | `dials` | who is dialled, and what became of it |
//! | `lane` | the way of messages to one peer |
//! | `out` | events on their way to the membership |
//! | `peer` | what is known of one peer |
//! | `relays` | reservations |
//! | `requests` | requests, ours and those of others |
//! | `sweep` | what is done every second, and the snapshots |
//! | `traffic` | messages and links |

mod bootstrap;
mod close;
mod connections;
mod dht;
mod dials;
mod lane;
mod out;
mod peer;
mod relays;
mod requests;
mod sweep;
mod traffic;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use libp2p::core::transport::ListenerId;
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId as Theirs, Swarm, TransportError};
use sinew_link::{Identity, Link};
use sinew_wire::PeerId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior, timeout};

use self::bootstrap::{Action, Bootstrap};
use self::dht::Dht;
use self::lane::Written;
use self::out::Out;
use self::peer::Peer;
use self::relays::Relays;
use crate::backoff::Backoff;
use crate::behaviour::{Behaviour, Names};
use crate::event::Reply;
use crate::shared::{Command, Shared};
use crate::{Ask, Event, Nat, OverlayConfig, OverlayError, Purpose, RequestError, address, names, peer_id, swarm};

/// The clock of everything that is not urgent to the millisecond.
const TICK: Duration = Duration::from_millis(200);

/// How long listeners may take to bind.
const BIND: Duration = Duration::from_secs(5);

/// Requests of others that wait for their reply, at most.
const ASKS: usize = 512;

/// Messages that were read and wait for the task.
const INBOX: usize = 64;

/// Counts one.
macro_rules! meter {
    ($task:expr, $name:ident) => {
        meter!($task, $name, 1)
    };
    ($task:expr, $name:ident, $many:expr) => {{
        $task.shared.meters.$name.fetch_add($many, std::sync::atomic::Ordering::Relaxed);
    }};
}
pub(crate) use meter;

/// A message that was read, and its sender.
type Inbound = (PeerId, Bytes);

/// What a task of ours came back with.
enum Note {
    Written(Written),
    Resolved(usize, Result<Vec<Multiaddr>, String>),
    /// A reader ended.
    Read,
}

/// A request of ours that is under way.
struct Asked {
    peer: PeerId,
    reply: oneshot::Sender<Result<Bytes, RequestError>>,
}

/// What a stream is opened for.
enum Opening {
    Lane(PeerId),
    Link(PeerId, oneshot::Sender<Result<Link, OverlayError>>),
}

pub(crate) struct Task {
    swarm: Swarm<Behaviour>,
    names: Names,
    config: OverlayConfig,
    shared: Arc<Shared>,
    own: PeerId,
    theirs: Theirs,

    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    asks: mpsc::Sender<Ask>,
    replies: (mpsc::Sender<Reply>, mpsc::Receiver<Reply>),
    inbox: (mpsc::Sender<Inbound>, mpsc::Receiver<Inbound>),
    tasks: JoinSet<Note>,
    out: Out,

    peers: HashMap<PeerId, Peer>,
    backoff: Backoff,
    bootstrap: Bootstrap,
    relays: Relays,
    dht: Dht,
    requests: HashMap<(Purpose, OutboundRequestId), Asked>,
    opening: HashMap<u64, Opening>,
    /// Peers found by multicast DNS: tried again now and then.
    nearby: HashSet<Theirs>,

    /// Listeners of our own addresses, as they were configured.
    listeners: HashMap<ListenerId, String>,
    external: HashSet<Multiaddr>,
    nat: Nat,
    /// Peers that have a reservation with us.
    reserved: HashSet<Theirs>,
    /// Circuits of others through us, by both of their ends.
    circuits: HashMap<Theirs, u32>,

    /// Connections of ours through relays, by relay.
    through: HashMap<Theirs, u32>,

    next_number: u64,
    /// Something of the snapshots changed.
    dirty: bool,
    addresses_dirty: bool,
    started: Instant,
    next_sweep: Instant,
    ended: Option<oneshot::Sender<()>>,
}

impl Task {
    pub(crate) fn new(
        identity: &Identity,
        config: OverlayConfig,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        asks: mpsc::Sender<Ask>,
    ) -> Result<Self, OverlayError> {
        let names = Names::new(&config.realm)?;
        let book = Arc::clone(&shared.book);
        let swarm = swarm::build(identity.keypair(), &names, &config, book, &shared.meters)?;
        let (theirs, own, now) = (*swarm.local_peer_id(), shared.peer, Instant::now());
        let mut bootstrap = Bootstrap::new(theirs);
        for text in &config.bootstrap {
            bootstrap.add(text, parse(text)?, now);
        }
        Ok(Self {
            swarm,
            names,
            shared,
            own,
            theirs,
            commands,
            events,
            asks,
            replies: mpsc::channel(ASKS),
            inbox: mpsc::channel(INBOX),
            tasks: JoinSet::new(),
            out: Out::default(),
            peers: HashMap::new(),
            backoff: Backoff::new(),
            bootstrap,
            relays: Relays::default(),
            dht: Dht::new(now),
            requests: HashMap::new(),
            opening: HashMap::new(),
            nearby: HashSet::new(),
            listeners: HashMap::new(),
            external: HashSet::new(),
            nat: Nat::Unknown,
            reserved: HashSet::new(),
            circuits: HashMap::new(),
            through: HashMap::new(),
            next_number: 0,
            dirty: true,
            addresses_dirty: true,
            started: now,
            next_sweep: now,
            ended: None,
            config,
        })
    }

    /// Binds the listeners, and returns when each has an address.
    pub(crate) async fn listen(&mut self) -> Result<(), OverlayError> {
        let now = Instant::now();
        for text in self.config.external.clone() {
            let address = address::split_peer(parse(&text)?).0;
            self.swarm.add_external_address(address.clone());
            self.external.insert(address);
            self.nat = Nat::Public;
        }
        for text in self.config.listen.clone() {
            let address = parse(&text)?;
            if address::is_relayed(&address) {
                self.listen_at_relay(&text, address, now)?;
                continue;
            }
            let listener = self.swarm.listen_on(address).map_err(|error| listen_error(&text, error))?;
            self.listeners.insert(listener, text);
        }
        let mut missing: HashSet<ListenerId> = self.listeners.keys().copied().collect();
        let binding = async {
            while !missing.is_empty() {
                let event = self.swarm.select_next_some().await;
                match &event {
                    SwarmEvent::NewListenAddr { listener_id, .. } => {
                        missing.remove(listener_id);
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                    | SwarmEvent::ListenerError { listener_id, error }
                        if missing.contains(listener_id) =>
                    {
                        let address = self.listeners.get(listener_id).cloned().unwrap_or_default();
                        let source = io::Error::new(error.kind(), error.to_string());
                        return Err(OverlayError::Listen { address, source });
                    }
                    _ => {}
                }
                self.on_swarm(event);
            }
            Ok(())
        };
        // Without a network there is no address to wait for; one may come later.
        timeout(BIND, binding).await.unwrap_or(Ok(()))?;
        self.publish_addresses();
        self.publish_snapshots();
        Ok(())
    }

    /// `<relay>/p2p/ID/p2p-circuit`: the relay is a node to begin with, and is asked when it is connected.
    fn listen_at_relay(&mut self, text: &str, address: Multiaddr, now: Instant) -> Result<(), OverlayError> {
        let problem = |problem: &str| OverlayError::Address { address: text.to_owned(), problem: problem.to_owned() };
        let (circuit, _) = address::split_peer(address);
        let relay = address::relay_of(&circuit).and_then(|relay| peer_id::ours(&relay));
        let relay = relay.ok_or_else(|| problem("the relay is no node: its key is not an Ed25519 key"))?;
        let mut begin = circuit.clone();
        begin.pop();
        self.bootstrap.add(text, begin, now);
        self.relays.configure(relay, circuit, now);
        Ok(())
    }

    pub(crate) async fn run(mut self) {
        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => {
                        self.ended = Some(reply);
                        break;
                    }
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(reply) = self.replies.1.recv() => self.on_reply(reply),
                Some((from, body)) = self.inbox.1.recv(), if self.out.has_room() => self.on_message(from, body),
                () = room(&self.events), if !self.out.is_empty() => {}
                Some(note) = self.tasks.join_next() => match note {
                    Ok(note) => self.on_note(note),
                    Err(error) => tracing::error!(%error, "a task of the overlay ended early"),
                },
                _ = tick.tick() => {
                    self.on_tick();
                    if let Some(beat) = self.shared.beat.get() {
                        beat().await;
                    }
                }
            }
            self.deliver();
        }
        let ended = self.ended.take();
        // Everything is gone before it is said so.
        self.end().await;
        if let Some(ended) = ended {
            let _gone = ended.send(());
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Send { to, message } => self.send(to, message, now),
            Command::Request { to, purpose, body, reply } => self.request(to, purpose, body, reply, now),
            Command::Provide { key, reply } => self.provide(key, reply, now),
            Command::Providers { key, deadline, reply } => self.providers(key, deadline, reply),
            Command::OpenLink { peer, reply } => self.open_link(peer, reply, now),
            Command::Shutdown { reply } => self.ended = Some(reply),
        }
    }

    fn on_note(&mut self, note: Note) {
        let now = Instant::now();
        match note {
            Note::Written(written) => self.on_written(written, now),
            Note::Resolved(index, result) => {
                for action in self.bootstrap.resolved(index, result, now) {
                    self.begin(action, now);
                }
            }
            Note::Read => {}
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        for action in self.bootstrap.due(now) {
            self.begin(action, now);
        }
        self.tend_relays(now);
        self.tend_dht(now);
        if self.next_sweep <= now {
            self.sweep(now);
        }
        if std::mem::take(&mut self.addresses_dirty) {
            self.publish_addresses();
        }
        if std::mem::take(&mut self.dirty) {
            self.publish_snapshots();
        }
    }

    /// Does what the bootstrap wants.
    fn begin(&mut self, action: Action, now: Instant) {
        match action {
            Action::Resolve(index, address) => {
                self.tasks.spawn(async move {
                    Note::Resolved(index, names::resolve(address).await.map_err(|error| error.to_string()))
                });
            }
            Action::Dial(index, address, expected) => self.dial_address(index, address, expected, now),
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Waits until an event can be handed over, or nobody listens.
async fn room(events: &mpsc::Sender<Event>) {
    let _place = events.reserve().await;
}

fn parse(text: &str) -> Result<Multiaddr, OverlayError> {
    address::parse(text).map_err(|problem| OverlayError::Address { address: text.chars().take(200).collect(), problem })
}

fn listen_error(text: &str, error: TransportError<io::Error>) -> OverlayError {
    match error {
        TransportError::MultiaddrNotSupported(_) => {
            let problem = "nothing to listen on (names are for dialling)".to_owned();
            OverlayError::Address { address: text.to_owned(), problem }
        }
        TransportError::Other(source) => OverlayError::Listen { address: text.to_owned(), source },
    }
}
