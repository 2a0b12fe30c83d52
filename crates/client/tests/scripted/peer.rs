//! A node that does what a test tells it: a real listener, with the protocol done by hand.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sinew_client::{Builder, Client, PeerId, Refusal};
use sinew_link::{Address, Fill, Identity, LinkConfig, LinkReader, LinkWriter, Listener};
use sinew_wire::call::CallFrame;
use sinew_wire::deliver::{self, DeliverHeader};
use sinew_wire::entry::{Entries, Entry};
use sinew_wire::publish::{self, PublishHeader};
use sinew_wire::{
    Control, Features, FrameKind, FrameLimits, Goodbye, Hello, PublishResult, Subscribe, Welcome, encode_control, pack,
};
use tempfile::TempDir;

use crate::frames::Frame;

/// Longer than anything here takes, shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Whether a future is still not done after everything else had its turn.
pub(crate) async fn is_pending<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), future).await.is_err()
}

pub(crate) struct Node {
    listener: Listener,
    identity: Identity,
    pub(crate) url: String,
    _dir: TempDir,
}

impl Node {
    pub(crate) async fn on_unix() -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        let address = Address::Unix(dir.path().join("node.sock"));
        Self::bind(&address, dir).await
    }

    pub(crate) async fn on(address: &str) -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        Self::bind(&address.parse().expect("is an address"), dir).await
    }

    async fn bind(address: &Address, dir: TempDir) -> Self {
        let identity = Identity::generate();
        let listener = Listener::bind(address, &identity, &LinkConfig::default()).await.expect("binds");
        let url = listener.address().to_string();
        Self { listener, identity, url, _dir: dir }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            version: 1,
            session: 7,
            node: self.identity.peer_id(),
            features: Features::LZ4,
            publish_window: 1 << 20,
            max_open_acks: 8_192,
            max_message_bytes: 1 << 20,
            max_header_bytes: 4 << 10,
            keep_alive_ms: 15_000,
            idle_timeout_ms: 60_000,
        }
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder().server(&self.url).reconnect(sinew_client::Reconnect {
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(20),
            max_attempts: None,
        })
    }

    /// A client, and its link as this node sees it.
    pub(crate) async fn connected(&mut self) -> (Client, Peer) {
        let welcome = self.welcome();
        self.connected_by(self.builder(), welcome).await
    }

    pub(crate) async fn connected_by(&mut self, builder: Builder, welcome: Welcome) -> (Client, Peer) {
        let (client, peer) = tokio::join!(builder.connect(), self.accept_with(welcome));
        (client.expect("connects"), peer)
    }

    /// Accepts, and says welcome.
    pub(crate) async fn accept(&mut self) -> Peer {
        self.accept_with(self.welcome()).await
    }

    pub(crate) async fn accept_with(&mut self, welcome: Welcome) -> Peer {
        let mut peer = self.accept_silently().await;
        peer.send(Control::Welcome(welcome)).await;
        peer
    }

    /// Accepts, hears the hello, and says nothing.
    pub(crate) async fn accept_silently(&mut self) -> Peer {
        let link = soon("a link", async {
            let incoming = self.listener.accept().await.expect("accepts");
            incoming.establish().await.expect("establishes")
        })
        .await;
        let publisher = link.peer();
        let (reader, writer) = link.split();
        let mut peer = Peer { reader, writer, publisher, hello: None };
        match peer.next().await {
            Got::Control(Control::Hello(hello)) => peer.hello = Some(hello),
            other => panic!("expected a hello, got {other:?}"),
        }
        peer
    }

    pub(crate) async fn refuse_next(&mut self, reason: Refusal) {
        self.accept_silently().await.goodbye(reason).await;
    }
}

/// A client's link, seen from the node.
pub(crate) struct Peer {
    reader: LinkReader,
    writer: LinkWriter,
    pub(crate) publisher: PeerId,
    pub(crate) hello: Option<Hello>,
}

/// A run as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) flags: publish::Flags,
    pub(crate) first_seq: u64,
    pub(crate) ttl_ms: u32,
    pub(crate) deadline_ms: u32,
    pub(crate) entries_len: u32,
    pub(crate) messages: Vec<Sent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Got {
    Control(Control),
    Publish(Published),
    Call(Frame),
    End,
}

impl Peer {
    /// The next thing the client says; a broken link counts as its end.
    pub(crate) async fn next(&mut self) -> Got {
        soon("a frame", async {
            match self.reader.fill().await {
                Ok(Fill::Frames) => {}
                Ok(Fill::End) | Err(_) => return Got::End,
            }
            let frame = self.reader.next_frame().expect("is a frame").expect("is there");
            match frame.kind {
                FrameKind::Control => Got::Control(Control::decode(frame.body).expect("is valid")),
                FrameKind::Publish => Got::Publish(published(frame.body)),
                FrameKind::Call => Got::Call(CallFrame::decode(frame.body).expect("is valid").into()),
                kind => panic!("a client does not send {kind:?}"),
            }
        })
        .await
    }

    pub(crate) async fn next_control(&mut self) -> Control {
        match self.next().await {
            Got::Control(control) => control,
            other => panic!("expected a control frame, got {other:?}"),
        }
    }

    pub(crate) async fn next_publish(&mut self) -> Published {
        match self.next().await {
            Got::Publish(run) => run,
            other => panic!("expected a publish frame, got {other:?}"),
        }
    }

    pub(crate) async fn next_subscribe(&mut self) -> Subscribe {
        match self.next_control().await {
            Control::Subscribe(subscribe) => subscribe,
            other => panic!("expected a subscribe, got {other:?}"),
        }
    }

    /// Answers the next subscribe.
    pub(crate) async fn confirm_next(&mut self) -> Subscribe {
        let subscribe = self.next_subscribe().await;
        self.send(Control::Subscribed { subscription: subscribe.subscription }).await;
        subscribe
    }

    /// Answers the next ping.
    pub(crate) async fn pong_next(&mut self) {
        match self.next_control().await {
            Control::Ping { nonce } => self.send(Control::Pong { nonce }).await,
            other => panic!("expected a ping, got {other:?}"),
        }
    }

    pub(crate) async fn expect_end(&mut self) {
        match self.next().await {
            Got::End => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }

    pub(crate) async fn expect_goodbye(&mut self) -> Refusal {
        match self.next_control().await {
            Control::Goodbye(goodbye) => goodbye.reason,
            other => panic!("expected a goodbye, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, control: Control) {
        let mut frame = BytesMut::new();
        encode_control(&control, &mut frame);
        self.send_raw(frame.freeze()).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: Bytes) {
        soon("the link", self.writer.send(&mut vec![bytes])).await.expect("sends");
    }

    /// Says goodbye and ends its side.
    pub(crate) async fn goodbye(mut self, reason: Refusal) -> LinkReader {
        self.send(Control::Goodbye(Goodbye { reason })).await;
        // The client may have hung up by then.
        let _gone = soon("the end", self.writer.finish()).await;
        self.reader
    }

    pub(crate) async fn result(&mut self, run: &Published, matched: u64, delivered: u64) {
        let result = PublishResult {
            first_seq: run.first_seq,
            messages: run.messages.len() as u32,
            matched,
            delivered,
            dropped: 0,
            unknown: matched - delivered,
            duplicates: 0,
            refusal: None,
        };
        self.send(Control::PublishResult(result)).await;
    }

    pub(crate) async fn deliver(&mut self, run: Delivery<'_>) {
        self.send_raw(run.encode(self.publisher)).await;
    }
}

fn published(body: &[u8]) -> Published {
    let (header, block) = PublishHeader::decode(body).expect("is a publish frame");
    let block = if header.flags.contains(publish::Flags::PACKED) {
        pack::unpack(block, header.entries_len, &FrameLimits::default()).expect("unpacks")
    } else {
        block.to_vec()
    };
    let messages: Vec<_> = Entries::new(&block)
        .map(|(_, entry)| Sent {
            id: entry.id.to_vec(),
            headers: entry.headers.to_vec(),
            payload: entry.payload.to_vec(),
        })
        .collect();
    assert_eq!(messages.len(), header.messages as usize);
    Published {
        topic: header.topic.to_owned(),
        flags: header.flags,
        first_seq: header.first_seq,
        ttl_ms: header.ttl_ms,
        deadline_ms: header.deadline_ms,
        entries_len: header.entries_len,
        messages,
    }
}

/// A run to deliver.
#[derive(Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) subscription: u32,
    pub(crate) topic: &'a str,
    pub(crate) first_seq: u64,
    pub(crate) payloads: &'a [&'a [u8]],
    pub(crate) ack: u64,
    pub(crate) retained: bool,
    pub(crate) packed: bool,
}

impl<'a> Delivery<'a> {
    pub(crate) const fn to(subscription: u32, first_seq: u64, payloads: &'a [&'a [u8]]) -> Self {
        Self { subscription, topic: "a.b", first_seq, payloads, ack: 0, retained: false, packed: false }
    }

    pub(crate) fn encode(&self, publisher: PeerId) -> Bytes {
        let mut block = BytesMut::new();
        for payload in self.payloads {
            Entry { id: &[], headers: &[], payload }.encode(&mut block);
        }
        let mut flags = deliver::Flags::default();
        if self.retained {
            flags = flags.with(deliver::Flags::RETAINED);
        }
        let entries_len = block.len() as u32;
        let body = if self.packed {
            flags = flags.with(deliver::Flags::PACKED);
            pack::pack(&block).expect("shrinks")
        } else {
            block.to_vec()
        };
        let header = DeliverHeader {
            flags,
            topic: self.topic,
            messages: self.payloads.len() as u32,
            first_seq: self.first_seq,
            subscription: self.subscription,
            entries_len,
            ack: self.ack,
            instance: 1,
            publisher,
        };
        let mut frame = BytesMut::new();
        header.encode(body.len(), &mut frame);
        frame.extend_from_slice(&body);
        frame.freeze()
    }
}
