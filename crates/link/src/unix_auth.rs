//! Who is on the other end of a Unix socket.
//!
//! Both sides send a nonce and their public key, and sign both nonces and both keys, each in its own role:
//!
//! ```text
//! dialer   -> hello: magic "sinew/1\n" | nonce [32] | public key [32]
//! listener -> hello | signature [64] of transcript(listener)
//! dialer   -> signature [64] of transcript(dialer)
//!
//! transcript(role) = "sinew/1 unix" | role [1] | dialer's nonce | listener's nonce | dialer's key | listener's key
//! ```
//!
//! This proves who holds the key, not that nobody sits in between: against that stand the permissions of the socket's
//! directory, as for all that is said on the socket.

use rand::Rng;
use sinew_wire::PeerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::identity::verify;
use crate::{Identity, LinkError};

const MAGIC: &[u8; 8] = b"sinew/1\n";
const DOMAIN: &[u8; 12] = b"sinew/1 unix";
const HELLO: usize = MAGIC.len() + 32 + PeerId::LEN;
const TRANSCRIPT: usize = DOMAIN.len() + 1 + 2 * 32 + 2 * PeerId::LEN;
const SIGNATURE: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Role {
    Dialer = 1,
    Listener = 2,
}

/// What one side says first.
#[derive(Debug)]
struct Hello {
    nonce: [u8; 32],
    peer: PeerId,
}

impl Hello {
    fn new(identity: &Identity) -> Self {
        let mut nonce = [0; 32];
        rand::rng().fill_bytes(&mut nonce);
        Self { nonce, peer: identity.peer_id() }
    }

    fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        let (magic, rest) = bytes.split_at_mut(MAGIC.len());
        let (nonce, key) = rest.split_at_mut(32);
        magic.copy_from_slice(MAGIC);
        nonce.copy_from_slice(&self.nonce);
        key.copy_from_slice(self.peer.public_key());
        bytes
    }

    async fn read(stream: &mut UnixStream) -> Result<Self, LinkError> {
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic).await.map_err(hung_up)?;
        if magic != *MAGIC {
            return Err(LinkError::Handshake("the peer does not speak sinew/1".to_owned()));
        }
        let (mut nonce, mut key) = ([0; 32], [0; PeerId::LEN]);
        stream.read_exact(&mut nonce).await.map_err(hung_up)?;
        stream.read_exact(&mut key).await.map_err(hung_up)?;
        Ok(Self { nonce, peer: PeerId::from_public_key(key) })
    }
}

fn transcript(role: Role, dialer: &Hello, listener: &Hello) -> [u8; TRANSCRIPT] {
    let mut bytes = [0; TRANSCRIPT];
    let parts: [&[u8]; 6] =
        [DOMAIN, &[role as u8], &dialer.nonce, &listener.nonce, dialer.peer.public_key(), listener.peer.public_key()];
    let mut rest = &mut bytes[..];
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    bytes
}

/// The listener's part: its peer, proven.
pub(crate) async fn accept(stream: &mut UnixStream, identity: &Identity) -> Result<PeerId, LinkError> {
    let dialer = Hello::read(stream).await?;
    let listener = Hello::new(identity);
    stream.write_all(&listener.encode()).await?;
    stream.write_all(&identity.sign(&transcript(Role::Listener, &dialer, &listener))).await?;
    check(stream, &dialer.peer, &transcript(Role::Dialer, &dialer, &listener)).await?;
    Ok(dialer.peer)
}

/// The dialer's part: its peer, proven. To anybody else than the expected one it does not prove itself.
pub(crate) async fn connect(
    stream: &mut UnixStream,
    identity: &Identity,
    expected: Option<PeerId>,
) -> Result<PeerId, LinkError> {
    let dialer = Hello::new(identity);
    stream.write_all(&dialer.encode()).await?;
    let listener = Hello::read(stream).await?;
    check(stream, &listener.peer, &transcript(Role::Listener, &dialer, &listener)).await?;
    if expected.is_some_and(|expected| expected != listener.peer) {
        return Err(LinkError::WrongPeer(listener.peer));
    }
    stream.write_all(&identity.sign(&transcript(Role::Dialer, &dialer, &listener))).await?;
    Ok(listener.peer)
}

async fn check(stream: &mut UnixStream, peer: &PeerId, transcript: &[u8]) -> Result<(), LinkError> {
    let mut signature = [0; SIGNATURE];
    stream.read_exact(&mut signature).await.map_err(hung_up)?;
    if verify(peer, transcript, &signature) {
        Ok(())
    } else {
        Err(LinkError::Certificate("its signature is not that of its key".to_owned()))
    }
}

/// A peer that refuses ours just closes.
fn hung_up(error: std::io::Error) -> LinkError {
    match error.into() {
        LinkError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            LinkError::Rejected("the peer hung up".to_owned())
        }
        LinkError::Reset => LinkError::Rejected("the peer hung up".to_owned()),
        error => error,
    }
}
