//! Links between two peers in one process.

#![allow(dead_code, reason = "every test file takes what it needs")]

use bytes::{Bytes, BytesMut};
use sinew_link::{Address, Dialer, Fill, Identity, Link, LinkConfig, LinkReader, LinkWriter, Listener, Transport};
use sinew_wire::{FrameHeader, FrameKind};

/// What is listened on and dialled.
pub(crate) const TRANSPORTS: [&str; 3] = ["quic", "tls", "unix"];

/// What frames run over.
pub(crate) const STREAMS: [&str; 5] = ["quic", "tls", "unix", "memory", "overlay"];

pub(crate) type Halves = (LinkReader, LinkWriter);

/// Both ends of one link, client first.
pub(crate) struct Pair {
    pub(crate) client: Halves,
    pub(crate) server: Halves,
    pub(crate) transport: Transport,
}

pub(crate) async fn listen(scheme: &str, config: &LinkConfig, identity: &Identity) -> (Listener, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let address: Address = match scheme {
        "unix" => Address::Unix(directory.path().join("sinew.sock")),
        "memory" => Address::Memory(identity.peer_id().to_string()),
        scheme => format!("{scheme}://127.0.0.1:0").parse().unwrap(),
    };
    (Listener::bind(&address, identity, config).await.unwrap(), directory)
}

pub(crate) async fn pair(scheme: &str) -> Pair {
    pair_with(scheme, LinkConfig::default()).await
}

/// Both ends of one link. The listener of a QUIC link sees it with the first frame, so one is sent and taken.
pub(crate) async fn pair_with(scheme: &str, config: LinkConfig) -> Pair {
    if scheme == "overlay" {
        return pair_over_a_pipe(&config);
    }
    let (server, client) = (Identity::generate(), Identity::generate());
    let (mut listener, directory) = listen(scheme, &config, &server).await;
    let dialer = Dialer::new(client.clone(), config);
    let address = listener.address();
    let (client_link, server_link) = tokio::join!(
        async {
            let link = dialer.dial(&address).await.unwrap();
            assert_eq!((link.peer(), link.transport().as_str()), (server.peer_id(), scheme));
            let (reader, mut writer) = link.split();
            writer.send(&mut vec![frame(FrameKind::Control, b"hello")]).await.unwrap();
            (reader, writer)
        },
        async {
            let link = listener.accept().await.unwrap().establish().await.unwrap();
            assert_eq!((link.peer(), link.transport().as_str()), (client.peer_id(), scheme));
            let transport = link.transport();
            let (mut reader, writer) = link.split();
            assert_eq!(read_frame(&mut reader).await, (FrameKind::Control, b"hello".to_vec()));
            (transport, (reader, writer))
        }
    );
    drop(directory);
    let (transport, server) = server_link;
    Pair { client: client_link, server, transport }
}

pub(crate) fn frame(kind: FrameKind, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + body.len());
    FrameHeader { kind, len: body.len() }.encode(&mut bytes);
    bytes.extend_from_slice(body);
    bytes.freeze()
}

pub(crate) async fn read_frame(reader: &mut LinkReader) -> (FrameKind, Vec<u8>) {
    assert_eq!(reader.fill().await.unwrap(), Fill::Frames);
    let frame = reader.next_frame().unwrap().unwrap();
    (frame.kind, frame.body.to_vec())
}

/// Both ends of a link over a stream that somebody else made.
fn pair_over_a_pipe(config: &LinkConfig) -> Pair {
    let (one, other) = tokio::io::duplex(64 << 10);
    let link = |stream| {
        let (read, write) = tokio::io::split(stream);
        let peer = Identity::generate().peer_id();
        Link::over(peer, Transport::Overlay, "a pipe".to_owned(), read, write, config).split()
    };
    Pair { client: link(one), server: link(other), transport: Transport::Overlay }
}
