//! Peers that are no members, and members that break the rules.

mod support;

use bytes::{BufMut, BytesMut};
use sinew_link::{Dialer, Fill, Identity, LinkConfig, LinkReader, LinkWriter};
use sinew_wire::forward::{Flags, ForwardHeader, Groups};
use sinew_wire::{
    Control, Features, FrameHeader, FrameKind, Hello, MeshControl, PROTOCOL_VERSION, Policy, Refusal, Role,
    encode_control, encode_mesh,
};
use support::{Node, PATIENCE, eventually, nodes};

/// Speaks for a node whose key it has, or for a stranger.
struct Rogue {
    reader: LinkReader,
    writer: LinkWriter,
    /// Where the other side begins to count what it takes.
    base: u64,
}

/// Writes frames as this node.
type Frames = fn(&mut BytesMut, &Node);

/// What it hears.
#[derive(Debug, PartialEq)]
enum Heard {
    Mesh(MeshControl),
    Control(Control),
    End,
}

impl Rogue {
    async fn dial(to: &Node, identity: &Identity) -> Self {
        let dialer = Dialer::new(identity.clone(), LinkConfig::default());
        let link = dialer.dial_peer(&to.listening[0], to.peer()).await.expect("it listens");
        let (reader, writer) = link.split();
        Self { reader, writer, base: 0 }
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        write(&mut out);
        self.writer.send(&mut vec![out.freeze()]).await.expect("it is taken");
    }

    async fn hello(&mut self, realm: &str, instance: u64) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: Role::Node,
            realm: realm.to_owned(),
            instance,
            name: String::new(),
            features: Features::default(),
        };
        self.send(|out| encode_control(&Control::Hello(hello), out)).await;
    }

    async fn hear(&mut self) -> Heard {
        let hearing = async {
            match self.reader.fill().await {
                Ok(Fill::Frames) => {}
                Ok(Fill::End) | Err(_) => return Heard::End,
            }
            let frame = self.reader.next_frame().expect("a frame").expect("a whole one");
            match frame.kind {
                FrameKind::Mesh => Heard::Mesh(MeshControl::decode(frame.body).expect("a mesh frame")),
                FrameKind::Control => Heard::Control(Control::decode(frame.body).expect("a control frame")),
                other => panic!("{other:?}"),
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.expect("it answers")
    }

    /// The reason of the goodbye, whatever comes before it.
    async fn goodbye(&mut self) -> Refusal {
        loop {
            match self.hear().await {
                Heard::Control(Control::Goodbye(goodbye)) => return goodbye.reason,
                Heard::End => panic!("it ended without a word"),
                _ => {}
            }
        }
    }

    /// Does the whole handshake as a node whose key it has.
    async fn enter(to: &Node, realm: &str, disguise: &Node) -> Self {
        let mut rogue = Self::dial(to, &disguise.identity).await;
        rogue.hello(realm, disguise.epoch).await;
        let accepted = rogue.hear().await;
        let Heard::Mesh(MeshControl::Accepted { received, .. }) = accepted else { panic!("{accepted:?}") };
        rogue.base = received;
        rogue.send(|out| encode_mesh(&MeshControl::Resume { received: 0, window: 1 << 20 }, out)).await;
        rogue
    }
}

/// Two nodes of a realm, of which the second is played by somebody else.
async fn pair() -> ([Node; 2], String) {
    let nodes: [Node; 2] = nodes(|setup| {
        setup.mesh.stranger_timeout = std::time::Duration::from_millis(300);
        setup.mesh.max_strangers = 2;
    })
    .await;
    let realm = nodes[0].realm.clone();
    (nodes, realm)
}

fn forward(out: &mut BytesMut, disguise: &Node, entries: &[u8], messages: u32) {
    let header = ForwardHeader {
        flags: Flags::DIRECT,
        topic: "a",
        messages,
        first_seq: 1,
        entries_len: entries.len() as u32,
        ttl_ms: 0,
        ack: 0,
        deadline_ms: 0,
        instance: 1,
        publisher: disguise.peer(),
        groups: Groups::NONE,
    };
    header.encode(entries.len(), out);
    out.put_slice(entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_served_nothing_and_sent_away() {
    let ([node, _other], realm) = pair().await;
    let stranger = Identity::generate();
    let mut rogue = Rogue::dial(&node, &stranger).await;
    rogue.hello(&realm, 1).await;
    assert_eq!(rogue.goodbye().await, Refusal::Denied("not a member of the realm".to_owned()));
    assert_eq!(rogue.hear().await, Heard::End);

    // Of many only some may wait.
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut rogue = Rogue::dial(&node, &Identity::generate()).await;
        rogue.hello(&realm, 1).await;
        crowd.push(rogue);
    }
    for rogue in &mut crowd {
        assert!(matches!(rogue.goodbye().await, Refusal::Denied(_)));
    }
    let counted = |name: &str| node.counter(name);
    eventually("they are counted", || counted("strangers_refused") == 9).await;
    assert!(counted("strangers_turned_away") >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_realm_or_epoch_is_refused() {
    let ([node, disguise], realm) = pair().await;
    let mut rogue = Rogue::dial(&node, &disguise.identity).await;
    rogue.hello("another", disguise.epoch).await;
    assert_eq!(rogue.goodbye().await, Refusal::Realm("another".to_owned()));
    for epoch in [disguise.epoch - 1, disguise.epoch + 1, u64::MAX] {
        let mut rogue = Rogue::dial(&node, &disguise.identity).await;
        rogue.hello(&realm, epoch).await;
        assert!(matches!(rogue.goodbye().await, Refusal::Denied(_)), "{epoch}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_handshake_is_served_before_it_is_done() {
    let ([node, disguise], realm) = pair().await;
    let mut rogue = Rogue::dial(&node, &disguise.identity).await;
    rogue.hello(&realm, disguise.epoch).await;
    assert!(matches!(rogue.hear().await, Heard::Mesh(MeshControl::Accepted { .. })));
    rogue.send(|out| forward(out, &disguise, b"12345678", 1)).await;
    assert!(matches!(rogue.goodbye().await, Refusal::Protocol(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_rules_end_the_link_with_the_reason() {
    let ([node, disguise], realm) = pair().await;
    let cases: [(&str, Frames); 6] = [
        ("entries that are none", |out, node| forward(out, node, b"12345678", 1)),
        ("more messages than there are", |out, node| forward(out, node, &[0; 8], 7)),
        ("an acknowledgement of what was never sent", |out, _| {
            encode_mesh(&MeshControl::ForwardAck { received: u64::MAX }, out);
        }),
        ("a second handshake", |out, _| {
            encode_mesh(&MeshControl::Resume { received: 0, window: 0 }, out);
        }),
        ("a frame that only clients send", |out, _| {
            FrameHeader { kind: FrameKind::Publish, len: 3 }.encode(out);
            out.put_slice(b"abc");
        }),
        ("control that only clients send", |out, _| {
            encode_control(&Control::Unsubscribe { subscription: 1 }, out);
        }),
    ];
    for (n, (what, write)) in cases.into_iter().enumerate() {
        let mut rogue = Rogue::enter(&node, &realm, &disguise).await;
        rogue.send(|out| write(out, &disguise)).await;
        let reason = rogue.goodbye().await;
        assert!(matches!(reason, Refusal::Protocol(_) | Refusal::Limit { .. }), "{what}: {reason}");
        eventually("it is counted", || node.counter("violations") == n as u64 + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_floods_a_slow_subscriber_costs_bounded_memory_and_is_heard_no_worse() {
    let ([node, disguise], realm) = pair().await;
    let mut slow = node.client(1);
    slow.subscribe(1, "a", Policy::Block);
    let Rogue { mut reader, mut writer, base } = Rogue::enter(&node, &realm, &disguise).await;
    // Far beyond the window and what it is asked to hold back.
    let mut entry = BytesMut::new();
    let payload = vec![7; 1_000_000];
    sinew_wire::entry::Entry { id: &[], headers: &[], payload: &payload }.encode(&mut entry);
    let sending = async move {
        for _ in 0..300 {
            let mut out = BytesMut::new();
            forward(&mut out, &disguise, &entry, 1);
            writer.send(&mut vec![out.freeze()]).await.expect("it is taken");
        }
        writer
    };
    let reading = async {
        let (mut told, mut held) = (base, false);
        while told < base + 300 {
            assert_eq!(reader.fill().await.expect("no goodbye"), Fill::Frames);
            while let Some(frame) = reader.next_frame().expect("a frame") {
                if frame.kind != FrameKind::Mesh {
                    continue;
                }
                match MeshControl::decode(frame.body) {
                    Ok(MeshControl::ForwardAck { received }) => told = received,
                    Ok(MeshControl::Hold { .. }) => held = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        held
    };
    let (_writer, held) = tokio::join!(sending, reading);
    assert!(node.budget.used() <= node.budget.limit() / 3, "{} bytes", node.budget.used());
    assert!(held, "it was asked to hold back");
}
