//! A peer with an identity and a link of its own, and no node behind it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use sinew_link::{Address, Dialer, Fill, Identity, Link, LinkConfig, LinkReader, LinkWriter, Listener};
use sinew_wire::entry::Entry;
use sinew_wire::forward::{Flags, ForwardHeader, Groups};
use sinew_wire::{
    Control, Features, FrameKind, Hello, Limit, MeshControl, PROTOCOL_VERSION, PeerId, Refusal, Role, encode_control,
    encode_mesh,
};
use tokio::sync::mpsc;

use crate::crowd::{Told, Why};
use crate::support::PATIENCE;

/// The topic on which all of them publish.
pub(crate) const TOUCHED: &str = "touched";

/// So many in a row listen to one topic together.
pub(crate) const ROW: usize = 100;

pub(crate) struct Fake {
    pub(crate) number: usize,
    pub(crate) identity: Identity,
    told: mpsc::Sender<Told>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counted frames taken so far, over all links.
    received: u64,
    /// Messages published so far.
    published: u64,
    /// Takes frames without a word.
    holding: bool,
    /// What its present link is to send.
    orders: Option<mpsc::Sender<Bytes>>,
}

impl Fake {
    pub(crate) fn new(number: usize, told: mpsc::Sender<Told>) -> Arc<Self> {
        Arc::new(Self { number, identity: Identity::generate(), told, state: Mutex::default() })
    }

    /// When it was started, as its record says.
    pub(crate) const fn epoch(&self) -> u64 {
        1
    }

    /// What it listens to: one topic with its row, and one alone.
    pub(crate) fn topics(&self) -> [String; 2] {
        [format!("row.{}", self.number / ROW), format!("to.{}", self.number)]
    }

    /// One packet at a time is enough for it, and there are many. They dial a hundred at a time, and all handshakes are
    /// done by the same few cores: each may take as long as that takes.
    pub(crate) fn config() -> LinkConfig {
        LinkConfig {
            handshake_timeout: PATIENCE,
            socket_buffer: 64 << 10,
            local_udp_payload: 1_200,
            remote_udp_payload: 1_200,
            ..LinkConfig::default()
        }
    }

    pub(crate) async fn listen(&self) -> Listener {
        let address = "quic://127.0.0.1:0".parse().expect("an address");
        Listener::bind(&address, &self.identity, &Self::config()).await.expect("a free port")
    }

    /// Serves whoever dials.
    pub(crate) async fn accept(self: Arc<Self>, mut listener: Listener) {
        while let Ok(incoming) = listener.accept().await {
            let fake = Arc::clone(&self);
            tokio::spawn(async move {
                let Ok(link) = incoming.establish().await else { return };
                let mut link = Speaker::new(link);
                let Heard::Control(Control::Hello(_)) = link.hear().await else { return };
                let accepted = MeshControl::Accepted {
                    instance: fake.epoch(),
                    received: fake.state.lock().received,
                    window: 1 << 20,
                    features: Features::default(),
                };
                link.send(encoded(|out| encode_mesh(&accepted, out))).await;
                if let Heard::Mesh(MeshControl::Resume { .. }) = link.hear().await {
                    fake.serve(link).await;
                }
            });
        }
    }

    pub(crate) async fn dial(self: Arc<Self>, realm: String, address: Address, node: PeerId) {
        let dialer = Dialer::new(self.identity.clone(), Self::config());
        let link = dialer.dial_peer(&address, node).await.expect("it listens");
        let mut link = Speaker::new(link);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: Role::Node,
            realm,
            instance: self.epoch(),
            name: String::new(),
            features: Features::default(),
        };
        link.send(encoded(|out| encode_control(&Control::Hello(hello), out))).await;
        let answer = link.hear().await;
        assert!(matches!(answer, Heard::Mesh(MeshControl::Accepted { .. })), "{answer:?}");
        let received = self.state.lock().received;
        link.send(encoded(|out| encode_mesh(&MeshControl::Resume { received, window: 1 << 20 }, out))).await;
        self.serve(link).await;
    }

    async fn serve(&self, mut link: Speaker) {
        let (sender, mut orders) = mpsc::channel(8);
        self.state.lock().orders = Some(sender);
        self.tell(Told::Opened(self.number));
        let why = loop {
            let heard = tokio::select! {
                Some(frame) = orders.recv() => {
                    link.send(frame).await;
                    continue;
                }
                heard = link.hear() => heard,
            };
            match heard {
                Heard::Forward => {
                    self.tell(Told::Got(self.number));
                    if let Some(ack) = self.take() {
                        link.send(ack).await;
                    }
                }
                Heard::Mesh(_) => {}
                Heard::Control(Control::Ping { nonce }) => {
                    self.tell(Told::Pinged(self.number));
                    link.send(encoded(|out| encode_control(&Control::Pong { nonce }, out))).await;
                }
                Heard::Control(Control::Goodbye(goodbye)) => {
                    break match goodbye.reason {
                        Refusal::Limit { limit: Limit::Peers, .. } => Why::Evicted,
                        Refusal::Idle(_) => Why::Idle,
                        _ => Why::Other,
                    };
                }
                Heard::Control(_) | Heard::End => break Why::Other,
            }
        };
        self.tell(Told::Closed(self.number, why));
    }

    /// One frame more was taken: what is said to that.
    fn take(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        state.received += 1;
        (!state.holding).then(|| state.ack())
    }

    pub(crate) fn hold(&self) {
        self.state.lock().holding = true;
        self.tell(Told::Holds(self.number));
    }

    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.holding = false;
        let ack = state.ack();
        state.order(ack);
    }

    /// Publishes a message.
    pub(crate) fn touch(&self) {
        let mut state = self.state.lock();
        state.published += 1;
        let mut entries = BytesMut::new();
        Entry { id: &[], headers: &[], payload: self.number.to_string().as_bytes() }.encode(&mut entries);
        let header = ForwardHeader {
            flags: Flags::DIRECT,
            topic: TOUCHED,
            messages: 1,
            first_seq: state.published,
            entries_len: entries.len() as u32,
            ttl_ms: 0,
            ack: 0,
            deadline_ms: 0,
            instance: 1,
            publisher: self.identity.peer_id(),
            groups: Groups::NONE,
        };
        let frame = encoded(|out| {
            header.encode(entries.len(), out);
            out.put_slice(&entries);
        });
        state.order(frame);
    }

    fn tell(&self, told: Told) {
        self.told.try_send(told).expect("as much as waits has room");
    }
}

impl State {
    fn ack(&self) -> Bytes {
        let received = self.received;
        encoded(|out| encode_mesh(&MeshControl::ForwardAck { received }, out))
    }

    fn order(&self, frame: Bytes) {
        self.orders.as_ref().expect("a link").try_send(frame).expect("a link that is up");
    }
}

fn encoded(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

/// Both halves of a link.
struct Speaker {
    reader: LinkReader,
    writer: LinkWriter,
}

#[derive(Debug)]
enum Heard {
    Forward,
    Mesh(MeshControl),
    Control(Control),
    End,
}

impl Speaker {
    fn new(link: Link) -> Self {
        let (reader, writer) = link.split();
        Self { reader, writer }
    }

    /// A link that ends meanwhile is noticed by who reads.
    async fn send(&mut self, frame: Bytes) {
        let _ended = self.writer.send(&mut vec![frame]).await;
    }

    /// The next frame. Cancel safe.
    async fn hear(&mut self) -> Heard {
        loop {
            if let Some(frame) = self.reader.next_frame().expect("frames in order") {
                return match frame.kind {
                    FrameKind::Forward => Heard::Forward,
                    FrameKind::Mesh => Heard::Mesh(MeshControl::decode(frame.body).expect("a mesh frame")),
                    FrameKind::Control => Heard::Control(Control::decode(frame.body).expect("a control frame")),
                    other => panic!("{other:?}"),
                };
            }
            if !matches!(self.reader.fill().await, Ok(Fill::Frames)) {
                return Heard::End;
            }
        }
    }
}
